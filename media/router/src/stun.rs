//! STUN as ICE-lite needs it: Binding requests in, Binding success responses out (RFC 8489, RFC 8445 7.3); and the
//! requests with which two nodes keep their link alive.

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::hmac;

use crate::error::{BadPacket, Parsed, be16, be32};

const MAGIC_COOKIE: u32 = 0x2112_A442; // RFC 8489 5
const FINGERPRINT_XOR: u32 = 0x5354_554e; // RFC 8489 14.7
const HEADER_BYTES: usize = 20;
const INTEGRITY_BYTES: usize = 20;

const ATTR_USERNAME: u16 = 0x0006;
const ATTR_MESSAGE_INTEGRITY: u16 = 0x0008;
const ATTR_XOR_MAPPED_ADDRESS: u16 = 0x0020;
const ATTR_PRIORITY: u16 = 0x0024;
const ATTR_USE_CANDIDATE: u16 = 0x0025;
const ATTR_FINGERPRINT: u16 = 0x8028;

pub const BINDING_REQUEST: u16 = 0x0001;
pub const BINDING_INDICATION: u16 = 0x0011;
pub const BINDING_SUCCESS: u16 = 0x0101;

/// The longest answer `write_binding_success` makes: header, XOR-MAPPED-ADDRESS (IPv6), integrity, fingerprint.
pub const MAX_RESPONSE_BYTES: usize = HEADER_BYTES + 24 + 24 + 8;
/// RFC 8489 14.3: fewer than 509 bytes; ours are two short ufrags and a colon.
pub const MAX_USERNAME_BYTES: usize = 508;
/// The longest request `write_binding_request` makes: header, USERNAME, integrity, fingerprint.
pub const MAX_REQUEST_BYTES: usize = HEADER_BYTES + 4 + MAX_USERNAME_BYTES + 24 + 8;

/// The key that MESSAGE-INTEGRITY uses for short-term credentials: the password itself (RFC 8489 9.1.1).
pub fn short_term_key(password: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
}

#[derive(Debug)]
pub struct Message<'a> {
    raw: &'a [u8],
    pub message_type: u16,
    pub transaction_id: [u8; 12],
    pub username: Option<&'a [u8]>,
    pub priority: Option<u32>,
    pub use_candidate: bool,
    pub xor_mapped_address: Option<SocketAddr>,
    pub has_fingerprint: bool,
    integrity_at: Option<usize>,
}

impl<'a> Message<'a> {
    /// Reads a message whose FINGERPRINT, if it has one, is right. Attributes after MESSAGE-INTEGRITY other than
    /// FINGERPRINT are ignored (RFC 8489 14.5).
    pub fn parse_untrusted(raw: &'a [u8]) -> Parsed<Self> {
        let message_type = be16(raw, 0)?;
        let length = be16(raw, 2)? as usize;
        if be32(raw, 4)? != MAGIC_COOKIE || message_type & 0xC000 != 0 {
            return Err(BadPacket::Version);
        }
        if raw.len() < HEADER_BYTES {
            return Err(BadPacket::Truncated);
        }
        if !length.is_multiple_of(4) || HEADER_BYTES + length != raw.len() {
            return Err(BadPacket::Length);
        }
        let mut transaction_id = [0; 12];
        transaction_id.copy_from_slice(&raw[8..20]);
        let mut message = Message {
            raw,
            message_type,
            transaction_id,
            username: None,
            priority: None,
            use_candidate: false,
            xor_mapped_address: None,
            has_fingerprint: false,
            integrity_at: None,
        };
        let mut at = HEADER_BYTES;
        while at < raw.len() {
            let kind = be16(raw, at)?;
            let size = be16(raw, at + 2)? as usize;
            let value = raw.get(at + 4..at + 4 + size).ok_or(BadPacket::Truncated)?;
            match kind {
                ATTR_FINGERPRINT => {
                    if size != 4 {
                        return Err(BadPacket::Length);
                    }
                    if be32(value, 0)? != crc32(&raw[..at]) ^ FINGERPRINT_XOR {
                        return Err(BadPacket::Integrity);
                    }
                    message.has_fingerprint = true;
                    break;
                }
                _ if message.integrity_at.is_some() => {}
                ATTR_MESSAGE_INTEGRITY => {
                    if size != INTEGRITY_BYTES {
                        return Err(BadPacket::Length);
                    }
                    message.integrity_at = Some(at);
                }
                ATTR_USERNAME => message.username = Some(value),
                ATTR_PRIORITY => message.priority = Some(be32(value, 0)?),
                ATTR_USE_CANDIDATE => message.use_candidate = true,
                ATTR_XOR_MAPPED_ADDRESS => {
                    message.xor_mapped_address = Some(xor_address_untrusted(value, &raw[4..20])?);
                }
                _ => {}
            }
            at += 4 + size.next_multiple_of(4);
        }
        Ok(message)
    }

    /// Whether MESSAGE-INTEGRITY is there and right (constant-time). The length field counts up to and including
    /// that attribute, whatever follows it (RFC 8489 14.5).
    pub fn verify_integrity(&self, key: &hmac::Key) -> bool {
        let Some(at) = self.integrity_at else { return false };
        let length = (at + 4 + INTEGRITY_BYTES - HEADER_BYTES) as u16;
        let mut context = hmac::Context::with_key(key);
        context.update(&self.raw[..2]);
        context.update(&length.to_be_bytes());
        context.update(&self.raw[4..at]);
        let expected = context.sign();
        let got = &self.raw[at + 4..at + 4 + INTEGRITY_BYTES];
        aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_ref(), got).is_ok()
    }

    /// USERNAME split at its colon: (our ufrag, the peer's ufrag) (RFC 8445 7.2.2).
    pub fn ufrags(&self) -> Option<(&'a str, &'a str)> {
        std::str::from_utf8(self.username?).ok()?.split_once(':')
    }
}

