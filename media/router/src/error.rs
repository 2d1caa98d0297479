//! The one error that bytes from the network may cause.

/// Why a datagram (or a part of one) was refused. Refusing is all that happens: it is counted and dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadPacket {
    /// Shorter than its own fields say.
    Truncated,
    /// A version, magic cookie or type that the protocol does not have.
    Version,
    /// A length field that contradicts the datagram.
    Length,
    /// RTP or RTCP padding longer than what it pads.
    Padding,
    /// An authentication tag, MESSAGE-INTEGRITY or FINGERPRINT that does not verify.
    Integrity,
    /// An SRTP or SRTCP index seen before, or too old to tell (RFC 3711 3.3.2).
    Replayed,
    /// More synchronisation sources from one peer than the tables keep.
    TooMany,
    /// First byte of no protocol on this port (RFC 7983 7).
    Unknown,
}

pub type Parsed<T> = Result<T, BadPacket>;

/// Big-endian reads that answer `Truncated` instead of panicking.
pub(crate) fn be16(bytes: &[u8], at: usize) -> Parsed<u16> {
    match bytes.get(at..at + 2) {
        Some(b) => Ok(u16::from_be_bytes([b[0], b[1]])),
        None => Err(BadPacket::Truncated),
    }
}

pub(crate) fn be24(bytes: &[u8], at: usize) -> Parsed<u32> {
    match bytes.get(at..at + 3) {
        Some(b) => Ok(u32::from_be_bytes([0, b[0], b[1], b[2]])),
        None => Err(BadPacket::Truncated),
    }
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> Parsed<u32> {
    match bytes.get(at..at + 4) {
        Some(b) => Ok(u32::from_be_bytes([b[0], b[1], b[2], b[3]])),
        None => Err(BadPacket::Truncated),
    }
}
