//! What the path to one viewer carries, judged from the arrival times that the viewer reports.
//!
//! Two signs of too much: a standing queue (the shortest one-way delay of the last moments is well above the shortest of
//! the last seconds, so the path never runs empty), and loss beyond what the path loses anyway. The first is what a delay
//! gradient (draft-ietf-rmcat-gcc) looks for too; the minimum is taken because our packets leave in bursts of a frame,
//! which are not congestion as long as they drain before the next. The estimate rises only by proof: what was delivered,
//! by media or by a probe.

use crate::arrivals::{REFERENCE_PERIOD_US, read_arrivals_untrusted};
use crate::error::Parsed;

/// Packets on the way that can be told apart; two seconds of a lecture with screen share.
const SENT_PACKETS: usize = 1024;
/// IPv4 and UDP headers: a bottleneck counts them as well.
const IP_UDP_BYTES: usize = 28;
/// What a path is trusted with before anything is known of it: speech and a middle layer.
pub const INITIAL_BPS: u64 = 900_000;
/// Sound has to go on whatever is measured; below this the estimate is noise.
const MIN_BPS: u64 = 30_000;
const MAX_BPS: u64 = 100_000_000;

/// Delivered bytes are counted in steps of this length over the last `STEPS`.
const STEP_US: i64 = 50_000;
const STEPS: usize = 10;
/// The shortest delay of this long is the standing queue: several frames of every usual rate, several sound packets.
const STANDING_US: i64 = 250_000;
/// And of this long is the path itself; two of these are looked at, so a route that changed is learnt in 10 to 20 s.
const BASE_US: i64 = 10_000_000;
/// A standing queue this long is congestion. Below lies Wi-Fi's and LTE's own scheduling.
const QUEUE_US: i64 = 60_000;
/// So long a queue of less than three times that is waited on before anything is cut.
const CONFIRM_US: u64 = 150_000;
/// Congestion for so long in spite of every cut is another path, not a queue.
const NEW_PATH_US: u64 = 6_000_000;
/// Between two cuts: the queue needs time to drain.
const CUT_EVERY_US: u64 = 600_000;
/// Of what was delivered while the queue stood: leaves room for it to drain.
const CUT: f64 = 0.85;

/// Loss is judged over at least so long and so many packets.
const LOSS_US: u64 = 500_000;
const LOSS_PACKETS: u32 = 30;
/// Loss above what the path loses anyway that is congestion.
const EXCESS_LOSS: f64 = 0.08;
/// Without feedback for so long nothing is probed.
const SILENT_US: u64 = 3_000_000;
/// A peer that has never sent feedback by then will not, whatever it offered.
const NEVER_HEARD_US: u64 = 20_000_000;

#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    /// Low bits of the sending time; they come round after 71 minutes.
    at_us: u32,
    seq: u16,
    bytes: u16,
}

/// A probe under way: more than the media is sent for a moment, to see whether it arrives.
#[derive(Debug, Clone, Copy)]
struct Probe {
    target_bps: u64,
    from_us: u64,
    until_us: u64,
    from_bytes: u64,
}

#[derive(Debug)]
pub struct Bandwidth {
    sent: Box<[Sent]>,
    next_seq: u16,
    /// Reported sequence numbers are above this one.
    reported: Option<u16>,
    /// Receiver's clock at the newest arrival.
    clock_us: Option<i64>,
    estimate_bps: u64,
    /// Something was measured that bounds the estimate.
    proven: bool,
    delivered: [u32; STEPS],
    delivered_step: i64,
    delivered_since: i64,
    /// Shortest one-way delay, on two clocks that are not in step: only differences mean something.
    standing: [(i64, i64); 2],
    base: [(i64, i64); 2],
    queue_us: i64,
    congested_since_us: Option<u64>,
    next_cut_us: u64,
    loss_from_us: u64,
    loss_sent: u32,
    loss_lost: u32,
    /// Smoothed share of packets that did not arrive.
    loss: f64,
    /// What the path loses whatever we send.
    inherent_loss: f64,
    /// Loss and sending rate at the last cut for loss, until it shows whether sending less helped.
    suspect: Option<(f64, u64, u64)>,
    sent_bytes: u64,
    /// Sending rate, and when and at how many bytes it was last taken.
    sent_bps: u64,
    sent_mark: (u64, u64),
    last_feedback_us: Option<u64>,
    probe: Option<Probe>,
    next_probe_us: u64,
    probe_wait_us: u64,
    last_setback_us: u64,
    born_us: u64,
    /// What the peer itself believes, where it reports no arrivals.
    remb_bps: Option<u64>,
}

