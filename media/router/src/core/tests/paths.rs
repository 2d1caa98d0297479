//! What a viewer gets over paths of every kind: the layer that fits, sound whatever happens, and better times noticed.

use super::emulator::{Class, LAYERS, Path, SOUND_US, VIDEO, VIEWER};
use super::*;

fn describe(class: &Class, from_us: u64) -> String {
    let shares: Vec<f64> = (0..3).map(|layer| class.share_of(layer, from_us)).collect();
    format!(
        "estimate {:?}, shares {shares:.2?}, {} changes, frozen {:.3}, silence {} ms, {} key frames asked, {}",
        class.estimate_bps(),
        class.changes_since(from_us),
        class.frozen(from_us),
        class.longest_silence_ms(from_us),
        class.plis,
        class.world.slot_flow(10).reason,
    )
}

/// Each cell runs seven seconds to settle, then is judged for eight.
fn cells(rate_bps: Option<u64>, judge: impl Fn(&Class, u64, u64)) {
    for loss_percent in [0, 2, 10, 20] {
        for rtt_ms in [20, 300] {
            let mut class = Class::new(Path::new(rate_bps, rtt_ms * 500, loss_percent), true);
            class.run_ms(7_000);
            let from_us = class.world.now_us;
            class.run_ms(8_000);
            let what = format!("{rate_bps:?} {loss_percent}% {rtt_ms} ms: {}", describe(&class, from_us));
            assert!(class.longest_silence_ms(from_us) <= 300, "{what}");
            let heard = class.heard.iter().filter(|at_us| **at_us >= from_us).count() as u64;
            let sent = 8_000_000 / SOUND_US;
            assert!(heard * 100 >= sent * (94 - loss_percent), "{heard} of {sent} sounds, {what}");
            assert!(class.changes_since(from_us) <= 4, "{what}");
            judge(&class, from_us, loss_percent);
        }
    }
}

#[test]
fn an_unlimited_path_gets_the_best_layer_whatever_it_loses() {
    cells(None, |class, from_us, _| assert!(class.share_of(2, from_us) > 0.5, "{}", describe(class, from_us)));
}

#[test]
fn a_megabit_gets_the_middle_layer() {
    cells(Some(1_000_000), |class, from_us, loss_percent| {
        let what = format!("{loss_percent}% {}", describe(class, from_us));
        assert!(class.share_of(1, from_us) > 0.85 && class.share_of(2, from_us) == 0.0, "{what}");
        assert!(loss_percent > 10 || class.frozen(from_us) < 0.2, "{what}");
        assert_eq!(class.world.slot_flow(10).reason, "bandwidth");
    });
}

#[test]
fn a_third_of_it_gets_the_lowest() {
    cells(Some(300_000), |class, from_us, loss_percent| {
        let what = describe(class, from_us);
        assert!(class.share_of(0, from_us) > 0.95, "{what}");
        assert!(loss_percent > 2 || class.frozen(from_us) < 0.1, "{what}");
    });
}

#[test]
fn what_carries_no_picture_carries_the_sound() {
    cells(Some(100_000), |class, from_us, _| {
        assert_eq!(class.world.slot_flow(10).reason, "paused_bandwidth", "{}", describe(class, from_us));
        assert!(class.longest_silence_ms(from_us) < 250, "{}", describe(class, from_us));
    });
}

#[test]
fn better_times_are_noticed() {
    for rate_bps in [100_000, 300_000, 1_000_000] {
        let mut class = Class::new(Path::new(Some(rate_bps), 25_000, 0), true);
        class.run_ms(20_000);
        class.down.rate_bps = None;
        class.down.queue_bytes = u64::MAX;
        class.run_ms(20_000);
        let from_us = class.world.now_us;
        class.run_ms(5_000);
        assert!(class.share_of(2, from_us) > 0.99, "{rate_bps}: {}", describe(&class, from_us));
        assert_eq!(class.world.slot_flow(10).reason, "best");
    }
}

