//! An ingest shown in another shard: what its home hands over, and how it is taken in there.
//!
//! The mirror is an ordinary ingest with a history and numbers of its own, fed with the plain RTP packets that its home
//! accepted. Retransmissions to viewers come from the mirror; NACKs, reports and taps of the publisher stay at home.

use super::Core;
use super::tables::{SenderClock, Source, Transport};
use crate::error::Parsed;
use crate::outbox::{Outbox, Peer};
use crate::parameters::IngestParameters;
use crate::rtp::Header;
use crate::stats::Counter;

/// A mirror that nobody here has shown for so long is given back.
const IDLE_US: u64 = 5_000_000;

/// What is handed over.
#[derive(Debug, Clone, Copy)]
pub enum Share {
    /// A plain RTP packet with its authentic index, of the stream itself or of its retransmissions.
    Packet { index: u64, rtx: bool },
    /// The publisher's sender report.
    Clock(SenderClock),
    /// The ingest is no more.
    Gone,
}

/// What a mirror asks of its home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorWish {
    Keyframe,
    Unsubscribe,
}

/// On a mirror: where its home is, and since when nobody shows it.
#[derive(Debug)]
pub struct Mirror {
    pub home: usize,
    pub idle_since_us: Option<u64>,
}

/// Packets waiting to be handed over: one arena, reused.
#[derive(Debug, Default)]
pub struct Feed {
    bytes: Vec<u8>,
    items: Vec<(u64, u64, Share, usize)>,
}

impl Feed {
    fn add(&mut self, to: u64, ingest_id: u64, share: Share, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.items.push((to, ingest_id, share, self.bytes.len()));
    }
}

/// What passes between a core and the other shards; empty and unused where there is one.
#[derive(Debug, Default)]
pub struct Border {
    feed: Feed,
    wishes: Vec<(usize, u64, MirrorWish)>,
    mirrors: usize,
    /// Addresses that began (true) or ceased to be ours.
    address_changes: Option<Vec<(Peer, bool)>>,
}

impl Core {
    // Addresses ------------------------------------------------------------------------------------------------------

    /// From now on `take_address_changes` has to be called after each batch.
    pub fn watch_addresses(&mut self) {
        self.border.address_changes.get_or_insert_default();
    }

    pub(super) fn address_changed(&mut self, peer: Peer, ours: bool) {
        if let Some(changes) = &mut self.border.address_changes {
            changes.push((peer, ours));
        }
    }

    pub fn take_address_changes(&mut self, take: impl FnMut(Peer, bool)) {
        let Some(changes) = &mut self.border.address_changes else { return };
        let mut take = take;
        changes.drain(..).for_each(|(peer, ours)| take(peer, ours));
    }

    pub fn has_address(&self, peer: &Peer) -> bool {
        self.by_address.contains_key(peer)
    }

    pub fn has_ufrag(&self, ufrag: &str) -> bool {
        self.by_ufrag.contains_key(ufrag)
    }

    /// The address has proved itself to a transport elsewhere.
    pub fn forget_address(&mut self, peer: &Peer) {
        let Some(transport) = self.by_address.remove(peer).and_then(|at| self.transports.get_mut(at)) else { return };
        transport.addresses.retain(|address| address != peer);
        transport.remote = transport.remote.filter(|remote| remote != peer);
    }

    /// The connection that the address stood for has ended.
    pub fn drop_address(&mut self, peer: &Peer) {
        self.forget_address(peer);
        self.address_changed(*peer, false);
    }

    // At home --------------------------------------------------------------------------------------------------------

    /// `shard` (below 64) shows the ingest, or does not any more. An ingest that is gone is said to be.
    pub fn share_with(&mut self, ingest_id: u64, shard: usize, on: bool) {
        let mask = 1u64 << shard;
        match self.ingests.find(ingest_id).and_then(|at| self.ingests.get_mut(at)) {
            Some(ingest) if on => {
                ingest.shared_with |= mask;
                if let Some(clock) = ingest.sender_clock {
                    self.border.feed.add(mask, ingest_id, Share::Clock(clock), &[]);
                }
            }
            Some(ingest) => ingest.shared_with &= !mask,
            None if on => self.border.feed.add(mask, ingest_id, Share::Gone, &[]),
            None => {}
        }
    }

    pub(super) fn share_packet(&mut self, source: Source, index: u64, packet: &[u8]) {
        let (at, rtx) = match source {
            Source::Media(at) => (at, false),
            Source::Rtx(at) => (at, true),
            Source::Retired => return,
        };
        let Some(ingest) = self.ingests.get(at).filter(|ingest| ingest.shared_with != 0) else { return };
        self.border.feed.add(ingest.shared_with, ingest.id, Share::Packet { index, rtx }, packet);
        self.counters.inc(Counter::Mirrored);
    }

    pub(super) fn share(&mut self, at: usize, share: Share) {
        let Some(ingest) = self.ingests.get(at).filter(|ingest| ingest.shared_with != 0) else { return };
        self.border.feed.add(ingest.shared_with, ingest.id, share, &[]);
    }