/// Shortest and longest pause before a probe that follows a setback.
const PROBE_WAIT_US: (u64, u64) = (2_000_000, 12_000_000);
/// After a probe that found what it looked for.
const PROBE_AGAIN_US: u64 = 150_000;
/// Long enough to empty a token bucket and to fill a queue that can be seen.
const PROBE_US: u64 = 600_000;
/// Feedback about the end of a probe may take a round trip and the peer's interval.
const PROBE_TAIL_US: u64 = 600_000;
const MIN_PROBE_BPS: u64 = 150_000;
/// After so long without one, a setback is a first one.
const CALM_US: u64 = 30_000_000;
/// More than this is never put down to the path alone.
const MAX_INHERENT_LOSS: f64 = 0.4;

impl Bandwidth {
    pub fn new(now_us: u64) -> Self {
        Self {
            sent: vec![Sent::default(); SENT_PACKETS].into_boxed_slice(),
            next_seq: 1,
            reported: None,
            clock_us: None,
            estimate_bps: INITIAL_BPS,
            proven: false,
            delivered: [0; STEPS],
            delivered_step: 0,
            delivered_since: 0,
            standing: [(i64::MAX, 0); 2],
            base: [(i64::MAX, 0); 2],
            queue_us: 0,
            congested_since_us: None,
            next_cut_us: 0,
            loss_from_us: now_us,
            loss_sent: 0,
            loss_lost: 0,
            loss: 0.0,
            inherent_loss: 0.0,
            suspect: None,
            sent_bytes: 0,
            sent_bps: 0,
            sent_mark: (now_us, 0),
            last_feedback_us: None,
            probe: None,
            next_probe_us: now_us + 300_000,
            probe_wait_us: PROBE_WAIT_US.0,
            last_setback_us: 0,
            born_us: now_us,
            remb_bps: None,
        }
    }

    /// The transport-wide sequence number of a packet that leaves now.
    #[inline]
    pub fn stamp(&mut self, now_us: u64, datagram_bytes: usize) -> u16 {
        let seq = self.next_seq;
        self.next_seq = seq.wrapping_add(1);
        let bytes = (datagram_bytes + IP_UDP_BYTES) as u16;
        self.sent[usize::from(seq) % SENT_PACKETS] = Sent { at_us: now_us as u32, seq, bytes };
        self.sent_bytes += u64::from(bytes);
        seq
    }

    /// What may be sent; None where the peer tells nothing to go by.
    pub fn budget_bps(&self, now_us: u64) -> Option<u64> {
        if let Some(remb_bps) = self.remb_bps {
            return Some(remb_bps);
        }
        let never_heard = self.last_feedback_us.is_none() && now_us > self.born_us + NEVER_HEARD_US;
        (!never_heard).then_some(self.estimate_bps)
    }

    /// The peer's own estimate. True if it counts: who reports arrivals is judged by those.
    pub fn told(&mut self, now_us: u64, bitrate_bps: u64) -> bool {
        if self.clock_us.is_some() {
            return false;
        }
        self.remb_bps = Some(bitrate_bps.clamp(MIN_BPS, MAX_BPS));
        self.estimate_bps = bitrate_bps.clamp(MIN_BPS, MAX_BPS);
        self.last_feedback_us = Some(now_us);
        true
    }

    /// Something was measured here: without it the lowest layer is sent whatever the estimate says.
    pub fn is_proven(&self) -> bool {
        self.proven
    }

