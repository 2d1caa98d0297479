//! RTP headers and header extensions (RFC 3550 5.1, RFC 8285).

use std::ops::Range;

use crate::error::{BadPacket, Parsed, be16, be32};

pub const FIXED_HEADER_BYTES: usize = 12;
const ONE_BYTE_PROFILE: u16 = 0xBEDE; // RFC 8285 4.2
const TWO_BYTE_PROFILE: u16 = 0x1000; // RFC 8285 4.3, low four bits are appbits

/// A parsed header; `len_bytes` covers CSRCs and extensions: what SRTP leaves in clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub marker: bool,
    pub padding: bool,
    pub payload_type: u8,
    pub seq: u16,
    pub rtp_ts: u32,
    pub ssrc: u32,
    pub len_bytes: usize,
    extension_profile: u16,
    extension: Range<usize>,
}

impl Header {
    pub fn parse_untrusted(packet: &[u8]) -> Parsed<Self> {
        if packet.len() < FIXED_HEADER_BYTES {
            return Err(BadPacket::Truncated);
        }
        if packet[0] >> 6 != 2 {
            return Err(BadPacket::Version);
        }
        let mut len_bytes = FIXED_HEADER_BYTES + 4 * usize::from(packet[0] & 0x0f);
        let mut extension_profile = 0;
        let mut extension = 0..0;
        if packet[0] & 0x10 != 0 {
            extension_profile = be16(packet, len_bytes)?;
            let size = 4 * usize::from(be16(packet, len_bytes + 2)?);
            extension = len_bytes + 4..len_bytes + 4 + size;
            len_bytes = extension.end;
        }
        if len_bytes > packet.len() {
            return Err(BadPacket::Truncated);
        }
        Ok(Self {
            marker: packet[1] & 0x80 != 0,
            padding: packet[0] & 0x20 != 0,
            payload_type: packet[1] & 0x7f,
            seq: be16(packet, 2)?,
            rtp_ts: be32(packet, 4)?,
            ssrc: be32(packet, 8)?,
            len_bytes,
            extension_profile,
            extension,
        })
    }

    /// The payload of a decrypted packet, padding taken off (RFC 3550 5.1: the last octet counts itself).
    pub fn payload_untrusted<'a>(&self, packet: &'a [u8]) -> Parsed<&'a [u8]> {
        let body = packet.get(self.len_bytes..).ok_or(BadPacket::Truncated)?;
        if !self.padding {
            return Ok(body);
        }
        let pad = usize::from(*body.last().ok_or(BadPacket::Padding)?);
        if pad == 0 || pad > body.len() {
            return Err(BadPacket::Padding);
        }
        Ok(&body[..body.len() - pad])
    }

    /// Walks the extension elements of the packet this header was parsed from. Stops at the first malformed one.
    pub fn extensions<'a>(&self, packet: &'a [u8]) -> Extensions<'a> {
        let two_byte = match self.extension_profile {
            ONE_BYTE_PROFILE => false,
            profile if profile & 0xFFF0 == TWO_BYTE_PROFILE => true,
            _ => return Extensions { rest: &[], two_byte: false },
        };
        Extensions { rest: packet.get(self.extension.clone()).unwrap_or(&[]), two_byte }
    }
}

pub struct Extensions<'a> {
    rest: &'a [u8],
    two_byte: bool,
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&first, rest) = self.rest.split_first()?;
            if first == 0 {
                self.rest = rest; // padding between elements
                continue;
            }
            let (id, len, rest) = if self.two_byte {
                let (&len, rest) = rest.split_first()?;
                (first, usize::from(len), rest)
            } else {
                let id = first >> 4;
                if id == 15 {
                    self.rest = &[]; // RFC 8285 4.2: 15 ends the processing
                    return None;
                }
                (id, usize::from(first & 0x0f) + 1, rest)
            };
            if len > rest.len() {
                self.rest = &[];
                return None;
            }
            let (value, rest) = rest.split_at(len);
            self.rest = rest;
            return Some((id, value));
        }
    }
}

/// The sequence number nearest to `highest_ext_seq` whose low 16 bits are `seq` (never below zero).
pub fn extend_seq(seq: u16, highest_ext_seq: u64) -> u64 {
    let delta = i64::from(seq.wrapping_sub(highest_ext_seq as u16) as i16);
    match highest_ext_seq.checked_add_signed(delta) {
        Some(ext_seq) => ext_seq,
        None => u64::from(seq),
    }
}

#[cfg(test)]
#[path = "rtp_tests.rs"]
mod tests;
