//! A class over a path that can be slow, long, lossy and jittery: a publisher of three layers and sound, one viewer
//! that reports arrivals, asks for what is missing and shows frames. All randomness is seeded, all time is simulated.

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::feedback::TransportCc;
use crate::stream::Stream;

pub const PUBLISHER: u16 = 1000;
pub const VIEWER: u16 = 2000;
pub const LAYERS: [(u16, u64); 3] = [(180, 150_000), (360, 500_000), (720, 1_500_000)];
const FRAME_US: u64 = 40_000;
pub const SOUND_US: u64 = 20_000;
pub const VIDEO: u32 = 77;
const VIDEO_RTX: u32 = 78;
const SOUND: u32 = 88;
/// The first part of a frame that is not a key frame has this many bytes of descriptor and header.
const PACKET_BYTES: usize = 1150;

/// One direction of a path.
#[derive(Debug, Clone)]
pub struct Path {
    pub rate_bps: Option<u64>,
    pub queue_bytes: u64,
    pub delay_us: u64,
    pub jitter_us: u64,
    pub loss_percent: u64,
    random: u64,
    free_at_us: u64,
    last_due_us: u64,
    in_flight: VecDeque<(u64, Vec<u8>)>,
}

impl Path {
    pub fn new(rate_bps: Option<u64>, delay_us: u64, loss_percent: u64) -> Self {
        Self {
            rate_bps,
            // A quarter of a second, as home routers have it, at least ten packets.
            queue_bytes: rate_bps.map_or(u64::MAX, |bps| (bps / 8 / 4).max(15_000)),
            delay_us,
            jitter_us: 0,
            loss_percent,
            random: 7,
            free_at_us: 0,
            last_due_us: 0,
            in_flight: VecDeque::new(),
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below.max(1)
    }

    pub fn send(&mut self, now_us: u64, datagram: Vec<u8>) {
        if self.random(100) < self.loss_percent {
            return;
        }
        let mut due_us = now_us;
        if let Some(rate_bps) = self.rate_bps {
            let bytes = datagram.len() as u64 + 28;
            let waiting_us = self.free_at_us.saturating_sub(now_us);
            if waiting_us * rate_bps / 8_000_000 + bytes > self.queue_bytes {
                return;
            }
            self.free_at_us = self.free_at_us.max(now_us) + bytes * 8_000_000 / rate_bps;
            due_us = self.free_at_us;
        }
        due_us += self.delay_us + self.random(self.jitter_us + 1);
        self.last_due_us = self.last_due_us.max(due_us);
        self.in_flight.push_back((self.last_due_us, datagram));
    }

    fn due(&mut self, now_us: u64) -> Option<Vec<u8>> {
        self.in_flight.front().filter(|(due_us, _)| *due_us <= now_us)?;
        self.in_flight.pop_front().map(|(_, datagram)| datagram)
    }
}

pub struct Class {
    pub world: World,
    pub down: Path,
    pub up_delay_us: u64,
    /// How many layers the publisher sends.
    pub layers: usize,
    pub temporal: bool,
    /// By transport-wide feedback.
    pub reports_arrivals: bool,
    up: VecDeque<(u64, Vec<u8>)>,
    frame: u64,
    next_frame_us: u64,
    next_sound_us: u64,
    sound_seq: u64,
    video_seq: [u64; 3],
    tl0: u8,
    key_due: [bool; 3],
    arrivals: TransportCc,
    next_feedback_us: u64,
    next_nack_us: u64,
    stream: Option<Stream>,
    waiting: BTreeMap<u64, Got>,
    next_shown: Option<u64>,
    stuck_since_us: u64,
    /// (time, layer) of each frame shown, and the times of sound packets.
    pub shown: Vec<(u64, usize)>,
    pub heard: Vec<u64>,
    pub plis: usize,
}

impl Class {
    /// `rtx`: the viewer negotiated retransmissions, else none at all.
    pub fn new(down: Path, rtx: bool) -> Self {
        let up_delay_us = down.delay_us;
        let mut world = World::new();
        world.join(PUBLISHER);
        for (place, rid) in ["l", "m", "h"].into_iter().enumerate() {
            let mut parameters = publishing(Kind::Video, "0", Some(11 + place as u32));
            parameters.rid = Some(rid.into());
            world.ingest(1 + place as u64, PUBLISHER, parameters);
        }
        world.ingest(4, PUBLISHER, publishing(Kind::Audio, "1", Some(14)));
        world.join(VIEWER);
        world.far.insert(VIEWER);
        let mut sound = watching(Kind::Audio, SOUND, None);
        sound.nack = false;
        sound.extensions.transport_cc = Some(STAMP_ID);
        world.slot(20, VIEWER, sound);
        let mut video = watching(Kind::Video, VIDEO, rtx.then_some(VIDEO_RTX));
        video.nack = rtx;
        video.extensions.transport_cc = Some(STAMP_ID);
        world.slot(10, VIEWER, video);
        let start_us = world.now_us;
        let mut class = Self {
            world,
            down,
            up_delay_us,
            layers: 3,
            temporal: false,
            reports_arrivals: true,
            up: VecDeque::new(),
            frame: 0,
            next_frame_us: start_us,
            next_sound_us: start_us,
            sound_seq: 1,
            video_seq: [1; 3],
            tl0: 0,
            key_due: [true; 3],
            arrivals: TransportCc::default(),
            next_feedback_us: start_us,
            next_nack_us: start_us,
            stream: None,
            waiting: BTreeMap::new(),
            next_shown: None,
            stuck_since_us: start_us,
            shown: Vec::new(),
            heard: Vec::new(),
            plis: 0,
        };
        class.world.layers(20, &[4]);
        class.world.layers(10, &[1, 2, 3]);
        class
    }

