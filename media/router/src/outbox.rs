//! Datagrams waiting to be sent: one arena, chained per destination so that I/O can make GSO runs of them.

use std::net::SocketAddr;

/// Which of our sockets, and who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer {
    pub socket: u8,
    pub address: SocketAddr,
}

/// `Peer::socket` of a TCP connection is this and the index of the address it came in by.
pub const TCP: u8 = 0x80;

impl Peer {
    pub fn is_tcp(&self) -> bool {
        self.socket & TCP != 0
    }

    /// How the packets travel.
    pub fn path(&self) -> &'static str {
        if self.is_tcp() { "tcp" } else { "udp" }
    }
}

/// The largest datagram we take or send: an Ethernet payload.
pub const MAX_DATAGRAM_BYTES: usize = 1500;
/// Filled in slices of this size, so that what was just encrypted is still in the cache when the kernel copies it.
const FLUSH_BYTES: usize = 192 * 1024;
const ARENA_BYTES: usize = FLUSH_BYTES + 64 * MAX_DATAGRAM_BYTES;
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Segment {
    start: u32,
    len: u32,
    next: u32,
}

#[derive(Debug, Clone, Copy)]
struct Chain {
    peer: Peer,
    first: u32,
    last: u32,
}

/// Remembers a destination's chain between two packets; stale after a flush, which `Outbox` notices by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChainHandle {
    generation: u64,
    index: u32,
}

#[derive(Debug)]
pub struct Outbox {
    arena: Box<[u8]>,
    used: usize,
    segments: Vec<Segment>,
    chains: Vec<Chain>,
    generation: u64,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            arena: vec![0; ARENA_BYTES].into_boxed_slice(),
            used: 0,
            segments: Vec::with_capacity(4096),
            chains: Vec::with_capacity(1024),
            generation: 1,
        }
    }
}

impl Outbox {
    /// Time to send what is here before making more.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.used >= FLUSH_BYTES
    }

    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Room for one datagram of any size; None when the arena is used up (the caller counts a drop).
    #[inline]
    pub fn room(&mut self) -> Option<&mut [u8]> {
        self.arena.get_mut(self.used..self.used + MAX_DATAGRAM_BYTES + 64)
    }

    /// The first `len` bytes of `room` are a datagram for `peer`, after those already in the same chain.
    #[inline]
    pub fn commit(&mut self, len: usize, peer: Peer, handle: &mut ChainHandle) {
        let segment = self.segments.len() as u32;
        self.segments.push(Segment { start: self.used as u32, len: len as u32, next: NONE });
        // Cache lines are not shared between datagrams.
        self.used += len.next_multiple_of(64);
        if handle.generation == self.generation {
            let chain = &mut self.chains[handle.index as usize];
            if chain.peer == peer {
                self.segments[chain.last as usize].next = segment;
                chain.last = segment;
                return;
            }
        }
        *handle = ChainHandle { generation: self.generation, index: self.chains.len() as u32 };
        self.chains.push(Chain { peer, first: segment, last: segment });
    }

    /// Copies a whole datagram in.
    pub fn push(&mut self, datagram: &[u8], peer: Peer, handle: &mut ChainHandle) -> bool {
        let Some(room) = self.room() else { return false };
        let Some(room) = room.get_mut(..datagram.len()) else { return false };
        room.copy_from_slice(datagram);
        self.commit(datagram.len(), peer, handle);
        true
    }

    /// All destinations, each with its datagrams in order.
    pub fn chains(&self) -> impl Iterator<Item = (Peer, Datagrams<'_>)> {
        self.chains.iter().map(|chain| (chain.peer, Datagrams { outbox: self, next: chain.first }))
    }

    pub fn clear(&mut self) {
        self.used = 0;
        self.segments.clear();
        self.chains.clear();
        self.generation += 1;
    }
}

pub struct Datagrams<'a> {
    outbox: &'a Outbox,
    next: u32,
}

impl<'a> Iterator for Datagrams<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let segment = self.outbox.segments.get(self.next as usize)?;
        self.next = segment.next;
        Some(&self.outbox.arena[segment.start as usize..(segment.start + segment.len) as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> Peer {
        Peer { socket: 0, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    #[test]
    fn datagrams_of_one_destination_stay_in_order_across_others() {
        let mut outbox = Outbox::default();
        let (mut a, mut b) = (ChainHandle::default(), ChainHandle::default());
        for round in 0..3u8 {
            assert!(outbox.push(&[1, round], peer(1), &mut a));
            assert!(outbox.push(&[2, round], peer(2), &mut b));
        }
        let sent: Vec<(u16, Vec<Vec<u8>>)> =
            outbox.chains().map(|(p, d)| (p.address.port(), d.map(<[u8]>::to_vec).collect())).collect();
        assert_eq!(
            sent,
            vec![(1, vec![vec![1, 0], vec![1, 1], vec![1, 2]]), (2, vec![vec![2, 0], vec![2, 1], vec![2, 2]])]
        );
        outbox.clear();
        assert!(outbox.push(&[9], peer(1), &mut a));
        assert_eq!(outbox.chains().count(), 1);
    }

    #[test]
    fn a_full_arena_refuses_instead_of_growing() {
        let mut outbox = Outbox::default();
        let mut handle = ChainHandle::default();
        let datagram = [7u8; MAX_DATAGRAM_BYTES];
        let mut taken = 0;
        while outbox.push(&datagram, peer(1), &mut handle) {
            taken += 1;
            assert!(taken < 10_000);
        }
        assert!(outbox.is_full());
        assert!(taken >= FLUSH_BYTES / MAX_DATAGRAM_BYTES);
    }
}
