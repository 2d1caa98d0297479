//! The core without a network: peers with real SRTP on both ends, a clock that only moves when told.

mod choosing;
mod emulator;
mod hostile;
mod ice;
mod links;
mod mirror;
mod paths;
mod repair;
mod speaking;
mod switching;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use aws_lc_rs::hmac;

use super::{Command, Core, Event, Keys, SlotFlow};
use crate::outbox::{Outbox, Peer};
use crate::parameters::{CodecParameters, ExtensionIds, IngestParameters, Kind, SlotParameters};
use crate::payload::Codec;
use crate::rtcp::{Compound, Item, read_untrusted};
use crate::rtp::{Header, extend_seq};
use crate::srtp::{Inbound, Outbound, Profile};
use crate::stats::Counter;

/// The extension id of transport-wide sequence numbers towards viewers.
pub const STAMP_ID: u8 = 5;
pub const PASSWORD: &str = "a password of twenty-two";
const RX_KEY: [u8; 16] = [1; 16];
const TX_KEY: [u8; 16] = [2; 16];
const SALT: [u8; 12] = [3; 12];

pub fn address(port: u16) -> Peer {
    Peer { socket: 0, address: SocketAddr::from(([10, 0, 0, 1], port)) }
}

pub fn binding_request(username: &str, password: &str, nominate: bool) -> Vec<u8> {
    let mut raw = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
    raw.extend_from_slice(&[9; 12]);
    raw.extend_from_slice(&[0, 6, 0, username.len() as u8]);
    raw.extend_from_slice(username.as_bytes());
    raw.resize(raw.len().next_multiple_of(4), 0);
    if nominate {
        raw.extend_from_slice(&[0, 0x25, 0, 0]);
    }
    let length = (raw.len() + 24 - 20) as u16;
    raw[2..4].copy_from_slice(&length.to_be_bytes());
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let tag = hmac::sign(&key, &raw);
    raw.extend_from_slice(&[0, 8, 0, 20]);
    raw.extend_from_slice(tag.as_ref());
    raw
}

/// A decrypted packet as a viewer got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    pub payload_type: u8,
    pub marker: bool,
    pub ssrc: u32,
    pub ext_seq: u64,
    pub rtp_ts: u32,
    pub stamp: Option<u16>,
    pub payload: Vec<u8>,
}

/// The router between peers that are known by their port.
pub struct World {
    pub core: Core,
    pub outbox: Outbox,
    pub now_us: u64,
    senders: HashMap<u16, Outbound>,
    receivers: HashMap<u16, Inbound>,
    /// Decrypted packets by port.
    pub media: HashMap<u16, Vec<Got>>,
    pub reports: HashMap<u16, Vec<Item>>,
    pub raw: HashMap<u16, Vec<Vec<u8>>>,
    /// The same reports as `reports`, unread, from everyone to everyone.
    pub rtcp_bytes: Vec<Vec<u8>>,
    /// Ports behind which another router is: all that goes there is kept as it is, in `raw`.
    pub far: HashSet<u16>,
    pub events: Vec<Event>,
    /// Every protected packet sent, by (port, ssrc, index): a second one has to be the same bytes.
    sealed: HashMap<(u16, u32, u64), Vec<u8>>,
    highest: HashMap<(u16, u32), u64>,
}

impl World {
    pub fn new() -> Self {
        Self {
            core: Core::new(256, 42),
            outbox: Outbox::default(),
            now_us: 3_600_000_000,
            senders: HashMap::new(),
            receivers: HashMap::new(),
            media: HashMap::new(),
            reports: HashMap::new(),
            raw: HashMap::new(),
            rtcp_bytes: Vec::new(),
            far: HashSet::new(),
            events: Vec::new(),
            sealed: HashMap::new(),
            highest: HashMap::new(),
        }
    }

    pub fn order(&mut self, command: Command) {
        self.core.apply(self.now_us, command, &mut self.outbox);
        self.settle();
    }

    pub fn datagram(&mut self, from: Peer, datagram: &[u8]) {
        self.core.handle_datagram(self.now_us, from, &mut datagram.to_vec(), &mut self.outbox);
        self.settle();
    }

    /// Lets time pass in the steps the core asks for.
    pub fn pass_ms(&mut self, ms: u64) {
        let until = self.now_us + ms * 1000;
        while let Some(at) = self.core.next_timeout_us().filter(|at| *at <= until) {
            self.now_us = self.now_us.max(at);
            self.core.handle_timeout(self.now_us, &mut self.outbox);
            self.settle();
        }
        self.now_us = until;
        self.settle();
    }

    fn settle(&mut self) {
        while self.core.poll(self.now_us, &mut self.outbox) {
            self.deliver();
        }
        self.deliver();
        self.core.take_events(&mut self.events);
    }

