use proptest::prelude::*;

use super::*;
use crate::testing::hex;

/// Two CSRCs, one-byte extensions: padding, id 1 (3 bytes), id 2 (1 byte); payload "ab", two bytes of padding.
fn packet() -> Vec<u8> {
    hex("b2 e0 1234 00000100 deadbeef 00000001 00000002 bede 0002 00 12 636d61 20 7f 00 6162 0002")
}

#[test]
fn every_part_of_a_packet_is_found() {
    let packet = packet();
    let header = Header::parse_untrusted(&packet).unwrap();
    assert!(header.marker && header.padding);
    assert_eq!((header.payload_type, header.seq, header.rtp_ts, header.ssrc), (96, 0x1234, 0x100, 0xdead_beef));
    assert_eq!(header.len_bytes, 12 + 8 + 4 + 8);
    assert_eq!(header.payload_untrusted(&packet), Ok(&b"ab"[..]));
    let extensions: Vec<_> = header.extensions(&packet).collect();
    assert_eq!(extensions, [(1, &b"cma"[..]), (2, &[0x7f][..])]);
}

#[test]
fn two_byte_extensions_and_the_stop_id() {
    let two_byte = hex("90 60 0001 00000000 00000001 1000 0002 11 03 616263 00 12 00");
    let header = Header::parse_untrusted(&two_byte).unwrap();
    assert_eq!(header.extensions(&two_byte).collect::<Vec<_>>(), [(0x11, &b"abc"[..]), (0x12, &b""[..])]);
    let stopped = hex("90 60 0001 00000000 00000001 bede 0001 f0 10 41 42");
    let header = Header::parse_untrusted(&stopped).unwrap();
    assert_eq!(header.extensions(&stopped).count(), 0);
    let overlong = hex("90 60 0001 00000000 00000001 bede 0001 1f 41 42 43");
    let header = Header::parse_untrusted(&overlong).unwrap();
    assert_eq!(header.extensions(&overlong).count(), 0);
}

#[test]
fn padding_longer_than_the_payload_is_refused() {
    for pad in ["00", "06", "ff"] {
        let packet = hex(&format!("a0 60 0001 00000000 00000001 61626364 {pad}"));
        let header = Header::parse_untrusted(&packet).unwrap();
        assert_eq!(header.payload_untrusted(&packet), Err(BadPacket::Padding));
    }
}

#[test]
fn truncated_at_every_length_is_refused() {
    let packet = packet();
    for len in 0..12 + 8 + 4 + 8 {
        assert!(Header::parse_untrusted(&packet[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn sequence_numbers_extend_across_the_wrap() {
    assert_eq!(extend_seq(0, 65_535), 65_536);
    assert_eq!(extend_seq(65_535, 65_536), 65_535);
    assert_eq!(extend_seq(65_535, 0), 65_535); // nothing is older than the start
    assert_eq!(extend_seq(5, 3 * 65_536 + 65_530), 4 * 65_536 + 5);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), version in any::<bool>()) {
        if let (true, Some(first)) = (version, bytes.first_mut()) {
            *first = *first & 0x3f | 0x80;
        }
        if let Ok(header) = Header::parse_untrusted(&bytes) {
            let _ = header.payload_untrusted(&bytes);
            prop_assert!(header.extensions(&bytes).count() <= bytes.len());
        }
    }

    #[test]
    fn an_extended_number_keeps_its_low_bits(seq in any::<u16>(), highest in 0u64..1 << 48) {
        let ext_seq = extend_seq(seq, highest);
        prop_assert_eq!(ext_seq as u16, seq);
        prop_assert!(ext_seq.abs_diff(highest) <= 1 << 15 || highest < 1 << 15);
    }
}
