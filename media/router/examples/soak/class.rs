//! A class around the core, without a network: a publisher of three layers and sound, viewers that report arrivals and
//! losses and ask for what is missing. Viewers look at headers only, which SRTP leaves in clear, so that what a run
//! costs is the core's; they forget all that they have seen, so that what it grows is the core's, too.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use _router::core::{Command, Core, Event, Keys};
use _router::feedback::TransportCc;
use _router::outbox::{Outbox, Peer};
use _router::parameters::{CodecParameters, ExtensionIds, IngestParameters, Kind, SlotParameters};
use _router::payload::Codec;
use _router::rtcp::{Compound, Item, read_untrusted};
use _router::rtp::{Header, extend_seq};
use _router::srtp::{Inbound, Outbound, Profile};
use _router::stream::Stream;
use _router::stun;

const PASSWORD: &str = "a password of the soak";
const PROFILE: Profile = Profile::AeadAes128Gcm;
const HISTORY_PACKETS: usize = 1024;
const STAMP_ID: u8 = 5;
/// Height and bit rate of each layer.
const LAYERS: [(u16, u64); 3] = [(180, 150_000), (360, 500_000), (720, 1_500_000)];
/// A sound packet each step, a frame of each layer every other.
pub const STEP_US: u64 = 20_000;
const FRAME_US: u64 = 2 * STEP_US;
const CHECK_US: u64 = 5_000_000;
const REPORT_US: u64 = 1_000_000;
const FEEDBACK_US: u64 = 100_000;
const PACKET_BYTES: usize = 1150;
/// Of each thousand packets on either way.
const LOST_PER_MILLE: u64 = 5;
const RESENDABLE_PACKETS: usize = 512;
const VIDEO_PT: u8 = 96;
const RTX_PT: u8 = 97;
const SOUND_PT: u8 = 111;
const VIDEO_SSRC: u32 = 77;
const RTX_SSRC: u32 = 78;
const SOUND_SSRC: u32 = 88;
const FIRST_LAYER_SSRC: u32 = 11;
const PUBLISHED_SOUND_SSRC: u32 = 14;

fn peer(transport_id: u64) -> Peer {
    let [.., a, b, c] = transport_id.to_be_bytes();
    Peer { socket: 0, address: SocketAddr::from(([10, a, b, c], 5000)) }
}

fn transport_id(peer: Peer) -> u64 {
    match peer.address {
        SocketAddr::V4(address) => u64::from(u32::from_be_bytes(address.ip().octets()) & 0xff_ffff),
        SocketAddr::V6(_) => 0,
    }
}

fn codecs(kind: Kind) -> Vec<CodecParameters> {
    let (codec, payload_type, clock_rate_hz, rtx_payload_type) = match kind {
        Kind::Audio => (Codec::Opus, SOUND_PT, 48_000, None),
        Kind::Video => (Codec::Vp8, VIDEO_PT, 90_000, Some(RTX_PT)),
    };
    vec![CodecParameters { codec, payload_type, clock_rate_hz, rtx_payload_type }]
}

/// XorShift: which packets are lost.
struct Chance(u64);

impl Chance {
    fn loses(&mut self) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % 1000 < LOST_PER_MILLE
    }
}

/// One peer's half of SRTP.
struct Srtp {
    sender: Outbound,
    receiver: Inbound,
}

impl Srtp {
    /// Plain RTCP to what is sent.
    fn seal(&mut self, mut compound: Compound) -> Vec<u8> {
        let plain_bytes = compound.bytes.len();
        compound.bytes.resize(plain_bytes + 20, 0);
        let len = self.sender.protect_rtcp(&mut compound.bytes, plain_bytes).expect("room for the tag");
        compound.bytes.truncate(len);
        compound.bytes
    }

    fn read(&mut self, report: &[u8], each: impl FnMut(Item)) {
        let mut report = report.to_vec();
        let len = self.receiver.unprotect_rtcp_untrusted(&mut report).expect("a fresh, authentic report");
        read_untrusted(&report[..len], each).expect("a well-formed report");
    }
}

fn is_rtcp(datagram: &[u8]) -> bool {
    (192..=223).contains(&datagram[1])
}

