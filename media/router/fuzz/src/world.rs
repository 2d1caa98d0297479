//! The core between peers that are known by their port, without a network, and with a clock that moves when told.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;

use _router::core::{Command, Core, Event, Keys};
use _router::outbox::{Outbox, Peer};
use _router::rtcp::{Compound, Item, read_untrusted};
use _router::rtp::{Header, extend_seq};
use _router::srtp::{Inbound, Outbound, Profile};
use _router::stun;

pub const PASSWORD: &str = "a password of twenty-two";
const PROFILE: Profile = Profile::AeadAes128Gcm;

pub fn address(port: u16) -> Peer {
    Peer { socket: 0, address: SocketAddr::from(([10, 0, 0, 1], port)) }
}

/// One peer's half of SRTP, and what reached it.
pub struct Link {
    pub sender: Outbound,
    receiver: Inbound,
    /// Media packets by SSRC that arrived whole.
    pub media: HashMap<u32, u64>,
    /// Key frames asked for by the router, by the publisher's SSRC.
    pub asked: HashMap<u32, u64>,
}

pub struct World {
    pub core: Core,
    pub outbox: Outbox,
    pub now_us: u64,
    pub links: HashMap<u16, Link>,
    pub events: Vec<Event>,
    /// Digest of the packet that was sent under each (port, SSRC, index): AES-GCM breaks where two share one.
    sealed: HashMap<(u16, u32, u64), u64>,
    highest: HashMap<(u16, u32), u64>,
    /// Nonces are remembered; long runs switch this off to keep their own memory level.
    pub remembers: bool,
}

impl World {
    pub fn new(history_packets: usize) -> Self {
        Self {
            core: Core::new(history_packets, 42),
            outbox: Outbox::default(),
            now_us: 3_600_000_000,
            links: HashMap::new(),
            events: Vec::new(),
            sealed: HashMap::new(),
            highest: HashMap::new(),
            remembers: true,
        }
    }

    pub fn order(&mut self, command: Command) {
        self.core.apply(self.now_us, command, &mut self.outbox);
        self.settle();
    }

    pub fn datagram(&mut self, from: Peer, datagram: &mut [u8]) {
        self.core.handle_datagram(self.now_us, from, datagram, &mut self.outbox);
        self.settle();
    }

    /// Lets time pass in the steps that the core asks for.
    pub fn pass_us(&mut self, us: u64) {
        let until = self.now_us + us;
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
        self.events.clear();
        self.core.take_events(&mut self.events);
    }

    fn deliver(&mut self) {
        let Self { outbox, links, sealed, highest, remembers, .. } = self;
        for (peer, datagrams) in outbox.chains() {
            let port = peer.address.port();
            for datagram in datagrams {
                let Some(link) = links.get_mut(&port).filter(|_| datagram[0] >= 128) else { continue };
                let mut digest = DefaultHasher::new();
                datagram.hash(&mut digest);
                let digest = digest.finish();
                let mut copy = datagram.to_vec();
                if (192..=223).contains(&datagram[1]) {
                    let len = link.receiver.unprotect_rtcp_untrusted(&mut copy).expect("a fresh, authentic report");
                    let asked = &mut link.asked;
                    read_untrusted(&copy[..len], |item| {
                        if let Item::Pli { media_ssrc } | Item::Fir { media_ssrc } = item {
                            *asked.entry(media_ssrc).or_default() += 1;
                        }
                    })
                    .expect("a well-formed report");
                    continue;
                }
                let header = Header::parse_untrusted(datagram).expect("a well-formed packet");
                let top = highest.entry((port, header.ssrc)).or_insert(u64::from(header.seq) + 65_536);
                let index = extend_seq(header.seq, *top);
                *top = index.max(*top);
                if *remembers {
                    match sealed.entry((port, header.ssrc, index)) {
                        Entry::Occupied(before) => {
                            assert_eq!(*before.get(), digest, "two packets under index {index} of {}", header.ssrc);
                            continue;
                        }
                        Entry::Vacant(place) => {
                            place.insert(digest);
                        }
                    }
                }
                let opened =
                    link.receiver.unprotect_rtp_untrusted(&mut copy, header.len_bytes, header.ssrc, header.seq);
                let (len, _) = opened.expect("a fresh, authentic packet");
                let payload = header.payload_untrusted(&copy[..len]).expect("padding that fits");
                // What has no payload is padding that probes the path.
                *link.media.entry(header.ssrc).or_default() += u64::from(!payload.is_empty());
            }
        }
        outbox.clear();
    }

