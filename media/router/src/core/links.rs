//! A link: the one transport between two nodes of an installation, both ways.
//!
//! Both ends know each other's addresses, credentials and SRTP keys before the first packet (the nodes' control
//! interfaces agreed on them), so there is no DTLS. Connectivity checks stay, and here the router asks them as well as
//! answering: they find the address that the other end really sends from, no media goes to an address that has not
//! proved itself, and an end that died is missed within seconds (RFC 7675, with a shorter time).

use std::net::SocketAddr;

use aws_lc_rs::hmac;

use super::Core;
use crate::outbox::{ChainHandle, Outbox, Peer};
use crate::stun;

/// How often the other end is asked.
const CHECK_US: u64 = 500_000;
/// Eight checks missed. Nodes are near each other; viewers of a dead one shall not wait for longer.
pub const CONSENT_US: u64 = 4_000_000;
/// Streams and retransmission streams of all publications that may cross one link.
pub const MAX_SOURCES: usize = 4096;

/// The other end, as its control interface described it.
#[derive(Debug)]
pub struct FarEnd {
    pub ufrag: String,
    pub pwd: String,
    /// Best first; all are tried until one answers to us.
    pub peers: Vec<Peer>,
}

pub struct Link {
    username: String,
    integrity_key: hmac::Key,
    peers: Vec<Peer>,
    next_check_us: u64,
}

impl Core {
    pub(super) fn add_link(
        &mut self,
        now_us: u64,
        transport_id: u64,
        local_ufrag: String,
        local_pwd: &str,
        far: FarEnd,
    ) -> Option<()> {
        let link = Link {
            // RFC 8445 7.2.2: the one asked first.
            username: format!("{}:{local_ufrag}", far.ufrag),
            integrity_key: stun::short_term_key(&far.pwd),
            peers: far.peers,
            next_check_us: now_us,
        };
        self.add_transport(now_us, transport_id, local_ufrag, local_pwd, Some(far.ufrag))?;
        let at = self.transports.find(transport_id)?;
        self.transports.get_mut(at)?.link = Some(link);
        Some(())
    }

    /// Asks the other end, where one is due: the address in use, or all until there is one.
    pub(super) fn check_link(&mut self, now_us: u64, at: usize, outbox: &mut Outbox) {
        let Some(transport) = self.transports.get_mut(at) else { return };
        let Some(link) = transport.link.as_mut().filter(|link| now_us >= link.next_check_us) else { return };
        link.next_check_us = now_us + CHECK_US;
        let used = transport.remote.as_slice();
        for peer in if used.is_empty() { &link.peers[..] } else { used } {
            let mut transaction_id = [0u8; 12];
            transaction_id[..8].copy_from_slice(&self.numbering.next().to_be_bytes());
            let Some(room) = outbox.room() else { return };
            let written = stun::write_binding_request(room, &transaction_id, &link.username, &link.integrity_key);
            let Some(len) = written else { return };
            outbox.commit(len, *peer, &mut ChainHandle::default());
            transport.tx_packets += 1;
        }
    }
}

/// Which of our sockets reaches each address: the first of its family. Addresses that none reaches are left out.
pub fn peers_of(addresses: &[SocketAddr], sockets: &[SocketAddr]) -> Vec<Peer> {
    let reaching = |address: &SocketAddr| sockets.iter().position(|socket| socket.is_ipv4() == address.is_ipv4());
    addresses.iter().filter_map(|address| Some(Peer { socket: reaching(address)? as u8, address: *address })).collect()
}