struct Publisher {
    transport_id: u64,
    srtp: Srtp,
    next_seq: [u64; 4],
    key_due: [bool; 3],
    /// The newest packets as they were sent, for whoever asks again.
    sent: VecDeque<(u32, u16, Vec<u8>)>,
    asked_again: Vec<(u32, u16, u16)>,
}

impl Publisher {
    fn ingest_id(&self, place: usize) -> u64 {
        self.transport_id * 4 + place as u64
    }

    fn hear(&mut self, datagram: &[u8]) {
        let Self { srtp, key_due, asked_again, .. } = self;
        srtp.read(datagram, |item| match item {
            Item::Pli { media_ssrc } => key_due[(media_ssrc - FIRST_LAYER_SSRC) as usize] = true,
            Item::Nack { media_ssrc, seq, following } => asked_again.push((media_ssrc, seq, following)),
            _ => {}
        });
    }

    /// `place`: a layer's, or that of the sound after them.
    fn packet(&mut self, place: usize, payload_type: u8, marker: bool, rtp_ts: u32, payload: &[u8]) -> Vec<u8> {
        let (ssrc, ext_seq) = (FIRST_LAYER_SSRC + place as u32, self.next_seq[place]);
        self.next_seq[place] += 1;
        let mut bytes = vec![0x80, payload_type | u8::from(marker) << 7];
        bytes.extend_from_slice(&(ext_seq as u16).to_be_bytes());
        bytes.extend_from_slice(&rtp_ts.to_be_bytes());
        bytes.extend_from_slice(&ssrc.to_be_bytes());
        bytes.extend_from_slice(payload);
        let plain_bytes = bytes.len();
        bytes.resize(plain_bytes + 16, 0);
        self.srtp.sender.protect_rtp(&mut bytes, plain_bytes, 12, ssrc, ext_seq).expect("room for the tag");
        if self.sent.len() == RESENDABLE_PACKETS {
            self.sent.pop_front();
        }
        self.sent.push_back((ssrc, ext_seq as u16, bytes.clone()));
        bytes
    }

    fn frame(&mut self, place: usize, number: u64, into: &mut Vec<Vec<u8>>) {
        let key = std::mem::take(&mut self.key_due[place]);
        let (height_px, bps) = LAYERS[place];
        let size_bytes = (bps * FRAME_US / 8_000_000) as usize * if key { 5 } else { 1 };
        let count = size_bytes.div_ceil(PACKET_BYTES);
        for part in 0..count {
            // RFC 7741 4.2: X, S on the first; I with 15 bits of picture id; then the frame tag's P bit.
            let picture = (number as u16 | 0x8000).to_be_bytes();
            let start = if part == 0 { 0x90 } else { 0x80 };
            let mut payload = vec![start, 0x80, picture[0], picture[1], u8::from(!key), 0, 0];
            if key && part == 0 {
                payload.extend_from_slice(&[0x9d, 0x01, 0x2a, 0, 4]);
                payload.extend_from_slice(&height_px.to_le_bytes());
            }
            payload.resize((size_bytes / count).max(20), place as u8);
            let rtp_ts = (number * FRAME_US * 9 / 100) as u32;
            into.push(self.packet(place, VIDEO_PT, part + 1 == count, rtp_ts, &payload));
        }
    }

    fn asked_again(&mut self) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        for (ssrc, seq, following) in self.asked_again.drain(..) {
            let wanted = |sent: u16| match sent.wrapping_sub(seq) {
                0 => true,
                ahead @ 1..=16 => following >> (ahead - 1) & 1 == 1,
                _ => false,
            };
            found.extend(
                self.sent.iter().filter(|(of, sent, _)| *of == ssrc && wanted(*sent)).map(|sent| sent.2.clone()),
            );
        }
        found
    }

    fn report(&mut self, now_us: u64) -> Vec<u8> {
        let mut compound = Compound::default();
        let ntp = ((now_us / 1_000_000) << 32) + ((now_us % 1_000_000) << 32) / 1_000_000;
        for place in 0..4 {
            let clock_rate_hz = if place < 3 { 90_000 } else { 48_000 };
            let rtp_ts = (now_us * clock_rate_hz / 1_000_000) as u32;
            let packets = self.next_seq[place] as u32;
            compound.sender_report(FIRST_LAYER_SSRC + place as u32, ntp, rtp_ts, packets, packets);
        }
        self.srtp.seal(compound)
    }
}

