//! The router without sockets, clock or randomness: datagrams and `now_us` in, datagrams and events out.
//!
//! `now_us` is monotonic. One thread owns a `Core`; commands are applied between batches, so nothing here is locked.

mod forward;
mod ingress;
mod layers;
mod links;
mod mirror;
mod pace;
mod probes;
mod reports;
mod restart;
mod routes;
mod tables;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::outbox::{Outbox, Peer};
use crate::parameters::{IngestParameters, SlotParameters};
use crate::payload::Codec;
use crate::rtcp::Compound;
use crate::srtp::Profile;
use crate::stats::{Counter, Counters};
pub use links::{FarEnd, peers_of};
pub use mirror::{MirrorWish, Share};
use tables::{Ingest, Slot, Table, Transport};

/// What the caller (Python) orders. Ids are the caller's, never reused. `Route` names one audio, or one video's layers from
/// the lowest to the highest, or nothing; `LimitSlot` says how high its picture is shown at most.
#[derive(Debug)]
pub enum Command {
    AddTransport { transport_id: u64, local_ufrag: String, local_pwd: String, remote_ufrag: Option<String> },
    RestartIce { transport_id: u64, local_ufrag: String, local_pwd: String, remote_ufrag: Option<String> },
    AddLink { transport_id: u64, local_ufrag: String, local_pwd: String, far: FarEnd },
    SendDtls { transport_id: u64, datagram: Vec<u8> },
    SetKeys { transport_id: u64, keys: Box<Keys> },
    RemoveTransport { transport_id: u64 },
    AddIngest { ingest_id: u64, transport_id: u64, parameters: Box<IngestParameters> },
    RemoveIngest { ingest_id: u64 },
    AddSlot { slot_id: u64, transport_id: u64, parameters: Box<SlotParameters> },
    RemoveSlot { slot_id: u64 },
    Route { slot_id: u64, ingest_ids: Vec<u64> },
    LimitSlot { slot_id: u64, max_height_px: Option<u32> },
    RequestKeyframe { ingest_id: u64 },
    Tap { ingest_id: u64, tap_id: u64, deadline_us: u64 },
}

/// What a command is about, for whoever has to know where that lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Transport(u64),
    Ingest(u64),
    Slot(u64),
}

impl Command {
    pub fn subject(&self) -> Subject {
        match self {
            Self::AddTransport { transport_id, .. }
            | Self::RestartIce { transport_id, .. }
            | Self::AddLink { transport_id, .. }
            | Self::SendDtls { transport_id, .. }
            | Self::SetKeys { transport_id, .. }
            | Self::RemoveTransport { transport_id }
            | Self::AddIngest { transport_id, .. }
            | Self::AddSlot { transport_id, .. } => Subject::Transport(*transport_id),
            Self::RemoveIngest { ingest_id } | Self::RequestKeyframe { ingest_id } | Self::Tap { ingest_id, .. } => {
                Subject::Ingest(*ingest_id)
            }
            Self::RemoveSlot { slot_id } | Self::Route { slot_id, .. } | Self::LimitSlot { slot_id, .. } => {
                Subject::Slot(*slot_id)
            }
        }
    }
}

/// SRTP master keys and salts of both directions (RFC 5764 4.2).
pub struct Keys {
    pub profile: Profile,
    pub rx_key: Vec<u8>,
    pub rx_salt: Vec<u8>,
    pub tx_key: Vec<u8>,
    pub tx_salt: Vec<u8>,
}

impl std::fmt::Debug for Keys {
    /// Keys never reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("profile", &self.profile).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Ice {
        transport_id: u64,
        address: SocketAddr,
    },
    Dtls {
        transport_id: u64,
        datagram: Vec<u8>,
    },
    Closed {
        transport_id: u64,
        reason: &'static str,
    },
    Routed {
        slot_id: u64,
        ingest_id: u64,
    },
    Keyframe {
        tap_id: u64,
        ingest_id: u64,
        codec: Codec,
        ssrc: u32,
        rtp_ts: u32,
        arrival_wall_us: u64,
        payloads: Vec<Vec<u8>>,
    },
    TapFailed {
        tap_id: u64,
        reason: &'static str,
    },
    IngestStarted {
        ingest_id: u64,
        ssrc: u32,
        codec: Codec,
    },
    /// An audio source began or stopped to speak, judged from the levels its packets carry.
    Speaking {
        ingest_id: u64,
        is_speaking: bool,
    },
}

