use proptest::prelude::*;

use super::*;
use crate::testing::hex;

#[test]
fn vp8_key_frames_tell_their_height() {
    // libvpx's own first bytes, behind descriptors of one and of six bytes.
    assert_eq!(picture_height_untrusted(Codec::Vp8, &hex("10 3034009d012a800268010047")), Some(360));
    assert_eq!(picture_height_untrusted(Codec::Vp8, &hex("90e0 9234 09 20 501d029d012a0005d002")), Some(720));
    assert_eq!(picture_height_untrusted(Codec::Vp8, &hex("10 d0b5009d012a4001b440")), Some(180), "scaling bits");
    assert_eq!(picture_height_untrusted(Codec::Vp8, &hex("10 d0b5009d012b4001b440")), None);
}

#[test]
fn h264_parameter_sets_tell_their_height() {
    // x264's parameter sets in its baseline, main and high profiles; 360 and 1080 lines are cropped.
    for (sps, height) in [
        ("6742c01ed900a02ff9610000030001000003003c0f162e48", 360),
        ("674d400deca0a0cfcf08000003000800000301e078a14cb0", 180),
        ("6764001facd9405005ba10000003001000000303c0f1831960", 720),
        ("67640028acd940780227e584000003000400000300f03c60c658", 1080),
    ] {
        let unit = hex(sps);
        assert_eq!(picture_height_untrusted(Codec::H264, &unit), Some(height));
        let mut aggregate = vec![24, 0, 2, 0x09, 0x10, 0, unit.len() as u8];
        aggregate.extend_from_slice(&unit);
        assert_eq!(picture_height_untrusted(Codec::H264, &aggregate), Some(height));
        for len in 0..8 {
            assert_eq!(picture_height_untrusted(Codec::H264, &unit[..len]), None);
        }
    }
    assert_eq!(picture_height_untrusted(Codec::H264, &hex("65 88 84")), None);
}

proptest! {
    #[test]
    fn any_bytes_are_a_height_or_none(payload in proptest::collection::vec(any::<u8>(), 0..80), sps in any::<bool>()) {
        let mut payload = payload;
        if let Some(first) = payload.first_mut().filter(|_| sps) {
            *first = 0x67;
        }
        for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1, Codec::Opus] {
            let height = picture_height_untrusted(codec, &payload);
            prop_assert!(height.is_none_or(|height| (1..=MAX_HEIGHT_PX).contains(&height)));
        }
    }
}
