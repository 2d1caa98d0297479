use proptest::prelude::*;

use super::*;
use crate::testing::hex;

fn items(compound: &[u8]) -> Vec<Item> {
    let mut items = Vec::new();
    read_untrusted(compound, |item| items.push(item)).unwrap();
    items
}

const RECEPTION: Reception =
    Reception { fraction_lost: 12, cumulative_lost: -5, highest_ext_seq: 0x1_2345, jitter_ts: 77 };

/// One of everything we write.
fn everything() -> Vec<u8> {
    let mut compound = Compound::default();
    compound.sender_report(1, 0x0102_0304_0506_0708, 9, 10, 11);
    compound.cname(1, "anke");
    compound.receiver_report(2, &[(3, RECEPTION, 0xaabb_ccdd, 65_536)]);
    compound.nack(2, 3, &[65_534, 65_535, 0, 14, 15]);
    compound.pli(2, 3);
    compound.transport_cc(2, 3, &[0, 1, 0, 1, 0, 0, 1, 0, 0x20, 1, 4]);
    compound.bytes
}

#[test]
fn what_we_write_reads_back() {
    let expected = [
        Item::SenderInfo { ssrc: 1, ntp: 0x0102_0304_0506_0708, rtp_ts: 9 },
        Item::Other,
        Item::Report(ReportBlock {
            ssrc: 3,
            fraction_lost: 12,
            cumulative_lost: -5,
            highest_ext_seq: 0x1_2345,
            jitter_ts: 77,
            last_sr: 0xaabb_ccdd,
            delay_since_last_sr: 65_536,
        }),
        // 65535, 0 and 14 are 1, 2 and 16 after 65534; 15 needs a pair of its own.
        Item::Nack { media_ssrc: 3, seq: 65_534, following: 0b1000_0000_0000_0011 },
        Item::Nack { media_ssrc: 3, seq: 15, following: 0 },
        Item::Pli { media_ssrc: 3 },
        Item::TransportCc { at: 120, end: 131 },
    ];
    assert_eq!(items(&everything()), expected);
}

#[test]
fn what_peers_write_is_understood() {
    let fir = hex("84 ce 0004 00000001 00000000 00000007 05000000");
    assert_eq!(items(&fir), [Item::Fir { media_ssrc: 7 }]);
    let bye = hex("82 cb 0002 00000001 00000002");
    assert_eq!(items(&bye), [Item::Bye { ssrc: 1 }, Item::Bye { ssrc: 2 }]);
    // REMB: mantissa 0x3ffff, exponent 2 (draft-alvestrand-rmcat-remb-03 2.2).
    let remb = hex("8f ce 0005 00000001 00000000 52454d42 01 0bffff 00000007");
    assert_eq!(items(&remb), [Item::Remb { bitrate_bps: 0x3ffff << 2 }]);
    let huge = hex("8f ce 0005 00000001 00000000 52454d42 01 ffffff 00000007");
    assert!(matches!(items(&huge)[..], [Item::Remb { .. }]));
    let padded = hex("a1 ce 0003 00000001 00000007 00000004");
    assert_eq!(items(&padded), [Item::Pli { media_ssrc: 7 }]);
    let extended_report = hex("80 cf 0001 00000001");
    assert_eq!(items(&extended_report), [Item::Other]);
}

#[test]
fn truncated_at_every_length_is_refused_or_a_shorter_compound() {
    let whole = everything();
    let mut ends = vec![];
    let mut at = 0;
    while at < whole.len() {
        at += 4 * (usize::from(whole[at + 2]) * 256 + usize::from(whole[at + 3]) + 1);
        ends.push(at);
    }
    for len in 0..whole.len() {
        assert_eq!(read_untrusted(&whole[..len], |_| ()).is_ok(), ends.contains(&len), "{len} bytes");
    }
}

#[test]
fn lying_counts_and_padding_are_refused() {
    for bad in [
        "82 c9 0001 00000001",                   // two report blocks, none there
        "81 c8 0001 00000001",                   // no sender information
        "82 cb 0001 00000001",                   // two sources, one there
        "81 cd 0002 00000001 00000002 0001",     // half a pair
        "a1 ce 0003 00000001 00000007 00000011", // more padding than packet
        "a1 ce 0003 00000001 00000007 00000000",
        "01 ce 0002 00000001 00000007", // version 0
    ] {
        assert!(read_untrusted(&hex(bad), |_| ()).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..256), kind in 190u8..215, words in 0u8..20) {
        let _ = read_untrusted(&bytes, |_| ());
        if bytes.len() >= 4 {
            bytes[0] = bytes[0] & 0x3f | 0x80;
            (bytes[1], bytes[2], bytes[3]) = (kind, 0, words);
            let _ = read_untrusted(&bytes, |_| ());
        }
    }

    #[test]
    fn a_nack_names_exactly_what_is_missing(start in any::<u16>(), gaps in proptest::collection::vec(1u16..40, 1..60)) {
        let mut seqs = vec![start];
        for gap in gaps {
            seqs.push(seqs[seqs.len() - 1].wrapping_add(gap));
        }
        let mut compound = Compound::default();
        compound.nack(1, 2, &seqs);
        let mut named = Vec::new();
        for item in items(&compound.bytes) {
            let Item::Nack { seq, following, .. } = item else { panic!("{item:?}") };
            named.push(seq);
            named.extend((0..16).filter(|bit| following >> bit & 1 == 1).map(|bit| seq.wrapping_add(bit + 1)));
        }
        prop_assert_eq!(named, seqs);
    }
}
