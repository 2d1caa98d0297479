#![no_main]

use libfuzzer_sys::fuzz_target;

// The whole core with participants that are authentic and hostile.
fuzz_target!(|bytes: &[u8]| anke_router_fuzz::hostile::play(bytes));
