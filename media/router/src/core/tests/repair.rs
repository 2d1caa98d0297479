//! Loss and its repair on both legs, and the numbers over more than one wrap.

use proptest::prelude::*;

use super::*;

const PUBLISHER: u16 = 1000;
const VIEWER: u16 = 2000;

fn lecture(rtx_ssrc: Option<u32>) -> World {
    let mut world = World::new();
    world.join(PUBLISHER);
    let mut parameters = publishing(Kind::Video, "0", Some(11));
    parameters.rtx_ssrc = Some(12);
    world.ingest(1, PUBLISHER, parameters);
    world.join(VIEWER);
    world.slot(10, VIEWER, watching(Kind::Video, 77, rtx_ssrc));
    world.route(10, Some(1));
    world
}

fn nacked(items: &[Item]) -> Vec<u16> {
    let mut seqs = Vec::new();
    for item in items {
        if let Item::Nack { media_ssrc: 11, seq, following } = item {
            seqs.push(*seq);
            seqs.extend((0..16).filter(|bit| following >> bit & 1 == 1).map(|bit| seq.wrapping_add(bit + 1)));
        }
    }
    seqs
}

#[test]
fn a_viewers_nack_is_answered_by_rtx() {
    let mut world = lecture(Some(78));
    for n in 0..5 {
        world.rtp(PUBLISHER, &vp8(11, 100 + n, n as u32 * 3000, n == 0));
    }
    let sent = world.take_media(VIEWER);
    world.rtcp(VIEWER, |compound| compound.nack(1, 77, &[sent[1].ext_seq as u16, sent[3].ext_seq as u16]));
    let again = world.take_media(VIEWER);
    assert_eq!(again.len(), 2);
    for (repair, original) in again.iter().zip([&sent[1], &sent[3]]) {
        assert_eq!((repair.ssrc, repair.payload_type, repair.rtp_ts), (78, RTX_PT, original.rtp_ts));
        assert_eq!(repair.payload[..2], (original.ext_seq as u16).to_be_bytes());
        assert_eq!(repair.payload[2..], original.payload[..]);
    }
    assert_eq!(again[1].ext_seq, again[0].ext_seq + 1);
    // What was never sent cannot be sent again.
    world.rtcp(VIEWER, |compound| compound.nack(1, 77, &[(sent[4].ext_seq + 9) as u16]));
    assert!(world.take_media(VIEWER).is_empty());
    assert_eq!(world.count(Counter::NackMissed), 1);
}

#[test]
fn without_rtx_the_very_same_bytes_are_sent_again() {
    let mut world = lecture(None);
    for n in 0..5 {
        world.rtp(PUBLISHER, &vp8(11, 100 + n, n as u32 * 3000, n == 0));
    }
    let sent = world.take_media(VIEWER);
    world.pass_ms(50);
    // The harness compares the bytes and keeps only the first.
    world.rtcp(VIEWER, |compound| compound.nack(1, 77, &[sent[2].ext_seq as u16]));
    assert_eq!((world.count(Counter::ResentPlain), world.count(Counter::NackMissed)), (1, 0));
}

#[test]
fn answers_to_nacks_are_limited_per_viewer() {
    let mut world = lecture(Some(78));
    for n in 0..150 {
        world.rtp(PUBLISHER, &vp8(11, 100 + n, n as u32 * 3000, n == 0));
    }
    let seqs: Vec<u16> = world.take_media(VIEWER).iter().map(|packet| packet.ext_seq as u16).collect();
    for _ in 0..20 {
        world.rtcp(VIEWER, |compound| compound.nack(1, 77, &seqs));
    }
    assert_eq!(world.count(Counter::RtxOut), u64::from(super::super::forward::RESENDS));
    let refused = world.count(Counter::NackLimited) + world.count(Counter::NackEarly);
    assert_eq!(refused, 20 * 150 - 100);
    // What was sent just now is on its way.
    world.pass_ms(100);
    for _ in 0..2 {
        world.rtcp(VIEWER, |compound| compound.nack(1, 77, &seqs[..5]));
    }
    assert_eq!(world.count(Counter::RtxOut), 105);
    assert_eq!(world.count(Counter::NackLimited) + world.count(Counter::NackEarly), refused + 5);
}

