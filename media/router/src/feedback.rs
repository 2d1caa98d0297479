//! What publishers are told between reports: transport-wide arrival times, and requests for key frames.

use std::collections::BTreeMap;

/// Arrivals kept between two reports; at 100 ms this is 10 000 packets/s from one publisher.
const MAX_ARRIVALS: usize = 1000;
/// Statuses in one report: larger gaps than this are a restart of the counter, not loss.
const MAX_STATUSES: u64 = 600;
const REFERENCE_US: u64 = 64_000;
const DELTA_US: u64 = 250;

/// Arrival times by transport-wide sequence number, encoded per draft-holmer-rmcat-transport-wide-cc-extensions-01 3.1.
#[derive(Debug, Default)]
pub struct TransportCc {
    arrivals: BTreeMap<u64, u64>,
    highest: Option<u64>,
    next_base: Option<u64>,
    feedback_count: u8,
}

impl TransportCc {
    pub fn receive(&mut self, seq: u16, now_us: u64) {
        let ext_seq = match self.highest {
            // Starting above zero keeps packets that were overtaken by the first one from going below it.
            None => u64::from(seq) + 65_536,
            Some(highest) => crate::rtp::extend_seq(seq, highest),
        };
        self.highest = Some(self.highest.map_or(ext_seq, |h| h.max(ext_seq)));
        if self.arrivals.len() < MAX_ARRIVALS {
            self.arrivals.entry(ext_seq).or_insert(now_us);
        }
    }

    pub fn has_news(&self) -> bool {
        !self.arrivals.is_empty()
    }

    /// One feedback body: base sequence number, count, reference time, chunks and deltas. None when nothing is new.
    /// Call again until None: a report ends where a delta does not fit.
    pub fn encode(&mut self, body: &mut Vec<u8>) -> Option<()> {
        let (&first, &first_us) = self.arrivals.first_key_value()?;
        // Never reported sequence numbers before the first arrival are lost packets and part of this report.
        let base = match self.next_base {
            Some(next) if next < first && first - next <= MAX_STATUSES / 2 => next,
            _ => first,
        };
        let reference = first_us / REFERENCE_US;
        let mut last_us = reference * REFERENCE_US;
        let mut symbols: Vec<u8> = Vec::with_capacity(128);
        let mut deltas: Vec<u8> = Vec::with_capacity(128);
        while let Some((&ext_seq, &at_us)) = self.arrivals.first_key_value() {
            if ext_seq - base >= MAX_STATUSES {
                break;
            }
            let ticks = (at_us as i64 - last_us as i64).div_euclid(DELTA_US as i64);
            let Ok(delta) = i16::try_from(ticks) else { break };
            symbols.resize((ext_seq - base) as usize, 0);
            if let Ok(small) = u8::try_from(delta) {
                symbols.push(1);
                deltas.push(small);
            } else {
                symbols.push(2);
                deltas.extend_from_slice(&delta.to_be_bytes());
            }
            // The receiver adds up rounded deltas: carry the remainder instead of letting it drift.
            last_us = (last_us as i64 + ticks * DELTA_US as i64) as u64;
            self.arrivals.pop_first();
        }
        self.next_base = Some(base + symbols.len() as u64);
        body.clear();
        body.extend_from_slice(&(base as u16).to_be_bytes());
        body.extend_from_slice(&(symbols.len() as u16).to_be_bytes());
        body.extend_from_slice(&(reference as u32).to_be_bytes()[1..]);
        body.push(self.feedback_count);
        self.feedback_count = self.feedback_count.wrapping_add(1);
        chunks(&symbols, body);
        body.extend_from_slice(&deltas);
        Some(())
    }
}

/// Packet status chunks: a run length where seven or more are equal, else vectors of seven two-bit symbols.
fn chunks(symbols: &[u8], body: &mut Vec<u8>) {
    let mut rest = symbols;
    while let Some(&symbol) = rest.first() {
        let run = rest.iter().take_while(|s| **s == symbol).count();
        let (chunk, taken) = if run >= 7 || run == rest.len() {
            let run = run.min(0x1fff);
            (u16::from(symbol) << 13 | run as u16, run)
        } else {
            let taken = rest.len().min(7);
            let vector =
                rest[..taken].iter().enumerate().fold(0xC000u16, |v, (i, s)| v | u16::from(*s) << (12 - 2 * i));
            (vector, taken)
        };
        body.extend_from_slice(&chunk.to_be_bytes());
        rest = &rest[taken..];
    }
}

/// Key-frame requests of many viewers folded into few PLIs (or FIRs) to the publisher.
#[derive(Debug, Default, Clone)]
pub struct KeyframeRequest {
    wanted: bool,
    last_us: Option<u64>,
    number: u8,
    repeats: bool,
}

impl KeyframeRequest {
    /// Between PLIs of one ingest: an encoder needs a round trip to answer, and each key frame costs everyone.
    const INTERVAL_US: u64 = 300_000;

    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// Forget the interval: the next `due` is at once (a tap must not be foreseeable from the last PLI).
    pub fn want_now(&mut self) {
        self.wanted = true;
        self.last_us = None;
        self.repeats = false;
    }

    /// A key frame came that began after the last request went out.
    pub fn satisfied(&mut self) {
        self.wanted = false;
        self.repeats = false;
    }

    /// The command's sequence number for a FIR: a repetition of one that was not obeyed yet keeps it (RFC 5104 4.3.1.1).
    pub fn number(&self) -> u8 {
        self.number
    }

    pub fn due(&mut self, now_us: u64) -> bool {
        let due = self.wanted && self.last_us.is_none_or(|last| now_us >= last + Self::INTERVAL_US);
        if due {
            self.last_us = Some(now_us);
            if !std::mem::replace(&mut self.repeats, true) {
                self.number = self.number.wrapping_add(1);
            }
        }
        due
    }
}

#[cfg(test)]
#[path = "feedback_tests.rs"]
mod tests;