    pub fn run_ms(&mut self, ms: u64) {
        for passed in 0..ms {
            if passed % 10_000 == 0 {
                self.world.check(VIEWER); // consent
            }
            self.publish();
            self.world.pass_ms(1);
            let now_us = self.world.now_us;
            for datagram in self.world.raw.remove(&VIEWER).unwrap_or_default() {
                if datagram[0] >= 128 {
                    self.down.send(now_us, datagram);
                }
            }
            while let Some(datagram) = self.down.due(now_us) {
                self.world.arrive(VIEWER, datagram);
            }
            self.view();
            while self.up.front().is_some_and(|(due_us, _)| *due_us <= now_us) {
                let Some((_, datagram)) = self.up.pop_front() else { break };
                self.world.datagram(address(VIEWER), &datagram);
            }
        }
    }

    fn publish(&mut self) {
        let now_us = self.world.now_us;
        for item in self.world.take_reports(PUBLISHER) {
            if let Item::Pli { media_ssrc } = item
                && (11..14).contains(&media_ssrc)
            {
                self.key_due[media_ssrc as usize - 11] = true;
                self.plis += 1;
            }
        }
        if now_us >= self.next_sound_us {
            let rtp_ts = (self.sound_seq * 960) as u32;
            let packet = Sent { payload: &[7; 80], ..opus(14, self.sound_seq, rtp_ts) };
            self.world.rtp(PUBLISHER, &packet);
            self.sound_seq += 1;
            self.next_sound_us += SOUND_US;
        }
        if now_us >= self.next_frame_us {
            let temporal = u8::from(self.temporal && self.frame % 2 == 1);
            self.tl0 = self.tl0.wrapping_add(1 - temporal);
            for layer in 0..self.layers {
                self.frame_of(layer, temporal);
            }
            self.frame += 1;
            self.next_frame_us += FRAME_US;
        }
    }

    fn frame_of(&mut self, layer: usize, temporal: u8) {
        let key = self.key_due[layer] && temporal == 0;
        self.key_due[layer] &= !key;
        let (height, bps) = LAYERS[layer];
        let size = (bps * FRAME_US / 8_000_000) as usize * if key { 5 } else { 1 };
        let count = size.div_ceil(PACKET_BYTES);
        for part in 0..count {
            // X; I, L, T: 15 bits of picture id, TL0PICIDX, TID with Y (every upper frame depends on the base only).
            let start = if part == 0 { 0x90 } else { 0x80 };
            let picture = (self.frame as u16 & 0x7fff | 0x8000).to_be_bytes();
            let mut payload =
                vec![start, 0xe0, picture[0], picture[1], self.tl0, temporal << 6 | 0x20, u8::from(!key), 0, 0];
            if key && part == 0 {
                payload.extend_from_slice(&[0x9d, 0x01, 0x2a, 0, 4]);
                payload.extend_from_slice(&height.to_le_bytes());
            }
            payload.resize((size / count).max(20), layer as u8);
            let packet = Sent {
                ssrc: 11 + layer as u32,
                payload_type: VP8_PT,
                ext_seq: self.video_seq[layer],
                rtp_ts: (self.frame * FRAME_US * 9 / 100) as u32,
                marker: part + 1 == count,
                extensions: &[],
                payload: &payload,
            };
            self.world.rtp(PUBLISHER, &packet);
            self.video_seq[layer] += 1;
        }
    }

    fn view(&mut self) {
        let now_us = self.world.now_us;
        for mut got in self.world.take_media(VIEWER) {
            if let Some(stamp) = got.stamp {
                self.arrivals.receive(stamp, now_us);
            }
            let repair = got.ssrc == VIDEO_RTX;
            match got.ssrc {
                SOUND => self.heard.push(now_us),
                VIDEO_RTX if got.payload.len() <= 2 => {} // padding
                VIDEO | VIDEO_RTX => {
                    let highest = self.stream.as_ref().map_or(got.ext_seq, |stream| stream.highest());
                    if repair {
                        got.ext_seq = extend_seq(u16::from_be_bytes([got.payload[0], got.payload[1]]), highest);
                        got.payload.drain(..2);
                    }
                    self.video(now_us, got, repair);
                }
                other => panic!("a packet of {other}"),
            }
        }
        self.world.take_reports(VIEWER);
        self.report(now_us);
    }