    pub fn is_congested(&self) -> bool {
        self.congested_since_us.is_some()
    }

    /// How long packets wait on the way now.
    pub fn queue_us(&self) -> u64 {
        self.queue_us.max(0) as u64
    }

    pub fn loss(&self) -> f64 {
        self.loss
    }

    /// Takes in one feedback, from its base sequence number on. One that breaks off has still told what it told.
    pub fn feedback_untrusted(&mut self, now_us: u64, body: &[u8]) -> Parsed<()> {
        let (mut arrived, mut lost) = (0u32, 0u32);
        let read = read_arrivals_untrusted(body, |seq, arrival_us| {
            let sent = &mut self.sent[usize::from(seq) % SENT_PACKETS];
            let known = (sent.bytes > 0 && sent.seq == seq).then_some(*sent);
            // Each packet counts once; reordered feedback tells the same again.
            let is_new = self.reported.is_none_or(|reported| (seq.wrapping_sub(reported) as i16) > 0);
            if is_new {
                self.reported = Some(seq);
            }
            match (known, arrival_us) {
                (Some(packet), Some(arrival_us)) => {
                    sent.bytes = 0;
                    arrived += 1;
                    let clock_us = unwrapped(arrival_us, self.clock_us.unwrap_or(arrival_us));
                    self.clock_us = Some(clock_us);
                    self.arrived(now_us, packet, clock_us);
                }
                (Some(_), None) if is_new => lost += 1,
                _ => {}
            }
        });
        if arrived + lost > 0 {
            self.last_feedback_us = Some(now_us);
            self.loss_sent += arrived + lost;
            self.loss_lost += lost;
            self.judge(now_us);
        }
        read.map(|_| ())
    }

    fn arrived(&mut self, now_us: u64, sent: Sent, arrival_us: i64) {
        self.count_delivered(arrival_us, u32::from(sent.bytes));
        // The sending time in full: at most 71 minutes ago.
        let age_us = (now_us as u32).wrapping_sub(sent.at_us);
        let sent_us = now_us as i64 - i64::from(age_us);
        let delay_us = arrival_us - sent_us;
        lower(&mut self.standing, arrival_us, delay_us, STANDING_US / 2);
        lower(&mut self.base, arrival_us, delay_us, BASE_US);
    }

    fn count_delivered(&mut self, arrival_us: i64, bytes: u32) {
        let step = arrival_us.div_euclid(STEP_US);
        if self.delivered_since == 0 || step > self.delivered_step + 40 {
            // The first one, or after a pause: nothing before it counts.
            self.delivered = [0; STEPS];
            (self.delivered_step, self.delivered_since) = (step, step);
        }
        for passed in (self.delivered_step + 1..=step).take(STEPS) {
            self.delivered[passed.rem_euclid(STEPS as i64) as usize] = 0;
        }
        self.delivered_step = self.delivered_step.max(step);
        if self.delivered_step - step < STEPS as i64 {
            self.delivered[step.rem_euclid(STEPS as i64) as usize] += bytes;
        }
    }

    /// What arrived over the last half second, made up for what the path loses anyway.
    pub fn delivered_bps(&self) -> u64 {
        let current = self.delivered_step.rem_euclid(STEPS as i64) as usize;
        let bytes: u64 =
            self.delivered.iter().map(|bytes| u64::from(*bytes)).sum::<u64>() - u64::from(self.delivered[current]);
        let steps = (self.delivered_step - self.delivered_since).clamp(1, STEPS as i64 - 1) as u64;
        let bps = bytes * 8 * 1_000_000 / (steps * STEP_US as u64);
        (bps as f64 / (1.0 - self.inherent_loss.min(0.5))) as u64
    }

    fn judge(&mut self, now_us: u64) {
        self.judge_queue(now_us);
        self.judge_loss(now_us);
        self.judge_probe(now_us);
        let delivered_bps = self.delivered_bps();
        if self.congested_since_us.is_none() && delivered_bps > self.estimate_bps && self.has_delivered() {
            self.estimate_bps = delivered_bps.min(MAX_BPS);
        }
    }

