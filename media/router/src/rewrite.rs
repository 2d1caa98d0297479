//! Makes many sources look like one stream: sequence numbers, timestamps and VP8's running numbers go on without a
//! seam when a slot switches (what a decoder would see otherwise: a freeze, or a jump of hours).

use crate::payload::Vp8Descriptor;

/// Stretches remembered for retransmission and for late packets: a NACK reaches back a second or two, and a stretch ends
/// with each frame left out, fifteen times a second.
const MAX_EPOCHS: usize = 48;

/// From one switch, or frame left out, to the next every outgoing number is the source's number plus a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// The caller's name for the source (never reused).
    pub source: u64,
    /// Counts switches: a slot may come back to a source.
    turn: u32,
    first_src: u64,
    /// Packets from here on were left out, or are of a later stretch.
    end_src: u64,
    first_out: u64,
    seq_offset: i64,
    ts_offset: u32,
    picture_offset: u16,
    tl0_offset: u8,
}

/// The outgoing numbers of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    pub ext_seq: u64,
    pub rtp_ts: u32,
    pub picture_id: u16,
    pub tl0picidx: u8,
}

impl Epoch {
    #[inline]
    fn apply(&self, src_ext_seq: u64, src_ts: u32, vp8: &Vp8Descriptor) -> Numbers {
        Numbers {
            ext_seq: src_ext_seq.wrapping_add_signed(self.seq_offset),
            rtp_ts: src_ts.wrapping_add(self.ts_offset),
            picture_id: vp8.picture_id.wrapping_add(self.picture_offset) & 0x7fff,
            tl0picidx: vp8.tl0picidx.wrapping_add(self.tl0_offset),
        }
    }
}

#[derive(Debug)]
pub struct Rewrite {
    epochs: Vec<Epoch>,
    next_ext_seq: u64,
    last_ts: u32,
    last_picture_id: u16,
    last_tl0: u8,
    last_sent_us: Option<u64>,
    /// Of the current source, sent or left out.
    highest_src: u64,
    /// Picture of the frame that is being left out.
    omitted_picture: Option<u16>,
}

impl Rewrite {
    /// `first_seq` and `first_ts` should be random (RFC 3550 5.1); `first_seq` in the lower half, so that a receiver
    /// that misses the first packets still guesses rollover 0 (RFC 3711 3.3.1).
    pub fn new(first_seq: u16, first_ts: u32) -> Self {
        Self {
            epochs: Vec::new(),
            next_ext_seq: u64::from(first_seq & 0x7fff).max(1),
            last_ts: first_ts,
            last_picture_id: 0,
            last_tl0: 0,
            last_sent_us: None,
            highest_src: 0,
            omitted_picture: None,
        }
    }

    /// From now on `source`, whose first forwarded packet is this one.
    pub fn switch(
        &mut self,
        source: u64,
        now_us: u64,
        clock_rate_hz: u32,
        src_ext_seq: u64,
        src_ts: u32,
        vp8: &Vp8Descriptor,
    ) {
        let rtp_ts = match self.last_sent_us {
            None => self.last_ts,
            Some(last_us) => {
                // As many ticks as time has passed, at least one: equal timestamps would merge two frames.
                let elapsed = u128::from(now_us.saturating_sub(last_us)) * u128::from(clock_rate_hz) / 1_000_000;
                self.last_ts.wrapping_add((elapsed as u32).max(1))
            }
        };
        self.highest_src = src_ext_seq;
        self.omitted_picture = None;
        self.push(Epoch {
            source,
            turn: self.epochs.last().map_or(0, |last| last.turn.wrapping_add(1)),
            first_src: src_ext_seq,
            end_src: u64::MAX,
            first_out: self.next_ext_seq,
            seq_offset: self.next_ext_seq as i64 - src_ext_seq as i64,
            ts_offset: rtp_ts.wrapping_sub(src_ts),
            picture_offset: self.last_picture_id.wrapping_add(1).wrapping_sub(vp8.picture_id) & 0x7fff,
            tl0_offset: self.last_tl0.wrapping_add(1).wrapping_sub(vp8.tl0picidx),
        });
    }