#[test]
fn a_publishers_loss_is_asked_for_and_repaired_in_either_way() {
    let mut world = lecture(None);
    world.rtp(PUBLISHER, &vp8(11, 65_534, 0, true));
    world.rtp(PUBLISHER, &vp8(11, 65_537, 9000, false));
    world.pass_ms(25);
    assert_eq!(nacked(&world.take_reports(PUBLISHER)), [65_535, 0]);
    world.rtp(PUBLISHER, &vp8(11, 65_535, 3000, false));
    let repair =
        Sent { payload_type: RTX_PT, payload: b"\x00\x00\x90\x80\x85\x00\x01delta", ..vp8(12, 7, 6000, false) };
    world.rtp(PUBLISHER, &repair);
    world.pass_ms(500);
    assert!(nacked(&world.take_reports(PUBLISHER)).is_empty());
    let mut got = world.take_media(VIEWER);
    got.sort_by_key(|packet| packet.ext_seq);
    let ticks: Vec<u32> = got.iter().map(|packet| packet.rtp_ts.wrapping_sub(got[0].rtp_ts)).collect();
    assert_eq!(ticks, [0, 3000, 6000, 9000]);
    // A repair that claims to run ahead, or comes twice, changes nothing.
    world.rtp(PUBLISHER, &Sent { payload: b"\x00\x50\x90\x80\x85\x00\x01delta", ext_seq: 8, ..repair });
    world.rtp(PUBLISHER, &Sent { ext_seq: 9, payload: b"\x00\x00\x90\x80\x85\x00\x01other", ..repair });
    assert!(world.take_media(VIEWER).is_empty());
    assert_eq!(world.core.snapshot(world.now_us).ingests[0].lost, 0);
}

#[test]
fn a_key_frame_whose_first_packet_was_repaired_is_shown_whole() {
    let mut world = lecture(None);
    let part = |ext_seq, marker, payload: &'static [u8]| Sent { ext_seq, marker, payload, ..vp8(11, 0, 3000, true) };
    world.rtp(PUBLISHER, &vp8(11, 1, 0, false));
    world.rtp(PUBLISHER, &part(3, false, b"\x00second"));
    world.rtp(PUBLISHER, &part(4, true, b"\x00third"));
    assert!(world.take_media(VIEWER).is_empty());
    world.rtp(PUBLISHER, &part(2, false, b"\x10\x00first"));
    let payloads: Vec<Vec<u8>> = world.take_media(VIEWER).into_iter().map(|packet| packet.payload).collect();
    assert_eq!(payloads, [&b"\x10\x00first"[..], b"\x00second", b"\x00third"]);
}

#[test]
fn publishers_get_reports_and_transport_wide_feedback() {
    let mut world = lecture(None);
    for n in 0..100u64 {
        let transport_seq = [0x21, (n >> 8) as u8, n as u8];
        world.rtp(PUBLISHER, &Sent { extensions: &transport_seq, ..vp8(11, n, n as u32 * 900, n == 0) });
        world.pass_ms(10);
    }
    let items = world.take_reports(PUBLISHER);
    let feedback = items.iter().filter(|item| matches!(item, Item::TransportCc { .. })).count();
    assert!((9..=13).contains(&feedback), "{feedback}");
    let report = items.iter().find_map(|item| if let Item::Report(block) = item { Some(*block) } else { None });
    let report = report.expect("one report a second");
    assert_eq!((report.ssrc, report.fraction_lost, report.cumulative_lost), (11, 0, 0));
}

