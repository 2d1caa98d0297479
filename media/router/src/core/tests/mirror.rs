//! One stream in two shards: what the home hands over makes an ordinary ingest there.

use super::*;
use crate::core::{MirrorWish, Share};

const PUBLISHER: u16 = 1000;
const VIEWER: u16 = 2000;
const AWAY: usize = 1;
const HOME: usize = 0;

/// The publisher's shard and another one that shows its stream to a viewer.
struct Pair {
    home: World,
    away: World,
}

impl Pair {
    fn new() -> Self {
        let (mut home, mut away) = (World::new(), World::new());
        home.join(PUBLISHER);
        let mut parameters = publishing(Kind::Video, "0", Some(11));
        parameters.rtx_ssrc = Some(12);
        home.ingest(1, PUBLISHER, parameters.clone());
        away.join(VIEWER);
        away.slot(10, VIEWER, watching(Kind::Video, 77, Some(78)));
        let mut pair = Self { home, away };
        pair.mirror(&parameters);
        pair.away.route(10, Some(1));
        pair
    }

    fn mirror(&mut self, parameters: &IngestParameters) {
        assert!(self.away.core.add_mirror(1, u64::from(PUBLISHER), HOME, parameters));
        self.home.core.share_with(1, AWAY, true);
    }

    /// What the I/O does between two shards.
    fn hand_over(&mut self) -> Vec<MirrorWish> {
        let mut shared: Vec<(u64, Share, Vec<u8>)> = Vec::new();
        self.home.core.take_shared(|to, id, share, bytes| {
            assert_eq!(to, 1 << AWAY);
            shared.push((id, share, bytes.to_vec()));
        });
        for (id, share, bytes) in shared {
            self.away.core.handle_shared_untrusted(self.away.now_us, id, share, &bytes);
        }
        self.away.settle();
        let mut wishes = Vec::new();
        self.away.core.take_mirror_wishes(|home, id, wish| {
            assert_eq!((home, id), (HOME, 1));
            wishes.push(wish);
        });
        for wish in &wishes {
            match wish {
                MirrorWish::Keyframe => self.home.core.want_keyframe(self.home.now_us, 1, &mut self.home.outbox),
                MirrorWish::Unsubscribe => self.home.core.share_with(1, AWAY, false),
            }
        }
        self.home.settle();
        wishes
    }

    fn pass_ms(&mut self, ms: u64) {
        self.home.pass_ms(ms);
        self.away.pass_ms(ms);
    }
}

fn plis(items: &[Item]) -> usize {
    items.iter().filter(|item| matches!(item, Item::Pli { media_ssrc: 11 })).count()
}

#[test]
fn a_mirror_shows_what_its_home_receives_and_repairs_from_its_own_history() {
    let mut pair = Pair::new();
    pair.home.rtp(PUBLISHER, &vp8(11, 100, 0, false));
    // The viewer waits for a key frame; its shard asks the home and the home the publisher.
    assert_eq!(pair.hand_over(), [MirrorWish::Keyframe]);
    assert_eq!(plis(&pair.home.take_reports(PUBLISHER)), 1);
    for n in 1..6 {
        if n != 3 {
            pair.home.rtp(PUBLISHER, &vp8(11, 100 + n, n as u32 * 3000, n == 1));
        }
    }
    pair.hand_over();
    assert_eq!(pair.away.take_media(VIEWER).len(), 4);
    // The home asks for the one that is missing; its repair comes to the mirror's viewer too.
    pair.pass_ms(60);
    assert!(pair.home.take_reports(PUBLISHER).iter().any(|item| matches!(item, Item::Nack { seq: 103, .. })));
    let mut payload = 103u16.to_be_bytes().to_vec();
    payload.extend_from_slice(b"\x90\x80\x85\x00\x01late");
    let repair = Sent { ssrc: 12, payload_type: RTX_PT, payload: &payload, ..vp8(12, 7, 9000, false) };
    pair.home.rtp(PUBLISHER, &repair);
    pair.hand_over();
    let late = pair.away.take_media(VIEWER);
    assert_eq!(late.len(), 1);
    assert!(late[0].payload.ends_with(b"late"));
    pair.away.rtcp(VIEWER, |compound| compound.nack(1, 77, &[late[0].ext_seq as u16]));
    assert_eq!(pair.away.take_media(VIEWER)[0].ssrc, 78);
    assert_eq!(pair.away.count(Counter::NacksOut), 0);
    // Told of once, where it lives.
    assert!(!pair.away.events.iter().any(|event| matches!(event, Event::IngestStarted { .. })));
    assert!(pair.home.events.iter().any(|event| matches!(event, Event::IngestStarted { .. })));
    assert!(pair.away.core.snapshot(pair.away.now_us).ingests.is_empty());
    assert_eq!(pair.away.core.snapshot(pair.away.now_us).transports.len(), 1);
}

