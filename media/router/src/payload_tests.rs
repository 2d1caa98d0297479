use proptest::prelude::*;

use super::*;
use crate::testing::hex;

const CODECS: [Codec; CODEC_COUNT] = [Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1];

fn starts(codec: Codec, payload: &str) -> bool {
    key_frame_start_untrusted(codec, &hex(payload)).unwrap()
}

#[test]
fn vp8_descriptors_of_every_shape() {
    // X, I with 15 bits, L, T: picture 0x1234, TL0PICIDX 9, key frame.
    let full = hex("90 f0 9234 09 40 00 9d012a");
    let descriptor = Vp8Descriptor::parse_untrusted(&full).unwrap();
    assert_eq!((descriptor.picture_id, descriptor.tl0picidx), (0x1234, 9));
    assert!(descriptor.wide && descriptor.key_frame_start);
    let mut copy = full.clone();
    descriptor.rewrite(&mut copy, 0x7fff, 200);
    assert_eq!(copy, hex("90 f0 ffff c8 40 00 9d012a"));

    let narrow = hex("90 80 34 01");
    let descriptor = Vp8Descriptor::parse_untrusted(&narrow).unwrap();
    assert_eq!((descriptor.picture_id, descriptor.wide, descriptor.key_frame_start), (0x34, false, false));
    let mut copy = narrow.clone();
    descriptor.rewrite(&mut copy, 0x1ff, 1);
    assert_eq!(copy, hex("90 80 7f 01"));

    assert!(starts(Codec::Vp8, "10 00"));
    assert!(!starts(Codec::Vp8, "00 00"), "not the start of a partition");
    assert!(!starts(Codec::Vp8, "11 00"), "second partition");
    assert!(!starts(Codec::Vp8, "10 01"), "inter frame");
}

#[test]
fn key_frames_of_the_other_codecs() {
    assert!(starts(Codec::H264, "67 42e01f"), "SPS");
    assert!(starts(Codec::H264, "65 88"), "IDR");
    assert!(!starts(Codec::H264, "41 9a"), "slice");
    assert!(!starts(Codec::H264, "68 ce"), "PPS");
    assert!(starts(Codec::H264, "78 0002 6742 0002 68ce 0001 65"), "STAP-A with SPS");
    assert!(!starts(Codec::H264, "78 0002 419a"), "STAP-A without");
    assert!(starts(Codec::H264, "7c 85 88"), "first fragment of an IDR");
    assert!(!starts(Codec::H264, "7c 05 88"), "middle fragment of an IDR");
    assert!(!starts(Codec::H264, "7c 81 88"), "first fragment of a slice");
    assert!(starts(Codec::Vp9, "8b 8001 00"), "I, B, E; not P");
    assert!(!starts(Codec::Vp9, "cb 8001 00"), "inter picture");
    assert!(!starts(Codec::Vp9, "83 8001 00"), "not the beginning");
    assert!(starts(Codec::Vp9, "a8 05 00 00"), "lowest spatial layer");
    assert!(!starts(Codec::Vp9, "a8 05 02 00"), "second spatial layer");
    assert!(starts(Codec::Av1, "18 0a"));
    assert!(!starts(Codec::Av1, "10 0a"));
    assert!(!starts(Codec::Opus, "fc"));
}

#[test]
fn truncated_descriptors_are_refused() {
    for (codec, whole) in
        [(Codec::Vp8, hex("90 f0 9234 09 40 00")), (Codec::Vp9, hex("ab 8001 00")), (Codec::H264, hex("78 0002 419a"))]
    {
        for len in 0..whole.len() {
            let cut = key_frame_start_untrusted(codec, &whole[..len]);
            // A STAP-A may end after any of its units.
            let whole_units = codec == Codec::H264 && len == 1;
            assert!(cut.is_err() || whole_units, "{codec:?} {len} bytes");
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), id in any::<u16>(), tl0 in any::<u8>()) {
        for codec in CODECS {
            let _ = key_frame_start_untrusted(codec, &bytes);
        }
        if let Ok(descriptor) = Vp8Descriptor::parse_untrusted(&bytes) {
            let mut copy = bytes.clone();
            descriptor.rewrite(&mut copy, id, tl0);
            let again = Vp8Descriptor::parse_untrusted(&copy).unwrap();
            prop_assert_eq!(again.key_frame_start, descriptor.key_frame_start);
            prop_assert_eq!(again.picture_id_at, descriptor.picture_id_at);
        }
    }
}
