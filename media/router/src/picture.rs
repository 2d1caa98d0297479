//! How high a picture is, from the start of its key frame. An answer is a hint for choosing layers, nothing more.

use crate::error::{BadPacket, Parsed, be16};
use crate::payload::{Codec, Vp8Descriptor};

/// H.264 pictures are far below this; a number above it is not a height.
const MAX_HEIGHT_PX: u32 = 16_384;

/// The height that the first packet of a key frame tells; None where its codec tells it elsewhere.
pub fn picture_height_untrusted(codec: Codec, payload: &[u8]) -> Option<u32> {
    let height = match codec {
        Codec::Vp8 => vp8_untrusted(payload).ok(),
        Codec::H264 => h264_untrusted(payload).ok().flatten(),
        Codec::Vp9 | Codec::Av1 | Codec::Opus => None,
    };
    height.filter(|height| (1..=MAX_HEIGHT_PX).contains(height))
}

/// RFC 6386 9.1: a frame tag of three bytes, a start code of three, then width and height of 14 bits each.
fn vp8_untrusted(payload: &[u8]) -> Parsed<u32> {
    let frame = payload.get(Vp8Descriptor::parse_untrusted(payload)?.len_bytes..).ok_or(BadPacket::Truncated)?;
    if frame.get(3..6) != Some(&[0x9d, 0x01, 0x2a]) {
        return Err(BadPacket::Unknown);
    }
    let height = be16(frame, 8)?.swap_bytes();
    Ok(u32::from(height & 0x3fff))
}

/// The sequence parameter set, alone or in a STAP-A (RFC 6184 5.7.1).
fn h264_untrusted(payload: &[u8]) -> Parsed<Option<u32>> {
    const SPS: u8 = 7;
    const STAP_A: u8 = 24;
    let first = *payload.first().ok_or(BadPacket::Truncated)?;
    if first & 0x1f == SPS {
        return sps_height_untrusted(payload).map(Some);
    }
    if first & 0x1f == STAP_A {
        let mut at = 1;
        while at < payload.len() {
            let size = usize::from(be16(payload, at)?);
            let unit = payload.get(at + 2..at + 2 + size).ok_or(BadPacket::Truncated)?;
            if unit.first().is_some_and(|byte| byte & 0x1f == SPS) {
                return sps_height_untrusted(unit).map(Some);
            }
            at += 2 + size;
        }
    }
    Ok(None)
}

/// ITU-T H.264 7.3.2.1.1: the fields before the height have to be read to get past them.
fn sps_height_untrusted(unit: &[u8]) -> Parsed<u32> {
    let mut bits = Bits { unit, at: 8, zeros: 0 };
    let profile = bits.read(8)?;
    bits.read(16)?; // constraints, level
    bits.golomb()?; // seq_parameter_set_id
    let mut chroma_format = 1;
    if [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135].contains(&profile) {
        chroma_format = bits.golomb()?;
        if chroma_format == 3 {
            bits.read(1)?;
        }
        bits.golomb()?; // luma depth
        bits.golomb()?; // chroma depth
        bits.read(1)?;
        if bits.read(1)? == 1 {
            let lists = if chroma_format == 3 { 12 } else { 8 };
            for list in 0..lists {
                if bits.read(1)? == 1 {
                    bits.scaling_list(if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.golomb()?; // log2_max_frame_num
    match bits.golomb()? {
        0 => {
            bits.golomb()?;
        }
        1 => {
            bits.read(1)?;
            bits.golomb()?;
            bits.golomb()?;
            for _ in 0..bits.golomb()?.min(255) {
                bits.golomb()?;
            }
        }
        _ => {}
    }
    bits.golomb()?; // max_num_ref_frames
    bits.read(1)?;
    bits.golomb()?; // width in macroblocks
    let map_units = bits.golomb()?;
    let frames_only = bits.read(1)?;
    if frames_only == 0 {
        bits.read(1)?;
    }
    bits.read(1)?; // direct_8x8_inference
    let mut crop_px = 0;
    if bits.read(1)? == 1 {
        bits.golomb()?;
        bits.golomb()?;
        let unit_px = (2 - frames_only) * if chroma_format == 1 { 2 } else { 1 };
        let lines = u64::from(bits.golomb()?) + u64::from(bits.golomb()?);
        crop_px = u32::try_from(lines * u64::from(unit_px)).map_err(|_| BadPacket::Length)?;
    }
    let height = (u64::from(map_units) + 1) * 16 * u64::from(2 - frames_only);
    u32::try_from(height).ok().and_then(|height| height.checked_sub(crop_px)).ok_or(BadPacket::Length)
}

/// Bits of a NAL unit, emulation prevention bytes left out (ITU-T H.264 7.3.1).
struct Bits<'a> {
    unit: &'a [u8],
    at: usize,
    zeros: u8,
}

impl Bits<'_> {
    fn bit(&mut self) -> Parsed<u32> {
        if self.at.is_multiple_of(8) {
            let byte = *self.unit.get(self.at / 8).ok_or(BadPacket::Truncated)?;
            if self.zeros >= 2 && byte == 3 {
                self.at += 8;
                self.zeros = 0;
            }
            let byte = *self.unit.get(self.at / 8).ok_or(BadPacket::Truncated)?;
            self.zeros = if byte == 0 { self.zeros + 1 } else { 0 };
        }
        let byte = *self.unit.get(self.at / 8).ok_or(BadPacket::Truncated)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(u32::from(bit))
    }

    fn read(&mut self, count: u32) -> Parsed<u32> {
        (0..count).try_fold(0, |value, _| Ok(value << 1 | self.bit()?))
    }

    /// ue(v), ITU-T H.264 9.1.
    fn golomb(&mut self) -> Parsed<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return Err(BadPacket::Length);
            }
        }
        Ok(((1u64 << zeros | u64::from(self.read(zeros)?)) - 1) as u32)
    }

    /// ITU-T H.264 7.3.2.1.1.1.
    fn scaling_list(&mut self, size: u32) -> Parsed<()> {
        let (mut last, mut next) = (8i64, 8i64);
        for _ in 0..size {
            if next != 0 {
                let code = i64::from(self.golomb()?);
                let delta = if code % 2 == 1 { (code + 1) / 2 } else { -code / 2 };
                next = (last + delta + 256).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "picture_tests.rs"]
mod tests;