impl Event {
    /// The ingest that the event is news of (not one that it merely names).
    fn ingest_told_of(&self) -> Option<u64> {
        match self {
            Self::IngestStarted { ingest_id, .. } | Self::Speaking { ingest_id, .. } => Some(*ingest_id),
            _ => None,
        }
    }
}

#[derive(Debug, Clone)]
pub struct TransportFlow {
    pub transport_id: u64,
    pub remote: Option<SocketAddr>,
    /// "udp" or "tcp"; None before the first check.
    pub path: Option<&'static str>,
    pub state: &'static str,
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub consent_age_ms: Option<u64>,
    /// What the path to this viewer is believed to carry; None while nothing is known.
    pub estimate_bps: Option<u64>,
    pub rtt_ms: Option<f64>,
    /// Share of what we sent that did not arrive.
    pub loss: f64,
}

#[derive(Debug, Clone)]
pub struct IngestFlow {
    pub ingest_id: u64,
    pub transport_id: u64,
    pub kind: &'static str,
    pub codec: Option<&'static str>,
    pub ssrc: Option<u32>,
    pub packets: u64,
    pub payload_bytes: u64,
    pub lost: u64,
    pub nacks_sent: u64,
    pub plis_sent: u64,
    pub jitter_ts: u32,
    pub keyframes: u64,
    /// Of video, by their ends; 0 for sound.
    pub frames: u64,
    /// Height of the picture, once a key frame told it.
    pub height_px: Option<u32>,
    pub last_packet_age_ms: Option<u64>,
    /// As a sound meter shows it, -127 to 0; None for sources whose packets carry no level.
    pub level_dbov: Option<i8>,
}

#[derive(Debug, Clone)]
pub struct SlotFlow {
    pub slot_id: u64,
    pub transport_id: u64,
    pub ingest_id: Option<u64>,
    pub wanted_ingest_id: Option<u64>,
    pub packets: u64,
    pub payload_bytes: u64,
    pub retransmitted: u64,
    pub nacks_received: u64,
    pub plis_received: u64,
    pub fraction_lost: f64,
    pub rtt_ms: Option<f64>,
    /// Places in the routed list: what is shown, and what will be from the next key frame.
    pub layer: Option<usize>,
    pub wanted_layer: Option<usize>,
    /// The bit rate of what is wanted, as it is received.
    pub target_bps: u64,
    /// A coded word: why this layer (see `layers::Reason`).
    pub reason: &'static str,
}

#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub transports: Vec<TransportFlow>,
    pub ingests: Vec<IngestFlow>,
    pub slots: Vec<SlotFlow>,
    pub counters: Counters,
}

impl Snapshot {
    /// Adds what another shard knows.
    pub fn merge(&mut self, other: Self) {
        self.transports.extend(other.transports);
        self.ingests.extend(other.ingests);
        self.slots.extend(other.slots);
        self.counters.merge(&other.counters);
    }
}

/// SplitMix64: identifiers and starting numbers that only have to differ (RFC 3550 8.1), not to be secret.
#[derive(Debug)]
struct Numbering(u64);

