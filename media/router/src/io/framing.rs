//! Datagrams in a byte stream (RFC 4571 2): a 16-bit length before each. In: frames of bounded size or the end of the
//! connection. Out: a bounded queue that gives up pictures first when the stream is too slow for them.

use crate::error::{BadPacket, Parsed, be16};
use crate::outbox::MAX_DATAGRAM_BYTES;

pub(super) const LENGTH_BYTES: usize = 2;

/// The first whole frame of `bytes` as (start, end) of its datagram; None while it is not whole. A frame longer than
/// any datagram we take is refused as soon as its length is read: it would only be skipped, at our memory's cost.
pub fn frame_untrusted(bytes: &[u8]) -> Parsed<Option<(usize, usize)>> {
    if bytes.len() < LENGTH_BYTES {
        return Ok(None);
    }
    let end = LENGTH_BYTES + usize::from(be16(bytes, 0)?);
    if end > LENGTH_BYTES + MAX_DATAGRAM_BYTES {
        return Err(BadPacket::Length);
    }
    Ok((bytes.len() >= end).then_some((LENGTH_BYTES, end)))
}

/// A stream that has not taken everything for this long is too slow for what is sent to it.
const SLOW_AFTER_US: u64 = 700_000;
/// More than one key frame of a lecture camera; what waits longer behind it is late anyway.
const PICTURE_LIMIT_BYTES: usize = 128 * 1024;
/// Sound, reports and checks may still join when pictures may not.
const LIMIT_BYTES: usize = 192 * 1024;
/// Opus at 48 kbit/s has 120 bytes a packet, and comfort leaves it below this; pictures are above but for their ends.
const SOUND_BYTES: usize = 400;

/// What waits to be written to one stream.
#[derive(Debug, Default)]
pub(super) struct Queue {
    bytes: Vec<u8>,
    written: usize,
    /// Since when something has been waiting.
    waiting_since_us: Option<u64>,
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    pub fn waiting(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// False: the datagram was given up.
    pub fn push(&mut self, now_us: u64, datagram: &[u8]) -> bool {
        let waiting = self.waiting().len();
        let slow = self.waiting_since_us.is_some_and(|since| now_us.saturating_sub(since) >= SLOW_AFTER_US);
        let full = if is_picture(datagram) { slow || waiting >= PICTURE_LIMIT_BYTES } else { waiting >= LIMIT_BYTES };
        let Ok(length) = u16::try_from(datagram.len()) else { return false };
        if full {
            return false;
        }
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(datagram);
        true
    }

    /// The stream took `bytes` of `waiting` and would take no more now.
    pub fn wrote(&mut self, now_us: u64, bytes: usize) {
        self.written += bytes;
        if self.is_empty() {
            self.waiting_since_us = None;
            self.written = 0;
            self.bytes.clear();
            // A burst once must not be kept for ever by every connection.
            self.bytes.shrink_to(MAX_DATAGRAM_BYTES);
            return;
        }
        self.waiting_since_us.get_or_insert(now_us);
        if self.written >= self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }
}

/// RTP (RFC 7983 7, RFC 5761 4) above the size of sound.
fn is_picture(datagram: &[u8]) -> bool {
    datagram.len() > SOUND_BYTES && matches!(datagram, [128..=191, kind, ..] if !(192..=223).contains(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rtp(bytes: usize) -> Vec<u8> {
        let mut packet = vec![7; bytes];
        packet[..2].copy_from_slice(&[0x80, 96]);
        packet
    }

    #[test]
    fn frames_come_out_whole_whatever_the_cuts() {
        let mut stream = Vec::new();
        for size in [0usize, 1, 1500, 20] {
            stream.extend_from_slice(&(size as u16).to_be_bytes());
            stream.extend(std::iter::repeat_n(size as u8, size));
        }
        for cut in 0..=stream.len() {
            let mut got = Vec::new();
            let mut pending: Vec<u8> = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                pending.extend_from_slice(part);
                while let Some((start, end)) = frame_untrusted(&pending).unwrap() {
                    got.push(end - start);
                    pending.drain(..end);
                }
            }
            assert_eq!((got, pending.len()), (vec![0, 1, 1500, 20], 0));
        }
    }

    #[test]
    fn a_frame_longer_than_a_datagram_is_refused_at_its_length() {
        assert_eq!(frame_untrusted(&[5, 0xDD]), Err(BadPacket::Length));
        assert_eq!(frame_untrusted(&[5]), Ok(None));
        assert_eq!(frame_untrusted(&[5, 0xDC]), Ok(None));
    }

    #[test]
    fn pictures_are_given_up_before_sound_and_nothing_grows_without_end() {
        let mut queue = Queue::default();
        let (picture, sound, report) = (rtp(1200), rtp(120), vec![0x81u8; 500]);
        let taken = (0..1000).filter(|_| queue.push(0, &picture)).count();
        assert!((100..=120).contains(&taken), "{taken}");
        assert!(queue.push(0, &sound) && queue.push(0, &[0x80, 201].repeat(300)));
        let more = (0..10_000).filter(|_| queue.push(0, &report[..400])).count();
        assert!((100..200).contains(&more), "{more}");
        assert!(queue.waiting().len() < LIMIT_BYTES + 1000);
    }

    #[test]
    fn a_slow_stream_carries_sound_only_until_it_has_caught_up() {
        let mut queue = Queue::default();
        let (picture, sound) = (rtp(1200), rtp(120));
        assert!(queue.push(0, &picture));
        queue.wrote(0, 600);
        assert!(queue.push(600_000, &picture));
        assert!(!queue.push(700_000, &picture) && queue.push(700_000, &sound));
        queue.wrote(700_000, queue.waiting().len());
        assert!(queue.is_empty() && queue.push(700_001, &picture));
    }

    #[test]
    fn what_is_written_in_parts_stays_in_order() {
        let mut queue = Queue::default();
        let (mut sent, mut expected) = (Vec::new(), Vec::new());
        for round in 0..50u8 {
            let datagram = vec![round; 30];
            assert!(queue.push(0, &datagram));
            expected.extend_from_slice(&[0, 30]);
            expected.extend_from_slice(&datagram);
            let part = queue.waiting().len().min(usize::from(round) % 41);
            sent.extend_from_slice(&queue.waiting()[..part]);
            queue.wrote(0, part);
        }
        sent.extend_from_slice(queue.waiting());
        assert_eq!(sent, expected);
    }
}