#[test]
fn worse_times_take_the_picture_down_before_the_sound() {
    for (rate_bps, layer) in [(1_000_000, 1), (300_000, 0)] {
        let mut class = Class::new(Path::new(None, 25_000, 0), true);
        class.run_ms(10_000);
        class.down.rate_bps = Some(rate_bps);
        class.down.queue_bytes = rate_bps / 8 / 4;
        let worse_us = class.world.now_us;
        class.run_ms(4_000);
        let from_us = class.world.now_us;
        class.run_ms(10_000);
        assert!(class.share_of(layer, from_us) > 0.95, "{rate_bps}: {}", describe(&class, from_us));
        assert!(class.longest_silence_ms(worse_us) < 1_000, "{rate_bps}: {}", describe(&class, worse_us));
    }
}

#[test]
fn a_viewer_who_is_short_gets_fewer_frames_of_a_layer_before_a_lower_one() {
    // 150 kbit/s in two temporal layers and sound, headers included, are more than this.
    let mut class = Class::new(Path::new(Some(190_000), 25_000, 0), true);
    class.temporal = true;
    class.run_ms(10_000);
    let from_us = class.world.now_us;
    class.run_ms(10_000);
    let shown = class.shown.iter().filter(|(at_us, _)| *at_us >= from_us).count();
    // 25 frames a second are sent, every other one of the upper temporal layer.
    assert!((100..=135).contains(&shown), "{shown} frames, {}", describe(&class, from_us));
    assert!(class.frozen(from_us) < 0.1, "{}", describe(&class, from_us));
    assert!(class.longest_silence_ms(from_us) < 250, "{}", describe(&class, from_us));
    class.down.rate_bps = None;
    class.run_ms(20_000);
    let from_us = class.world.now_us;
    class.run_ms(4_000);
    let shown = class.shown.iter().filter(|(at_us, _)| *at_us >= from_us).count();
    assert!((98..=101).contains(&shown), "{shown} frames, {}", describe(&class, from_us));
    assert_eq!(class.world.slot_flow(10).reason, "best");
}

#[test]
fn key_frames_to_a_viewer_who_is_short_do_not_overflow_a_short_queue() {
    // A key frame of the middle layer is 12 500 bytes: sent at once it is more than this queue holds.
    let mut path = Path::new(Some(1_000_000), 25_000, 0);
    path.queue_bytes = 8_000;
    let mut class = Class::new(path, true);
    class.run_ms(15_000);
    let from_us = class.world.now_us;
    for _ in 0..10 {
        class.world.order(Command::RequestKeyframe { ingest_id: 2 });
        class.run_ms(500);
    }
    assert!(class.share_of(1, from_us) > 0.95, "{}", describe(&class, from_us));
    assert!(class.world.count(Counter::Paced) > 100);
    assert!(class.longest_silence_ms(from_us) <= 120, "{}", describe(&class, from_us));
    assert!(class.frozen(from_us) == 0.0, "{}", describe(&class, from_us));
    // Who is not short is not paced.
    let mut class = Class::new(Path::new(None, 25_000, 0), true);
    class.run_ms(8_000);
    let paced = class.world.count(Counter::Paced);
    class.run_ms(2_000);
    assert_eq!(class.world.count(Counter::Paced), paced);
}

#[test]
fn a_viewer_that_only_tells_a_bit_rate_is_believed() {
    let mut class = Class::new(Path::new(None, 25_000, 0), true);
    for (bitrate_bps, reason, layer) in
        [(300_000u64, "bandwidth", 0), (3_000_000, "best", 2), (100_000, "bandwidth", 0)]
    {
        class.reports_arrivals = false;
        for _ in 0..6 {
            class.world.rtcp(VIEWER, |compound| {
                // draft-alvestrand-rmcat-remb-03 2.2: exponent 8, mantissa in units of 256 bit/s.
                let mantissa = (bitrate_bps >> 8) as u32;
                let exponent_and_mantissa = (8 << 18 | mantissa).to_be_bytes();
                compound.bytes.extend_from_slice(&[0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0]);
                compound.bytes.extend_from_slice(b"REMB");
                compound.bytes.push(1);
                compound.bytes.extend_from_slice(&exponent_and_mantissa[1..]);
                compound.bytes.extend_from_slice(&VIDEO.to_be_bytes());
            });
            class.run_ms(500);
        }
        let from_us = class.world.now_us;
        class.run_ms(1_000);
        // The lowest layer goes on: a bit rate told by the peer is a belief, not a proof.
        assert_eq!(class.world.slot_flow(10).reason, reason, "{bitrate_bps}: {}", describe(&class, from_us));
        assert!(class.share_of(layer, from_us) > 0.99, "{bitrate_bps}: {}", describe(&class, from_us));
    }
}

