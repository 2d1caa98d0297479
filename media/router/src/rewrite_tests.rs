use proptest::prelude::*;

use super::*;
use crate::rtp::extend_seq;

fn vp8(picture_id: u16, tl0picidx: u8) -> Vp8Descriptor {
    Vp8Descriptor {
        picture_id,
        tl0picidx,
        wide: true,
        picture_id_at: Some(2),
        tl0picidx_at: Some(4),
        ..Vp8Descriptor::default()
    }
}

#[test]
fn a_switch_leaves_no_seam() {
    let mut rewrite = Rewrite::new(100, 5_000);
    rewrite.switch(1, 0, 90_000, 65_530, 1_000_000, &vp8(32_766, 254));
    let mut last = rewrite.map(65_530, 1_000_000, &vp8(32_766, 254), 0).unwrap();
    assert_eq!((last.ext_seq, last.rtp_ts, last.picture_id, last.tl0picidx), (100, 5_000, 1, 1));
    for n in 1..10u64 {
        let descriptor = vp8((32_766 + n as u16) & 0x7fff, 254u8.wrapping_add(n as u8));
        let next = rewrite.map(65_530 + n, 1_000_000 + n as u32 * 3600, &descriptor, n * 40_000).unwrap();
        assert_eq!((next.ext_seq, next.rtp_ts), (last.ext_seq + 1, last.rtp_ts + 3600));
        assert_eq!((next.picture_id, next.tl0picidx), (last.picture_id + 1, last.tl0picidx + 1));
        last = next;
    }
    // 100 ms after the last packet another source takes over.
    rewrite.switch(2, 9 * 40_000 + 100_000, 90_000, 7, 42, &vp8(9, 9));
    let next = rewrite.map(7, 42, &vp8(9, 9), 460_000).unwrap();
    assert_eq!((next.ext_seq, next.rtp_ts), (last.ext_seq + 1, last.rtp_ts + 9000));
    assert_eq!((next.picture_id, next.tl0picidx), (last.picture_id + 1, last.tl0picidx + 1));
    assert_eq!(rewrite.map(6, 42, &vp8(9, 9), 460_000), None, "from before the key frame");
}

