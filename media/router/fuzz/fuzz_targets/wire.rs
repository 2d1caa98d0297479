#![no_main]

use _router::arrivals::read_arrivals_untrusted;
use _router::bandwidth::Bandwidth;
use _router::demux::classify_untrusted;
use _router::feedback::TransportCc;
use _router::io::framing::frame_untrusted;
use _router::payload::{Codec, Vp8Descriptor, key_frame_start_untrusted};
use _router::picture::picture_height_untrusted;
use _router::rtcp::read_untrusted;
use _router::rtp::Header;
use _router::stun::{Message, short_term_key};
use libfuzzer_sys::fuzz_target;

// Every parser of the wire on the same bytes.
fuzz_target!(|bytes: &[u8]| {
    let _ = classify_untrusted(bytes);
    if let Ok(message) = Message::parse_untrusted(bytes) {
        message.verify_integrity(&short_term_key("password"));
        message.ufrags();
    }
    if let Ok(header) = Header::parse_untrusted(bytes) {
        let _ = header.payload_untrusted(bytes);
        assert!(header.extensions(bytes).count() <= bytes.len());
    }
    let _ = read_untrusted(bytes, |_| ());
    for codec in [Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1] {
        let _ = key_frame_start_untrusted(codec, bytes);
        let _ = picture_height_untrusted(codec, bytes);
    }
    if let Ok(descriptor) = Vp8Descriptor::parse_untrusted(bytes) {
        let mut copy = bytes.to_vec();
        descriptor.rewrite(&mut copy, 0x7fff, 0xff);
        assert!(Vp8Descriptor::parse_untrusted(&copy).is_ok());
    }
    let (mut framed, mut frames) = (bytes, 0);
    while let Ok(Some((start, end))) = frame_untrusted(framed) {
        assert!(start <= end && end <= framed.len());
        framed = &framed[end..];
        frames += 1;
    }
    assert!(frames <= bytes.len() / 2);
    let _ = read_arrivals_untrusted(bytes, |_, _| ());
    // A viewer's words about what it was really sent.
    let mut bandwidth = Bandwidth::new(1_000_000);
    for i in 0..40 {
        bandwidth.stamp(1_000_000 + i * 5_000, 1_200);
    }
    for (i, part) in bytes.chunks(64).enumerate() {
        let now_us = 1_250_000 + i as u64 * 50_000;
        let _ = bandwidth.feedback_untrusted(now_us, part);
        assert!(!bandwidth.loss().is_nan() && (0.0..=1.0).contains(&bandwidth.loss()));
        bandwidth.budget_bps(now_us);
        bandwidth.stamp(now_us, 1_200);
    }
    // Arrival times in any order and at any distance.
    let mut feedback = TransportCc::default();
    let mut now_us = 1_000_000;
    for part in bytes.chunks_exact(4) {
        now_us += u64::from(u16::from_be_bytes([part[2], part[3]])) * 64;
        feedback.receive(u16::from_be_bytes([part[0], part[1]]), now_us);
    }
    let mut body = Vec::new();
    while feedback.encode(&mut body).is_some() {
        assert!(body.len() < 1400);
    }
});
