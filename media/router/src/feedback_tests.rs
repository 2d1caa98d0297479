use proptest::prelude::*;

use super::*;

/// Reads a feedback body as a sender does: (sequence number, arrival in µs) of each packet said to have arrived, and
/// how many sequence numbers it speaks of.
fn decode(body: &[u8]) -> (Vec<(u16, i64)>, usize) {
    let word = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    let (base, count) = (word(0), usize::from(word(2)));
    let mut clock_us = i64::from(u32::from_be_bytes([0, body[4], body[5], body[6]])) * REFERENCE_US as i64;
    let mut symbols = Vec::new();
    let mut at = 8;
    while symbols.len() < count {
        let chunk = word(at);
        at += 2;
        match chunk >> 14 {
            0 | 1 => symbols.extend(std::iter::repeat_n(chunk >> 13 & 3, usize::from(chunk & 0x1fff))),
            2 => symbols.extend((0..14).map(|i| chunk >> (13 - i) & 1)),
            _ => symbols.extend((0..7).map(|i| chunk >> (12 - 2 * i) & 3)),
        }
    }
    let mut arrived = Vec::new();
    for (i, symbol) in symbols.iter().take(count).enumerate() {
        let ticks = match symbol {
            0 => continue,
            1 => {
                at += 1;
                i64::from(body[at - 1])
            }
            _ => {
                at += 2;
                i64::from(word(at - 2) as i16)
            }
        };
        clock_us += ticks * DELTA_US as i64;
        arrived.push((base.wrapping_add(i as u16), clock_us));
    }
    assert_eq!(at, body.len(), "nothing is left over");
    (arrived, count)
}

#[test]
fn lost_packets_between_two_reports_are_reported_lost() {
    let mut feedback = TransportCc::default();
    let mut body = Vec::new();
    feedback.receive(65_534, 1_000_000);
    feedback.receive(65_535, 1_000_500);
    assert!(feedback.encode(&mut body).is_some());
    assert_eq!(decode(&body), (vec![(65_534, 1_000_000), (65_535, 1_000_500)], 2));
    assert!(feedback.encode(&mut body).is_none());
    feedback.receive(2, 1_010_000);
    assert!(feedback.encode(&mut body).is_some());
    let (arrived, count) = decode(&body);
    assert_eq!((arrived, count, body[7]), (vec![(2, 1_010_000)], 3, 1));
}

#[test]
fn a_pause_too_long_for_a_delta_begins_a_new_report() {
    let mut feedback = TransportCc::default();
    let mut body = Vec::new();
    feedback.receive(1, 1_000_000);
    feedback.receive(2, 60_000_000);
    assert!(feedback.encode(&mut body).is_some());
    assert_eq!(decode(&body).0.len(), 1);
    assert!(feedback.encode(&mut body).is_some());
    assert_eq!(decode(&body).0, [(2, 60_000_000)]);
    assert!(feedback.encode(&mut body).is_none());
}

#[test]
fn key_frame_requests_are_folded_and_repeated() {
    let mut request = KeyframeRequest::default();
    assert!(!request.due(0));
    request.want();
    assert!(request.due(1_000));
    request.want();
    assert!(!request.due(2_000), "300 ms between two");
    assert!(request.due(301_000), "no key frame came: ask again");
    request.satisfied();
    assert!(!request.due(900_000));
    request.want();
    assert!(request.due(901_000));
    request.want_now();
    assert!(request.due(902_000), "a tap does not wait");
}

proptest! {
    /// Any order, any gaps, across the wrap: a sender reads the arrival times to 250 µs and what did not arrive.
    #[test]
    fn a_sender_reads_back_what_arrived(
        start in any::<u16>(),
        packets in proptest::collection::vec((1u16..30, -3_000i64..30_000), 1..300),
    ) {
        let mut feedback = TransportCc::default();
        let mut truth = Vec::new();
        let (mut seq, mut at_us) = (start, 10_000_000i64);
        for (gap, wait_us) in packets {
            seq = seq.wrapping_add(gap);
            at_us += wait_us;
            feedback.receive(seq, at_us as u64);
            truth.push((seq, at_us));
        }
        let mut told = Vec::new();
        let mut body = Vec::new();
        while feedback.encode(&mut body).is_some() {
            let (arrived, count) = decode(&body);
            prop_assert!(count <= MAX_STATUSES as usize);
            prop_assert!(body.len() < 1400);
            told.extend(arrived);
        }
        prop_assert_eq!(told.len(), truth.len());
        for ((seq, told_us), (true_seq, true_us)) in told.iter().zip(&truth) {
            prop_assert_eq!(seq, true_seq);
            prop_assert!((told_us - true_us).abs() <= DELTA_US as i64);
        }
    }
}
