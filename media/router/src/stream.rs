//! What is known of one received stream: loss, jitter, and what to ask for again (RFC 3550 A.3 and A.8, RFC 4585).

use std::collections::VecDeque;

/// More missing than this at once is an outage: a key frame repairs it, retransmissions would only add to it.
const MAX_MISSING: usize = 256;
/// Requests for one packet before it is given up (libwebrtc's number too).
const MAX_NACKS: u8 = 10;
/// A packet this late is of no use to a live viewer.
const GIVE_UP_US: u64 = 1_000_000;
/// First request waits this long: most gaps on Wi-Fi and LTE are reordering that closes by itself.
const REORDER_US: u64 = 8_000;
/// Between requests for the same packet when the round trip is unknown.
const RETRY_US: u64 = 60_000;

#[derive(Debug, Clone, Copy)]
struct Missing {
    ext_seq: u64,
    since_us: u64,
    next_us: u64,
    asked_us: u64,
    asked: u8,
}

/// The figures of one RTCP report block (RFC 3550 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reception {
    pub fraction_lost: u8,
    /// 24 bits, signed.
    pub cumulative_lost: i32,
    pub highest_ext_seq: u32,
    pub jitter_ts: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    InOrder,
    /// A gap opened before this packet.
    AfterGap,
    Late,
    /// So much is missing that only a key frame helps.
    Outage,
}

#[derive(Debug)]
pub struct Stream {
    clock_rate_hz: u32,
    base: u64,
    highest: u64,
    received: u64,
    expected_prior: u64,
    received_prior: u64,
    transit: i64,
    jitter_16ths: i64,
    last_rtp_ts: u32,
    missing: VecDeque<Missing>,
    /// From the first request for a packet to its arrival, smoothed.
    rtt_us: Option<u64>,
}

impl Stream {
    /// State after the first packet of a stream.
    pub fn new(clock_rate_hz: u32, ext_seq: u64, rtp_ts: u32, now_us: u64) -> Self {
        let mut stream = Self {
            clock_rate_hz: clock_rate_hz.max(1),
            base: ext_seq,
            highest: ext_seq,
            received: 1,
            expected_prior: 0,
            received_prior: 0,
            transit: 0,
            jitter_16ths: 0,
            last_rtp_ts: rtp_ts,
            missing: VecDeque::new(),
            rtt_us: None,
        };
        stream.transit = stream.transit_ts(rtp_ts, now_us);
        stream
    }

    pub fn highest(&self) -> u64 {
        self.highest
    }

    pub fn lost(&self) -> u64 {
        (self.highest + 1 - self.base).saturating_sub(self.received)
    }

    pub fn jitter_ts(&self) -> u32 {
        (self.jitter_16ths >> 4) as u32
    }

    fn transit_ts(&self, rtp_ts: u32, now_us: u64) -> i64 {
        let arrival_ts = (u128::from(now_us) * u128::from(self.clock_rate_hz) / 1_000_000) as u32;
        i64::from(arrival_ts.wrapping_sub(rtp_ts))
    }

    /// Books one packet that had not been received before. `retransmitted` ones say nothing about jitter.
    pub fn receive(
        &mut self,
        ext_seq: u64,
        rtp_ts: u32,
        now_us: u64,
        retransmitted: bool,
        track_missing: bool,
    ) -> Arrival {
        self.received += 1;
        if !retransmitted && rtp_ts != self.last_rtp_ts {
            // RFC 3550 A.8. Packets of one video frame share a timestamp and leave back to back: only the first of
            // each frame is measured, as libwebrtc does.
            let transit = self.transit_ts(rtp_ts, now_us);
            let d = i64::from((transit as u32).wrapping_sub(self.transit as u32) as i32).abs();
            self.transit = transit;
            self.last_rtp_ts = rtp_ts;
            // A source that restarts its clock jumps by minutes; that is not jitter.
            if d < i64::from(self.clock_rate_hz) * 10 {
                self.jitter_16ths += d - ((self.jitter_16ths + 8) >> 4);
            }
        }
        if ext_seq <= self.highest {
            if let Ok(at) = self.missing.binary_search_by_key(&ext_seq, |m| m.ext_seq)
                && let Some(found) = self.missing.remove(at).filter(|found| found.asked == 1)
            {
                // Asked once, so the answer is to that request.
                let sample_us = now_us.saturating_sub(found.asked_us);
                self.rtt_us = Some(self.rtt_us.map_or(sample_us, |rtt| (rtt * 7 + sample_us) / 8));
            }
            if ext_seq < self.base {
                self.base = ext_seq;
            }
            return Arrival::Late;
        }
        let first_missing = self.highest + 1;
        self.highest = ext_seq;
        if first_missing == ext_seq {
            return Arrival::InOrder;
        }
        if !track_missing {
            return Arrival::AfterGap;
        }
        let gap = ext_seq - first_missing;
        if gap as usize + self.missing.len() > MAX_MISSING {
            self.missing.clear();
            return Arrival::Outage;
        }
        for ext_seq in first_missing..ext_seq {
            self.missing.push_back(Missing {
                ext_seq,
                since_us: now_us,
                next_us: now_us + REORDER_US,
                asked_us: 0,
                asked: 0,
            });
        }
        Arrival::AfterGap
    }

    /// The round trip to the sender as its answers to our requests show it.
    pub fn rtt_us(&self) -> Option<u64> {
        self.rtt_us
    }

    pub fn has_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// The sequence numbers to ask for now, ascending, into `due`. True if one had to be given up.
    pub fn nacks_due(&mut self, now_us: u64, rtt_us: Option<u64>, due: &mut Vec<u16>) -> bool {
        let before = self.missing.len();
        self.missing.retain(|m| m.asked < MAX_NACKS && now_us.saturating_sub(m.since_us) < GIVE_UP_US);
        let retry_us = rtt_us.map_or(RETRY_US, |rtt| rtt.clamp(20_000, 300_000) * 3 / 2);
        for missing in self.missing.iter_mut().filter(|m| m.next_us <= now_us) {
            missing.asked += 1;
            missing.asked_us = now_us;
            missing.next_us = now_us + retry_us;
            due.push(missing.ext_seq as u16);
        }
        self.missing.len() < before
    }

    /// RFC 3550 A.3; each call ends the interval that `fraction_lost` speaks of.
    pub fn report(&mut self) -> Reception {
        let expected = self.highest + 1 - self.base;
        let expected_interval = expected.saturating_sub(self.expected_prior);
        let received_interval = self.received.saturating_sub(self.received_prior);
        self.expected_prior = expected;
        self.received_prior = self.received;
        let lost_interval = expected_interval.saturating_sub(received_interval);
        let fraction = (lost_interval << 8).checked_div(expected_interval).map_or(0, |f| f.min(255));
        let lost = i64::try_from(expected).unwrap_or(i64::MAX) - i64::try_from(self.received).unwrap_or(i64::MAX);
        Reception {
            fraction_lost: fraction as u8,
            cumulative_lost: lost.clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_ext_seq: self.highest as u32,
            jitter_ts: self.jitter_ts(),
        }
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
