//! ICE restart (RFC 8445 9): new credentials for a transport that goes on. Addresses, consent, SRTP and routes stay.

use aws_lc_rs::hmac;

use super::Core;
use super::tables::Transport;
use crate::stats::Counter;
use crate::stun::{Message, short_term_key};

/// What a connectivity check has to show: our ufrag and password, the peer's ufrag where it is known.
#[derive(Debug)]
pub struct Credentials {
    pub local_ufrag: String,
    pub integrity_key: hmac::Key,
    pub remote_ufrag: Option<String>,
}

impl Credentials {
    pub fn new(local_ufrag: String, local_pwd: &str, remote_ufrag: Option<String>) -> Self {
        Self { local_ufrag, integrity_key: short_term_key(local_pwd), remote_ufrag }
    }

    /// Whether a check that named `local` and `remote` was made with these.
    fn made(&self, message: &Message<'_>, local: &str, remote: &str) -> bool {
        self.local_ufrag == local
            && self.remote_ufrag.as_deref().is_none_or(|expected| expected == remote)
            && message.verify_integrity(&self.integrity_key)
    }
}

/// Which credentials a valid check was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    Current,
    /// Those from before a restart whose own checks have not come yet.
    Previous,
}

impl Transport {
    /// None: the check proves nothing.
    pub fn check_of(&self, message: &Message<'_>, local: &str, remote: &str) -> Option<Generation> {
        if self.credentials.made(message, local, remote) {
            return Some(Generation::Current);
        }
        let previous = self.previous_credentials.as_ref()?;
        previous.made(message, local, remote).then_some(Generation::Previous)
    }

    /// The credentials that answer a check of this generation.
    pub fn credentials_of(&self, generation: Generation) -> &Credentials {
        match (generation, &self.previous_credentials) {
            (Generation::Previous, Some(previous)) => previous,
            _ => &self.credentials,
        }
    }
}

impl Core {
    /// From now on both pairs are good, until the first check with the new one: the answer to the restart may be lost
    /// on its way, and until the peer has found a new path its old one carries the media.
    pub(super) fn restart_ice(
        &mut self,
        transport_id: u64,
        local_ufrag: String,
        local_pwd: &str,
        remote_ufrag: Option<String>,
    ) -> Option<()> {
        let at = self.transports.find(transport_id)?;
        if self.by_ufrag.contains_key(&local_ufrag) {
            return None;
        }
        let transport = self.transports.get_mut(at)?;
        let fresh = Credentials::new(local_ufrag.clone(), local_pwd, remote_ufrag);
        let current = std::mem::replace(&mut transport.credentials, fresh);
        // A second restart before the first was used: the pair that was never used goes, the one in use stays.
        match &transport.previous_credentials {
            Some(_) => drop(self.by_ufrag.remove(&current.local_ufrag)),
            None => transport.previous_credentials = Some(current),
        }
        self.by_ufrag.insert(local_ufrag, at);
        self.counters.inc(Counter::IceRestarts);
        Some(())
    }

    /// The new credentials were used: those from before end (RFC 8445 9).
    pub(super) fn retire_credentials(&mut self, at: usize) {
        let Some(transport) = self.transports.get_mut(at) else { return };
        if let Some(previous) = transport.previous_credentials.take() {
            self.by_ufrag.remove(&previous.local_ufrag);
        }
    }
}