struct Viewer {
    srtp: Srtp,
    arrivals: TransportCc,
    video: Option<Stream>,
    sound: Option<Stream>,
    /// Middle 32 bits of the last sender reports, and when they came.
    last_reports: [(u32, u64); 2],
    /// The place of the layer that was ordered, and of the one that is shown.
    ordered: usize,
    /// Until the order has been obeyed.
    is_due: bool,
    shown: Option<usize>,
    next_check_us: u64,
    next_report_us: u64,
    next_feedback_us: u64,
}

impl Viewer {
    fn slot_ids(transport_id: u64) -> [u64; 2] {
        [transport_id * 2, transport_id * 2 + 1]
    }

    fn receive(&mut self, now_us: u64, datagram: &[u8]) {
        if is_rtcp(datagram) {
            let Self { srtp, last_reports, .. } = self;
            srtp.read(datagram, |item| {
                if let Item::SenderInfo { ssrc, ntp, .. } = item {
                    last_reports[usize::from(ssrc == SOUND_SSRC)] = ((ntp >> 16) as u32, now_us);
                }
            });
            return;
        }
        let header = Header::parse_untrusted(datagram).expect("a well-formed packet");
        if let Some((_, stamp)) = header.extensions(datagram).find(|(id, _)| *id == STAMP_ID) {
            self.arrivals.receive(u16::from_be_bytes([stamp[0], stamp[1]]), now_us);
        }
        let (stream, clock_rate_hz) = match header.ssrc {
            SOUND_SSRC => (&mut self.sound, 48_000),
            _ => (&mut self.video, 90_000),
        };
        let highest = stream.as_ref().map_or(u64::from(header.seq) + 65_536, |stream| stream.highest());
        let mut seq = header.seq;
        let again = header.ssrc == RTX_SSRC;
        if again {
            let mut copy = datagram.to_vec();
            let opened =
                self.srtp.receiver.unprotect_rtp_untrusted(&mut copy, header.len_bytes, header.ssrc, header.seq);
            let (len, _) = opened.expect("a fresh, authentic packet");
            let payload = header.payload_untrusted(&copy[..len]).expect("padding that fits");
            // What repeats nothing is padding that probes the path.
            let [high, low, _, ..] = payload else { return };
            seq = u16::from_be_bytes([*high, *low]);
        }
        let ext_seq = extend_seq(seq, highest);
        match stream {
            Some(stream) => {
                stream.receive(ext_seq, header.rtp_ts, now_us, again, header.ssrc != SOUND_SSRC);
            }
            None if again => {}
            None => *stream = Some(Stream::new(clock_rate_hz, ext_seq, header.rtp_ts, now_us)),
        }
    }

    /// What it has to say now.
    fn reports(&mut self, now_us: u64, into: &mut Vec<Vec<u8>>) {
        let mut missing = Vec::new();
        if let Some(stream) = self.video.as_mut().filter(|stream| stream.has_missing()) {
            stream.nacks_due(now_us, Some(20_000), &mut missing);
        }
        if !missing.is_empty() {
            let mut compound = Compound::default();
            compound.nack(1, VIDEO_SSRC, &missing);
            into.push(self.srtp.seal(compound));
        }
        if now_us >= self.next_feedback_us {
            self.next_feedback_us = now_us + FEEDBACK_US;
            let mut body = Vec::new();
            while self.arrivals.encode(&mut body).is_some() {
                let mut compound = Compound::default();
                compound.transport_cc(1, VIDEO_SSRC, &body);
                into.push(self.srtp.seal(compound));
            }
        }
        if now_us >= self.next_report_us {
            self.next_report_us = now_us + REPORT_US;
            let mut blocks = Vec::new();
            for (kind, (ssrc, stream)) in
                [(VIDEO_SSRC, &mut self.video), (SOUND_SSRC, &mut self.sound)].into_iter().enumerate()
            {
                let (last_sr, at_us) = self.last_reports[kind];
                let held = ((now_us - at_us) * 65_536 / 1_000_000) as u32;
                blocks.extend(stream.as_mut().map(|stream| (ssrc, stream.report(), last_sr, held)));
            }
            let mut compound = Compound::default();
            compound.receiver_report(1, &blocks);
            into.push(self.srtp.seal(compound));
        }
    }
}