    fn has_delivered(&self) -> bool {
        self.delivered_step - self.delivered_since >= STEPS as i64 / 2
    }

    fn judge_queue(&mut self, now_us: u64) {
        let standing_us = self.standing.iter().map(|(delay_us, _)| *delay_us).min().unwrap_or(0);
        let base_us = self.base.iter().map(|(delay_us, _)| *delay_us).min().unwrap_or(0);
        self.queue_us = if base_us == i64::MAX { 0 } else { standing_us.saturating_sub(base_us) };
        if self.queue_us < QUEUE_US {
            self.congested_since_us = None;
            return;
        }
        let since_us = *self.congested_since_us.get_or_insert(now_us);
        if now_us > since_us + NEW_PATH_US {
            self.base = self.standing;
            self.congested_since_us = None;
            return;
        }
        // A pause of the peer's machine or its radio looks like this for a moment; a queue that matters stays or grows.
        if now_us < since_us + CONFIRM_US && self.queue_us < 3 * QUEUE_US {
            return;
        }
        if now_us >= self.next_cut_us {
            self.next_cut_us = now_us + CUT_EVERY_US;
            let to_bps = (self.delivered_bps() as f64 * CUT) as u64;
            self.cut(now_us, to_bps);
        }
    }

    fn cut(&mut self, now_us: u64, to_bps: u64) {
        self.estimate_bps = self.estimate_bps.min(to_bps).max(MIN_BPS);
        self.proven = true;
        self.setback(now_us);
    }

    fn judge_loss(&mut self, now_us: u64) {
        let elapsed_us = now_us.saturating_sub(self.loss_from_us);
        if elapsed_us < LOSS_US || self.loss_sent < LOSS_PACKETS {
            return;
        }
        let share = f64::from(self.loss_lost) / f64::from(self.loss_sent);
        // Three standard deviations of what the path is known to lose: few packets say little.
        let expected = self.inherent_loss.max(share.min(0.1));
        let noise = 3.0 * (expected * (1.0 - expected) / f64::from(self.loss_sent)).sqrt();
        (self.loss_from_us, self.loss_sent, self.loss_lost) = (now_us, 0, 0);
        self.loss += (share - self.loss) * 0.4;
        let excess = share - self.inherent_loss;
        let tolerated = EXCESS_LOSS.max(noise);
        if excess < tolerated {
            self.inherent_loss = (self.inherent_loss + excess * 0.1).min(MAX_INHERENT_LOSS);
        }
        if let Some((then, then_bps, until_us)) = self.suspect {
            if self.congested_since_us.is_some() {
                return; // a full queue loses packets too
            }
            // Much less is sent since: what is still lost, the path loses anyway.
            if self.sent_bps * 10 < then_bps * 8 || now_us > until_us {
                if share > then * 0.6 {
                    self.inherent_loss = self.inherent_loss.max(share.max(then)).min(MAX_INHERENT_LOSS);
                    self.last_setback_us = 0;
                    self.next_probe_us = self.next_probe_us.min(now_us + PROBE_AGAIN_US);
                }
                self.suspect = None;
            }
        } else if excess > tolerated && self.probe.is_none() {
            self.suspect = Some((share, self.sent_bps, now_us + 4 * LOSS_US));
            let delivered_bps = self.delivered_bps();
            self.cut(now_us, (delivered_bps as f64 * 0.95) as u64);
        }
    }

    // Probes ---------------------------------------------------------------------------------------------------------

    /// To be called some times a second.
    pub fn note_sent(&mut self, now_us: u64) {
        let (mark_us, mark_bytes) = self.sent_mark;
        if now_us >= mark_us + 200_000 {
            self.sent_bps = (self.sent_bytes - mark_bytes) * 8 * 1_000_000 / (now_us - mark_us);
            self.sent_mark = (now_us, self.sent_bytes);
        }
    }