/// A sound's encoder adds redundancy for the viewers' way, whose loss the publisher's own way does not show.
#[test]
fn the_loss_of_viewers_reaches_a_sounds_encoder_but_no_pictures() {
    let mut world = lecture(None);
    world.ingest(3, PUBLISHER, publishing(Kind::Audio, "1", Some(33)));
    world.slot(11, VIEWER, watching(Kind::Audio, 88, None));
    world.route(11, Some(3));
    let told = |world: &mut World, lost: u8, begin: u64| -> HashMap<u32, (u8, i32)> {
        for n in begin..begin + 75 {
            world.rtp(PUBLISHER, &opus(33, n, n as u32 * 960));
            world.rtp(PUBLISHER, &vp8(11, n, n as u32 * 1800, n == 1));
            world.pass_ms(20);
            if n == begin {
                let of = |fraction_lost| crate::stream::Reception {
                    fraction_lost,
                    cumulative_lost: 9,
                    highest_ext_seq: 1,
                    jitter_ts: 0,
                };
                world.rtcp(VIEWER, |compound| {
                    compound.receiver_report(5, &[(77, of(lost), 0, 0), (88, of(lost), 0, 0)]);
                });
                world.take_reports(PUBLISHER);
            }
        }
        let blocks = world.take_reports(PUBLISHER).into_iter().filter_map(|item| match item {
            Item::Report(block) => Some((block.ssrc, (block.fraction_lost, block.cumulative_lost))),
            _ => None,
        });
        blocks.collect()
    };
    assert_eq!(told(&mut world, 26, 1), HashMap::from([(11, (0, 0)), (33, (26, 0))]));
    assert_eq!(told(&mut world, 0, 76)[&33], (0, 0));
    // Whoever claims more than a fifth is believed a fifth.
    assert_eq!(told(&mut world, 255, 151)[&33], (51, 0));
}

#[test]
fn a_codec_the_slot_does_not_have_is_dropped_and_counted() {
    let mut world = lecture(None);
    let mut parameters = watching(Kind::Video, 79, None);
    parameters.codecs[0].codec = Codec::H264;
    world.slot(20, VIEWER, parameters);
    world.route(20, Some(1));
    world.rtp(PUBLISHER, &vp8(11, 1, 0, true));
    assert!(world.take_media(VIEWER).iter().all(|packet| packet.ssrc == 77));
    assert_eq!(world.count(Counter::CodecMissing), 1);
}

#[test]
fn a_burst_to_many_viewers_waits_for_its_last_packet_and_no_longer() {
    let mut world = lecture(None);
    for n in 0..5u16 {
        world.join(3000 + n);
        world.slot(100 + u64::from(n), 3000 + n, watching(Kind::Video, 77, None));
        world.route(100 + u64::from(n), Some(1));
    }
    let part = |ext_seq, marker| Sent { marker, ..vp8(11, ext_seq, 0, true) };
    world.rtp(PUBLISHER, &part(1, false));
    assert!(world.take_media(3000).is_empty());
    world.rtp(PUBLISHER, &part(2, true));
    assert_eq!(world.take_media(3000).len(), 2);
    world.rtp(PUBLISHER, &part(3, false));
    world.pass_ms(1);
    assert!(world.take_media(3000).is_empty());
    world.pass_ms(1);
    assert_eq!(world.take_media(3000).len(), 1);
}

