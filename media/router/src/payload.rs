//! What a payload says about its frame: does a key frame begin here, and where are VP8's running numbers.

use crate::error::{BadPacket, Parsed, be16};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    Opus,
    Vp8,
    Vp9,
    H264,
    Av1,
}

pub const CODEC_COUNT: usize = 5;
/// RFC 7741 4.2 and RFC 9628 4.2 have two and three bits for it; encoders make three at most.
pub const MAX_TEMPORAL_LAYERS: usize = 4;

impl Codec {
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "opus" => Some(Self::Opus),
            "vp8" => Some(Self::Vp8),
            "vp9" => Some(Self::Vp9),
            "h264" => Some(Self::H264),
            "av1" => Some(Self::Av1),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Vp8 => "vp8",
            Self::Vp9 => "vp9",
            Self::H264 => "h264",
            Self::Av1 => "av1",
        }
    }
}

/// VP8 payload descriptor (RFC 7741 4.2): where its running numbers stand, so that they can be rewritten in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vp8Descriptor {
    /// Offset of PictureID, if there is one, and whether it is 15 bits wide.
    pub picture_id_at: Option<u8>,
    pub wide: bool,
    pub picture_id: u16,
    pub tl0picidx_at: Option<u8>,
    pub tl0picidx: u8,
    /// Temporal layer; 0 for streams without.
    pub temporal: u8,
    /// Y: depends on the base layer only, so a viewer may turn to this temporal layer here.
    pub layer_sync: bool,
    /// Where the descriptor ends and the frame begins.
    pub len_bytes: usize,
    /// First packet of the first partition, and the frame is intra (RFC 7741 4.3: P = 0).
    pub key_frame_start: bool,
}

impl Vp8Descriptor {
    pub fn parse_untrusted(payload: &[u8]) -> Parsed<Self> {
        let first = *payload.first().ok_or(BadPacket::Truncated)?;
        let mut descriptor = Self::default();
        let mut at = 1usize;
        if first & 0x80 != 0 {
            let flags = *payload.get(at).ok_or(BadPacket::Truncated)?;
            at += 1;
            if flags & 0x80 != 0 {
                let byte = *payload.get(at).ok_or(BadPacket::Truncated)?;
                descriptor.picture_id_at = Some(at as u8);
                descriptor.wide = byte & 0x80 != 0;
                if descriptor.wide {
                    descriptor.picture_id = be16(payload, at)? & 0x7fff;
                    at += 2;
                } else {
                    descriptor.picture_id = u16::from(byte & 0x7f);
                    at += 1;
                }
            }
            if flags & 0x40 != 0 {
                descriptor.tl0picidx = *payload.get(at).ok_or(BadPacket::Truncated)?;
                descriptor.tl0picidx_at = Some(at as u8);
                at += 1;
            }
            if flags & 0x30 != 0 {
                let byte = *payload.get(at).ok_or(BadPacket::Truncated)?; // TID, Y, KEYIDX share it
                if flags & 0x20 != 0 {
                    descriptor.temporal = byte >> 6;
                    descriptor.layer_sync = byte & 0x20 != 0;
                }
                at += 1;
            }
        }
        let head = *payload.get(at).ok_or(BadPacket::Truncated)?;
        descriptor.len_bytes = at;
        descriptor.key_frame_start = first & 0x10 != 0 && first & 0x07 == 0 && head & 1 == 0;
        Ok(descriptor)
    }

    /// Writes other running numbers over a copy of the payload this was parsed from.
    #[inline]
    pub fn rewrite(&self, payload: &mut [u8], picture_id: u16, tl0picidx: u8) {
        if let Some(at) = self.picture_id_at {
            let at = usize::from(at);
            if self.wide {
                payload[at..at + 2].copy_from_slice(&(picture_id | 0x8000).to_be_bytes());
            } else {
                payload[at] = (picture_id & 0x7f) as u8;
            }
        }
        if let Some(at) = self.tl0picidx_at {
            payload[usize::from(at)] = tl0picidx;
        }
    }
}

/// Whether a key frame begins in this packet: the first packet a new viewer can decode from.
pub fn key_frame_start_untrusted(codec: Codec, payload: &[u8]) -> Parsed<bool> {
    match codec {
        Codec::Opus => Ok(false),
        Codec::Vp8 => Ok(Vp8Descriptor::parse_untrusted(payload)?.key_frame_start),
        Codec::Vp9 => vp9_untrusted(payload),
        Codec::H264 => h264_untrusted(payload),
        Codec::Av1 => av1_untrusted(payload),
    }
}

/// RFC 9628 4.2: not inter-predicted (P = 0), beginning of a frame (B = 1), lowest spatial layer.
fn vp9_untrusted(payload: &[u8]) -> Parsed<bool> {
    let first = *payload.first().ok_or(BadPacket::Truncated)?;
    let (has_picture_id, inter, layers, begins) =
        (first & 0x80 != 0, first & 0x40 != 0, first & 0x20 != 0, first & 0x08 != 0);
    let mut at = 1;
    if has_picture_id {
        let byte = *payload.get(at).ok_or(BadPacket::Truncated)?;
        at += if byte & 0x80 != 0 { 2 } else { 1 };
    }
    let spatial = if layers { (*payload.get(at).ok_or(BadPacket::Truncated)? >> 1) & 7 } else { 0 };
    Ok(!inter && begins && spatial == 0)
}

const NAL_IDR: u8 = 5;
const NAL_SPS: u8 = 7;
const NAL_STAP_A: u8 = 24;
const NAL_FU_A: u8 = 28;

/// RFC 6184 5: a sequence parameter set or an IDR slice, alone, in a STAP-A, or at the start of an FU-A. Encoders that
/// send parameter sets apart send them just before the IDR, so the SPS is where a decoder can start.
fn h264_untrusted(payload: &[u8]) -> Parsed<bool> {
    let first = *payload.first().ok_or(BadPacket::Truncated)?;
    match first & 0x1f {
        NAL_IDR | NAL_SPS => Ok(true),
        NAL_STAP_A => {
            let mut at = 1;
            while at < payload.len() {
                let size = usize::from(be16(payload, at)?);
                let nal = payload.get(at + 2..at + 2 + size).ok_or(BadPacket::Truncated)?;
                if matches!(nal.first().map(|b| b & 0x1f), Some(NAL_IDR | NAL_SPS)) {
                    return Ok(true);
                }
                at += 2 + size;
            }
            Ok(false)
        }
        NAL_FU_A => {
            let fu = *payload.get(1).ok_or(BadPacket::Truncated)?;
            Ok(fu & 0x80 != 0 && matches!(fu & 0x1f, NAL_IDR | NAL_SPS))
        }
        _ => Ok(false),
    }
}

/// AV1 RTP payload format 4.4: N marks the first packet of a coded video sequence.
fn av1_untrusted(payload: &[u8]) -> Parsed<bool> {
    let first = *payload.first().ok_or(BadPacket::Truncated)?;
    Ok(first & 0x08 != 0)
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
