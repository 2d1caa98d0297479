use proptest::prelude::*;

use super::*;
use crate::testing::hex;

const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

/// RFC 5769 2.1.
fn sample_request() -> Vec<u8> {
    hex("00010058 2112a442 b7e7a701 bc34d686 fa87dfae 80220010 5354554e 20746573 7420636c 69656e74 00240004 6e0001ff
         80290008 932ff9b1 51263b36 00060009 6576746a 3a683676 59202020 00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249
         c1b571a2 80280004 e57a3bcf")
}

/// RFC 5769 2.2.
fn sample_ipv4_response() -> Vec<u8> {
    hex("0101003c 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220 00200008 0001a147 e112a643
         00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7 80280004 c07d4c96")
}

/// RFC 5769 2.3.
fn sample_ipv6_response() -> Vec<u8> {
    hex("01010048 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220 00200014 0002a147 0113a9fa
         a5d3f179 bc25f4b5 bed2b9d9 00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41 80280004 c8fb0b4c")
}

/// RFC 5769 2.4.
fn sample_long_term_request() -> Vec<u8> {
    hex("00010060 2112a442 78ad3433 c6ad72c0 29da412e 00060012 e3839ee3 8388e383 aae38383 e382afe3 82b90000 0015001c
         662f2f34 39396b39 35346436 4f4c3334 6f4c3946 53547679 36347341 0014000b 6578616d 706c652e 6f726700 00080014
         f6702465 6dd64a3e 02b8e071 2e85c9a2 8ca89666")
}

#[test]
fn rfc_5769_request() {
    let raw = sample_request();
    let message = Message::parse_untrusted(&raw).unwrap();
    assert_eq!(message.message_type, BINDING_REQUEST);
    assert_eq!(message.ufrags(), Some(("evtj", "h6vY")));
    assert_eq!(message.priority, Some(0x6e00_01ff));
    assert!(message.has_fingerprint && !message.use_candidate);
    assert!(message.verify_integrity(&short_term_key(PASSWORD)));
    assert!(!message.verify_integrity(&short_term_key("another password")));
}

#[test]
fn rfc_5769_responses() {
    for (raw, address) in [
        (sample_ipv4_response(), "192.0.2.1:32853"),
        (sample_ipv6_response(), "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
    ] {
        let message = Message::parse_untrusted(&raw).unwrap();
        assert_eq!(message.message_type, BINDING_SUCCESS);
        assert_eq!(message.xor_mapped_address, Some(address.parse().unwrap()));
        assert!(message.has_fingerprint && message.verify_integrity(&short_term_key(PASSWORD)));
    }
}

#[test]
fn rfc_5769_long_term_request() {
    // Key: MD5 of "マトリックス:example.org:TheMatrIX" (the password after SASLprep), RFC 8489 9.2.2.
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &hex(LONG_TERM_KEY));
    let raw = sample_long_term_request();
    let message = Message::parse_untrusted(&raw).unwrap();
    assert_eq!(message.username, Some("マトリックス".as_bytes()));
    assert!(!message.has_fingerprint && message.verify_integrity(&key));
}

const LONG_TERM_KEY: &str = "e8ca7ad59d5eb0518e312911d2dab2a9";

#[test]
fn our_responses_read_back() {
    let key = short_term_key(PASSWORD);
    for address in ["192.0.2.1:32853", "[2001:db8::1]:9", "[::ffff:203.0.113.7]:40000"] {
        let peer: SocketAddr = address.parse().unwrap();
        let mut out = [0xaau8; MAX_RESPONSE_BYTES];
        let len = write_binding_success(&mut out, &[7; 12], peer, &key);
        let message = Message::parse_untrusted(&out[..len]).unwrap();
        assert_eq!(message.message_type, BINDING_SUCCESS);
        assert_eq!(message.transaction_id, [7; 12]);
        assert_eq!(message.xor_mapped_address, Some(SocketAddr::new(peer.ip().to_canonical(), peer.port())));
        assert!(message.has_fingerprint && message.verify_integrity(&key));
    }
}

#[test]
fn a_response_does_not_depend_on_what_was_in_the_buffer() {
    let key = short_term_key(PASSWORD);
    let peer: SocketAddr = "192.0.2.1:32853".parse().unwrap();
    let (mut clean, mut dirty) = ([0u8; MAX_RESPONSE_BYTES], [0xffu8; MAX_RESPONSE_BYTES]);
    let len = write_binding_success(&mut clean, &[1; 12], peer, &key);
    assert_eq!(write_binding_success(&mut dirty, &[1; 12], peer, &key), len);
    assert_eq!(clean[..len], dirty[..len]);
}

#[test]
fn truncated_at_every_length_is_refused() {
    for whole in [sample_request(), sample_ipv4_response(), sample_ipv6_response(), sample_long_term_request()] {
        for len in 0..whole.len() {
            assert!(Message::parse_untrusted(&whole[..len]).is_err(), "{len} bytes");
        }
    }
}

#[test]
fn one_wrong_bit_is_noticed() {
    let key = short_term_key(PASSWORD);
    let whole = sample_request();
    for at in 0..whole.len() * 8 {
        let mut forged = whole.clone();
        forged[at / 8] ^= 1 << (at % 8);
        let accepted = Message::parse_untrusted(&forged).is_ok_and(|m| m.has_fingerprint && m.verify_integrity(&key));
        // A changed attribute type after MESSAGE-INTEGRITY only hides the FINGERPRINT.
        assert!(!accepted, "bit {at}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(message) = Message::parse_untrusted(&bytes) {
            message.verify_integrity(&short_term_key("x"));
            message.ufrags();
        }
    }

    #[test]
    fn damaged_messages_never_panic(at in 0usize..108, byte in any::<u8>(), cut in 0usize..=108) {
        let mut raw = sample_request();
        raw[at] = byte;
        raw.truncate(cut);
        if let Ok(message) = Message::parse_untrusted(&raw) {
            message.verify_integrity(&short_term_key(PASSWORD));
        }
    }
}

#[test]
fn our_own_request_is_read_back_by_whoever_knows_the_password() {
    let mut out = [0xAA; MAX_REQUEST_BYTES];
    for username in ["theirs:ours", "t:o", "abcd:efgh"] {
        let len = write_binding_request(&mut out, &[7; 12], username, &short_term_key(PASSWORD)).unwrap();
        let message = Message::parse_untrusted(&out[..len]).unwrap();
        assert_eq!(message.message_type, BINDING_REQUEST);
        assert_eq!(message.ufrags(), username.split_once(':'));
        assert!(message.has_fingerprint && message.verify_integrity(&short_term_key(PASSWORD)));
        assert!(!message.verify_integrity(&short_term_key("another password")));
    }
    assert_eq!(write_binding_request(&mut out, &[7; 12], &"x".repeat(509), &short_term_key(PASSWORD)), None);
    assert!(write_binding_request(&mut out, &[7; 12], &"x".repeat(508), &short_term_key(PASSWORD)).is_some());
}
