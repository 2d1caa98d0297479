//! What slots show: key frames, seams, restarts, the tap, reports that keep sound and picture together.

use super::*;

const PUBLISHER: u16 = 1000;
const SECOND: u16 = 1001;
const VIEWER: u16 = 2000;

fn plis(items: &[Item]) -> Vec<u32> {
    items.iter().filter_map(|item| if let Item::Pli { media_ssrc } = item { Some(*media_ssrc) } else { None }).collect()
}

fn routed(world: &World) -> Vec<(u64, u64)> {
    let routed = world.events.iter().filter_map(|event| match event {
        Event::Routed { slot_id, ingest_id } => Some((*slot_id, *ingest_id)),
        _ => None,
    });
    routed.collect()
}

/// Two publishers with one camera each (ingests 1 and 2), one viewer with one video slot (id 10, SSRC 77).
fn two_cameras() -> World {
    let mut world = World::new();
    for (port, ingest, ssrc) in [(PUBLISHER, 1, 11), (SECOND, 2, 22)] {
        world.join(port);
        world.ingest(ingest, port, publishing(Kind::Video, "0", Some(ssrc)));
    }
    world.join(VIEWER);
    world.slot(10, VIEWER, watching(Kind::Video, 77, None));
    world
}

#[test]
fn a_slot_begins_at_a_key_frame_and_asks_for_it() {
    let mut world = two_cameras();
    world.route(10, Some(1));
    world.rtp(PUBLISHER, &vp8(11, 5, 1000, false));
    assert!(world.take_media(VIEWER).is_empty());
    world.pass_ms(20);
    assert_eq!(plis(&world.take_reports(PUBLISHER)), [11]);
    world.pass_ms(320);
    assert_eq!(plis(&world.take_reports(PUBLISHER)), [11], "asked again");
    world.rtp(PUBLISHER, &vp8(11, 6, 4000, true));
    world.rtp(PUBLISHER, &vp8(11, 7, 7000, false));
    assert_eq!(routed(&world), [(10, 1)]);
    let got = world.take_media(VIEWER);
    assert_eq!(got.len(), 2);
    assert!(got.iter().all(|packet| packet.ssrc == 77 && packet.payload_type == VP8_PT));
    assert_eq!((got[1].ext_seq - got[0].ext_seq, got[1].rtp_ts.wrapping_sub(got[0].rtp_ts)), (1, 3000));
    world.pass_ms(1000);
    assert!(plis(&world.take_reports(PUBLISHER)).is_empty(), "satisfied");
}

#[test]
fn the_old_source_goes_on_until_the_new_ones_key_frame() {
    let mut world = two_cameras();
    world.rtp(PUBLISHER, &vp8(11, 1, 0, false));
    world.rtp(SECOND, &vp8(22, 60_000, 5_000_000, false));
    world.route(10, Some(1));
    world.rtp(PUBLISHER, &vp8(11, 2, 3000, true));
    world.pass_ms(33);
    world.take_reports(SECOND);
    world.route(10, Some(2));
    assert_eq!(plis(&world.take_reports(SECOND)), [22]);
    world.rtp(SECOND, &vp8(22, 60_001, 5_003_000, false));
    world.rtp(PUBLISHER, &vp8(11, 3, 6000, false));
    world.pass_ms(33);
    world.rtp(SECOND, &vp8(22, 60_002, 5_006_000, true));
    world.rtp(PUBLISHER, &vp8(11, 4, 9000, false));
    world.rtp(SECOND, &vp8(22, 60_003, 5_009_000, false));
    let got = world.take_media(VIEWER);
    assert_eq!(got.len(), 4);
    for (a, b) in got.iter().zip(&got[1..]) {
        assert_eq!(b.ext_seq, a.ext_seq + 1);
        assert!((2900..=3100).contains(&b.rtp_ts.wrapping_sub(a.rtp_ts)));
        // Our publishers' pictures all have one number; only the switch (a key frame) moves on to another.
        let picture = |packet: &Got| u16::from_be_bytes([packet.payload[2], packet.payload[3]]);
        assert_eq!(picture(b).wrapping_sub(picture(a)), u16::from(b.payload[4] == 0));
    }
    assert_eq!(routed(&world), [(10, 1), (10, 2)]);
    assert!(world.core.ingests.get(0).unwrap().viewers.is_empty());
}

#[test]
fn sound_switches_at_once_and_kinds_never_mix() {
    let mut world = two_cameras();
    world.ingest(3, PUBLISHER, publishing(Kind::Audio, "1", Some(33)));
    world.ingest(4, SECOND, publishing(Kind::Audio, "1", Some(44)));
    world.slot(11, VIEWER, watching(Kind::Audio, 88, None));
    world.route(11, Some(3));
    world.rtp(PUBLISHER, &opus(33, 1, 0));
    world.route(11, Some(4));
    world.rtp(SECOND, &opus(44, 900, 90_000));
    world.rtp(PUBLISHER, &opus(33, 2, 960));
    let got = world.take_media(VIEWER);
    assert_eq!(got.len(), 2);
    assert_eq!(got[1].ext_seq, got[0].ext_seq + 1);
    world.route(11, Some(1));
    assert_eq!(world.count(Counter::CommandsIgnored), 1);
    world.route(11, None);
    world.rtp(SECOND, &opus(44, 901, 90_960));
    assert!(world.take_media(VIEWER).is_empty());
}

