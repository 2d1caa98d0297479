use proptest::prelude::*;

use super::*;

fn stream_at(ext_seq: u64) -> Stream {
    Stream::new(90_000, ext_seq, 0, 1_000_000)
}

#[test]
fn loss_and_late_packets_are_told_apart() {
    let mut stream = stream_at(65_530);
    for ext_seq in [65_531, 65_534, 65_536, 65_532] {
        stream.receive(ext_seq, 0, 1_000_000, false, true);
    }
    // 65 533 and 65 535 are missing of seven expected.
    assert_eq!((stream.lost(), stream.highest()), (2, 65_536));
    let report = stream.report();
    assert_eq!((report.cumulative_lost, report.highest_ext_seq), (2, 65_536));
    assert_eq!(report.fraction_lost, (2 * 256 / 7) as u8);
    stream.receive(65_537, 0, 1_000_000, false, true);
    assert_eq!(stream.report().fraction_lost, 0);
    stream.receive(65_533, 0, 1_000_000, true, true);
    assert_eq!(stream.report().cumulative_lost, 1);
}

#[test]
fn requests_are_repeated_at_the_pace_of_the_path() {
    let mut stream = stream_at(10);
    stream.receive(12, 0, 1_000_000, false, true);
    let mut due = Vec::new();
    stream.nacks_due(1_010_000, stream.rtt_us(), &mut due);
    assert_eq!((due.as_slice(), stream.rtt_us()), (&[11u16][..], None));
    stream.receive(11, 0, 1_310_000, true, true);
    assert_eq!(stream.rtt_us(), Some(300_000));
    // The next one is not asked for again before its answer can have come.
    stream.receive(14, 0, 2_000_000, false, true);
    let mut asked_us = Vec::new();
    for ms in 0..900 {
        due.clear();
        stream.nacks_due(2_000_000 + ms * 1000, stream.rtt_us(), &mut due);
        asked_us.extend(due.iter().map(|_| ms));
    }
    assert_eq!(asked_us, [8, 458]);
}

#[test]
fn missing_packets_are_asked_for_after_a_moment_and_not_for_ever() {
    let mut stream = stream_at(10);
    assert_eq!(stream.receive(13, 0, 1_000_000, false, true), Arrival::AfterGap);
    let mut due = Vec::new();
    assert!(!stream.nacks_due(1_001_000, None, &mut due));
    assert!(due.is_empty(), "reordering may still close the gap");
    stream.nacks_due(1_010_000, None, &mut due);
    assert_eq!(due, [11, 12]);
    due.clear();
    stream.nacks_due(1_011_000, None, &mut due);
    assert!(due.is_empty(), "asked a moment ago");
    assert_eq!(stream.receive(11, 0, 1_020_000, true, true), Arrival::Late);
    stream.nacks_due(1_200_000, None, &mut due);
    assert_eq!(due, [12]);
    due.clear();
    assert!(stream.nacks_due(2_500_000, None, &mut due), "given up");
    assert!(due.is_empty() && !stream.has_missing());
}

#[test]
fn an_outage_is_not_asked_for_packet_by_packet() {
    let mut stream = stream_at(10);
    assert_eq!(stream.receive(10 + 300, 0, 1_000_000, false, true), Arrival::Outage);
    assert!(!stream.has_missing());
}

#[test]
fn jitter_is_that_of_rfc_3550_a8() {
    // Frames of 40 ms (3600 ticks) that come 0 and 10 ms late in turn: |D| is 900 ticks for each.
    let mut stream = stream_at(0);
    for n in 1..=400u64 {
        let late_us = (n % 2) * 10_000;
        stream.receive(n, (n * 3600) as u32, 1_000_000 + n * 40_000 + late_us, false, true);
    }
    assert!((890..=901).contains(&stream.jitter_ts()), "{}", stream.jitter_ts());
    // Packets of one frame share a timestamp and are not measured.
    for n in 401..500 {
        stream.receive(n, 400 * 3600, 1_000_000 + 400 * 40_000 + n * 100, false, true);
    }
    assert!((890..=901).contains(&stream.jitter_ts()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Drop any packets of a long run over the wrap, deliver the rest in order: the figures add up.
    #[test]
    fn figures_add_up(start in 0u64..200_000, kept in proptest::collection::vec(any::<bool>(), 1..3000)) {
        let mut stream = stream_at(start);
        let mut received = 1;
        let mut highest = start;
        for (n, kept) in kept.iter().enumerate() {
            if *kept {
                highest = start + 1 + n as u64;
                stream.receive(highest, n as u32, 1_000_000 + n as u64, false, true);
                received += 1;
            }
        }
        let report = stream.report();
        prop_assert_eq!(stream.lost(), highest + 1 - start - received);
        prop_assert_eq!(report.cumulative_lost as u64, stream.lost());
        prop_assert_eq!(report.highest_ext_seq, highest as u32);
    }
}
