//! RTCP in and out (RFC 3550 6, RFC 4585, RFC 5104, draft-holmer-rmcat-transport-wide-cc-extensions-01).

use crate::error::{BadPacket, Parsed, be16, be24, be32};
use crate::stream::Reception;

const SR: u8 = 200;
const RR: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;
const RTPFB: u8 = 205;
const PSFB: u8 = 206;
const FMT_NACK: u8 = 1; // RFC 4585 6.2.1
const FMT_TRANSPORT_CC: u8 = 15;
const FMT_PLI: u8 = 1; // RFC 4585 6.3.1
const FMT_FIR: u8 = 4; // RFC 5104 4.3.1
const FMT_AFB: u8 = 15; // REMB travels as application layer feedback
const REPORT_BLOCK_BYTES: usize = 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    pub ssrc: u32,
    pub fraction_lost: u8,
    pub cumulative_lost: i32,
    pub highest_ext_seq: u32,
    pub jitter_ts: u32,
    pub last_sr: u32,
    pub delay_since_last_sr: u32,
}

/// One thing that a compound packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    SenderInfo {
        ssrc: u32,
        ntp: u64,
        rtp_ts: u32,
    },
    Report(ReportBlock),
    /// Sequence number and the 16 that follow it as a bit mask.
    Nack {
        media_ssrc: u32,
        seq: u16,
        following: u16,
    },
    Pli {
        media_ssrc: u32,
    },
    Fir {
        media_ssrc: u32,
    },
    Bye {
        ssrc: u32,
    },
    Remb {
        bitrate_bps: u64,
    },
    /// The feedback's body stands at these bytes of the compound (see `arrivals`).
    TransportCc {
        at: usize,
        end: usize,
    },
    Other,
}

/// Reads a plain compound (or reduced-size, RFC 5506) packet and calls `each` per item.
/// Fails at the first malformed part; what came before it has been told.
pub fn read_untrusted(compound: &[u8], mut each: impl FnMut(Item)) -> Parsed<()> {
    let mut rest = compound;
    if rest.is_empty() {
        return Err(BadPacket::Truncated);
    }
    while !rest.is_empty() {
        let size = 4 * (usize::from(be16(rest, 2)?) + 1);
        let (first, kind) = (rest[0], rest[1]);
        if first >> 6 != 2 {
            return Err(BadPacket::Version);
        }
        if size > rest.len() {
            return Err(BadPacket::Truncated);
        }
        let at = compound.len() - rest.len();
        let (mut part, after) = rest.split_at(size);
        rest = after;
        if first & 0x20 != 0 {
            let pad = usize::from(part[size - 1]);
            if pad == 0 || pad > size - 4 {
                return Err(BadPacket::Padding);
            }
            part = &part[..size - pad];
        }
        part_untrusted(kind, first & 0x1f, at, part, &mut each)?;
    }
    Ok(())
}

fn part_untrusted(kind: u8, count: u8, part_at: usize, part: &[u8], each: &mut impl FnMut(Item)) -> Parsed<()> {
    match (kind, count) {
        (SR, blocks) => {
            let ntp = u64::from(be32(part, 8)?) << 32 | u64::from(be32(part, 12)?);
            let (ssrc, rtp_ts) = (be32(part, 4)?, be32(part, 16)?);
            be32(part, 24)?; // the sender info must be whole
            each(Item::SenderInfo { ssrc, ntp, rtp_ts });
            report_blocks_untrusted(part, 28, blocks, each)
        }
        (RR, blocks) => report_blocks_untrusted(part, 8, blocks, each),
        (BYE, sources) => {
            for i in 0..usize::from(sources) {
                each(Item::Bye { ssrc: be32(part, 4 + 4 * i)? });
            }
            Ok(())
        }
        (RTPFB, FMT_NACK) => {
            let media_ssrc = be32(part, 8)?;
            for at in (12..part.len()).step_by(4) {
                each(Item::Nack { media_ssrc, seq: be16(part, at)?, following: be16(part, at + 2)? });
            }
            Ok(())
        }
        (RTPFB, FMT_TRANSPORT_CC) => {
            be32(part, 8)?;
            each(Item::TransportCc { at: part_at + 12, end: part_at + part.len() });
            Ok(())
        }
        (PSFB, FMT_PLI) => {
            each(Item::Pli { media_ssrc: be32(part, 8)? });
            Ok(())
        }
        (PSFB, FMT_FIR) => {
            // RFC 5104 4.3.1.1: the media SSRC field is zero, each entry names its own.
            for at in (12..part.len()).step_by(8) {
                be32(part, at + 4)?;
                each(Item::Fir { media_ssrc: be32(part, at)? });
            }
            Ok(())
        }
        (PSFB, FMT_AFB) => {
            if part.get(12..16) == Some(b"REMB") {
                let exponent_and_mantissa = be24(part, 17)?;
                let (exponent, mantissa) = (exponent_and_mantissa >> 18, u64::from(exponent_and_mantissa & 0x3_ffff));
                each(Item::Remb { bitrate_bps: mantissa.checked_shl(exponent).unwrap_or(u64::MAX) });
            } else {
                each(Item::Other);
            }
            Ok(())
        }
        _ => {
            each(Item::Other);
            Ok(())
        }
    }
}