#[test]
fn more_than_two_wraps_arrive_whole_and_in_order() {
    let mut world = lecture(None);
    let mut expected = None;
    for n in 0..140_000u64 {
        world.rtp(PUBLISHER, &vp8(11, 60_000 + n, (n as u32).wrapping_mul(3000), n == 0));
        if n % 1000 == 999 {
            world.check(VIEWER);
            world.pass_ms(33_000 / 1000);
            for packet in world.take_media(VIEWER) {
                assert_eq!(packet.ext_seq, *expected.get_or_insert(packet.ext_seq));
                expected = Some(packet.ext_seq + 1);
            }
            world.sealed.clear();
        }
    }
    assert_eq!(world.core.snapshot(world.now_us).slots[0].packets, 140_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Loss, reordering, duplicates, repairs, NACKs and switches in any mixture: what a viewer gets is authentic,
    /// never two packets under one index (the harness checks), and each frame's clock belongs to its number.
    #[test]
    fn any_mixture_keeps_the_stream_sound(
        start in 64_000u64..66_000,
        steps in proptest::collection::vec((0u8..16, 0u64..12, 0u16..40), 50..400),
        rtx in any::<bool>(),
    ) {
        let mut world = lecture(rtx.then_some(78));
        world.join(1001);
        world.ingest(2, 1001, publishing(Kind::Video, "0", Some(22)));
        let mut next = [start, start];
        let mut rtx_seq = 1u64;
        for (action, back, far) in steps {
            match action {
                0..=8 => {
                    let which = usize::from(far % 2 == 1);
                    let (port, ssrc) = [(PUBLISHER, 11), (1001, 22)][which];
                    next[which] += u64::from(far / 16);
                    let ext_seq = next[which];
                    next[which] += 1;
                    world.rtp(port, &vp8(ssrc, ext_seq, (ext_seq as u32).wrapping_mul(3000), far % 5 == 0));
                }
                9 | 10 => {
                    let ext_seq = next[0].saturating_sub(back + 1);
                    world.rtp(PUBLISHER, &vp8(11, ext_seq, (ext_seq as u32).wrapping_mul(3000), false));
                }
                11 => {
                    let osn = (next[0].saturating_sub(back)) as u16;
                    let mut payload = osn.to_be_bytes().to_vec();
                    payload.extend_from_slice(b"\x90\x80\x85\x00\x01repair");
                    rtx_seq += 1;
                    let repair = Sent {
                        payload_type: RTX_PT,
                        payload: &payload,
                        ..vp8(12, rtx_seq, u32::from(osn).wrapping_mul(3000), false)
                    };
                    world.rtp(PUBLISHER, &repair);
                }
                12 | 13 => {
                    let last = world.highest.get(&(VIEWER, 77)).copied().unwrap_or(0) as u16;
                    world.rtcp(VIEWER, |compound| compound.nack(1, 77, &[last.wrapping_sub(far)]));
                }
                14 => world.route(10, [Some(1), Some(2), None][usize::from(far) % 3]),
                _ => world.pass_ms(back * 7),
            }
        }
        let got = world.take_media(VIEWER);
        let mut by_number = HashMap::new();
        for packet in got.iter().filter(|packet| packet.ssrc == 77) {
            prop_assert!(by_number.insert(packet.ext_seq, packet.rtp_ts).is_none());
        }
    }
}

/// An encoder that offered FIR alone is asked by FIR (RFC 5104 4.3.1): the same number until it obeys, then the next.
#[test]
fn an_encoder_without_pli_is_asked_by_fir() {
    let mut world = World::new();
    world.join(1000);
    let parameters = IngestParameters { pli: false, fir: true, ..publishing(Kind::Video, "v", Some(11)) };
    world.ingest(1, 1000, parameters);
    world.rtp(1000, &vp8(11, 1, 0, true));
    let asked = |world: &mut World| {
        let raw = std::mem::take(&mut world.rtcp_bytes);
        let firs = raw.iter().filter(|bytes| bytes[1] == 206 && bytes[0] & 0x1f == 4);
        firs.map(|bytes| (bytes[12..16].to_vec(), bytes[16])).collect::<Vec<_>>()
    };
    world.order(Command::RequestKeyframe { ingest_id: 1 });
    world.pass_ms(500);
    let source = 11u32.to_be_bytes().to_vec();
    assert_eq!(asked(&mut world), [(source.clone(), 1), (source.clone(), 1)]);
    world.rtp(1000, &vp8(11, 2, 3000, true));
    world.pass_ms(500);
    assert_eq!(asked(&mut world), []);
    world.order(Command::Tap { ingest_id: 1, tap_id: 7, deadline_us: 5_000_000 });
    world.rtp(1000, &vp8(11, 3, 6000, false));
    assert_eq!(asked(&mut world), [(source, 2)]);
}
