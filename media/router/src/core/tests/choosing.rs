//! Which layer a slot gets by its size, by what flows, and in which order layers come.

use super::*;

const PUBLISHER: u16 = 1000;
const VIEWER: u16 = 2000;

/// A VP8 key frame of this height, in one packet.
fn key_frame(height: u16) -> Vec<u8> {
    let mut payload = b"\x90\x80\x85\x00\x10\x02\x00\x9d\x01\x2a\x00\x05".to_vec();
    payload.extend_from_slice(&height.to_le_bytes());
    payload.extend_from_slice(b"macroblocks");
    payload
}

struct Class {
    world: World,
    next_seq: [u64; 3],
    heights: [u16; 3],
}

impl Class {
    /// Ingests 1, 2, 3 are layers of one camera, of these heights in the order of their rids; slot 10 shows them.
    fn new(heights: [u16; 3]) -> Self {
        let mut world = World::new();
        world.join(PUBLISHER);
        for (place, rid) in ["a", "b", "c"].into_iter().enumerate() {
            let mut parameters = publishing(Kind::Video, "0", Some(11 + place as u32));
            parameters.rid = Some(rid.into());
            world.ingest(1 + place as u64, PUBLISHER, parameters);
        }
        world.join(VIEWER);
        world.slot(10, VIEWER, watching(Kind::Video, 77, None));
        world.layers(10, &[1, 2, 3]);
        Self { world, next_seq: [1; 3], heights }
    }

    /// One frame of each of these layers and 40 ms; key frames where one was asked for.
    fn frame(&mut self, places: &[usize]) {
        let asked: Vec<u32> = self
            .world
            .take_reports(PUBLISHER)
            .iter()
            .filter_map(|item| if let Item::Pli { media_ssrc } = item { Some(*media_ssrc) } else { None })
            .collect();
        for &place in places {
            let (ssrc, ext_seq) = (11 + place as u32, self.next_seq[place]);
            let payload = key_frame(self.heights[place]);
            let rtp_ts = (self.world.now_us * 9 / 100) as u32;
            let packet = if ext_seq == 1 || asked.contains(&ssrc) {
                Sent { payload: &payload, ..vp8(ssrc, ext_seq, rtp_ts, true) }
            } else {
                vp8(ssrc, ext_seq, rtp_ts, false)
            };
            self.world.rtp(PUBLISHER, &packet);
            self.next_seq[place] += 1;
        }
        self.world.pass_ms(40);
    }

    fn frames(&mut self, count: usize, places: &[usize]) {
        for _ in 0..count {
            self.frame(places);
        }
    }

    fn limit(&mut self, max_height_px: Option<u32>) {
        self.world.order(Command::LimitSlot { slot_id: 10, max_height_px });
    }

    fn shown(&self) -> (Option<u64>, Option<usize>, &'static str) {
        let flow = self.world.slot_flow(10);
        (flow.ingest_id, flow.layer, flow.reason)
    }
}

#[test]
fn a_slot_gets_the_layer_that_its_size_shows() {
    let mut class = Class::new([180, 360, 720]);
    assert_eq!(class.shown(), (None, None, "waiting_keyframe"));
    class.frames(10, &[0, 1, 2]);
    assert_eq!(class.shown(), (Some(3), Some(2), "best"));
    class.limit(Some(160));
    class.frames(10, &[0, 1, 2]);
    assert_eq!(class.shown(), (Some(1), Some(0), "slot_small"));
    class.limit(Some(300));
    class.frames(10, &[0, 1, 2]);
    assert_eq!(class.shown(), (Some(2), Some(1), "slot_small"));
    class.limit(Some(90));
    class.frames(10, &[0, 1, 2]);
    assert_eq!(class.shown(), (Some(1), Some(0), "slot_small"), "the lowest one rather than none");
    class.limit(None);
    class.frames(10, &[0, 1, 2]);
    assert_eq!(class.shown(), (Some(3), Some(2), "best"));
    let got = class.world.take_media(VIEWER);
    for (a, b) in got.iter().zip(&got[1..]) {
        assert_eq!(b.ext_seq, a.ext_seq + 1);
    }
    // A slot holds on to its layer only: others do not serve it.
    let viewers: Vec<usize> = (0..3).map(|at| class.world.core.ingests.get(at).unwrap().viewers.len()).collect();
    assert_eq!(viewers, [0, 0, 1]);
}

#[test]
fn a_layer_that_stops_is_left_and_found_again() {
    let mut class = Class::new([180, 360, 720]);
    class.frames(10, &[0, 1, 2]);
    class.frames(40, &[0, 1]);
    assert_eq!(class.shown(), (Some(2), Some(1), "layer_silent"));
    class.frames(10, &[0, 1, 2]);
    assert_eq!(class.shown(), (Some(3), Some(2), "best"));
    // A source that is silent as a whole (a still screen) is not left.
    class.world.pass_ms(5000);
    assert_eq!(class.shown(), (Some(3), Some(2), "best"));
    class.world.order(Command::RemoveIngest { ingest_id: 3 });
    class.frames(10, &[0, 1]);
    assert_eq!(class.shown(), (Some(2), Some(1), "best"));
    class.world.layers(10, &[]);
    assert_eq!(class.shown(), (None, None, "no_source"));
    assert!((0..2).all(|at| class.world.core.ingests.get(at).unwrap().candidates.is_empty()));
}

#[test]
fn layers_offered_from_the_top_are_put_in_order() {
    let mut class = Class::new([720, 360, 180]);
    class.limit(Some(160));
    class.frames(10, &[0, 1, 2]);
    assert_eq!(class.shown(), (Some(3), Some(0), "slot_small"));
    class.limit(None);
    class.frames(10, &[0, 1, 2]);
    assert_eq!(class.shown(), (Some(1), Some(2), "best"));
}

#[test]
fn a_tap_takes_the_best_layer_that_flows() {
    let mut class = Class::new([180, 360, 720]);
    class.frames(10, &[0, 1, 2]);
    class.frames(40, &[0, 1]);
    class.world.order(Command::Tap { ingest_id: 1, tap_id: 5, deadline_us: 1_000_000 });
    class.frames(3, &[0, 1]);
    let taken = class.world.events.iter().find_map(|event| match event {
        Event::Keyframe { tap_id: 5, ingest_id, payloads, .. } => Some((*ingest_id, payloads.clone())),
        _ => None,
    });
    assert_eq!(taken, Some((2, vec![key_frame(360)])));
}
