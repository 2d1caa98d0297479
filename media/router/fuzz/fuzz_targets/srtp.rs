#![no_main]

use _router::rtp::Header;
use _router::srtp::{Inbound, Profile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for profile in [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::Aes128CmSha1_80] {
        let key = vec![1; profile.key_bytes()];
        let salt = vec![2; profile.salt_bytes()];
        let Ok(mut inbound) = Inbound::new(profile, &key, &salt) else { unreachable!("sizes are the profile's") };
        let _ = inbound.unprotect_rtcp_untrusted(&mut bytes.to_vec());
        if let Ok(header) = Header::parse_untrusted(bytes) {
            let _ = inbound.unprotect_rtp_untrusted(&mut bytes.to_vec(), header.len_bytes, header.ssrc, header.seq);
        }
    }
});
