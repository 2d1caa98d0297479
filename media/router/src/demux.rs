//! Which protocol a datagram speaks, told by its first bytes (RFC 7983 section 7, RFC 5761 section 4).

use crate::error::{BadPacket, Parsed};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Stun,
    Dtls,
    Rtp,
    Rtcp,
}

pub fn classify_untrusted(datagram: &[u8]) -> Parsed<Protocol> {
    let first = *datagram.first().ok_or(BadPacket::Truncated)?;
    match first {
        0..=3 => Ok(Protocol::Stun),
        20..=63 => Ok(Protocol::Dtls),
        128..=191 => match datagram.get(1) {
            // RFC 5761 4: RTCP types 192-223 collide with no RTP payload type that may be negotiated with rtcp-mux.
            Some(192..=223) => Ok(Protocol::Rtcp),
            Some(_) => Ok(Protocol::Rtp),
            None => Err(BadPacket::Truncated),
        },
        _ => Err(BadPacket::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_byte_decides() {
        assert_eq!(classify_untrusted(&[]), Err(BadPacket::Truncated));
        assert_eq!(classify_untrusted(&[0, 1]), Ok(Protocol::Stun));
        assert_eq!(classify_untrusted(&[22]), Ok(Protocol::Dtls));
        assert_eq!(classify_untrusted(&[0x80, 96]), Ok(Protocol::Rtp));
        assert_eq!(classify_untrusted(&[0x80, 0x80 | 111]), Ok(Protocol::Rtp));
        assert_eq!(classify_untrusted(&[0x80, 200]), Ok(Protocol::Rtcp));
        assert_eq!(classify_untrusted(&[0x80]), Err(BadPacket::Truncated));
        for other in [4, 19, 64, 79, 127, 192, 255] {
            assert_eq!(classify_untrusted(&[other, 0]), Err(BadPacket::Unknown));
        }
    }
}