impl Numbering {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

pub struct Core {
    transports: Table<Transport>,
    ingests: Table<Ingest>,
    slots: Table<Slot>,
    by_ufrag: HashMap<String, usize>,
    by_address: HashMap<Peer, usize>,
    history_packets: usize,
    pub counters: Counters,
    events: Vec<Event>,
    /// Ingests that hold packets, and how far the first due one has been forwarded.
    holding: Vec<usize>,
    cursor: usize,
    next_tick_us: u64,
    /// Wall clock minus monotonic clock.
    wall_offset_us: i64,
    numbering: Numbering,
    compound: Compound,
    scratch: Vec<u8>,
    due_nacks: Vec<u16>,
    /// Something changed that may make slots turn to another layer.
    choice_due: bool,
    nacks: Vec<(usize, u16, u16)>,
    grants: Vec<layers::Grant>,
    /// Transports with packets that wait their turn, and when to look at them.
    pacing: Vec<usize>,
    next_pace_us: Option<u64>,
    border: mirror::Border,
}

impl Core {
    /// `seed` should differ between runs.
    pub fn new(history_packets: usize, seed: u64) -> Self {
        Self {
            transports: Table::default(),
            ingests: Table::default(),
            slots: Table::default(),
            by_ufrag: HashMap::new(),
            by_address: HashMap::new(),
            history_packets,
            counters: Counters::default(),
            events: Vec::new(),
            holding: Vec::new(),
            cursor: 0,
            next_tick_us: 0,
            wall_offset_us: 0,
            numbering: Numbering(seed),
            compound: Compound::default(),
            scratch: Vec::new(),
            due_nacks: Vec::new(),
            choice_due: false,
            nacks: Vec::new(),
            grants: Vec::new(),
            pacing: Vec::new(),
            next_pace_us: None,
            border: mirror::Border::default(),
        }
    }

    pub fn set_wall_offset_us(&mut self, wall_minus_monotonic_us: i64) {
        self.wall_offset_us = wall_minus_monotonic_us;
    }

    fn wall_us(&self, now_us: u64) -> u64 {
        now_us.saturating_add_signed(self.wall_offset_us)
    }

    /// What happened since the last call, in order.
    pub fn take_events(&mut self, into: &mut Vec<Event>) {
        if self.has_mirrors() {
            // What becomes of a publisher's stream is told by the shard where it lives.
            let mut events = std::mem::take(&mut self.events);
            events.retain(|event| {
                let ingest =
                    event.ingest_told_of().and_then(|id| self.ingests.find(id)).and_then(|at| self.ingests.get(at));
                ingest.is_none_or(|ingest| ingest.mirror.is_none())
            });
            self.events = events;
        }
        into.append(&mut self.events);
    }

    /// Carries out one command. One that names an unknown or taken id is counted and has no other effect: the caller
    /// and the network race (a transport may close while its slot is being routed).
    pub fn apply(&mut self, now_us: u64, command: Command, outbox: &mut Outbox) {
        let known = match command {
            Command::AddTransport { transport_id, local_ufrag, local_pwd, remote_ufrag } => {
                self.add_transport(now_us, transport_id, local_ufrag, &local_pwd, remote_ufrag)
            }
            Command::RestartIce { transport_id, local_ufrag, local_pwd, remote_ufrag } => {
                self.restart_ice(transport_id, local_ufrag, &local_pwd, remote_ufrag)
            }
            Command::AddLink { transport_id, local_ufrag, local_pwd, far } => {
                self.add_link(now_us, transport_id, local_ufrag, &local_pwd, far)
            }
            Command::SendDtls { transport_id, datagram } => self.send_dtls(transport_id, &datagram, outbox),
            Command::SetKeys { transport_id, keys } => self.set_keys(transport_id, &keys),
            Command::RemoveTransport { transport_id } => self.close_transport(transport_id, "removed"),
            Command::AddIngest { ingest_id, transport_id, parameters } => {
                self.add_ingest(ingest_id, transport_id, *parameters)
            }
            Command::RemoveIngest { ingest_id } => self.remove_ingest(ingest_id),
            Command::AddSlot { slot_id, transport_id, parameters } => {
                self.add_slot(now_us, slot_id, transport_id, *parameters)
            }
            Command::RemoveSlot { slot_id } => self.remove_slot(slot_id),
            Command::Route { slot_id, ingest_ids } => self.route(now_us, slot_id, &ingest_ids),
            Command::LimitSlot { slot_id, max_height_px } => self.limit_slot(now_us, slot_id, max_height_px),
            Command::RequestKeyframe { ingest_id } => self.request_keyframe(ingest_id),
            Command::Tap { ingest_id, tap_id, deadline_us } => self.tap(ingest_id, tap_id, now_us + deadline_us),
        };
        if known.is_none() {
            self.counters.inc(Counter::CommandsIgnored);
        }
        self.send_due_plis(now_us, outbox);
    }

