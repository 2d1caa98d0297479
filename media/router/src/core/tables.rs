//! What the router knows: transports, ingests, slots, and the tables that find them.

use std::collections::HashMap;

use super::layers::Reason;
use super::links::Link;
use super::mirror::Mirror;
use super::pace::Pacer;
use super::restart::Credentials;
use crate::bandwidth::Bandwidth;
use crate::feedback::{KeyframeRequest, TransportCc};
use crate::history::{Entry, History};
use crate::meter::Meter;
use crate::outbox::{ChainHandle, Peer};
use crate::parameters::{CodecParameters, ExtensionIds, IngestParameters, Kind, Repair, SlotParameters};
use crate::payload::{CODEC_COUNT, Codec, MAX_TEMPORAL_LAYERS};
use crate::rewrite::Rewrite;
use crate::rtp::FIXED_HEADER_BYTES;
use crate::speech::Speech;
use crate::srtp::{Inbound, Outbound};
use crate::stream::Stream;
use crate::tap::Tap;

/// Things by the caller's id and by a small index that stays put while they live.
#[derive(Debug)]
pub struct Table<T> {
    by_id: HashMap<u64, usize>,
    items: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { by_id: HashMap::new(), items: Vec::new(), free: Vec::new() }
    }
}

impl<T> Table<T> {
    /// None if the id is taken.
    pub fn insert(&mut self, id: u64, item: T) -> Option<usize> {
        if self.by_id.contains_key(&id) {
            return None;
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.items.push(None);
            self.items.len() - 1
        });
        self.items[index] = Some(item);
        self.by_id.insert(id, index);
        Some(index)
    }

    pub fn remove(&mut self, id: u64) -> Option<(usize, T)> {
        let index = self.by_id.remove(&id)?;
        let item = self.items[index].take()?;
        self.free.push(index);
        Some((index, item))
    }

    pub fn find(&self, id: u64) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.items.get(index)?.as_ref()
    }

    #[inline]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.items.get_mut(index)?.as_mut()
    }

    pub fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.items.iter().enumerate().filter_map(|(index, item)| Some((index, item.as_ref()?)))
    }

    /// One past the highest index in use.
    pub fn bound(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

/// Addresses one transport may have checks from: two families, a NAT rebinding or two, Wi-Fi and mobile at once.
pub const MAX_ADDRESSES: usize = 8;
/// Sources one transport may have found by mid or payload type, retired ones included.
pub const MAX_SSRCS: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Media(usize),
    Rtx(usize),
    /// An earlier SSRC of a publisher that restarted: stragglers must not take the ingest back.
    Retired,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportState {
    New,
    Ice,
    Dtls,
    Connected,
}

impl TransportState {
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Ice => "ice",
            Self::Dtls => "dtls",
            Self::Connected => "connected",
        }
    }
}

pub struct Transport {
    pub id: u64,
    pub credentials: Credentials,
    /// After an ICE restart, until a check shows the new ones.
    pub previous_credentials: Option<Credentials>,
    pub state: TransportState,
    pub addresses: Vec<Peer>,
    pub remote: Option<Peer>,
    /// Last valid connectivity check (or when the transport was added: the first one has to come as soon).
    pub consent_us: u64,
    pub checked: bool,
    pub rx: Option<Inbound>,
    pub tx: Option<Outbound>,
    pub chain: ChainHandle,
    pub ingests: Vec<usize>,
    pub slots: Vec<usize>,
    pub ssrcs: Vec<(u32, Source)>,
    pub extensions: ExtensionIds,
    pub transport_cc: TransportCc,
    /// Of a viewer that reports arrivals or a bit rate.
    pub bandwidth: Option<Box<Bandwidth>>,
    /// What would be sent if the way carried more.
    pub need_bps: Option<u64>,
    pub pacer: Pacer,
    pub next_transport_cc_us: u64,
    pub next_report_us: u64,
    pub next_choice_us: u64,
    pub report_ssrc: u32,
    /// What makes this a transport to another node.
    pub link: Option<Link>,
    pub rx_packets: u64,
    pub tx_packets: u64,
    /// Stands for a publisher's transport of another shard; nothing is received or sent on it.
    pub is_mirror: bool,
}

