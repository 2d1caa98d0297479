//! The last packets of one publisher's stream, in plain, kept once for all viewers (architecture 3.3).
//!
//! A fixed ring indexed by `ext_seq`. Buffers are reused, so a running stream allocates nothing.

use crate::payload::{Codec, Vp8Descriptor};

const EMPTY: u64 = u64::MAX;

#[derive(Debug, Clone)]
pub struct Entry {
    pub ext_seq: u64,
    pub rtp_ts: u32,
    pub codec: Codec,
    pub marker: bool,
    pub key_frame_start: bool,
    /// RTP padding that every viewer's copy gets, so that the packets of one burst are equally long (see `Core::poll`).
    pub padding: u8,
    pub audio_level: Option<u8>,
    pub vp8: Vp8Descriptor,
    pub payload: Vec<u8>,
}

#[derive(Debug)]
pub struct History {
    entries: Vec<Entry>,
    capacity: u64,
    highest: Option<u64>,
}

/// Why there is no room for a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    Duplicate,
    /// Older than everything the ring can tell apart.
    TooOld,
}

impl History {
    pub fn new(capacity: usize) -> Self {
        Self { entries: Vec::new(), capacity: capacity.max(16) as u64, highest: None }
    }

    pub fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Makes room for `ext_seq`. Exactly once per `ext_seq` the answer is an entry to fill in: what was kept and
    /// forwarded once can never be replaced by other bytes, which SRTP depends on.
    pub fn claim(&mut self, ext_seq: u64) -> Result<&mut Entry, Kept> {
        if let Some(highest) = self.highest
            && ext_seq.saturating_add(self.capacity) <= highest
        {
            return Err(Kept::TooOld);
        }
        let at = (ext_seq % self.capacity) as usize;
        while self.entries.len() <= at {
            self.entries.push(Entry {
                ext_seq: EMPTY,
                rtp_ts: 0,
                codec: Codec::Opus,
                marker: false,
                key_frame_start: false,
                padding: 0,
                audio_level: None,
                vp8: Vp8Descriptor::default(),
                payload: Vec::new(),
            });
        }
        let entry = &mut self.entries[at];
        if entry.ext_seq == ext_seq {
            return Err(Kept::Duplicate);
        }
        entry.ext_seq = ext_seq;
        self.highest = Some(self.highest.map_or(ext_seq, |h| h.max(ext_seq)));
        Ok(entry)
    }

    #[inline]
    pub fn get(&self, ext_seq: u64) -> Option<&Entry> {
        self.entries.get((ext_seq % self.capacity) as usize).filter(|entry| entry.ext_seq == ext_seq)
    }

    pub fn get_mut(&mut self, ext_seq: u64) -> Option<&mut Entry> {
        self.entries.get_mut((ext_seq % self.capacity) as usize).filter(|entry| entry.ext_seq == ext_seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_number_is_claimed_once() {
        let mut history = History::new(16);
        for ext_seq in 65_530..65_560 {
            history.claim(ext_seq).unwrap().payload = ext_seq.to_be_bytes().to_vec();
            assert_eq!(history.claim(ext_seq).err(), Some(Kept::Duplicate));
        }
        assert_eq!(history.claim(65_543).err(), Some(Kept::TooOld));
        assert_eq!(history.claim(65_544).err(), Some(Kept::Duplicate));
        assert!(history.get(65_543).is_none());
        assert_eq!(history.get(65_544).unwrap().payload, 65_544u64.to_be_bytes());
        assert!(history.get(70_000).is_none());
    }

    #[test]
    fn a_gap_is_not_filled_by_what_was_there_before() {
        let mut history = History::new(16);
        history.claim(100).unwrap();
        history.claim(118).unwrap();
        assert!(history.get(102).is_none());
        assert!(history.claim(103).is_ok());
    }
}
