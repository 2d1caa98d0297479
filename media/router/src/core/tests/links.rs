//! Two routers joined by a link, with a network between them that can lose datagrams.

use super::*;
use crate::core::{FarEnd, peers_of};
use crate::demux::{Protocol, classify_untrusted};

const LINK: u64 = 900;
const PUBLISHER: u16 = 5000;
const VIEWERS: [u16; 3] = [6000, 6001, 6002];
const A_PORT: u16 = 7000;
const B_PORT: u16 = 7001;
const CAMERA: u32 = 77;
const CARRIED: u32 = 0x1234;
const CARRIED_RTX: u32 = 0x1235;

/// A has the publisher, B the viewers.
struct Pair {
    a: World,
    b: World,
    /// RTP packets that A sent to B.
    carried: usize,
}

fn link(world: &mut World, ours: &str, theirs: &str, far: u16, keys: (u8, u8)) {
    world.far.insert(far);
    world.order(Command::AddLink {
        transport_id: LINK,
        local_ufrag: ours.into(),
        local_pwd: format!("password of {ours} ......"),
        far: FarEnd { ufrag: theirs.into(), pwd: format!("password of {theirs} ......"), peers: vec![address(far)] },
    });
    let (rx, tx) = keys;
    let keys = Keys {
        profile: Profile::AeadAes128Gcm,
        rx_key: vec![rx; 16],
        rx_salt: vec![rx; 12],
        tx_key: vec![tx; 16],
        tx_salt: vec![tx; 12],
    };
    world.order(Command::SetKeys { transport_id: LINK, keys: Box::new(keys) });
}

impl Pair {
    fn new() -> Self {
        let mut pair = Self { a: World::new(), b: World::new(), carried: 0 };
        link(&mut pair.a, "ufrag_a", "ufrag_b", B_PORT, (8, 9));
        link(&mut pair.b, "ufrag_b", "ufrag_a", A_PORT, (9, 8));
        pair.a.join(PUBLISHER);
        pair.a.ingest(1, PUBLISHER, publishing(Kind::Video, "0", Some(CAMERA)));
        let carried = SlotParameters { mid: "t1".into(), ..watching(Kind::Video, CARRIED, Some(CARRIED_RTX)) };
        pair.a.slot(2, LINK as u16, carried);
        pair.a.route(2, Some(1));
        let received = IngestParameters {
            rtx_ssrc: Some(CARRIED_RTX),
            extensions: ExtensionIds { mid: Some(4), ..ExtensionIds::default() },
            transport_cc: false,
            ..publishing(Kind::Video, "t1", Some(CARRIED))
        };
        pair.b.ingest(10, LINK as u16, received);
        for (number, port) in VIEWERS.iter().enumerate() {
            pair.b.join(*port);
            pair.b.slot(20 + number as u64, *port, watching(Kind::Video, 100, Some(101)));
            pair.b.route(20 + number as u64, Some(10));
        }
        pair
    }

    /// Lets time pass for both; `lose` says which datagrams of A never reach B.
    fn pass_ms(&mut self, ms: u64, mut lose: impl FnMut(&[u8]) -> bool) {
        for _ in 0..ms.div_ceil(20) {
            self.a.pass_ms(20);
            self.b.pass_ms(20);
            self.carry(&mut lose);
        }
    }

    fn carry(&mut self, lose: &mut impl FnMut(&[u8]) -> bool) {
        loop {
            let to_b = self.a.raw.remove(&B_PORT).unwrap_or_default();
            let to_a = self.b.raw.remove(&A_PORT).unwrap_or_default();
            if to_a.is_empty() && to_b.is_empty() {
                return;
            }
            for datagram in to_b {
                self.carried += usize::from(classify_untrusted(&datagram) == Ok(Protocol::Rtp));
                if !lose(&datagram) {
                    self.b.datagram(address(A_PORT), &datagram);
                }
            }
            for datagram in to_a {
                self.a.datagram(address(B_PORT), &datagram);
            }
        }
    }

    fn publish(&mut self, numbers: std::ops::Range<u64>, key_first: bool, mut lose: impl FnMut(&[u8]) -> bool) {
        for number in numbers.clone() {
            self.a.rtp(PUBLISHER, &vp8(CAMERA, number, number as u32 * 3000, key_first && number == numbers.start));
            self.pass_ms(20, &mut lose);
        }
    }
}

fn none(_: &[u8]) -> bool {
    false
}

#[test]
fn one_copy_crosses_and_every_viewer_has_it() {
    let mut pair = Pair::new();
    pair.pass_ms(600, none);
    assert_eq!(pair.a.core.snapshot(pair.a.now_us).transports.iter().filter(|t| t.remote.is_some()).count(), 2);
    pair.publish(0..50, true, none);
    assert_eq!(pair.carried, 50, "one packet a packet, however many viewers");
    for port in VIEWERS {
        assert_eq!(pair.b.take_media(port).len(), 50);
    }
}