impl Transport {
    /// Without an address or keys yet; times are the caller's to set.
    pub fn new(id: u64, credentials: Credentials) -> Self {
        Self {
            id,
            credentials,
            previous_credentials: None,
            state: TransportState::New,
            addresses: Vec::new(),
            remote: None,
            consent_us: 0,
            checked: false,
            rx: None,
            tx: None,
            chain: ChainHandle::default(),
            ingests: Vec::new(),
            slots: Vec::new(),
            ssrcs: Vec::new(),
            extensions: ExtensionIds::default(),
            transport_cc: TransportCc::default(),
            bandwidth: None,
            need_bps: None,
            pacer: Pacer::default(),
            next_transport_cc_us: 0,
            next_report_us: 0,
            next_choice_us: 0,
            report_ssrc: 0,
            link: None,
            rx_packets: 0,
            tx_packets: 0,
            is_mirror: false,
        }
    }

    /// What mirrored ingests of one publisher hang on; it has no name, so nobody can check it.
    pub fn of_mirrors(id: u64) -> Self {
        Self { is_mirror: true, ..Self::new(id, Credentials::new(String::new(), "", None)) }
    }
}

/// The publisher's own clock, from its last sender report.
#[derive(Debug, Clone, Copy)]
pub struct SenderClock {
    pub ntp: u64,
    pub rtp_ts: u32,
    pub arrival_us: u64,
}

pub struct Ingest {
    pub id: u64,
    pub transport: usize,
    pub parameters: IngestParameters,
    pub ssrc: Option<u32>,
    /// Added to the SRTP packet index; grows at each restart so that `ext_seq` never comes back.
    pub ext_base: u64,
    pub stream: Option<Stream>,
    pub codec: Option<CodecParameters>,
    pub history: History,
    /// Slots that show this ingest or wait for its key frame.
    pub viewers: Vec<usize>,
    /// Slots that may show it: it is one of their layers.
    pub candidates: Vec<usize>,
    /// Height of the picture, once a key frame told it.
    pub height_px: Option<u32>,
    pub meter: Meter,
    /// Packets received and not yet forwarded, and when they have to be.
    pub held: Vec<u64>,
    pub due_us: u64,
    pub keyframe_request: KeyframeRequest,
    /// Of a microphone that is published here; a copy (a mirror, a link's stream) is judged where it came from.
    pub speech: Option<Speech>,
    pub taps: Vec<Tap>,
    pub newest_ts: Option<u32>,
    pub sender_clock: Option<SenderClock>,
    pub packets: u64,
    /// Of video, by their ends.
    pub frames: u64,
    pub payload_bytes: u64,
    pub nacks_sent: u64,
    pub plis_sent: u64,
    pub keyframes: u64,
    pub last_packet_us: Option<u64>,
    /// First packet since the (re)start.
    pub started_us: u64,
    /// Other shards that show this ingest, a bit each.
    pub shared_with: u64,
    /// Of an ingest that lives in another shard.
    pub mirror: Option<Mirror>,
}

impl Ingest {
    pub fn clock_rate_hz(&self) -> u32 {
        self.codec.map_or(90_000, |c| c.clock_rate_hz)
    }
}

/// The clear part of a slot's packets, ready but for marker, payload type, sequence number, timestamp and level.
#[derive(Debug, Clone)]
pub struct HeaderTemplate {
    pub bytes: Vec<u8>,
    pub level_at: Option<usize>,
    /// Where the transport-wide sequence number goes.
    pub stamp_at: Option<usize>,
}

impl HeaderTemplate {
    /// mid always (it is how a receiver finds the m-line, RFC 8843 9.2), audio level where negotiated.
    ///
    /// A stamp (the transport-wide sequence number) is other bytes at each sending, under the same SRTP index: AES-GCM
    /// would be used twice with one nonce. So `Repair::Plain`, whose retransmissions have to be the same bytes, has none.
    pub fn new(ssrc: u32, mid: &str, extensions: &ExtensionIds, repair: Repair) -> Self {
        let mut bytes = vec![0x80; FIXED_HEADER_BYTES];
        bytes[1..8].fill(0);
        bytes[8..12].copy_from_slice(&ssrc.to_be_bytes());
        let mid = &mid.as_bytes()[..mid.len().min(16)];
        let mid_id = extensions.mid.filter(|_| !mid.is_empty());
        let stamp_id = extensions.transport_cc.filter(|_| repair != Repair::Plain);
        let (mut level_at, mut stamp_at) = (None, None);
        if mid_id.is_some() || extensions.audio_level.is_some() || stamp_id.is_some() {
            bytes[0] |= 0x10;
            bytes.extend_from_slice(&[0xBE, 0xDE, 0, 0]);
            if let Some(id) = mid_id {
                bytes.push(id << 4 | (mid.len() - 1) as u8);
                bytes.extend_from_slice(mid);
            }
            if let Some(id) = extensions.audio_level {
                level_at = Some(bytes.len());
                bytes.extend_from_slice(&[id << 4, 0]);
            }
            if let Some(id) = stamp_id {
                bytes.push(id << 4 | 1);
                stamp_at = Some(bytes.len());
                bytes.extend_from_slice(&[0, 0]);
            }
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            let words = ((bytes.len() - FIXED_HEADER_BYTES - 4) / 4) as u16;
            bytes[14..16].copy_from_slice(&words.to_be_bytes());
        }
        Self { bytes, level_at, stamp_at }
    }
}