    pub fn has_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// To be called some times a second. `need_bps`: what would be sent if the path carried more. Begins a probe when it
    /// is time; true while one is under way. `can_pad`: there is a retransmission stream to fill it.
    pub fn probing(&mut self, now_us: u64, need_bps: Option<u64>, can_pad: bool) -> bool {
        if let Some(probe) = self.probe {
            // No feedback came to judge it by; where the peer judges for itself there is none.
            let patience_us = if self.remb_bps.is_some() { 0 } else { SILENT_US };
            if now_us > probe.until_us + PROBE_TAIL_US + patience_us {
                self.setback(now_us);
            }
            return now_us < probe.until_us;
        }
        let Some(need_bps) = need_bps.filter(|need| *need > self.estimate_bps) else { return false };
        let hears = self.last_feedback_us.is_some_and(|last| now_us < last + SILENT_US);
        if !hears || self.congested_since_us.is_some() || self.suspect.is_some() || now_us < self.next_probe_us {
            return false;
        }
        if !can_pad {
            // Nothing to fill a probe with: the next layer itself is the probe.
            self.estimate_bps = need_bps + need_bps / 16;
            self.next_probe_us = now_us + self.probe_wait_us;
            return false;
        }
        // The need has its room already; more would miss a path that carries just that.
        let target_bps = (need_bps + need_bps / 20).min(self.estimate_bps * 2).max(MIN_PROBE_BPS);
        let (until_us, from_bytes) = (now_us + PROBE_US, self.sent_bytes);
        self.probe = Some(Probe { target_bps, from_us: now_us, until_us, from_bytes });
        true
    }

    /// How many bytes are due now for the probe under way, beyond what has been sent.
    pub fn padding_due_bytes(&self, now_us: u64) -> usize {
        let Some(probe) = self.probe.filter(|probe| now_us < probe.until_us) else { return 0 };
        let due = probe.target_bps * now_us.saturating_sub(probe.from_us) / 8_000_000;
        due.saturating_sub(self.sent_bytes - probe.from_bytes) as usize
    }

    fn judge_probe(&mut self, now_us: u64) {
        let Some(probe) = self.probe else { return };
        let delivered_bps = self.delivered_bps();
        if now_us >= probe.from_us + PROBE_US / 2 && delivered_bps * 100 >= probe.target_bps * 90 {
            self.estimate_bps = self.estimate_bps.max(probe.target_bps);
            self.probe = None;
            self.next_probe_us = now_us + PROBE_AGAIN_US;
        } else if now_us > probe.until_us + PROBE_TAIL_US {
            self.estimate_bps = self.estimate_bps.max(delivered_bps.min(probe.target_bps));
            self.setback(now_us);
        }
    }

    /// Too much was sent, or a probe did not come through: each one soon after another doubles the pause before the next.
    fn setback(&mut self, now_us: u64) {
        self.probe = None;
        let calm = now_us > self.last_setback_us + CALM_US;
        self.probe_wait_us = if calm { PROBE_WAIT_US.0 } else { (self.probe_wait_us * 2).min(PROBE_WAIT_US.1) };
        self.last_setback_us = now_us;
        self.next_probe_us = now_us + self.probe_wait_us;
    }
}

/// Two buckets of minima: (shortest, number of the bucket).
fn lower(minima: &mut [(i64, i64); 2], at_us: i64, delay_us: i64, span_us: i64) {
    let number = at_us.div_euclid(span_us);
    if number > minima[1].1 || minima[1].0 == i64::MAX {
        minima[0] = if number == minima[1].1 + 1 { minima[1] } else { (i64::MAX, number - 1) };
        minima[1] = (delay_us, number);
    } else {
        minima[1].0 = minima[1].0.min(delay_us);
    }
}

/// The arrival on a clock that does not come round, nearest to `origin`.
fn unwrapped(arrival_us: i64, origin: i64) -> i64 {
    let turns = (origin - arrival_us + REFERENCE_PERIOD_US / 2).div_euclid(REFERENCE_PERIOD_US);
    arrival_us + turns * REFERENCE_PERIOD_US
}
