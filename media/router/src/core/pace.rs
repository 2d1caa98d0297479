//! Paced sending for viewers whose path is the limit: a key frame that leaves at once would fill the queue before the
//! bottleneck, or overflow it, and sound would wait behind it. Sound itself never waits here.
//!
//! What waits is a reference into the shared history, not a copy. Everyone else's bursts leave as they come.

use std::collections::VecDeque;

use super::Core;
use super::forward::send;
use super::tables::Transport;
use crate::outbox::Outbox;
use crate::rewrite::Numbers;
use crate::stats::Counter;

/// How often queues are looked at: a few packets at a time at the rates that are paced.
const PACE_US: u64 = 5_000;
/// So much may leave ahead of its time, or every look would be late.
const AHEAD_US: u64 = 5_000;
/// Faster than the path: a frame has to be there before the next one. The queue absorbs what is in excess.
const SPEED_UP: u64 = 2;
/// Beyond this the oldest leaves at once, in order.
const MAX_WAITING: usize = 512;

#[derive(Debug, Clone, Copy)]
pub struct Waiting {
    pub slot_id: u64,
    pub ingest_id: u64,
    pub src_ext_seq: u64,
    pub numbers: Numbers,
}

#[derive(Debug, Default)]
pub struct Pacer {
    waiting: VecDeque<Waiting>,
    free_at_us: u64,
    listed: bool,
}

impl Pacer {
    pub fn push(&mut self, waiting: Waiting) {
        self.waiting.push_back(waiting);
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// True once: the caller puts the transport on its list.
    pub fn is_news(&mut self) -> bool {
        let news = !self.waiting.is_empty() && !self.listed;
        self.listed |= news;
        news
    }
}

impl Transport {
    /// Video to this viewer waits its turn: a better layer does not fit, or something waits already.
    #[inline]
    pub fn is_paced(&self) -> bool {
        match &self.bandwidth {
            Some(bandwidth) => (self.need_bps.is_some() && bandwidth.is_proven()) || !self.pacer.is_empty(),
            None => false,
        }
    }
}

impl Core {
    /// Sends what is due of what waits. False if the outbox filled up first.
    pub(super) fn pace(&mut self, now_us: u64, outbox: &mut Outbox) -> bool {
        if self.next_pace_us.is_none_or(|at_us| now_us < at_us) {
            return true;
        }
        for place in 0..self.pacing.len() {
            if !self.pace_transport(now_us, self.pacing[place], outbox) {
                return false;
            }
        }
        let transports = &mut self.transports;
        self.pacing.retain(|at| match transports.get_mut(*at) {
            Some(transport) if !transport.pacer.is_empty() => true,
            Some(transport) => {
                transport.pacer.listed = false;
                false
            }
            None => false,
        });
        self.next_pace_us = (!self.pacing.is_empty()).then_some(now_us + PACE_US);
        true
    }

    fn pace_transport(&mut self, now_us: u64, at: usize, outbox: &mut Outbox) -> bool {
        let Some(transport) = self.transports.get_mut(at) else { return true };
        let budget_bps = transport.bandwidth.as_ref().and_then(|bandwidth| bandwidth.budget_bps(now_us));
        // None: the peer has turned out to tell nothing; what waits leaves at once.
        let rate_bps = budget_bps.map_or(u64::MAX, |bps| (bps * SPEED_UP).max(100_000));
        loop {
            let due = transport.pacer.free_at_us <= now_us + AHEAD_US || transport.pacer.waiting.len() > MAX_WAITING;
            if !due || transport.pacer.is_empty() {
                return true;
            }
            if outbox.is_full() {
                return false;
            }
            let Some(next) = transport.pacer.waiting.pop_front() else { return true };
            let Some(slot) = self.slots.find(next.slot_id).and_then(|at| self.slots.get_mut(at)) else { continue };
            let ingest = self.ingests.find(next.ingest_id).and_then(|at| self.ingests.get(at));
            let Some(entry) = ingest.and_then(|ingest| ingest.history.get(next.src_ext_seq)) else { continue };
            let Some(payload_type) = slot.way(entry.codec).map(|way| way.payload_type) else { continue };
            let (ssrc, ext_seq) = (slot.parameters.ssrc, next.numbers.ext_seq);
            let bytes = (entry.payload.len() + crate::meter::OVERHEAD_BYTES) as u64;
            let from_us = transport.pacer.free_at_us.max(now_us);
            transport.pacer.free_at_us = from_us + bytes.saturating_mul(8_000_000) / rate_bps;
            let (template, numbers) = (&slot.template, next.numbers);
            match send(now_us, template, ssrc, payload_type, ext_seq, numbers, entry, None, transport, outbox) {
                Some(()) => {
                    slot.packets += 1;
                    slot.payload_bytes += entry.payload.len() as u64;
                    self.counters.inc(Counter::RtpOut);
                    self.counters.inc(Counter::Paced);
                }
                None => self.counters.inc(Counter::TxDropped),
            }
        }
    }
}
