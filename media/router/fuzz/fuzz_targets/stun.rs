#![no_main]

use _router::stun::{Message, short_term_key};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = Message::parse_untrusted(bytes) {
        message.verify_integrity(&short_term_key("password"));
        message.ufrags();
    }
});
