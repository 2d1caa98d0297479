#![no_main]

use _router::rtcp::read_untrusted;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = read_untrusted(bytes, |_| ());
});