pub struct Class {
    pub core: Core,
    outbox: Outbox,
    pub now_us: u64,
    publisher: Publisher,
    viewers: HashMap<u64, Viewer>,
    /// In the order of their turn to be switched; the first has been there for longest when they leave.
    turns: VecDeque<u64>,
    arrived: VecDeque<u64>,
    next_transport_id: u64,
    step: u64,
    chance: Chance,
    events: Vec<Event>,
    /// Orders given, and pictures that turned to the layer that was ordered.
    pub ordered: u64,
    pub obeyed: u64,
    /// Pictures that turned to others, as the estimate of their way rose.
    pub others: u64,
}

impl Class {
    pub fn new(viewers: usize) -> Self {
        let mut core = Core::new(HISTORY_PACKETS, 42);
        let (mut outbox, now_us) = (Outbox::default(), 3_600_000_000);
        let publisher = publish(&mut core, now_us, &mut outbox, 1);
        let mut class = Self {
            core,
            outbox,
            now_us,
            publisher,
            viewers: HashMap::new(),
            turns: VecDeque::new(),
            arrived: VecDeque::new(),
            next_transport_id: 2,
            step: 0,
            chance: Chance(7),
            events: Vec::new(),
            ordered: 0,
            obeyed: 0,
            others: 0,
        };
        for _ in 0..viewers {
            class.join();
        }
        class
    }

    pub fn join(&mut self) {
        let id = self.next_transport_id;
        self.next_transport_id += 1;
        let srtp = connect(&mut self.core, self.now_us, &mut self.outbox, id);
        let now_us = self.now_us;
        let viewer = Viewer {
            srtp,
            arrivals: TransportCc::default(),
            video: None,
            sound: None,
            last_reports: [(0, now_us); 2],
            ordered: LAYERS.len() - 1,
            is_due: false,
            shown: None,
            next_check_us: now_us + CHECK_US,
            // Not all in one step.
            next_report_us: now_us + id % 50 * STEP_US,
            next_feedback_us: now_us + id % 5 * STEP_US,
        };
        for (slot_id, kind) in Viewer::slot_ids(id).into_iter().zip([Kind::Video, Kind::Audio]) {
            let is_video = kind == Kind::Video;
            let parameters = SlotParameters {
                rtx_ssrc: is_video.then_some(RTX_SSRC),
                extensions: ExtensionIds { mid: Some(4), transport_cc: Some(STAMP_ID), ..ExtensionIds::default() },
                nack: is_video,
                ..SlotParameters::new(kind, "s", if is_video { VIDEO_SSRC } else { SOUND_SSRC }, codecs(kind))
            };
            self.order(Command::AddSlot { slot_id, transport_id: id, parameters: Box::new(parameters) });
        }
        self.viewers.insert(id, viewer);
        self.turns.push_back(id);
        self.arrived.push_back(id);
        self.show(id);
    }

    /// The one who has been there for longest leaves.
    pub fn leave(&mut self) {
        let Some(id) = self.arrived.pop_front() else { return };
        self.order(Command::RemoveTransport { transport_id: id });
        self.viewers.remove(&id);
        self.turns.retain(|turn| *turn != id);
    }

    pub fn restart_publisher(&mut self) {
        self.order(Command::RemoveTransport { transport_id: self.publisher.transport_id });
        let id = self.next_transport_id;
        self.next_transport_id += 1;
        self.publisher = publish(&mut self.core, self.now_us, &mut self.outbox, id);
        let ids: Vec<u64> = self.arrived.iter().copied().collect();
        for id in ids {
            if let Some(viewer) = self.viewers.get_mut(&id) {
                (viewer.shown, viewer.ordered, viewer.is_due) = (None, LAYERS.len() - 1, false);
            }
            self.show(id);
        }
    }