    fn deliver(&mut self) {
        let sent: Vec<(u16, Vec<u8>)> = self
            .outbox
            .chains()
            .flat_map(|(peer, datagrams)| datagrams.map(move |d| (peer.address.port(), d.to_vec())))
            .collect();
        self.outbox.clear();
        for (port, datagram) in sent {
            if datagram[0] < 128 || self.far.contains(&port) {
                self.raw.entry(port).or_default().push(datagram);
            } else {
                self.arrive(port, datagram);
            }
        }
    }

    /// A datagram reaches a peer, which opens it.
    pub fn arrive(&mut self, port: u16, mut datagram: Vec<u8>) {
        let Some(receiver) = self.receivers.get_mut(&port) else { return };
        if (192..=223).contains(&datagram[1]) {
            let len = receiver.unprotect_rtcp_untrusted(&mut datagram).expect("authentic report");
            self.rtcp_bytes.push(datagram[..len].to_vec());
            let items = self.reports.entry(port).or_default();
            read_untrusted(&datagram[..len], |item| items.push(item)).expect("well-formed report");
            return;
        }
        let header = Header::parse_untrusted(&datagram).expect("well-formed packet");
        let highest = self.highest.entry((port, header.ssrc)).or_insert(u64::from(header.seq));
        let index = extend_seq(header.seq, *highest);
        *highest = (*highest).max(index);
        // One index, one plaintext: anything else would break AES-GCM.
        if let Some(before) = self.sealed.get(&(port, header.ssrc, index)) {
            assert_eq!(before, &datagram, "index {index} was used for two different packets");
            return;
        }
        self.sealed.insert((port, header.ssrc, index), datagram.clone());
        let opened = receiver.unprotect_rtp_untrusted(&mut datagram, header.len_bytes, header.ssrc, header.seq);
        let (len, ext_seq) = opened.expect("authentic packet");
        let payload = header.payload_untrusted(&datagram[..len]).expect("right padding").to_vec();
        let stamp = header.extensions(&datagram).find(|(id, _)| *id == STAMP_ID);
        let stamp = stamp.map(|(_, value)| u16::from_be_bytes([value[0], value[1]]));
        self.media.entry(port).or_default().push(Got {
            payload_type: header.payload_type,
            marker: header.marker,
            ssrc: header.ssrc,
            ext_seq,
            rtp_ts: header.rtp_ts,
            stamp,
            payload,
        });
    }

    /// A transport whose id and ufrag follow from the port, checked and with keys.
    pub fn join(&mut self, port: u16) {
        self.add(port);
        self.check(port);
        self.keys(port);
    }

    pub fn add(&mut self, port: u16) {
        self.order(Command::AddTransport {
            transport_id: u64::from(port),
            local_ufrag: format!("u{port}"),
            local_pwd: PASSWORD.into(),
            remote_ufrag: None,
        });
    }

    pub fn check(&mut self, port: u16) {
        let request = binding_request(&format!("u{port}:peer"), PASSWORD, true);
        self.datagram(address(port), &request);
    }

    pub fn keys(&mut self, port: u16) {
        let profile = Profile::AeadAes128Gcm;
        let keys = Keys {
            profile,
            rx_key: RX_KEY.to_vec(),
            rx_salt: SALT.to_vec(),
            tx_key: TX_KEY.to_vec(),
            tx_salt: SALT.to_vec(),
        };
        self.order(Command::SetKeys { transport_id: u64::from(port), keys: Box::new(keys) });
        self.senders.insert(port, Outbound::new(profile, &RX_KEY, &SALT).unwrap());
        self.receivers.insert(port, Inbound::new(profile, &TX_KEY, &SALT).unwrap());
    }

    pub fn ingest(&mut self, ingest_id: u64, port: u16, parameters: IngestParameters) {
        self.order(Command::AddIngest { ingest_id, transport_id: u64::from(port), parameters: Box::new(parameters) });
    }

    pub fn slot(&mut self, slot_id: u64, port: u16, parameters: SlotParameters) {
        self.order(Command::AddSlot { slot_id, transport_id: u64::from(port), parameters: Box::new(parameters) });
    }

    pub fn route(&mut self, slot_id: u64, ingest_id: Option<u64>) {
        self.order(Command::Route { slot_id, ingest_ids: ingest_id.into_iter().collect() });
    }

    pub fn layers(&mut self, slot_id: u64, ingest_ids: &[u64]) {
        self.order(Command::Route { slot_id, ingest_ids: ingest_ids.to_vec() });
    }

    pub fn slot_flow(&self, slot_id: u64) -> SlotFlow {
        self.core.snapshot(self.now_us).slots.into_iter().find(|slot| slot.slot_id == slot_id).expect("a slot")
    }

    /// `extensions`: a complete one-byte extension block or nothing.
    pub fn rtp(&mut self, port: u16, packet: &Sent<'_>) {
        let datagram = self.sealed_rtp(port, packet);
        self.datagram(address(port), &datagram);
    }

