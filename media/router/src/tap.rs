//! The key-frame tap: takes exactly the first whole intra frame that begins after it was asked for.

use crate::history::History;

/// Longest frame a tap waits for. At 1200 bytes each this is 600 kB, far above a 1080p key frame.
const MAX_FRAME_PACKETS: u64 = 500;

#[derive(Debug)]
pub struct Tap {
    pub tap_id: u64,
    pub deadline_us: u64,
    /// Newest RTP timestamp when the tap was set: its frame had begun before.
    newest_ts: Option<u32>,
    frame: Option<Frame>,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    first: u64,
    next: u64,
    rtp_ts: u32,
}

/// A complete frame in the history: packets `first..=last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    pub first: u64,
    pub last: u64,
    pub rtp_ts: u32,
}

impl Tap {
    pub fn new(tap_id: u64, deadline_us: u64, newest_ts: Option<u32>) -> Self {
        Self { tap_id, deadline_us, newest_ts, frame: None }
    }

    /// To be called after `ext_seq` went into the history. The frame is complete when every packet from its start
    /// to its marker is there, in whatever order they came.
    pub fn advance(&mut self, history: &History, ext_seq: u64) -> Option<Taken> {
        let entry = history.get(ext_seq)?;
        if self.frame.is_none() && entry.key_frame_start {
            let began_before = self.newest_ts.is_some_and(|newest| (entry.rtp_ts.wrapping_sub(newest) as i32) <= 0);
            if !began_before {
                self.frame = Some(Frame { first: ext_seq, next: ext_seq, rtp_ts: entry.rtp_ts });
            }
        }
        let frame = self.frame.as_mut()?;
        // Parameter sets sent apart from their IDR: the earlier packet of the same frame is the start.
        if entry.key_frame_start && entry.rtp_ts == frame.rtp_ts && ext_seq < frame.first {
            (frame.first, frame.next) = (ext_seq, ext_seq);
        }
        while let Some(entry) = history.get(frame.next) {
            if entry.rtp_ts != frame.rtp_ts || frame.next - frame.first >= MAX_FRAME_PACKETS {
                self.frame = None; // no marker where the frame ends: not a frame to judge by
                return None;
            }
            if entry.marker {
                return Some(Taken { first: frame.first, last: frame.next, rtp_ts: frame.rtp_ts });
            }
            frame.next += 1;
        }
        // The history has gone round over the gap: this frame will never be whole, wait for the next.
        if history.highest().is_some_and(|highest| highest > frame.next + MAX_FRAME_PACKETS) {
            self.frame = None;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(history: &mut History, ext_seq: u64, rtp_ts: u32, start: bool, marker: bool) {
        let entry = history.claim(ext_seq).unwrap();
        (entry.rtp_ts, entry.key_frame_start, entry.marker) = (rtp_ts, start, marker);
    }

    #[test]
    fn takes_the_first_whole_key_frame_after_the_request_even_out_of_order() {
        let mut history = History::new(64);
        let mut tap = Tap::new(1, 0, Some(1000));
        // A key frame that had begun before the request.
        put(&mut history, 10, 1000, true, true);
        assert_eq!(tap.advance(&history, 10), None);
        put(&mut history, 11, 4000, false, true);
        assert_eq!(tap.advance(&history, 11), None);
        put(&mut history, 12, 7000, true, false);
        assert_eq!(tap.advance(&history, 12), None);
        put(&mut history, 14, 7000, false, true);
        assert_eq!(tap.advance(&history, 14), None);
        put(&mut history, 15, 10_000, false, true);
        assert_eq!(tap.advance(&history, 15), None);
        put(&mut history, 13, 7000, false, false);
        assert_eq!(tap.advance(&history, 13), Some(Taken { first: 12, last: 14, rtp_ts: 7000 }));
    }

    #[test]
    fn a_frame_without_its_marker_is_not_taken() {
        let mut history = History::new(64);
        let mut tap = Tap::new(1, 0, None);
        put(&mut history, 1, 100, true, false);
        assert_eq!(tap.advance(&history, 1), None);
        put(&mut history, 2, 200, false, true);
        assert_eq!(tap.advance(&history, 2), None);
        put(&mut history, 3, 300, true, true);
        assert_eq!(tap.advance(&history, 3), Some(Taken { first: 3, last: 3, rtp_ts: 300 }));
    }
}
