//! What shards tell each other: datagrams that came to the wrong door, packets of mirrored ingests, and notes about both.
//!
//! A shard gathers parcels for each other shard while it works and hands them over once per batch. Bytes lie in one
//! arena per direction that is swapped and reused, so a running class allocates nothing here.

use std::sync::{Arc, Mutex};

use super::bell::Bell;
use super::lock;
use crate::core::Share;
use crate::outbox::Peer;

/// Bytes that may wait for a shard; it is ten bursts of a publisher's key frames. Beyond it datagrams and packets are
/// dropped (and counted), notes are not.
const MAX_WAITING_BYTES: usize = 4 << 20;

#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    /// Received at another shard's socket; `bytes` is the datagram.
    Datagram(Peer),
    /// Of an ingest that is mirrored here; `bytes` is the plain RTP packet where there is one.
    Shared { ingest_id: u64, share: Share },
    /// This shard's ingest is shown in `shard`, or not any more.
    Subscribe { ingest_id: u64, shard: usize, on: bool },
    /// Viewers in another shard need a key frame of this shard's ingest.
    KeyframeWanted { ingest_id: u64 },
    /// The address has proved itself to a transport of another shard.
    Forget(Peer),
}

#[derive(Default)]
pub(super) struct Parcels {
    bytes: Vec<u8>,
    parcels: Vec<(What, usize, usize)>,
}

impl Parcels {
    /// False when the parcel was dropped.
    pub fn add(&mut self, what: What, bytes: &[u8]) -> bool {
        if !bytes.is_empty() && self.bytes.len() + bytes.len() > MAX_WAITING_BYTES {
            return false;
        }
        self.parcels.push((what, self.bytes.len(), bytes.len()));
        self.bytes.extend_from_slice(bytes);
        true
    }

    pub fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.parcels.clear();
    }

    /// Each parcel in order; the bytes may be decrypted in place.
    pub fn for_each(&mut self, mut take: impl FnMut(What, &mut [u8])) {
        for (what, start, len) in &self.parcels {
            take(*what, &mut self.bytes[*start..start + len]);
        }
    }

    /// Takes over what `from` has, which is empty then. Returns how many were dropped.
    fn append(&mut self, from: &mut Self) -> u64 {
        if self.is_empty() {
            std::mem::swap(self, from);
            return 0;
        }
        let mut dropped = 0;
        from.for_each(|what, bytes| dropped += u64::from(!self.add(what, bytes)));
        from.clear();
        dropped
    }
}

/// Where other shards put parcels for one shard; the bell also rings for its orders.
pub(super) struct Inbox {
    waiting: Mutex<Parcels>,
    pub bell: Arc<Bell>,
}

impl Inbox {
    pub fn new(bell: Arc<Bell>) -> Self {
        Self { waiting: Mutex::default(), bell }
    }

    pub fn put(&self, parcels: &mut Parcels) -> u64 {
        let mut waiting = lock(&self.waiting);
        let first = waiting.is_empty();
        let dropped = waiting.append(parcels);
        drop(waiting);
        if first {
            self.bell.ring();
        }
        dropped
    }

    /// Swaps what waits for the emptied `spare`.
    pub fn take(&self, spare: &mut Parcels) {
        spare.clear();
        std::mem::swap(&mut *lock(&self.waiting), spare);
    }
}

/// One shard's way to the others.
pub(super) struct Post {
    pub me: usize,
    inboxes: Arc<[Inbox]>,
    outgoing: Vec<Parcels>,
    pub dropped: u64,
}

impl Post {
    pub fn new(me: usize, inboxes: Arc<[Inbox]>) -> Self {
        let outgoing = inboxes.iter().map(|_| Parcels::default()).collect();
        Self { me, inboxes, outgoing, dropped: 0 }
    }

    pub fn is_alone(&self) -> bool {
        self.inboxes.len() == 1
    }

    pub fn add(&mut self, to: usize, what: What, bytes: &[u8]) {
        if let Some(parcels) = self.outgoing.get_mut(to) {
            self.dropped += u64::from(!parcels.add(what, bytes));
        }
    }

    pub fn send(&mut self) {
        for (inbox, parcels) in self.inboxes.iter().zip(&mut self.outgoing) {
            if !parcels.is_empty() {
                self.dropped += inbox.put(parcels);
            }
        }
    }

    pub fn take(&self, spare: &mut Parcels) {
        self.inboxes[self.me].take(spare);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn parcels_arrive_in_order_and_too_many_bytes_are_dropped_but_notes_are_not() {
        let bell = Arc::new(Bell::new().unwrap());
        let inboxes: Arc<[Inbox]> = (0..2).map(|_| Inbox::new(Arc::clone(&bell))).collect();
        let (mut post, there) = (Post::new(0, Arc::clone(&inboxes)), Post::new(1, inboxes));
        let from = Peer { socket: 0, address: SocketAddr::from(([127, 0, 0, 1], 9)) };
        let rounds = MAX_WAITING_BYTES / 1000 + 10;
        for round in 0..rounds {
            post.add(1, What::Datagram(from), &[round as u8; 1000]);
            if round % 100 == 0 {
                post.send();
            }
        }
        post.add(1, What::KeyframeWanted { ingest_id: 7 }, &[]);
        post.send();
        let mut parcels = Parcels::default();
        there.take(&mut parcels);
        let (mut seen, mut wanted) = (0, 0);
        parcels.for_each(|what, bytes| match what {
            What::Datagram(peer) => {
                assert_eq!((peer, bytes.len(), bytes[0]), (from, 1000, seen as u8));
                seen += 1;
            }
            What::KeyframeWanted { ingest_id } => wanted += ingest_id,
            _ => panic!("nothing else was sent"),
        });
        assert_eq!((seen, wanted), (MAX_WAITING_BYTES / 1000, 7));
        assert_eq!(post.dropped as usize, rounds - seen);
        there.take(&mut parcels);
        assert!(parcels.is_empty());
    }
}
