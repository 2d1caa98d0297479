#![no_main]

use _router::payload::{Codec, Vp8Descriptor, key_frame_start_untrusted};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for codec in [Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1] {
        let _ = key_frame_start_untrusted(codec, bytes);
    }
    if let Ok(descriptor) = Vp8Descriptor::parse_untrusted(bytes) {
        let mut copy = bytes.to_vec();
        descriptor.rewrite(&mut copy, 0x7fff, 0xff);
        assert!(Vp8Descriptor::parse_untrusted(&copy).is_ok());
    }
});