/// Sender reports remembered for the round trip (RFC 3550 6.4.1): middle 32 bits of the NTP time, when sent.
pub const REPORTS_KEPT: usize = 4;
/// As many temporal layers as there are.
pub const ALL_TEMPORAL: u8 = MAX_TEMPORAL_LAYERS as u8;
/// Retransmissions remembered so that none goes out twice within a round trip.
pub const RESENT_KEPT: usize = 64;

pub struct Slot {
    pub id: u64,
    pub transport: usize,
    pub parameters: SlotParameters,
    pub by_codec: [Option<CodecParameters>; CODEC_COUNT],
    pub template: HeaderTemplate,
    pub rtx_template: Option<HeaderTemplate>,
    pub repair: Repair,
    pub rewrite: Rewrite,
    pub rtx_ext_seq: u64,
    /// What may be shown, from the lowest to the highest layer.
    pub layers: Vec<usize>,
    pub max_height_px: Option<u32>,
    pub current: Option<usize>,
    /// The layer that was chosen; shown from its next key frame on.
    pub wanted: Option<usize>,
    pub reason: Reason,
    /// The highest temporal layer that shall be sent, and that is sent now.
    pub wanted_temporal: u8,
    pub temporal: u8,
    /// The newest frame, and whether it is left out.
    pub frame: Option<(u32, bool)>,
    pub packets: u64,
    pub payload_bytes: u64,
    pub retransmitted: u64,
    pub nacks_received: u64,
    pub plis_received: u64,
    pub fraction_lost: u8,
    pub rtt_us: Option<u64>,
    pub reports: [(u32, u64); REPORTS_KEPT],
    /// Before then a further request for a key frame is not passed on.
    pub next_pli_us: u64,
    pub resends_left: u32,
    /// What was sent again lately, and when: (sequence number, microseconds).
    pub resent: [(u16, u64); RESENT_KEPT],
    pub next_resent: usize,
    pub resends_renewed_us: u64,
}

impl Slot {
    pub fn is_video(&self) -> bool {
        self.parameters.kind == Kind::Video
    }

    /// How to send on the retransmission stream: its SSRC and payload type.
    pub fn rtx_way(&self) -> Option<(u32, u8)> {
        self.rtx_template.as_ref()?;
        Some((self.parameters.rtx_ssrc?, self.parameters.codecs.iter().find_map(|codec| codec.rtx_payload_type)?))
    }

    /// Whether a packet is sent, with no more temporal layers than wanted: fewer from the next frame on, more from a frame
    /// that says that no frame left out is needed for it (RFC 7741 4.2, Y). What is late is decided already.
    pub fn keeps(&mut self, entry: &Entry) -> bool {
        if !self.rewrite.is_newest(entry.ext_seq) {
            return true;
        }
        if entry.key_frame_start {
            self.temporal = self.wanted_temporal;
        }
        let omitted = match self.frame {
            Some((rtp_ts, omitted)) if rtp_ts == entry.rtp_ts => omitted,
            _ => {
                self.temporal = self.temporal.min(self.wanted_temporal);
                let layer = entry.vp8.temporal;
                if layer > self.temporal && layer <= self.wanted_temporal && entry.vp8.layer_sync {
                    self.temporal = if layer + 1 >= ALL_TEMPORAL { ALL_TEMPORAL } else { layer };
                }
                layer > self.temporal
            }
        };
        self.frame = Some((entry.rtp_ts, omitted));
        if omitted {
            self.rewrite.omit(entry.ext_seq, &entry.vp8);
        }
        !omitted
    }

    pub fn place_of(&self, ingest: Option<usize>) -> Option<usize> {
        self.layers.iter().position(|layer| Some(*layer) == ingest)
    }

    pub fn way(&self, codec: Codec) -> Option<&CodecParameters> {
        self.by_codec[codec as usize].as_ref()
    }
}