    /// When `handle_timeout` or `poll` has to be called at the latest.
    pub fn next_timeout_us(&self) -> Option<u64> {
        let held = self.holding.iter().filter_map(|at| self.ingests.get(*at)).map(|ingest| ingest.due_us).min();
        let tick = (!self.transports.is_empty()).then_some(self.next_tick_us);
        held.into_iter().chain(tick).chain(self.next_pace_us).min()
    }

    pub fn snapshot(&self, now_us: u64) -> Snapshot {
        let age_ms = |at_us: u64| now_us.saturating_sub(at_us) / 1000;
        let transport_id = |at: usize| self.transports.get(at).map_or(0, |t| t.id);
        let ingest_id = |at: Option<usize>| at.and_then(|at| self.ingests.get(at)).map(|i| i.id);
        Snapshot {
            transports: self
                .transports
                .iter()
                .filter(|(_, t)| !t.is_mirror)
                .map(|(_, t)| TransportFlow {
                    transport_id: t.id,
                    remote: t.remote.map(|peer| peer.address),
                    path: t.remote.map(|peer| peer.path()),
                    state: t.state.name(),
                    rx_packets: t.rx_packets,
                    tx_packets: t.tx_packets,
                    consent_age_ms: t.checked.then(|| age_ms(t.consent_us)),
                    estimate_bps: t.bandwidth.as_ref().and_then(|bandwidth| bandwidth.budget_bps(now_us)),
                    rtt_ms: self.rtt_of(t).map(|us| us as f64 / 1000.0),
                    loss: self.loss_of(t),
                })
                .collect(),
            ingests: self
                .ingests
                .iter()
                .filter(|(_, i)| i.mirror.is_none())
                .map(|(_, i)| IngestFlow {
                    ingest_id: i.id,
                    transport_id: transport_id(i.transport),
                    kind: i.parameters.kind.name(),
                    codec: i.codec.map(|c| c.codec.name()),
                    ssrc: i.ssrc,
                    packets: i.packets,
                    payload_bytes: i.payload_bytes,
                    lost: i.stream.as_ref().map_or(0, |s| s.lost()),
                    nacks_sent: i.nacks_sent,
                    plis_sent: i.plis_sent,
                    jitter_ts: i.stream.as_ref().map_or(0, |s| s.jitter_ts()),
                    keyframes: i.keyframes,
                    frames: i.frames,
                    height_px: i.height_px,
                    last_packet_age_ms: i.last_packet_us.map(age_ms),
                    level_dbov: i.speech.as_ref().and_then(|speech| speech.level_dbov(now_us)),
                })
                .collect(),
            slots: self
                .slots
                .iter()
                .map(|(_, s)| SlotFlow {
                    slot_id: s.id,
                    transport_id: transport_id(s.transport),
                    ingest_id: ingest_id(s.current),
                    wanted_ingest_id: ingest_id(s.wanted),
                    packets: s.packets,
                    payload_bytes: s.payload_bytes,
                    retransmitted: s.retransmitted,
                    nacks_received: s.nacks_received,
                    plis_received: s.plis_received,
                    fraction_lost: f64::from(s.fraction_lost) / 256.0,
                    rtt_ms: s.rtt_us.map(|us| us as f64 / 1000.0),
                    layer: s.place_of(s.current),
                    wanted_layer: s.place_of(s.wanted),
                    target_bps: s
                        .wanted
                        .and_then(|at| self.ingests.get(at))
                        .map_or(0, |i| i.meter.bps_up_to(s.wanted_temporal)),
                    reason: self.reason_of(s).name(),
                })
                .collect(),
            counters: self.counters.clone(),
        }
    }
}