#[test]
fn a_source_that_ends_leaves_the_slot_empty_and_another_continues_it() {
    let mut world = two_cameras();
    world.route(10, Some(1));
    world.rtp(PUBLISHER, &vp8(11, 1, 0, true));
    world.order(Command::RemoveTransport { transport_id: u64::from(PUBLISHER) });
    world.pass_ms(5000);
    world.route(10, Some(2));
    world.rtp(SECOND, &vp8(22, 1, 0, true));
    let got = world.take_media(VIEWER);
    assert_eq!(got[1].ext_seq, got[0].ext_seq + 1);
    assert_eq!(got[1].rtp_ts.wrapping_sub(got[0].rtp_ts), 5 * 90_000, "as much as time passed");
    assert!(world.events.contains(&Event::Closed { transport_id: u64::from(PUBLISHER), reason: "removed" }));
}

#[test]
fn a_restarted_publisher_is_found_by_its_mid() {
    let mut world = World::new();
    world.join(PUBLISHER);
    world.ingest(1, PUBLISHER, publishing(Kind::Video, "cam", None));
    world.join(VIEWER);
    world.slot(10, VIEWER, watching(Kind::Video, 77, None));
    world.route(10, Some(1));
    let mid = [0x12, b'c', b'a', b'm'];
    world.rtp(PUBLISHER, &Sent { extensions: &mid, ..vp8(500, 65_535, 0, true) });
    world.rtp(PUBLISHER, &vp8(500, 65_536, 3000, false));
    assert_eq!(world.take_media(VIEWER).len(), 2);
    // A new SSRC with numbers far below: stale ones of the first are refused, a key frame is waited for.
    world.rtp(PUBLISHER, &Sent { extensions: &mid, ..vp8(501, 3, 9_000_000, false) });
    world.pass_ms(20);
    assert_eq!(plis(&world.take_reports(PUBLISHER)), [501]);
    world.rtp(PUBLISHER, &vp8(500, 65_537, 6000, true));
    assert!(world.take_media(VIEWER).is_empty());
    world.rtp(PUBLISHER, &vp8(501, 4, 9_003_000, true));
    world.rtp(PUBLISHER, &vp8(501, 5, 9_006_000, false));
    assert_eq!(world.take_media(VIEWER).len(), 2);
    assert_eq!((world.count(Counter::Restarts), world.count(Counter::Latched)), (1, 2));
    assert_eq!(routed(&world), [(10, 1), (10, 1)]);
}

#[test]
fn streams_without_names_are_latched_by_payload_type_only_if_unambiguous() {
    let mut world = World::new();
    world.join(PUBLISHER);
    world.ingest(1, PUBLISHER, publishing(Kind::Video, "0", None));
    world.ingest(2, PUBLISHER, publishing(Kind::Audio, "1", None));
    world.rtp(PUBLISHER, &opus(9, 1, 0));
    world.rtp(PUBLISHER, &vp8(8, 1, 0, true));
    assert_eq!(world.count(Counter::Latched), 2);
    let mut world = World::new();
    world.join(PUBLISHER);
    world.ingest(1, PUBLISHER, publishing(Kind::Video, "0", None));
    world.ingest(2, PUBLISHER, publishing(Kind::Video, "1", None));
    world.rtp(PUBLISHER, &vp8(8, 1, 0, true));
    assert_eq!(world.count(Counter::UnknownSsrc), 1);
    world.rtp(PUBLISHER, &Sent { extensions: &[0x10, b'1'], ..vp8(8, 2, 0, true) });
    assert_eq!(world.core.snapshot(world.now_us).ingests[1].packets, 1);
}

#[test]
fn simulcast_layers_are_told_apart_by_rid() {
    let mut world = World::new();
    world.join(PUBLISHER);
    for (ingest, rid) in [(1, "hi"), (2, "lo")] {
        let mut parameters = publishing(Kind::Video, "0", None);
        parameters.rid = Some(rid.into());
        parameters.extensions.rid = Some(3);
        parameters.extensions.repaired_rid = Some(5);
        world.ingest(ingest, PUBLISHER, parameters);
    }
    world.rtp(PUBLISHER, &Sent { extensions: &[0x10, b'0', 0x31, b'l', b'o'], ..vp8(70, 1, 0, true) });
    world.rtp(PUBLISHER, &Sent { extensions: &[0x10, b'0', 0x31, b'h', b'i'], ..vp8(71, 1, 0, true) });
    world.rtp(PUBLISHER, &vp8(70, 3, 0, false));
    let repair = Sent {
        payload_type: RTX_PT,
        extensions: &[0x10, b'0', 0x51, b'l', b'o'],
        payload: b"\x00\x02\x10\x01",
        ..vp8(72, 9, 0, false)
    };
    world.rtp(PUBLISHER, &repair);
    let snapshot = world.core.snapshot(world.now_us);
    let by_id: HashMap<u64, (Option<u32>, u64)> =
        snapshot.ingests.iter().map(|flow| (flow.ingest_id, (flow.ssrc, flow.packets))).collect();
    assert_eq!(by_id, HashMap::from([(1, (Some(71), 1)), (2, (Some(70), 3))]));
}

