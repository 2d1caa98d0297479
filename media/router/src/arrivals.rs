//! What viewers tell of arrivals: transport-wide feedback read
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 3.1). `feedback` writes the same towards publishers.

use crate::error::{BadPacket, Parsed, be16, be24};

/// Multiples in which the reference time and the deltas are told.
const REFERENCE_US: i64 = 64_000;
const DELTA_US: i64 = 250;

/// The fixed part of one feedback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feedback {
    pub base_seq: u16,
    pub statuses: u16,
    /// The receiver's clock, modulo `REFERENCE_PERIOD_US`.
    pub reference_us: i64,
}

/// The reference time has 24 bits.
pub const REFERENCE_PERIOD_US: i64 = (1 << 24) * REFERENCE_US;

/// Reads a feedback from its base sequence number on and calls `each` with every status: sequence number, and the arrival
/// on the receiver's clock, None for a packet that did not arrive. Fails before the first call or at a truncated delta.
pub fn read_arrivals_untrusted(body: &[u8], mut each: impl FnMut(u16, Option<i64>)) -> Parsed<Feedback> {
    let feedback = Feedback {
        base_seq: be16(body, 0)?,
        statuses: be16(body, 2)?,
        reference_us: i64::from(be24(body, 4)?) * REFERENCE_US,
    };
    // Where the deltas begin is known only once all chunks have been counted.
    let mut deltas_at = 8;
    let mut counted = 0;
    while counted < feedback.statuses {
        counted = counted.saturating_add(chunk_len(be16(body, deltas_at)?));
        deltas_at += 2;
    }
    let (mut chunk_at, mut told, mut arrival_us) = (8, 0, feedback.reference_us);
    while told < feedback.statuses {
        let chunk = be16(body, chunk_at)?;
        chunk_at += 2;
        for place in 0..chunk_len(chunk).min(feedback.statuses - told) {
            let delta = match symbol(chunk, place) {
                0 => None,
                1 => {
                    let delta = *body.get(deltas_at).ok_or(BadPacket::Truncated)?;
                    deltas_at += 1;
                    Some(i64::from(delta))
                }
                2 => {
                    let delta = be16(body, deltas_at)? as i16;
                    deltas_at += 2;
                    Some(i64::from(delta))
                }
                _ => return Err(BadPacket::Unknown), // reserved
            };
            let arrival = delta.map(|delta| {
                arrival_us += delta * DELTA_US;
                arrival_us
            });
            each(feedback.base_seq.wrapping_add(told), arrival);
            told += 1;
        }
    }
    Ok(feedback)
}

fn chunk_len(chunk: u16) -> u16 {
    match chunk >> 14 {
        0 | 1 => chunk & 0x1fff,
        2 => 14,
        _ => 7,
    }
}

fn symbol(chunk: u16, place: u16) -> u16 {
    match chunk >> 14 {
        0 | 1 => chunk >> 13 & 3,
        2 => chunk >> (13 - place) & 1,
        _ => chunk >> (12 - 2 * place) & 3,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::feedback::TransportCc;
    use crate::testing::hex;

    fn read(body: &[u8]) -> Parsed<Vec<(u16, Option<i64>)>> {
        let mut arrivals = Vec::new();
        read_arrivals_untrusted(body, |seq, at| arrivals.push((seq, at)))?;
        Ok(arrivals)
    }

    #[test]
    fn every_kind_of_chunk() {
        // Base 0xfffe, 11 statuses, reference 1: two lost by run length, then one-bit symbols, nine of 14 used.
        let body = hex("fffe 000b 000001 07  0002  a800  04 08");
        let ms64 = 64_000;
        assert_eq!(
            read(&body[..]),
            Ok(vec![
                (0xfffe, None),
                (0xffff, None),
                (0, Some(ms64 + 1000)),
                (1, None),
                (2, Some(ms64 + 3000)),
                (3, None),
                (4, None),
                (5, None),
                (6, None),
                (7, None),
                (8, None),
            ])
        );
        let body = hex("0005 0003 000001 00  da00  08 0010 fff0");
        let arrivals = vec![(5, Some(ms64 + 2000)), (6, Some(ms64 + 6000)), (7, Some(ms64 + 6000 - 4000))];
        assert_eq!(read(&body[..]), Ok(arrivals));
        for len in 0..body.len() {
            assert_eq!(read(&body[..len]), Err(BadPacket::Truncated), "{len}");
        }
        assert_eq!(read(&hex("0005 0001 000001 00 f000")), Err(BadPacket::Unknown));
    }

    proptest! {
        #[test]
        fn what_the_other_side_writes_is_read_back(gaps in proptest::collection::vec((1u64..6, 0u64..90_000), 1..200)) {
            let (mut writer, mut seq, mut at_us) = (TransportCc::default(), 65_400u64, 5_000_000_000u64);
            let mut sent = Vec::new();
            for (skip, wait_us) in gaps {
                seq += skip;
                at_us += wait_us;
                writer.receive(seq as u16, at_us);
                sent.push((seq as u16, at_us as i64));
            }
            let (mut told, mut body) = (Vec::new(), Vec::new());
            while writer.encode(&mut body).is_some() {
                told.extend(read(&body).unwrap().into_iter().filter_map(|(seq, at)| Some((seq, at?))));
            }
            prop_assert_eq!(told.len(), sent.len());
            for ((seq, at_us), (sent_seq, sent_us)) in told.iter().zip(&sent) {
                prop_assert_eq!(seq, sent_seq);
                prop_assert!((sent_us % REFERENCE_PERIOD_US - at_us).abs() <= DELTA_US, "{} {}", sent_us, at_us);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut count = 0u32;
            let _ = read_arrivals_untrusted(&body, |_, _| count += 1);
            prop_assert!(count <= 65_535);
        }
    }
}
