#![no_main]

use _router::demux::classify_untrusted;
use _router::rtp::Header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = classify_untrusted(bytes);
    if let Ok(header) = Header::parse_untrusted(bytes) {
        let _ = header.payload_untrusted(bytes);
        assert!(header.extensions(bytes).count() <= bytes.len());
    }
});