#[test]
fn what_was_sent_is_found_again_and_nothing_else() {
    let mut rewrite = Rewrite::new(0x7ff0, 0);
    assert!(rewrite.find(0x7ff0).is_none());
    rewrite.switch(1, 0, 90_000, 1000, 0, &vp8(0, 0));
    for n in 0..20 {
        rewrite.map(1000 + n, 0, &vp8(0, 0), 0).unwrap();
    }
    rewrite.switch(2, 0, 90_000, 5, 0, &vp8(0, 0));
    for n in 0..20 {
        rewrite.map(5 + n, 0, &vp8(0, 0), 0).unwrap();
    }
    let source = |seq: u16| rewrite.find(seq).map(|(epoch, src)| (epoch.source, src));
    assert_eq!(source(0x7ff0), Some((1, 1000)));
    assert_eq!(source(0x7ff0 + 19), Some((1, 1019)));
    assert_eq!(source(0x7ff0 + 20), Some((2, 5)));
    assert_eq!(source(0x7ff0 + 39), Some((2, 24)));
    assert_eq!(source(0x7ff0 + 40), None, "not sent yet");
    assert_eq!(source(0x7fef), None, "before the first");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// More than 65 536 packets with losses and switches among three sources: what goes out is one gapless stream
    /// (but for the sources' own losses), its clock never stands still or jumps, and each packet is found again.
    #[test]
    fn one_stream_over_the_wrap(
        first in any::<u16>(),
        sources in proptest::collection::vec((any::<u16>(), any::<u32>(), any::<u16>(), 1u64..40_000), 2..8),
        lost_each in 2u64..200,
    ) {
        let mut rewrite = Rewrite::new(first, 77);
        let mut last: Option<Numbers> = None;
        let mut now_us = 1_000_000;
        let mut sent = 0u64;
        for (id, (seq, ts, picture, packets)) in sources.iter().cycle().take(16).enumerate() {
            if sent > 140_000 {
                break;
            }
            let start = 65_536 + u64::from(*seq);
            let at = |n: u64| (start + n, ts.wrapping_add(n as u32 * 3000), vp8(picture.wrapping_add(n as u16) & 0x7fff, n as u8));
            let (src, src_ts, descriptor) = at(0);
            now_us += 33_000;
            rewrite.switch(id as u64, now_us, 90_000, src, src_ts, &descriptor);
            for n in 0..*packets {
                now_us += 33_333;
                if n > 0 && n % lost_each == 0 {
                    continue;
                }
                let (src, src_ts, descriptor) = at(n);
                let numbers = rewrite.map(src, src_ts, &descriptor, now_us).unwrap();
                if let Some(last) = last {
                    let gap = numbers.ext_seq - last.ext_seq;
                    prop_assert!(gap == 1 || gap == 2 && n > 0);
                    prop_assert_eq!(u64::from(numbers.picture_id.wrapping_sub(last.picture_id) & 0x7fff), gap);
                    let ticks = numbers.rtp_ts.wrapping_sub(last.rtp_ts);
                    prop_assert!((1..=9000).contains(&ticks), "{} ticks", ticks);
                }
                let (epoch, found) = rewrite.find(numbers.ext_seq as u16).unwrap();
                prop_assert_eq!((epoch.source, found), (id as u64, src));
                prop_assert_eq!(Rewrite::again(epoch, found, src_ts, &descriptor), numbers);
                prop_assert_eq!(extend_seq(numbers.ext_seq as u16, numbers.ext_seq), numbers.ext_seq);
                last = Some(numbers);
                sent += 1;
            }
        }
    }

    /// Frames left out, packets lost and late, switches: what goes out has no gap but for packets that are missing, no
    /// number twice, pictures in step, and each packet is found again for a retransmission.
    #[test]
    fn frames_left_out_leave_no_seam(
        first in any::<u16>(),
        frames in proptest::collection::vec((1u64..4, any::<bool>(), 0u8..12), 20..400),
    ) {
        let mut rewrite = Rewrite::new(first, 0);
        let (mut src, mut picture, mut now_us, mut source) = (70_000u64, 100u16, 0u64, 1u64);
        let mut out: std::collections::BTreeMap<u64, (u64, u64, u16)> = std::collections::BTreeMap::new();
        let mut late: Vec<(u64, u16, u64)> = Vec::new();
        let mut expected_gaps = 0u64;
        rewrite.switch(source, now_us, 90_000, src, 0, &vp8(picture, 0));
        let mut first_of_source = true;
        for (packets, omit, fate) in frames {
            now_us += 33_333;
            if fate == 11 {
                source += 1;
                src += 500;
                expected_gaps += late.drain(..).count() as u64;
                rewrite.switch(source, now_us, 90_000, src, 0, &vp8(picture, 0));
                first_of_source = true;
            }
            for packet in 0..packets {
                let descriptor = vp8(picture, 0);
                if omit && !first_of_source {
                    rewrite.omit(src, &descriptor);
                    prop_assert_eq!(rewrite.map(src, 0, &descriptor, now_us), None, "left out for good");
                } else if fate == 10 && packet == 1 && !first_of_source {
                    late.push((src, picture, source));
                } else {
                    let numbers = rewrite.map(src, 0, &descriptor, now_us).unwrap();
                    prop_assert!(out.insert(numbers.ext_seq, (src, source, numbers.picture_id)).is_none());
                }
                first_of_source = false;
                src += 1;
            }
            picture = picture.wrapping_add(1) & 0x7fff;
            if fate < 3 && late.len() > 1 {
                let (src, picture, _) = late.pop().unwrap();
                // Within what is remembered it gets the number that was kept for it.
                if let Some(numbers) = rewrite.map(src, 0, &vp8(picture, 0), now_us) {
                    prop_assert!(out.insert(numbers.ext_seq, (src, source, numbers.picture_id)).is_none());
                } else {
                    expected_gaps += 1;
                }
            }
        }
        expected_gaps += late.len() as u64;
        let span = out.keys().next_back().unwrap() - out.keys().next().unwrap() + 1;
        prop_assert!(span <= out.len() as u64 + expected_gaps, "{} in {}, {} missing", out.len(), span, expected_gaps);
        let mut last: Option<(u64, u16)> = None;
        for (ext_seq, (src, source, picture)) in &out {
            if let Some((last_source, last_picture)) = last {
                let step = picture.wrapping_sub(last_picture) & 0x7fff;
                prop_assert!(step <= 1 + u16::from(*source != last_source), "picture ids jump by {}", step);
            }
            last = Some((*source, *picture));
            if let Some((epoch, found)) = rewrite.find(*ext_seq as u16).filter(|_| ext_seq + 40 > *out.keys().next_back().unwrap()) {
                prop_assert_eq!((epoch.source, found), (*source, *src));
            }
        }
    }
}