#[test]
fn nothing_is_sent_to_an_end_that_has_not_proved_itself() {
    let mut pair = Pair::new();
    // B's checks never come: A asks, and sends no media into the blue.
    for number in 0..10 {
        pair.a.rtp(PUBLISHER, &vp8(CAMERA, number, 0, number == 0));
        pair.a.pass_ms(20);
    }
    let sent = pair.a.raw.remove(&B_PORT).unwrap();
    assert!(!sent.is_empty() && sent.iter().all(|d| classify_untrusted(d) == Ok(Protocol::Stun)));
    // Somebody else at B's address who does not know the password is nobody.
    pair.a.datagram(address(B_PORT), &binding_request("ufrag_a:ufrag_b", "wrong", true));
    assert_eq!(pair.a.count(Counter::StunRejected), 1);
}

#[test]
fn a_viewers_wish_for_a_key_frame_reaches_the_publisher() {
    let mut pair = Pair::new();
    pair.pass_ms(600, none);
    pair.publish(0..5, true, none);
    pair.pass_ms(3000, none);
    pair.a.take_reports(PUBLISHER);
    pair.publish(5..8, false, none);
    pair.b.rtcp(VIEWERS[0], |compound| {
        compound.receiver_report(1, &[]);
        compound.pli(1, 100);
    });
    pair.carry(&mut none);
    let asked = pair.a.take_reports(PUBLISHER);
    assert!(asked.iter().any(|item| matches!(item, Item::Pli { media_ssrc: CAMERA })), "{asked:?}");
}

#[test]
fn what_the_link_loses_is_asked_for_again_between_the_nodes() {
    let mut pair = Pair::new();
    pair.pass_ms(600, none);
    pair.publish(0..3, true, none);
    let mut seen = 0;
    pair.publish(3..60, false, |datagram| {
        let media = classify_untrusted(datagram) == Ok(Protocol::Rtp) && datagram[8..12] == CARRIED.to_be_bytes();
        seen += usize::from(media);
        media && seen % 10 == 3
    });
    pair.pass_ms(500, none);
    assert!(pair.b.count(Counter::NacksOut) >= 5);
    for port in VIEWERS {
        assert_eq!(pair.b.take_media(port).len(), 60);
    }
    assert!(!pair.a.take_reports(PUBLISHER).iter().any(|item| matches!(item, Item::Nack { .. })));
}

#[test]
fn a_silent_end_is_given_up_within_seconds() {
    let mut pair = Pair::new();
    pair.pass_ms(10_000, none);
    assert!(!pair.b.events.iter().any(|event| matches!(event, Event::Closed { .. })), "checks alone keep a link");
    for _ in 0..250 {
        pair.b.pass_ms(20); // A is dead
    }
    let closed = Event::Closed { transport_id: LINK, reason: "consent" };
    assert!(pair.b.events.contains(&closed));
    assert!(pair.b.core.snapshot(pair.b.now_us).ingests.is_empty());
}

#[test]
fn a_long_lived_link_carries_thousands_of_streams_one_after_the_other() {
    let mut pair = Pair::new();
    pair.pass_ms(600, none);
    for number in 0..crate::core::links::MAX_SOURCES as u32 + 10 {
        let (id, ssrc) = (1000 + u64::from(number), 0x1_0000 + number);
        let mid = format!("m{number}");
        pair.a.slot(id, LINK as u16, SlotParameters { mid: mid.clone(), ..watching(Kind::Audio, ssrc, None) });
        let parameters = IngestParameters { transport_cc: false, ..publishing(Kind::Audio, &mid, Some(ssrc)) };
        pair.b.ingest(id, LINK as u16, parameters);
        if number == 0 {
            pair.a.ingest(3, PUBLISHER, publishing(Kind::Audio, "1", Some(78)));
        }
        pair.a.route(id, Some(3));
        pair.a.rtp(PUBLISHER, &opus(78, u64::from(number), number * 960));
        pair.carry(&mut none);
        let flow = pair.b.core.snapshot(pair.b.now_us).ingests.into_iter().find(|i| i.ingest_id == id);
        assert_eq!(flow.map(|flow| flow.packets), Some(1), "stream {number}");
        pair.a.order(Command::RemoveSlot { slot_id: id });
        pair.b.order(Command::RemoveIngest { ingest_id: id });
    }
}

#[test]
fn the_socket_of_the_right_family_is_used() {
    let sockets: Vec<SocketAddr> = vec!["0.0.0.0:1".parse().unwrap(), "[::]:1".parse().unwrap()];
    let addresses: Vec<SocketAddr> = vec!["[2001:db8::1]:2".parse().unwrap(), "192.0.2.1:2".parse().unwrap()];
    assert_eq!(peers_of(&addresses, &sockets).iter().map(|peer| peer.socket).collect::<Vec<_>>(), [1, 0]);
    assert_eq!(peers_of(&addresses, &sockets[..1]).len(), 1);
}
