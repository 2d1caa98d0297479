//! Whatever arrives, from whomever: counted, dropped, bounded, never a panic.

use proptest::prelude::*;

use super::*;

fn world_with_media() -> World {
    let mut world = World::new();
    world.join(1000);
    world.ingest(1, 1000, publishing(Kind::Video, "0", None));
    world.ingest(2, 1000, publishing(Kind::Audio, "1", None));
    world.join(2000);
    world.slot(10, 2000, watching(Kind::Video, 77, Some(78)));
    world.route(10, Some(1));
    world
}

#[test]
fn a_flood_of_stun_allocates_nothing() {
    let mut world = world_with_media();
    let events = world.events.len();
    for n in 0..5_000u32 {
        let request = binding_request(&format!("flood{n}:x"), "guess", true);
        world.datagram(address(10_000 + (n % 50_000) as u16), &request);
    }
    assert_eq!((world.core.by_address.len(), world.core.by_ufrag.len(), world.events.len()), (2, 2, events));
    assert_eq!(world.count(Counter::StunUnknownUfrag), 5_000);
}

#[test]
fn strangers_and_oversized_datagrams_are_counted() {
    let mut world = world_with_media();
    world.datagram(address(9), &[0x80; 40]);
    world.datagram(address(9), &[22; 40]);
    world.datagram(address(1000), &[0x80; 1501]);
    world.datagram(address(1000), &[]);
    world.datagram(address(1000), &[200; 10]);
    assert_eq!(world.count(Counter::Strangers), 2);
    assert_eq!(world.count(Counter::Oversized), 1);
    assert_eq!((world.count(Counter::BadTruncated), world.count(Counter::BadUnknown)), (1, 1));
}

#[test]
fn new_sources_without_end_are_refused() {
    let mut world = world_with_media();
    for ssrc in 0..500 {
        world.rtp(1000, &Sent { extensions: &[0x10, b'0'], ..vp8(ssrc, 1, 0, true) });
    }
    let transport = world.core.transports.get(0).unwrap();
    assert!(transport.ssrcs.len() <= super::super::tables::MAX_SSRCS);
    assert!(world.count(Counter::BadTooMany) >= 400);
}

#[test]
fn media_before_keys_is_dropped() {
    let mut world = World::new();
    world.add(1000);
    world.check(1000);
    world.datagram(address(1000), &[0x80; 40]);
    world.datagram(address(1000), &[0x80, 200, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(world.count(Counter::NoKeys), 2);
}

#[test]
fn commands_about_nothing_are_ignored() {
    let mut world = world_with_media();
    world.add(1000);
    world.keys(1);
    world.route(99, Some(1));
    world.route(10, Some(99));
    world.slot(10, 2000, watching(Kind::Video, 5, None));
    world.ingest(1, 1000, publishing(Kind::Video, "0", None));
    for command in [
        Command::RemoveTransport { transport_id: 9 },
        Command::RemoveIngest { ingest_id: 9 },
        Command::RequestKeyframe { ingest_id: 9 },
        Command::SendDtls { transport_id: 9, datagram: vec![] },
    ] {
        world.order(command);
    }
    assert_eq!(world.count(Counter::CommandsIgnored), 10);
}

#[test]
fn a_packet_that_would_not_fit_a_viewers_datagram_is_dropped() {
    let mut world = world_with_media();
    let mut payload = vec![0u8; 1450];
    payload[..4].copy_from_slice(b"\x90\x80\x01\x00");
    world.rtp(1000, &Sent { payload: &payload, ..vp8(11, 1, 0, true) });
    assert_eq!(world.take_media(2000).len(), 1);
    payload.resize(1500 - 12 - 16, 0);
    world.rtp(1000, &Sent { payload: &payload, ..vp8(11, 2, 3000, true) });
    assert!(world.take_media(2000).is_empty());
    assert_eq!(world.count(Counter::TxDropped), 1);
}

#[test]
fn authentic_packets_truncated_at_every_length_are_refused() {
    let mut world = world_with_media();
    let whole = world.sealed_rtp(1000, &vp8(11, 1, 0, true));
    for len in 0..whole.len() {
        world.datagram(address(1000), &whole[..len]);
    }
    assert_eq!(world.count(Counter::RtpIn), 0);
    world.datagram(address(1000), &whole);
    assert_eq!(world.count(Counter::RtpIn), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn arbitrary_datagrams_never_panic(
        datagrams in proptest::collection::vec((0u16..3, proptest::collection::vec(any::<u8>(), 0..120)), 1..40)
    ) {
        let mut world = world_with_media();
        for (who, datagram) in datagrams {
            world.datagram(address([1000, 2000, 3000][usize::from(who)]), &datagram);
            world.pass_ms(3);
        }
        prop_assert_eq!(world.count(Counter::RtpIn) + world.count(Counter::RtcpIn), 0);
    }

    /// An authentic peer may say anything: any header, extensions, payload, any report. Numbers do not leap by 2^15: a
    /// viewer's SRTP would take what follows for the past, which is that publisher's loss and nobody else's.
    #[test]
    fn arbitrary_words_of_an_authentic_peer_never_panic(
        packets in proptest::collection::vec(
            (any::<u8>(), 0u64..16_000, any::<u32>(), 0u32..4, proptest::collection::vec(any::<u8>(), 0..40),
             proptest::collection::vec(any::<u8>(), 0..40)), 1..40),
        reports in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 8..80), 0..10),
    ) {
        let mut world = world_with_media();
        for (kind, ext_seq, rtp_ts, ssrc, extensions, payload) in &packets {
            let payload_type = [VP8_PT, RTX_PT, OPUS_PT, kind & 0x3f][usize::from(kind % 4)];
            let packet = Sent {
                ssrc: *ssrc, payload_type, ext_seq: *ext_seq, rtp_ts: *rtp_ts, marker: kind & 0x80 != 0,
                extensions, payload,
            };
            let datagram = world.sealed_rtp(1000, &packet);
            world.datagram(address(1000), &datagram);
        }
        for report in reports {
            for port in [1000, 2000] {
                world.rtcp(port, |compound| {
                    compound.bytes = report.clone();
                    compound.bytes[0] = compound.bytes[0] & 0x3f | 0x80;
                    compound.bytes[1] = 192 | compound.bytes[1] & 0x1f;
                });
            }
        }
        world.pass_ms(2000);
        prop_assert!(world.core.ingests.bound() == 2);
    }
}