    pub fn sealed_rtp(&mut self, port: u16, packet: &Sent<'_>) -> Vec<u8> {
        let mut bytes = vec![0x80, packet.payload_type | if packet.marker { 0x80 } else { 0 }];
        bytes.extend_from_slice(&(packet.ext_seq as u16).to_be_bytes());
        bytes.extend_from_slice(&packet.rtp_ts.to_be_bytes());
        bytes.extend_from_slice(&packet.ssrc.to_be_bytes());
        if !packet.extensions.is_empty() {
            bytes[0] |= 0x10;
            let mut block = packet.extensions.to_vec();
            block.resize(block.len().next_multiple_of(4), 0);
            bytes.extend_from_slice(&[0xBE, 0xDE, 0, (block.len() / 4) as u8]);
            bytes.extend_from_slice(&block);
        }
        let header_bytes = bytes.len();
        bytes.extend_from_slice(packet.payload);
        let plain_bytes = bytes.len();
        bytes.resize(plain_bytes + 16, 0);
        let sender = self.senders.get(&port).expect("a peer that joined");
        sender.protect_rtp(&mut bytes, plain_bytes, header_bytes, packet.ssrc, packet.ext_seq).unwrap();
        bytes
    }

    pub fn rtcp(&mut self, port: u16, write: impl FnOnce(&mut Compound)) {
        let datagram = self.sealed_rtcp(port, write);
        self.datagram(address(port), &datagram);
    }

    pub fn sealed_rtcp(&mut self, port: u16, write: impl FnOnce(&mut Compound)) -> Vec<u8> {
        let mut compound = Compound::default();
        write(&mut compound);
        let plain_bytes = compound.bytes.len();
        compound.bytes.resize(plain_bytes + 20, 0);
        let sender = self.senders.get_mut(&port).expect("a peer that joined");
        sender.protect_rtcp(&mut compound.bytes, plain_bytes).unwrap();
        compound.bytes
    }

    pub fn take_media(&mut self, port: u16) -> Vec<Got> {
        self.media.remove(&port).unwrap_or_default()
    }

    pub fn take_reports(&mut self, port: u16) -> Vec<Item> {
        self.reports.remove(&port).unwrap_or_default()
    }

    pub fn count(&self, counter: Counter) -> u64 {
        self.core.counters.get(counter)
    }
}

/// What a publisher sends.
#[derive(Clone, Copy)]
pub struct Sent<'a> {
    pub ssrc: u32,
    pub payload_type: u8,
    pub ext_seq: u64,
    pub rtp_ts: u32,
    pub marker: bool,
    pub extensions: &'a [u8],
    pub payload: &'a [u8],
}

pub const VP8_PT: u8 = 96;
pub const RTX_PT: u8 = 97;
pub const OPUS_PT: u8 = 111;

/// A VP8 packet that is a whole frame.
pub fn vp8(ssrc: u32, ext_seq: u64, rtp_ts: u32, key: bool) -> Sent<'static> {
    let payload: &[u8] = if key { b"\x90\x80\x85\x00\x00key frame" } else { b"\x90\x80\x85\x00\x01delta" };
    Sent { ssrc, payload_type: VP8_PT, ext_seq, rtp_ts, marker: true, extensions: &[], payload }
}

pub fn opus(ssrc: u32, ext_seq: u64, rtp_ts: u32) -> Sent<'static> {
    Sent { ssrc, payload_type: OPUS_PT, ext_seq, rtp_ts, marker: false, extensions: &[], payload: b"sound" }
}

fn codecs(kind: Kind, rtx: bool) -> Vec<CodecParameters> {
    match kind {
        Kind::Audio => vec![CodecParameters {
            codec: Codec::Opus,
            payload_type: OPUS_PT,
            clock_rate_hz: 48_000,
            rtx_payload_type: None,
        }],
        Kind::Video => vec![CodecParameters {
            codec: Codec::Vp8,
            payload_type: VP8_PT,
            clock_rate_hz: 90_000,
            rtx_payload_type: rtx.then_some(RTX_PT),
        }],
    }
}

pub fn publishing(kind: Kind, mid: &str, ssrc: Option<u32>) -> IngestParameters {
    IngestParameters {
        kind,
        mid: mid.into(),
        rid: None,
        ssrc,
        rtx_ssrc: None,
        codecs: codecs(kind, true),
        extensions: ExtensionIds { mid: Some(1), transport_cc: Some(2), ..ExtensionIds::default() },
        nack: true,
        pli: true,
        fir: false,
        transport_cc: true,
    }
}

pub fn watching(kind: Kind, ssrc: u32, rtx_ssrc: Option<u32>) -> SlotParameters {
    SlotParameters {
        kind,
        mid: "s".into(),
        ssrc,
        rtx_ssrc,
        codecs: codecs(kind, rtx_ssrc.is_some()),
        extensions: ExtensionIds { mid: Some(4), ..ExtensionIds::default() },
        nack: true,
    }
}