#[test]
fn the_publishers_clock_reaches_viewers_of_the_mirror() {
    let mut pair = Pair::new();
    for n in 0..3 {
        pair.home.rtp(PUBLISHER, &vp8(11, 100 + n, n as u32 * 3000, n == 0));
    }
    pair.home.rtcp(PUBLISHER, |compound| compound.sender_report(11, 5 << 32, 6000, 3, 30));
    pair.hand_over();
    pair.pass_ms(1100);
    let ntp = pair.away.take_reports(VIEWER).iter().find_map(|item| match item {
        Item::SenderInfo { ssrc: 77, ntp, .. } => Some(ntp >> 32),
        _ => None,
    });
    assert!(matches!(ntp, Some(5..=6)), "{ntp:?}");
}

#[test]
fn a_mirror_that_nobody_shows_is_given_back_and_a_publisher_that_goes_takes_it_along() {
    let mut pair = Pair::new();
    pair.home.rtp(PUBLISHER, &vp8(11, 100, 0, true));
    pair.hand_over();
    pair.away.route(10, None);
    pair.pass_ms(4000);
    assert!(pair.hand_over().is_empty());
    pair.pass_ms(2000);
    assert_eq!(pair.hand_over(), [MirrorWish::Unsubscribe]);
    pair.home.rtp(PUBLISHER, &vp8(11, 101, 3000, true));
    pair.home.core.take_shared(|_, _, _, _| panic!("nobody asked for it any more"));

    let parameters = publishing(Kind::Video, "0", Some(11));
    pair.mirror(&parameters);
    pair.away.route(10, Some(1));
    pair.home.rtp(PUBLISHER, &vp8(11, 102, 6000, true));
    pair.hand_over();
    assert_eq!(pair.away.core.snapshot(pair.away.now_us).slots[0].ingest_id, Some(1));
    pair.home.order(Command::RemoveTransport { transport_id: u64::from(PUBLISHER) });
    pair.hand_over();
    assert_eq!(pair.away.core.snapshot(pair.away.now_us).slots[0].ingest_id, None);
    // Asked for again too late: the answer is that it is gone.
    assert!(pair.away.core.add_mirror(1, u64::from(PUBLISHER), HOME, &parameters));
    pair.home.core.share_with(1, AWAY, true);
    pair.hand_over();
    assert!(pair.away.core.add_mirror(1, u64::from(PUBLISHER), HOME, &parameters));
}

#[test]
fn an_address_that_moves_to_another_shard_is_forgotten_here() {
    let mut world = World::new();
    world.core.watch_addresses();
    world.join(VIEWER);
    let mut changes = Vec::new();
    world.core.take_address_changes(|peer, ours| changes.push((peer, ours)));
    assert_eq!(changes, [(address(VIEWER), true)]);
    world.core.forget_address(&address(VIEWER));
    assert!(!world.core.has_address(&address(VIEWER)));
    assert_eq!(world.core.snapshot(world.now_us).transports[0].remote, None);
    world.check(VIEWER);
    world.order(Command::RemoveTransport { transport_id: u64::from(VIEWER) });
    changes.clear();
    world.core.take_address_changes(|peer, ours| changes.push((peer, ours)));
    assert_eq!(changes, [(address(VIEWER), true), (address(VIEWER), false)]);
}