fn xor_address_untrusted(value: &[u8], cookie_and_id: &[u8]) -> Parsed<SocketAddr> {
    let port = be16(value, 2)? ^ (MAGIC_COOKIE >> 16) as u16;
    let ip = match (value.get(1), value.len()) {
        (Some(1), 8) => IpAddr::from((be32(value, 4)? ^ MAGIC_COOKIE).to_be_bytes()),
        (Some(2), 20) => {
            let mut octets = [0u8; 16];
            for (octet, (a, b)) in octets.iter_mut().zip(value[4..20].iter().zip(cookie_and_id)) {
                *octet = a ^ b;
            }
            IpAddr::from(octets)
        }
        _ => return Err(BadPacket::Length),
    };
    Ok(SocketAddr::new(ip, port))
}

/// Writes a Binding success response for `peer` and returns its length.
/// `out` must hold `MAX_RESPONSE_BYTES`.
pub fn write_binding_success(out: &mut [u8], transaction_id: &[u8; 12], peer: SocketAddr, key: &hmac::Key) -> usize {
    out[..2].copy_from_slice(&BINDING_SUCCESS.to_be_bytes());
    out[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    out[8..20].copy_from_slice(transaction_id);
    let at = HEADER_BYTES;
    // An IPv6 socket shows IPv4 peers as ::ffff:a.b.c.d; they asked over IPv4 and must read an IPv4 address.
    let ip = peer.ip().to_canonical();
    let port = peer.port() ^ (MAGIC_COOKIE >> 16) as u16;
    out[at..at + 2].copy_from_slice(&ATTR_XOR_MAPPED_ADDRESS.to_be_bytes());
    let octets = match ip {
        IpAddr::V4(v4) => {
            out[at + 4..at + 6].copy_from_slice(&[0, 1]);
            out[at + 8..at + 12].copy_from_slice(&v4.octets());
            4
        }
        IpAddr::V6(v6) => {
            out[at + 4..at + 6].copy_from_slice(&[0, 2]);
            out[at + 8..at + 24].copy_from_slice(&v6.octets());
            16
        }
    };
    for i in 0..octets {
        out[at + 8 + i] ^= out[4 + i];
    }
    out[at + 2..at + 4].copy_from_slice(&(4 + octets as u16).to_be_bytes());
    out[at + 6..at + 8].copy_from_slice(&port.to_be_bytes());
    seal(out, at + 8 + octets, key)
}

/// Writes a Binding request of `username` ("theirs:ours") and returns its length; None for a username that is too
/// long. `out` must hold `MAX_REQUEST_BYTES`.
pub fn write_binding_request(
    out: &mut [u8],
    transaction_id: &[u8; 12],
    username: &str,
    key: &hmac::Key,
) -> Option<usize> {
    if username.len() > MAX_USERNAME_BYTES {
        return None;
    }
    out[..2].copy_from_slice(&BINDING_REQUEST.to_be_bytes());
    out[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    out[8..20].copy_from_slice(transaction_id);
    out[20..22].copy_from_slice(&ATTR_USERNAME.to_be_bytes());
    out[22..24].copy_from_slice(&(username.len() as u16).to_be_bytes());
    let end = 24 + username.len();
    out[24..end].copy_from_slice(username.as_bytes());
    let padded = end.next_multiple_of(4);
    out[end..padded].fill(0);
    Some(seal(out, padded, key))
}

/// Completes a message that is `at` bytes long with MESSAGE-INTEGRITY and FINGERPRINT; its whole length.
fn seal(out: &mut [u8], mut at: usize, key: &hmac::Key) -> usize {
    let through_integrity = (at + 4 + INTEGRITY_BYTES - HEADER_BYTES) as u16;
    out[2..4].copy_from_slice(&through_integrity.to_be_bytes());
    let tag = hmac::sign(key, &out[..at]);
    out[at..at + 2].copy_from_slice(&ATTR_MESSAGE_INTEGRITY.to_be_bytes());
    out[at + 2..at + 4].copy_from_slice(&(INTEGRITY_BYTES as u16).to_be_bytes());
    out[at + 4..at + 24].copy_from_slice(tag.as_ref());
    at += 4 + INTEGRITY_BYTES;

    let whole = (at + 8 - HEADER_BYTES) as u16;
    out[2..4].copy_from_slice(&whole.to_be_bytes());
    let fingerprint = crc32(&out[..at]) ^ FINGERPRINT_XOR;
    out[at..at + 2].copy_from_slice(&ATTR_FINGERPRINT.to_be_bytes());
    out[at + 2..at + 4].copy_from_slice(&4u16.to_be_bytes());
    out[at + 4..at + 8].copy_from_slice(&fingerprint.to_be_bytes());
    at + 8
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut n = 0;
    while n < 256 {
        let mut c = n as u32;
        let mut bit = 0;
        while bit < 8 {
            c = if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 };
            bit += 1;
        }
        table[n] = c;
        n += 1;
    }
    table
};

/// CRC-32 of ITU V.42, as FINGERPRINT uses it (RFC 8489 14.7).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| CRC_TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8))
}

#[cfg(test)]
#[path = "stun_tests.rs"]
mod tests;