#[test]
fn a_tap_takes_one_whole_key_frame_that_began_after_it() {
    let mut world = two_cameras();
    world.core.set_wall_offset_us(1_700_000_000_000_000);
    world.rtp(PUBLISHER, &vp8(11, 1, 1000, true));
    world.order(Command::Tap { ingest_id: 1, tap_id: 5, deadline_us: 1_000_000 });
    assert_eq!(plis(&world.take_reports(PUBLISHER)), [11]);
    let part = |ext_seq, marker, payload: &'static [u8]| Sent { ext_seq, marker, payload, ..vp8(11, 0, 4000, true) };
    world.rtp(PUBLISHER, &part(2, false, b"\x10\x00first"));
    world.rtp(PUBLISHER, &part(4, true, b"\x00last"));
    assert!(!world.events.iter().any(|event| matches!(event, Event::Keyframe { .. })));
    world.rtp(PUBLISHER, &part(3, false, b"\x00middle"));
    let expected = Event::Keyframe {
        tap_id: 5,
        ingest_id: 1,
        codec: Codec::Vp8,
        ssrc: 11,
        rtp_ts: 4000,
        arrival_wall_us: 1_700_000_000_000_000 + world.now_us,
        payloads: vec![b"\x10\x00first".to_vec(), b"\x00middle".to_vec(), b"\x00last".to_vec()],
    };
    assert!(world.events.contains(&expected));
    world.order(Command::Tap { ingest_id: 1, tap_id: 6, deadline_us: 500_000 });
    world.pass_ms(520);
    assert!(world.events.contains(&Event::TapFailed { tap_id: 6, reason: "deadline" }));
}

#[test]
fn many_viewers_requests_become_few() {
    let mut world = two_cameras();
    world.route(10, Some(1));
    for n in 0..30u16 {
        world.join(3000 + n);
        world.slot(100 + u64::from(n), 3000 + n, watching(Kind::Video, 77, None));
        world.route(100 + u64::from(n), Some(1));
    }
    world.rtp(PUBLISHER, &vp8(11, 1, 0, true));
    world.take_reports(PUBLISHER);
    world.pass_ms(400);
    for n in 0..30u16 {
        world.rtcp(3000 + n, |compound| compound.pli(1, 77));
        world.pass_ms(20);
    }
    // 600 ms of requests at 300 ms apart.
    let asked = plis(&world.take_reports(PUBLISHER)).len();
    assert!((2..=3).contains(&asked), "{asked}");
}

#[test]
fn sender_reports_carry_the_publishers_clock() {
    let mut world = two_cameras();
    world.ingest(3, PUBLISHER, publishing(Kind::Audio, "1", Some(33)));
    world.slot(11, VIEWER, watching(Kind::Audio, 88, None));
    world.route(10, Some(1));
    world.route(11, Some(3));
    // One publisher's camera and microphone at the same NTP time.
    let ntp = 0xE000_0000_8000_0000u64;
    world.rtp(PUBLISHER, &vp8(11, 1, 90_000, true));
    world.rtp(PUBLISHER, &opus(33, 1, 48_000));
    world.rtcp(PUBLISHER, |compound| {
        compound.sender_report(11, ntp, 90_000, 1, 1);
        compound.sender_report(33, ntp, 48_000, 1, 1);
    });
    let got = world.take_media(VIEWER);
    let first_ts: HashMap<u32, u32> = got.iter().map(|packet| (packet.ssrc, packet.rtp_ts)).collect();
    world.pass_ms(1500);
    let mut seen = 0;
    for item in world.take_reports(VIEWER) {
        let Item::SenderInfo { ssrc, ntp: told, rtp_ts } = item else { continue };
        let elapsed_s = (told - ntp) as f64 / 2f64.powi(32);
        let rate = if ssrc == 77 { 90_000.0 } else { 48_000.0 };
        let ticks = f64::from(rtp_ts.wrapping_sub(first_ts[&ssrc]));
        assert!((ticks / rate - elapsed_s).abs() < 0.001, "{ssrc}: {ticks} ticks in {elapsed_s} s");
        seen += 1;
        if ssrc == 77 {
            // The viewer's report 100 ms later says it had ours for 60 ms: 40 ms on the way.
            world.pass_ms(100);
            let middle = (told >> 16) as u32;
            let reception =
                crate::stream::Reception { fraction_lost: 64, cumulative_lost: 1, highest_ext_seq: 1, jitter_ts: 0 };
            world.rtcp(VIEWER, |compound| compound.receiver_report(5, &[(77, reception, middle, 60 * 65_536 / 1000)]));
        }
    }
    assert!(seen >= 2);
    let slot = world.core.snapshot(world.now_us).slots.into_iter().find(|slot| slot.slot_id == 10).unwrap();
    assert!(slot.rtt_ms.is_some());
    assert_eq!(slot.fraction_lost, 0.25);
}