    /// A transport whose id, ufrag and keys follow from the port: checked, nominated, with keys.
    pub fn join(&mut self, port: u16) {
        self.order(Command::AddTransport {
            transport_id: u64::from(port),
            local_ufrag: format!("u{port}"),
            local_pwd: PASSWORD.into(),
            remote_ufrag: None,
        });
        self.check(port, address(port));
        let key = |direction: u8| [direction, port as u8, (port >> 8) as u8, 7].repeat(4);
        let salt = || vec![9; PROFILE.salt_bytes()];
        let (rx_key, tx_key) = (key(1), key(2));
        let link = Link {
            sender: Outbound::new(PROFILE, &rx_key, &salt()).expect("right sizes"),
            receiver: Inbound::new(PROFILE, &tx_key, &salt()).expect("right sizes"),
            media: HashMap::new(),
            asked: HashMap::new(),
        };
        let keys = Keys { profile: PROFILE, rx_key, rx_salt: salt(), tx_key, tx_salt: salt() };
        self.order(Command::SetKeys { transport_id: u64::from(port), keys: Box::new(keys) });
        self.links.insert(port, link);
    }

    pub fn leave(&mut self, port: u16) {
        self.order(Command::RemoveTransport { transport_id: u64::from(port) });
        self.links.remove(&port);
        self.sealed.retain(|(of, _, _), _| *of != port);
        self.highest.retain(|(of, _), _| *of != port);
    }

    /// A valid connectivity check for the transport of `port`, from wherever.
    pub fn check(&mut self, port: u16, from: Peer) {
        let mut request = [0; 256];
        let key = stun::short_term_key(PASSWORD);
        let len = stun::write_binding_request(&mut request, &[port as u8; 12], &format!("u{port}:peer"), &key);
        self.datagram(from, &mut request[..len.expect("a short name")]);
    }

    /// One packet of the peer at `port`. `extensions`: one-byte extension elements, or nothing.
    #[allow(clippy::too_many_arguments)] // a packet's fields, in their order
    pub fn rtp(
        &mut self,
        port: u16,
        payload_type: u8,
        marker: bool,
        ext_seq: u64,
        rtp_ts: u32,
        ssrc: u32,
        extensions: &[u8],
        payload: &[u8],
    ) {
        let mut bytes = vec![0x80, (payload_type & 0x7f) | if marker { 0x80 } else { 0 }];
        bytes.extend_from_slice(&(ext_seq as u16).to_be_bytes());
        bytes.extend_from_slice(&rtp_ts.to_be_bytes());
        bytes.extend_from_slice(&ssrc.to_be_bytes());
        if !extensions.is_empty() {
            bytes[0] |= 0x10;
            let mut block = extensions.to_vec();
            block.resize(block.len().next_multiple_of(4), 0);
            bytes.extend_from_slice(&[0xBE, 0xDE, 0, (block.len() / 4) as u8]);
            bytes.extend_from_slice(&block);
        }
        let header_bytes = bytes.len();
        bytes.extend_from_slice(payload);
        let plain_bytes = bytes.len();
        bytes.resize(plain_bytes + 16, 0);
        let link = &self.links[&port];
        link.sender.protect_rtp(&mut bytes, plain_bytes, header_bytes, ssrc, ext_seq).expect("the cipher works");
        self.datagram(address(port), &mut bytes);
    }

    /// A report of the peer at `port`, which may be anything of at least eight bytes.
    pub fn rtcp(&mut self, port: u16, mut compound: Compound) {
        let plain_bytes = compound.bytes.len();
        compound.bytes.resize(plain_bytes + 20, 0);
        let link = self.links.get_mut(&port).expect("a peer that joined");
        if link.sender.protect_rtcp(&mut compound.bytes, plain_bytes).is_some() {
            self.datagram(address(port), &mut compound.bytes);
        }
    }
}