    fn show(&mut self, id: u64) {
        let [video, sound] = Viewer::slot_ids(id);
        self.order(Command::Route { slot_id: sound, ingest_ids: vec![self.publisher.ingest_id(LAYERS.len())] });
        self.order(Command::LimitSlot { slot_id: video, max_height_px: None });
        let ingest_ids = (0..LAYERS.len()).map(|place| self.publisher.ingest_id(place)).collect();
        self.order(Command::Route { slot_id: video, ingest_ids });
    }

    /// Orders another layer for the next viewer who shows what was ordered before, by the size of the picture or by a
    /// route to that layer alone. False if nobody does.
    pub fn switch(&mut self) -> bool {
        let by_route = self.ordered.is_multiple_of(2);
        let settled = |id: &u64| self.viewers.get(id).is_some_and(|viewer| viewer.shown == Some(viewer.ordered));
        let Some(id) = self.turns.iter().position(settled).and_then(|position| self.turns.remove(position)) else {
            return false;
        };
        self.turns.push_back(id);
        let Some(viewer) = self.viewers.get_mut(&id) else { return false };
        let further = 1 + self.ordered as usize / 2 % 2;
        viewer.ordered = (viewer.ordered + further) % LAYERS.len();
        viewer.is_due = true;
        self.ordered += 1;
        let ordered = viewer.ordered;
        let [slot_id, _] = Viewer::slot_ids(id);
        let places = if by_route { ordered..ordered + 1 } else { 0..LAYERS.len() };
        let ingest_ids = places.map(|place| self.publisher.ingest_id(place)).collect();
        let max_height_px = (!by_route).then_some(u32::from(LAYERS[ordered].0));
        self.order(Command::LimitSlot { slot_id, max_height_px });
        self.order(Command::Route { slot_id, ingest_ids });
        true
    }

    /// Twenty milliseconds.
    pub fn step(&mut self) {
        let mut packets = self.publisher.asked_again();
        packets.push(self.publisher.packet(LAYERS.len(), SOUND_PT, false, (self.step * 960) as u32, &[7; 80]));
        if self.step.is_multiple_of(FRAME_US / STEP_US) {
            for place in 0..LAYERS.len() {
                self.publisher.frame(place, self.step / 2, &mut packets);
            }
        }
        packets.retain(|_| !self.chance.loses());
        if self.step.is_multiple_of(REPORT_US / STEP_US) {
            packets.push(self.publisher.report(self.now_us));
        }
        if self.step.is_multiple_of(CHECK_US / STEP_US) {
            check(&mut self.core, self.now_us, &mut self.outbox, self.publisher.transport_id);
        }
        let from = peer(self.publisher.transport_id);
        for mut packet in packets {
            self.core.handle_datagram(self.now_us, from, &mut packet, &mut self.outbox);
            self.settle();
        }
        let until_us = self.now_us + STEP_US;
        while let Some(at_us) = self.core.next_timeout_us().filter(|at_us| *at_us <= until_us) {
            self.now_us = self.now_us.max(at_us);
            self.core.handle_timeout(self.now_us, &mut self.outbox);
            self.settle();
        }
        self.now_us = until_us;
        self.settle();
        let mut reports = Vec::new();
        for place in 0..self.arrived.len() {
            let id = self.arrived[place];
            let Some(viewer) = self.viewers.get_mut(&id) else { continue };
            if self.now_us >= viewer.next_check_us {
                viewer.next_check_us = self.now_us + CHECK_US;
                check(&mut self.core, self.now_us, &mut self.outbox, id);
            }
            viewer.reports(self.now_us, &mut reports);
            for mut report in reports.drain(..) {
                self.core.handle_datagram(self.now_us, peer(id), &mut report, &mut self.outbox);
            }
            self.settle();
        }
        self.step += 1;
    }

    fn order(&mut self, command: Command) {
        self.core.apply(self.now_us, command, &mut self.outbox);
        self.settle();
    }