    /// What other shards (a bit each) are to get: ingest, share, plain packet if it is one.
    pub fn take_shared(&mut self, mut take: impl FnMut(u64, u64, Share, &[u8])) {
        let Feed { bytes, items } = &mut self.border.feed;
        let mut start = 0;
        for (to, ingest_id, share, end) in items.drain(..) {
            take(to, ingest_id, share, &bytes[start..end]);
            start = end;
        }
        bytes.clear();
    }

    /// A mirror's viewers want a key frame of an ingest that lives here.
    pub fn want_keyframe(&mut self, now_us: u64, ingest_id: u64, outbox: &mut Outbox) {
        // Gone meanwhile: the mirror will hear so.
        if self.request_keyframe(ingest_id).is_some() {
            self.send_due_plis(now_us, outbox);
        }
    }

    // At the mirror --------------------------------------------------------------------------------------------------

    /// Makes room for an ingest of shard `home`. True when it is new: then `home` has to be asked for its packets.
    pub fn add_mirror(
        &mut self,
        ingest_id: u64,
        transport_id: u64,
        home: usize,
        parameters: &IngestParameters,
    ) -> bool {
        if let Some(ingest) = self.ingests.find(ingest_id).and_then(|at| self.ingests.get_mut(at)) {
            if let Some(mirror) = &mut ingest.mirror {
                mirror.idle_since_us = None;
            }
            return false;
        }
        if self.transports.find(transport_id).is_none() {
            self.transports.insert(transport_id, Transport::of_mirrors(transport_id));
        }
        // The home asks the publisher for what is missing and repairs arrive here like everything else.
        let parameters = IngestParameters { nack: false, ..parameters.clone() };
        let added = self.add_ingest(ingest_id, transport_id, parameters);
        let Some(ingest) = added.and_then(|()| self.ingests.find(ingest_id)).and_then(|at| self.ingests.get_mut(at))
        else {
            return false;
        };
        ingest.mirror = Some(Mirror { home, idle_since_us: None });
        self.border.mirrors += 1;
        true
    }

    /// Takes in what the home shard handed over. The packet was authentic, its sender may still have written anything.
    pub fn handle_shared_untrusted(&mut self, now_us: u64, ingest_id: u64, share: Share, packet: &[u8]) {
        let Some(at) = self.ingests.find(ingest_id) else { return };
        let Some(ingest) = self.ingests.get_mut(at).filter(|ingest| ingest.mirror.is_some()) else { return };
        match share {
            Share::Packet { index, rtx } => {
                let source = if rtx { Source::Rtx(at) } else { Source::Media(at) };
                if let Err(why) = self.mirrored_untrusted(now_us, source, ingest_id, index, packet) {
                    self.counters.bad(why);
                }
            }
            Share::Clock(clock) => ingest.sender_clock = Some(clock),
            Share::Gone => {
                self.remove_ingest(ingest_id);
            }
        }
    }

    fn mirrored_untrusted(&mut self, now_us: u64, source: Source, id: u64, index: u64, packet: &[u8]) -> Parsed<()> {
        let header = Header::parse_untrusted(packet)?;
        let ingest = self.ingests.find(id).and_then(|at| self.ingests.get(at));
        let Some(transport) = ingest.and_then(|ingest| self.transports.get(ingest.transport)) else { return Ok(()) };
        let labels = super::ingress::labels(transport, &header, packet);
        self.sourced_untrusted(now_us, source, &header, index, packet, &labels)
    }

    pub(super) fn has_mirrors(&self) -> bool {
        self.border.mirrors > 0
    }

    /// Called when the mirror `ingest` was removed; its stand-in of a transport goes with the last one.
    pub(super) fn mirror_removed(&mut self, transport_at: usize) {
        self.border.mirrors -= 1;
        let last = self.transports.get(transport_at).filter(|t| t.is_mirror && t.ingests.is_empty()).map(|t| t.id);
        if let Some(id) = last {
            self.transports.remove(id);
        }
    }

    pub(super) fn ask_home(&mut self, at: usize, wish: MirrorWish) {
        let Some(ingest) = self.ingests.get(at) else { return };
        if let Some(mirror) = &ingest.mirror {
            self.border.wishes.push((mirror.home, ingest.id, wish));
        }
    }

    /// What mirrors ask of the shards they come from.
    pub fn take_mirror_wishes(&mut self, mut take: impl FnMut(usize, u64, MirrorWish)) {
        self.border.wishes.drain(..).for_each(|(home, ingest_id, wish)| take(home, ingest_id, wish));
    }

    /// Gives back mirrors that nobody shows. A slot shows its old source until the new one's key frame, so this cannot
    /// be told from commands.
    pub(super) fn expire_mirrors(&mut self, now_us: u64) {
        if !self.has_mirrors() {
            return;
        }
        for at in 0..self.ingests.bound() {
            let Some(ingest) = self.ingests.get_mut(at) else { continue };
            let Some(mirror) = &mut ingest.mirror else { continue };
            if !ingest.viewers.is_empty() || !ingest.candidates.is_empty() {
                mirror.idle_since_us = None;
            } else if now_us >= *mirror.idle_since_us.get_or_insert(now_us) + IDLE_US {
                let id = ingest.id;
                self.ask_home(at, MirrorWish::Unsubscribe);
                self.remove_ingest(id);
            }
        }
    }
}
