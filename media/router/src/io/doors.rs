//! Which shard a stranger's datagram belongs to. Every shard has a socket on the same port (SO_REUSEPORT) and the kernel
//! chooses one by the peer's address; the transport may live in another shard.
//!
//! Written when a transport comes or goes and when an address proves itself; read for datagrams that the receiving
//! shard does not know itself.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use crate::outbox::Peer;

#[derive(Default)]
struct Plates {
    by_ufrag: HashMap<String, usize>,
    by_address: HashMap<Peer, usize>,
}

#[derive(Default)]
pub(super) struct Doors(RwLock<Plates>);

impl Doors {
    fn read<T>(&self, look: impl FnOnce(&Plates) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Plates) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn of_ufrag(&self, ufrag: &str) -> Option<usize> {
        self.read(|plates| plates.by_ufrag.get(ufrag).copied())
    }

    pub fn of_address(&self, peer: &Peer) -> Option<usize> {
        self.read(|plates| plates.by_address.get(peer).copied())
    }

    pub fn add_ufrag(&self, ufrag: &str, shard: usize) {
        self.write(|plates| plates.by_ufrag.insert(ufrag.into(), shard));
    }

    pub fn remove_ufrag(&self, ufrag: &str) {
        self.write(|plates| plates.by_ufrag.remove(ufrag));
    }

    /// Returns the shard that had the address before, if it was another one.
    pub fn add_address(&self, peer: Peer, shard: usize) -> Option<usize> {
        self.write(|plates| plates.by_address.insert(peer, shard)).filter(|before| *before != shard)
    }

    /// Only the shard that has an address gives it up.
    pub fn remove_address(&self, peer: &Peer, shard: usize) {
        self.write(|plates| {
            if plates.by_address.get(peer) == Some(&shard) {
                plates.by_address.remove(peer);
            }
        });
    }
}