    fn push(&mut self, epoch: Epoch) {
        if self.epochs.len() == MAX_EPOCHS {
            self.epochs.remove(0);
        }
        self.epochs.push(epoch);
    }

    /// Beyond everything of the current source so far: what may still be left out.
    #[inline]
    pub fn is_newest(&self, src_ext_seq: u64) -> bool {
        src_ext_seq > self.highest_src
    }

    /// Leaves out a packet that `is_newest`: later ones close the gap in sequence numbers and, once per frame, in picture
    /// ids. Numbers of packets that are missing just before it stay theirs.
    pub fn omit(&mut self, src_ext_seq: u64, vp8: &Vp8Descriptor) {
        let new_picture = self.omitted_picture != Some(vp8.picture_id);
        self.omitted_picture = Some(vp8.picture_id);
        self.highest_src = src_ext_seq;
        let Some(last) = self.epochs.last_mut() else { return };
        let mut next = *last;
        next.first_src = src_ext_seq + 1;
        next.seq_offset -= 1;
        next.first_out = next.first_src.wrapping_add_signed(next.seq_offset);
        next.picture_offset = next.picture_offset.wrapping_sub(u16::from(new_picture)) & 0x7fff;
        if last.first_src == src_ext_seq {
            *last = next;
        } else {
            last.end_src = src_ext_seq;
            self.push(next);
        }
    }

    /// The outgoing numbers of a packet of the current source; None for one from before the switch or left out.
    #[inline]
    pub fn map(&mut self, src_ext_seq: u64, src_ts: u32, vp8: &Vp8Descriptor, now_us: u64) -> Option<Numbers> {
        let last = self.epochs.last()?;
        let epoch = if src_ext_seq >= last.first_src {
            last
        } else {
            // Late: the stretch since the switch that it belongs to.
            let since_switch = self.epochs.iter().rev().take_while(|epoch| epoch.turn == last.turn);
            since_switch
                .skip_while(|epoch| epoch.first_src > src_ext_seq)
                .take(1)
                .find(|epoch| src_ext_seq < epoch.end_src)?
        };
        let numbers = epoch.apply(src_ext_seq, src_ts, vp8);
        self.highest_src = self.highest_src.max(src_ext_seq);
        if numbers.ext_seq >= self.next_ext_seq {
            self.next_ext_seq = numbers.ext_seq + 1;
            self.last_ts = numbers.rtp_ts;
            self.last_picture_id = numbers.picture_id;
            self.last_tl0 = numbers.tl0picidx;
            self.last_sent_us = Some(now_us);
        }
        Some(numbers)
    }

    /// What is sent now.
    pub fn source(&self) -> u64 {
        self.epochs.last().map_or(0, |epoch| epoch.source)
    }

    /// The timestamp that was sent last.
    pub fn last_ts(&self) -> u32 {
        self.last_ts
    }

    /// The outgoing timestamp that belongs to `src_ts` of the current source.
    pub fn map_ts(&self, src_ts: u32) -> Option<u32> {
        Some(src_ts.wrapping_add(self.epochs.last()?.ts_offset))
    }

    /// Which source packet was sent as `seq`: (epoch, source ext_seq). None for what was never sent or is forgotten.
    pub fn find(&self, seq: u16) -> Option<(&Epoch, u64)> {
        let last = self.next_ext_seq.checked_sub(1)?;
        let ext_seq = crate::rtp::extend_seq(seq, last);
        if ext_seq > last {
            return None;
        }
        let epoch = self.epochs.iter().rev().find(|epoch| epoch.first_out <= ext_seq)?;
        Some((epoch, ext_seq.wrapping_add_signed(-epoch.seq_offset)))
    }

    /// The same numbers that `map` gave when the packet was first sent.
    pub fn again(epoch: &Epoch, src_ext_seq: u64, src_ts: u32, vp8: &Vp8Descriptor) -> Numbers {
        epoch.apply(src_ext_seq, src_ts, vp8)
    }
}

#[cfg(test)]
#[path = "rewrite_tests.rs"]
mod tests;