fn report_blocks_untrusted(part: &[u8], from: usize, count: u8, each: &mut impl FnMut(Item)) -> Parsed<()> {
    for i in 0..usize::from(count) {
        let at = from + REPORT_BLOCK_BYTES * i;
        let lost = be24(part, at + 5)?;
        each(Item::Report(ReportBlock {
            ssrc: be32(part, at)?,
            fraction_lost: *part.get(at + 4).ok_or(BadPacket::Truncated)?,
            cumulative_lost: ((lost << 8) as i32) >> 8,
            highest_ext_seq: be32(part, at + 8)?,
            jitter_ts: be32(part, at + 12)?,
            last_sr: be32(part, at + 16)?,
            delay_since_last_sr: be32(part, at + 20)?,
        }));
    }
    Ok(())
}

/// Appends RTCP parts to a plain compound packet.
#[derive(Debug, Default)]
pub struct Compound {
    pub bytes: Vec<u8>,
}

impl Compound {
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn open(&mut self, count: u8, kind: u8) -> usize {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0x80 | count, kind, 0, 0]);
        at
    }

    fn put32(&mut self, word: u32) {
        self.bytes.extend_from_slice(&word.to_be_bytes());
    }

    fn close(&mut self, at: usize) {
        debug_assert!((self.bytes.len() - at).is_multiple_of(4), "RTCP parts are whole words");
        let words = ((self.bytes.len() - at) / 4 - 1) as u16;
        self.bytes[at + 2..at + 4].copy_from_slice(&words.to_be_bytes());
    }

    pub fn sender_report(&mut self, ssrc: u32, ntp: u64, rtp_ts: u32, packets: u32, octets: u32) {
        let at = self.open(0, SR);
        self.put32(ssrc);
        self.bytes.extend_from_slice(&ntp.to_be_bytes());
        self.put32(rtp_ts);
        self.put32(packets);
        self.put32(octets);
        self.close(at);
    }

    /// `blocks`: (source, figures, middle 32 bits of its last SR, delay since it in 1/65536 s); at most 31.
    pub fn receiver_report(&mut self, sender_ssrc: u32, blocks: &[(u32, Reception, u32, u32)]) {
        let blocks = &blocks[..blocks.len().min(31)];
        let at = self.open(blocks.len() as u8, RR);
        self.put32(sender_ssrc);
        for (ssrc, reception, last_sr, delay) in blocks {
            self.put32(*ssrc);
            let lost = (reception.cumulative_lost as u32) & 0xff_ffff;
            self.put32(u32::from(reception.fraction_lost) << 24 | lost);
            self.put32(reception.highest_ext_seq);
            self.put32(reception.jitter_ts);
            self.put32(*last_sr);
            self.put32(*delay);
        }
        self.close(at);
    }

    /// SDES with the one item that every compound must carry (RFC 3550 6.1).
    pub fn cname(&mut self, ssrc: u32, cname: &str) {
        let cname = &cname.as_bytes()[..cname.len().min(255)];
        let at = self.open(1, SDES);
        self.put32(ssrc);
        self.bytes.extend_from_slice(&[1, cname.len() as u8]);
        self.bytes.extend_from_slice(cname);
        self.bytes.push(0);
        while !(self.bytes.len() - at).is_multiple_of(4) {
            self.bytes.push(0);
        }
        self.close(at);
    }

    /// `seqs` ascending (modulo the wrap); packed into pairs of RFC 4585 6.2.1.
    pub fn nack(&mut self, sender_ssrc: u32, media_ssrc: u32, seqs: &[u16]) {
        let at = self.open(FMT_NACK, RTPFB);
        self.put32(sender_ssrc);
        self.put32(media_ssrc);
        let mut rest = seqs;
        while let Some((&pid, mut after)) = rest.split_first() {
            let mut mask = 0u16;
            while let Some((&seq, further)) = after.split_first() {
                let distance = seq.wrapping_sub(pid);
                if !(1..=16).contains(&distance) {
                    break;
                }
                mask |= 1 << (distance - 1);
                after = further;
            }
            self.put32(u32::from(pid) << 16 | u32::from(mask));
            rest = after;
        }
        self.close(at);
    }

    pub fn pli(&mut self, sender_ssrc: u32, media_ssrc: u32) {
        let at = self.open(FMT_PLI, PSFB);
        self.put32(sender_ssrc);
        self.put32(media_ssrc);
        self.close(at);
    }

    /// For encoders that know no PLI. `number` tells a new command from a repeated one.
    pub fn fir(&mut self, sender_ssrc: u32, media_ssrc: u32, number: u8) {
        let at = self.open(FMT_FIR, PSFB);
        self.put32(sender_ssrc);
        self.put32(0); // RFC 5104 4.3.1.2: each entry names its source instead
        self.put32(media_ssrc);
        self.put32(u32::from(number) << 24);
        self.close(at);
    }

    /// Transport-wide feedback whose body (from the base sequence number on) `feedback::TransportCc` encoded.
    pub fn transport_cc(&mut self, sender_ssrc: u32, media_ssrc: u32, body: &[u8]) {
        let at = self.open(FMT_TRANSPORT_CC, RTPFB);
        self.put32(sender_ssrc);
        self.put32(media_ssrc);
        self.bytes.extend_from_slice(body);
        let pad = (4 - (self.bytes.len() - at) % 4) % 4;
        if pad > 0 {
            self.bytes.resize(self.bytes.len() + pad - 1, 0);
            self.bytes.push(pad as u8);
            self.bytes[at] |= 0x20;
        }
        self.close(at);
    }
}

#[cfg(test)]
#[path = "rtcp_tests.rs"]
mod tests;