    fn settle(&mut self) {
        while self.core.poll(self.now_us, &mut self.outbox) {
            self.deliver();
        }
        self.deliver();
        self.events.clear();
        self.core.take_events(&mut self.events);
        for event in &self.events {
            let Event::Routed { slot_id, ingest_id } = event else { continue };
            let Some(viewer) = self.viewers.get_mut(&(slot_id / 2)).filter(|_| slot_id % 2 == 0) else { continue };
            let place = (ingest_id % 4) as usize;
            let turned = u64::from(viewer.shown.is_some_and(|shown| shown != place));
            let was_ordered = viewer.is_due && place == viewer.ordered;
            viewer.is_due &= !was_ordered;
            *if was_ordered { &mut self.obeyed } else { &mut self.others } += turned;
            viewer.shown = Some(place);
        }
    }

    fn deliver(&mut self) {
        if self.outbox.is_empty() {
            return;
        }
        for (to, datagrams) in self.outbox.chains() {
            let id = transport_id(to);
            for datagram in datagrams.filter(|datagram| datagram[0] >= 128) {
                if id == self.publisher.transport_id {
                    self.publisher.hear(datagram);
                } else if let Some(viewer) = self.viewers.get_mut(&id)
                    && !self.chance.loses()
                {
                    viewer.receive(self.now_us, datagram);
                }
            }
        }
        self.outbox.clear();
    }
}

fn check(core: &mut Core, now_us: u64, outbox: &mut Outbox, id: u64) {
    let mut request = [0; 256];
    let key = stun::short_term_key(PASSWORD);
    let len = stun::write_binding_request(&mut request, &[7; 12], &format!("u{id}:peer"), &key).expect("a short name");
    core.handle_datagram(now_us, peer(id), &mut request[..len], outbox);
}

/// A transport that has been checked and has its keys.
fn connect(core: &mut Core, now_us: u64, outbox: &mut Outbox, id: u64) -> Srtp {
    let (local_ufrag, local_pwd) = (format!("u{id}"), PASSWORD.into());
    core.apply(now_us, Command::AddTransport { transport_id: id, local_ufrag, local_pwd, remote_ufrag: None }, outbox);
    check(core, now_us, outbox, id);
    let key = |direction: u8| {
        let mut key = vec![direction; PROFILE.key_bytes()];
        key[..8].copy_from_slice(&id.to_be_bytes());
        key
    };
    let salt = || vec![9; PROFILE.salt_bytes()];
    let srtp = Srtp {
        sender: Outbound::new(PROFILE, &key(1), &salt()).expect("right sizes"),
        receiver: Inbound::new(PROFILE, &key(2), &salt()).expect("right sizes"),
    };
    let keys = Keys { profile: PROFILE, rx_key: key(1), rx_salt: salt(), tx_key: key(2), tx_salt: salt() };
    core.apply(now_us, Command::SetKeys { transport_id: id, keys: Box::new(keys) }, outbox);
    srtp
}

fn publish(core: &mut Core, now_us: u64, outbox: &mut Outbox, id: u64) -> Publisher {
    let srtp = connect(core, now_us, outbox, id);
    let publisher = Publisher {
        transport_id: id,
        srtp,
        next_seq: [1; 4],
        key_due: [true; 3],
        sent: VecDeque::with_capacity(RESENDABLE_PACKETS),
        asked_again: Vec::new(),
    };
    for place in 0..=LAYERS.len() {
        let is_layer = place < LAYERS.len();
        let kind = if is_layer { Kind::Video } else { Kind::Audio };
        let parameters = IngestParameters {
            rid: ["l", "m", "h"].get(place).map(|rid| (*rid).into()),
            ssrc: Some(if is_layer { FIRST_LAYER_SSRC + place as u32 } else { PUBLISHED_SOUND_SSRC }),
            nack: true,
            pli: is_layer,
            ..IngestParameters::new(kind, if is_layer { "0" } else { "1" }, codecs(kind))
        };
        let command = Command::AddIngest {
            ingest_id: publisher.ingest_id(place),
            transport_id: id,
            parameters: Box::new(parameters),
        };
        core.apply(now_us, command, outbox);
    }
    publisher
}
