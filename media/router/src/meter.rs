//! How fast a stream flows, by temporal layer, over the last two seconds.

use crate::payload::MAX_TEMPORAL_LAYERS;

const BUCKET_US: u64 = 250_000;
const BUCKETS: u64 = 8;
/// What a packet costs on the wire beyond its payload: RTP header with extensions, SRTP tag, UDP, IPv4.
pub const OVERHEAD_BYTES: usize = 12 + 12 + 16 + 8 + 20;

/// Two seconds smooth out key frames, and are short enough to notice an encoder that was told to slow down.
#[derive(Debug, Default, Clone)]
pub struct Meter {
    buckets: [[u32; MAX_TEMPORAL_LAYERS]; BUCKETS as usize],
    started_us: Option<u64>,
    current: u64,
    bps: [u64; MAX_TEMPORAL_LAYERS],
}

impl Meter {
    #[inline]
    pub fn add(&mut self, now_us: u64, payload_bytes: usize, temporal: u8) {
        let started_us = *self.started_us.get_or_insert(now_us);
        let number = now_us.saturating_sub(started_us) / BUCKET_US;
        if number > self.current {
            self.turn(number);
        }
        let temporal = usize::from(temporal).min(MAX_TEMPORAL_LAYERS - 1);
        self.buckets[(number % BUCKETS) as usize][temporal] += (payload_bytes + OVERHEAD_BYTES) as u32;
    }

    /// Ends the current bucket; the figures are of whole buckets only.
    fn turn(&mut self, number: u64) {
        for silent in (self.current + 1..number).take(BUCKETS as usize) {
            self.buckets[(silent % BUCKETS) as usize] = [0; MAX_TEMPORAL_LAYERS];
        }
        let whole = number.min(BUCKETS);
        let mut bytes = 0;
        for temporal in 0..MAX_TEMPORAL_LAYERS {
            bytes += self.buckets.iter().map(|bucket| u64::from(bucket[temporal])).sum::<u64>();
            self.bps[temporal] = bytes * 8 * 1_000_000 / (whole * BUCKET_US);
        }
        self.buckets[(number % BUCKETS) as usize] = [0; MAX_TEMPORAL_LAYERS];
        self.current = number;
    }

    /// Bits per second of everything, headers included; 0 for the first quarter of a second.
    pub fn bps(&self) -> u64 {
        self.bps[MAX_TEMPORAL_LAYERS - 1]
    }

    /// Bits per second of the temporal layers up to `highest`.
    pub fn bps_up_to(&self, highest: u8) -> u64 {
        self.bps[usize::from(highest).min(MAX_TEMPORAL_LAYERS - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_seconds_are_counted_by_temporal_layer() {
        let mut meter = Meter::default();
        for frame in 0..100u64 {
            // 25 frames a second, every other one of the upper temporal layer.
            meter.add(9_000_000 + frame * 40_000, 1000 - OVERHEAD_BYTES, (frame % 2) as u8);
            if frame == 0 {
                assert_eq!(meter.bps(), 0);
            }
        }
        assert!((190_000..=210_000).contains(&meter.bps()), "{}", meter.bps());
        assert!((95_000..=105_000).contains(&meter.bps_up_to(0)), "{}", meter.bps_up_to(0));
        // A minute of silence leaves nothing of what was before it.
        meter.add(73_000_000, 1000, 0);
        meter.add(73_300_000, 1000, 0);
        assert!(meter.bps() < 10_000, "{}", meter.bps());
    }
}