    fn video(&mut self, now_us: u64, got: Got, repair: bool) {
        let next = *self.next_shown.get_or_insert(got.ext_seq);
        if got.ext_seq < next || self.waiting.contains_key(&got.ext_seq) {
            return;
        }
        match &mut self.stream {
            None => self.stream = Some(Stream::new(90_000, got.ext_seq, got.rtp_ts, now_us)),
            Some(stream) => {
                stream.receive(got.ext_seq, got.rtp_ts, now_us, repair, true);
            }
        }
        self.waiting.insert(got.ext_seq, got);
        self.show(now_us);
    }

    /// Shows what is whole and in order.
    fn show(&mut self, now_us: u64) {
        while let Some(got) = self.next_shown.and_then(|next| self.waiting.remove(&next)) {
            self.next_shown = Some(got.ext_seq + 1);
            self.stuck_since_us = now_us;
            if got.marker {
                self.shown.push((now_us, usize::from(got.payload[got.payload.len() - 1])));
            }
        }
    }

    fn report(&mut self, now_us: u64) {
        let mut compounds = Vec::new();
        if now_us >= self.next_nack_us
            && let Some(stream) = &mut self.stream
        {
            self.next_nack_us = now_us + 20_000;
            let mut due = Vec::new();
            // A browser's round trip has the queue in it.
            let queued_us = self.down.free_at_us.saturating_sub(now_us);
            stream.nacks_due(now_us, Some(2 * self.up_delay_us + queued_us), &mut due);
            if !due.is_empty() {
                let mut compound = Compound::default();
                compound.nack(1, VIDEO, &due);
                compounds.push(compound);
            }
        }
        // What cannot be had is skipped to the next key frame that is whole, as a browser does.
        if !self.waiting.is_empty() && now_us > self.stuck_since_us + 1_000_000 {
            let key = self.waiting.iter().find(|(_, got)| got.payload[0] == 0x90 && got.payload[6] & 1 == 0);
            if let Some((&ext_seq, _)) = key {
                self.next_shown = Some(ext_seq);
                self.waiting = self.waiting.split_off(&ext_seq);
                self.show(now_us);
            } else {
                let mut compound = Compound::default();
                compound.pli(1, VIDEO);
                compounds.push(compound);
            }
            self.stuck_since_us = now_us;
        }
        if self.reports_arrivals && now_us >= self.next_feedback_us {
            self.next_feedback_us = now_us + 100_000;
            let mut body = Vec::new();
            while self.arrivals.encode(&mut body).is_some() {
                let mut compound = Compound::default();
                compound.transport_cc(1, VIDEO, &body);
                compounds.push(compound);
            }
        }
        for compound in compounds {
            let datagram = self.world.sealed_rtcp(VIEWER, |into| into.bytes.extend_from_slice(&compound.bytes));
            self.up.push_back((now_us + self.up_delay_us, datagram));
        }
    }

    /// The longest pause between two sound packets since `from_us`, until now.
    pub fn longest_silence_ms(&self, from_us: u64) -> u64 {
        let mut last_us = from_us;
        let mut longest_us = 0;
        for at_us in self.heard.iter().filter(|at_us| **at_us >= from_us).chain([&self.world.now_us]) {
            longest_us = longest_us.max(at_us - last_us);
            last_us = *at_us;
        }
        longest_us / 1000
    }

    /// The share of time since `from_us` in which no frame was shown for more than half a second.
    pub fn frozen(&self, from_us: u64) -> f64 {
        let mut last_us = from_us;
        let mut frozen_us = 0;
        for (at_us, _) in self.shown.iter().filter(|(at_us, _)| *at_us >= from_us).chain([&(self.world.now_us, 0)]) {
            frozen_us += (at_us - last_us).saturating_sub(500_000);
            last_us = *at_us;
        }
        frozen_us as f64 / (self.world.now_us - from_us) as f64
    }

    /// The share of frames since `from_us` that are of this layer.
    pub fn share_of(&self, layer: usize, from_us: u64) -> f64 {
        let since: Vec<usize> = self.shown.iter().filter(|(at_us, _)| *at_us >= from_us).map(|(_, l)| *l).collect();
        since.iter().filter(|shown| **shown == layer).count() as f64 / since.len().max(1) as f64
    }

    pub fn changes_since(&self, from_us: u64) -> usize {
        let since: Vec<usize> = self.shown.iter().filter(|(at_us, _)| *at_us >= from_us).map(|(_, l)| *l).collect();
        since.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    pub fn estimate_bps(&self) -> Option<u64> {
        let snapshot = self.world.core.snapshot(self.world.now_us);
        snapshot.transports.iter().find(|t| t.transport_id == u64::from(VIEWER)).and_then(|t| t.estimate_bps)
    }
}