#[test]
fn one_viewers_requests_for_key_frames_are_limited() {
    let mut class = Class::new(Path::new(None, 25_000, 0), true);
    class.run_ms(4_000);
    let asked = class.plis;
    for _ in 0..50 {
        class.world.rtcp(VIEWER, |compound| compound.pli(1, VIDEO));
        class.run_ms(20);
    }
    assert!((2..=3).contains(&(class.plis - asked)), "{} in a second", class.plis - asked);
    assert!(class.world.count(Counter::PlisLimited) >= 47);
}

#[test]
fn jitter_is_not_congestion() {
    let mut path = Path::new(None, 50_000, 0);
    path.jitter_us = 40_000;
    let mut class = Class::new(path, true);
    class.run_ms(10_000);
    let from_us = class.world.now_us;
    class.run_ms(20_000);
    assert!(class.share_of(2, from_us) > 0.99, "{}", describe(&class, from_us));
}

#[test]
fn without_a_stream_for_padding_the_next_layer_is_the_probe() {
    let mut class = Class::new(Path::new(None, 50_000, 0), false);
    class.run_ms(15_000);
    let from_us = class.world.now_us;
    class.run_ms(5_000);
    assert!(class.share_of(2, from_us) > 0.99, "{}", describe(&class, from_us));
    let mut class = Class::new(Path::new(Some(1_000_000), 50_000, 0), false);
    class.run_ms(15_000);
    let from_us = class.world.now_us;
    class.run_ms(45_000);
    assert!(class.share_of(1, from_us) > 0.7, "{}", describe(&class, from_us));
    assert!(class.longest_silence_ms(from_us) < 1_000, "{}", describe(&class, from_us));
}

#[test]
fn a_single_layer_that_does_not_fit_pauses_and_comes_back() {
    let mut class = Class::new(Path::new(Some(300_000), 25_000, 0), true);
    class.world.layers(10, &[3]);
    class.run_ms(10_000);
    let from_us = class.world.now_us;
    class.run_ms(10_000);
    assert_eq!(class.world.slot_flow(10).reason, "paused_bandwidth");
    assert!(class.longest_silence_ms(from_us) < 250, "{}", describe(&class, from_us));
    class.down.rate_bps = None;
    class.run_ms(20_000);
    assert_eq!(class.world.slot_flow(10).reason, "best");
    assert!(LAYERS[2].1 < class.estimate_bps().unwrap());
}

/// AES-GCM with one nonce for two plaintexts gives away both: what can differ from one sending to the next must not stand
/// in a packet that may be sent again as it is.
#[test]
fn a_stamp_stands_only_where_nothing_is_sent_again_as_it_is() {
    let stamps_of = |rtx: bool, nack: bool| {
        let mut world = World::new();
        world.join(1000);
        world.ingest(1, 1000, publishing(Kind::Video, "0", Some(11)));
        world.join(VIEWER);
        let mut parameters = watching(Kind::Video, VIDEO, rtx.then_some(78));
        parameters.nack = nack;
        parameters.extensions.transport_cc = Some(STAMP_ID);
        world.slot(10, VIEWER, parameters);
        world.route(10, Some(1));
        world.rtp(1000, &vp8(11, 1, 0, true));
        world.rtp(1000, &vp8(11, 2, 3000, false));
        let sent = world.take_media(VIEWER);
        world.pass_ms(50);
        // `World` refuses a second packet of one SRTP index that is not the same bytes.
        world.rtcp(VIEWER, |compound| compound.nack(1, VIDEO, &[sent[0].ext_seq as u16, sent[1].ext_seq as u16]));
        let again: Vec<(u32, Option<u16>)> = world.take_media(VIEWER).iter().map(|got| (got.ssrc, got.stamp)).collect();
        let sent: Vec<Option<u16>> = sent.iter().map(|got| got.stamp).collect();
        (sent, again, world.count(Counter::ResentPlain))
    };
    assert_eq!(stamps_of(true, true), (vec![Some(1), Some(2)], vec![(78, Some(3)), (78, Some(4))], 0));
    assert_eq!(stamps_of(false, true), (vec![None, None], vec![], 2), "the same bytes again");
    assert_eq!(stamps_of(false, false), (vec![Some(1), Some(2)], vec![], 0), "never again");
}
