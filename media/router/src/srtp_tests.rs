use proptest::prelude::*;

use super::*;
use crate::testing::hex;

#[test]
fn rfc_3711_b2_aes_counter_mode_keystream() {
    let key = counter_mode(&hex("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
    let mut salt = [0u8; 14];
    salt.copy_from_slice(&hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD"));
    let mut keystream = vec![0u8; 0xff02 * 16];
    apply_keystream(&key, cm_iv(&salt, 0, 0), &mut keystream).unwrap();
    assert_eq!(
        keystream[..48],
        hex("E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0")
    );
    assert_eq!(
        keystream[0xfeff * 16..],
        hex("EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE 6A2CC3787889374FBEB4C81B17BA6C44")
    );
}

const B3_MASTER_KEY: &str = "E1F97A0D3E018BE0D64FA32C06DE4139";
const B3_MASTER_SALT: &str = "0EC675AD498AFEEBB6960B3AABE6";

#[test]
fn rfc_3711_b3_key_derivation() {
    let (key, salt) = (hex(B3_MASTER_KEY), hex(B3_MASTER_SALT));
    let derived = |label, len| {
        let mut out = vec![0xffu8; len];
        derive(&key, &salt, label, &mut out).unwrap();
        out
    };
    assert_eq!(derived(LABEL_RTP_KEY, 16), hex("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(derived(LABEL_RTP_SALT, 14), hex("30CBBC08863D8C85D49DB34A9AE1"));
    assert_eq!(
        derived(LABEL_RTP_AUTH, 94),
        hex("CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE E049646C43D9327AD175578EF7227098
             6371C10C9A369AC2F94A8C5FBCDDDC25 6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2DC68")[..94]
    );
}

/// Session (not master) keys, as RFC 7714 16 and 17 give them.
fn session(key: &[u8]) -> Cipher {
    let algorithm = if key.len() == 16 { &aead::AES_128_GCM } else { &aead::AES_256_GCM };
    let key = LessSafeKey::new(UnboundKey::new(algorithm, key).unwrap());
    Cipher::Gcm { key: Box::new(key), salt: *b"Quid pro quo" }
}

fn outbound(key: &[u8]) -> Outbound {
    Outbound { rtp: session(key), rtcp: session(key), next_rtcp_index: 0x5d4 }
}

fn inbound(key: &[u8]) -> Inbound {
    Inbound {
        rtp: session(key),
        rtcp: session(key),
        sources: Vec::new(),
        rtcp_sources: Vec::new(),
        max_sources: MAX_SOURCES,
    }
}

fn session_keys() -> [Vec<u8>; 2] {
    [(0..16).collect(), (0..32).collect()]
}

const PLAIN_RTP: &str = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070
                         61727465 73207472 6573";

#[test]
fn rfc_7714_16_rtp() {
    let expected = [
        "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf
         8833899d 7f27beb1 6a9152cf 765ee439 0cce",
        "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 76ffae0f 1ba63799
         b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
    ];
    for (key, expected) in session_keys().iter().zip(expected) {
        let plain = hex(PLAIN_RTP);
        let mut packet = plain.clone();
        packet.resize(plain.len() + MAX_RTP_OVERHEAD_BYTES, 0);
        let len = outbound(key).protect_rtp(&mut packet, plain.len(), 12, 0x5501_a0b2, 0xf17b);
        assert_eq!(len, Some(packet.len()));
        assert_eq!(packet, hex(expected));
        let opened = inbound(key).unprotect_rtp_untrusted(&mut packet, 12, 0x5501_a0b2, 0xf17b);
        assert_eq!(opened, Ok((plain.len(), 0xf17b)));
        assert_eq!(packet[..plain.len()], plain);
    }
}

const PLAIN_RTCP: &str = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef
                          deadbeef deadbeef deadbeef";

#[test]
fn rfc_7714_17_rtcp() {
    let expected = [
        "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda 4ce09b46 86303ded
         0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
        "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1 110555be 8415f658 c61de047
         6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4",
    ];
    for (key, expected) in session_keys().iter().zip(expected) {
        let plain = hex(PLAIN_RTCP);
        let mut packet = plain.clone();
        packet.resize(plain.len() + MAX_RTCP_OVERHEAD_BYTES, 0);
        assert_eq!(outbound(key).protect_rtcp(&mut packet, plain.len()), Some(packet.len()));
        assert_eq!(packet, hex(expected));
        let mut receiver = inbound(key);
        assert_eq!(receiver.unprotect_rtcp_untrusted(&mut packet), Ok(plain.len()));
        assert_eq!(packet[..plain.len()], plain);
        assert_eq!(receiver.unprotect_rtcp_untrusted(&mut hex(expected)), Err(BadPacket::Replayed));
    }
}

const PROFILES: [Profile; 3] = [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::Aes128CmSha1_80];

fn pair(profile: Profile) -> (Outbound, Inbound) {
    let key: Vec<u8> = (1..=profile.key_bytes() as u8).collect();
    let salt: Vec<u8> = (101..=100 + profile.salt_bytes() as u8).collect();
    (Outbound::new(profile, &key, &salt).unwrap(), Inbound::new(profile, &key, &salt).unwrap())
}

fn protected(out: &Outbound, ssrc: u32, ext_seq: u64, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend_from_slice(&(ext_seq as u16).to_be_bytes());
    packet.extend_from_slice(&[0; 4]);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(payload);
    let plain_bytes = packet.len();
    packet.resize(plain_bytes + MAX_RTP_OVERHEAD_BYTES, 0);
    let len = out.protect_rtp(&mut packet, plain_bytes, 12, ssrc, ext_seq).unwrap();
    packet.truncate(len);
    packet
}

#[test]
fn keys_of_the_wrong_size_are_refused() {
    assert!(Outbound::new(Profile::AeadAes128Gcm, &[0; 16], &[0; 14]).is_err());
    assert!(Inbound::new(Profile::AeadAes256Gcm, &[0; 16], &[0; 12]).is_err());
    assert!(Inbound::new(Profile::Aes128CmSha1_80, &[0; 16], &[0; 12]).is_err());
}

#[test]
fn the_rollover_counter_follows_more_than_65536_packets() {
    for profile in PROFILES {
        let (out, mut into) = pair(profile);
        for ext_seq in 65_000..65_000 + 140_000u64 {
            let mut packet = protected(&out, 7, ext_seq, b"payload");
            let opened = into.unprotect_rtp_untrusted(&mut packet, 12, 7, ext_seq as u16);
            assert_eq!(opened, Ok((19, ext_seq)), "{profile:?}");
        }
    }
}

#[test]
fn a_packet_is_taken_once_and_only_within_the_window() {
    for profile in PROFILES {
        let (out, mut into) = pair(profile);
        let mut take = |ext_seq: u64| {
            into.unprotect_rtp_untrusted(&mut protected(&out, 7, ext_seq, b"x"), 12, 7, ext_seq as u16).map(|(_, i)| i)
        };
        assert_eq!(take(5000), Ok(5000));
        assert_eq!(take(5000), Err(BadPacket::Replayed));
        assert_eq!(take(5100), Ok(5100));
        assert_eq!(take(5050), Ok(5050));
        assert_eq!(take(5050), Err(BadPacket::Replayed));
        assert_eq!(take(5100 - 1023), Ok(5100 - 1023));
        assert_eq!(take(5100 - 1024), Err(BadPacket::Replayed));
        assert_eq!(take(9000), Ok(9000));
        assert_eq!(take(8500), Ok(8500));
        assert_eq!(take(5101), Err(BadPacket::Replayed));
    }
}

#[test]
fn a_forgery_changes_no_state_and_sources_are_bounded() {
    for profile in PROFILES {
        let (out, mut into) = pair(profile);
        for ssrc in 0..200u32 {
            let mut forged = protected(&out, ssrc, 1, b"payload");
            forged[14] ^= 1;
            assert_eq!(into.unprotect_rtp_untrusted(&mut forged, 12, ssrc, 1), Err(BadPacket::Integrity));
        }
        assert!(into.sources.is_empty());
        let refused = (0..200u32)
            .filter(|ssrc| into.unprotect_rtp_untrusted(&mut protected(&out, *ssrc, 1, b"x"), 12, *ssrc, 1).is_err())
            .count();
        assert_eq!((into.sources.len(), refused), (MAX_SOURCES, 200 - MAX_SOURCES));
    }
}

#[test]
fn truncated_at_every_length_is_refused() {
    for profile in PROFILES {
        let (mut out, mut into) = pair(profile);
        let packet = protected(&out, 7, 1, b"some payload");
        for len in 12..packet.len() {
            assert!(into.unprotect_rtp_untrusted(&mut packet[..len].to_vec(), 12, 7, 1).is_err(), "{len} bytes");
        }
        let mut report = hex(PLAIN_RTCP);
        let plain_bytes = report.len();
        report.resize(plain_bytes + MAX_RTCP_OVERHEAD_BYTES, 0);
        let whole = out.protect_rtcp(&mut report, plain_bytes).unwrap();
        for len in 0..whole {
            assert!(into.unprotect_rtcp_untrusted(&mut report[..len].to_vec()).is_err(), "{len} bytes");
        }
        assert_eq!(into.unprotect_rtcp_untrusted(&mut report[..whole]), Ok(plain_bytes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), header in 0usize..40) {
        for profile in PROFILES {
            let (_, mut into) = pair(profile);
            prop_assert!(into.unprotect_rtcp_untrusted(&mut bytes.clone()).is_err());
            if header <= bytes.len() {
                prop_assert!(into.unprotect_rtp_untrusted(&mut bytes.clone(), header, 1, 2).is_err());
            }
        }
    }

    /// Any order within the window, any start, across wraps: the index that comes out is the one that went in.
    #[test]
    fn the_index_survives_reordering(start in 0u64..65_536, jumps in proptest::collection::vec(-40i64..60, 1..80)) {
        let (out, mut into) = pair(Profile::AeadAes128Gcm);
        let mut seen = std::collections::HashSet::new();
        let mut highest = start;
        for jump in std::iter::once(0).chain(jumps) {
            let Some(ext_seq) = highest.checked_add_signed(jump * 500 / 40) else { continue };
            let opened = into
                .unprotect_rtp_untrusted(&mut protected(&out, 7, ext_seq, b"x"), 12, 7, ext_seq as u16)
                .map(|(_, index)| index);
            if seen.insert(ext_seq) {
                prop_assert_eq!(opened, Ok(ext_seq));
            } else {
                prop_assert_eq!(opened, Err(BadPacket::Replayed));
            }
            highest = highest.max(ext_seq);
        }
    }
}
