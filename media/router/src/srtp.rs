//! SRTP and SRTCP (RFC 3711; AEAD per RFC 7714): keys, packet index, replay windows, in-place protection.
//!
//! Whoever sends on an SSRC owns its packet index, so the outbound side keeps no per-SSRC state: callers pass their
//! 64-bit `ext_seq`, whose upper bits are the rollover counter. An `ext_seq` must never be used twice with different
//! bytes under one key: with AES-GCM that would give away the authentication key.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;

use crate::error::{BadPacket, Parsed, be32};

const GCM_TAG_BYTES: usize = 16;
const SHA1_TAG_BYTES: usize = 10; // AES128_CM_HMAC_SHA1_80: 80 bits
const RTCP_CLEAR_BYTES: usize = 8; // RFC 3711 3.4: header and sender SSRC stay in clear
const SRTCP_ENCRYPTED: u32 = 0x8000_0000;
/// What protection adds to an SRTP packet at most.
pub const MAX_RTP_OVERHEAD_BYTES: usize = GCM_TAG_BYTES;
/// What protection adds to an SRTCP packet at most.
pub const MAX_RTCP_OVERHEAD_BYTES: usize = GCM_TAG_BYTES + 4;
/// Sources one peer may speak with: a publisher with three simulcast layers, audio, screen and their RTX needs 10.
const MAX_SOURCES: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    AeadAes128Gcm,
    AeadAes256Gcm,
    Aes128CmSha1_80,
}

impl Profile {
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "AEAD_AES_128_GCM" => Some(Self::AeadAes128Gcm),
            "AEAD_AES_256_GCM" => Some(Self::AeadAes256Gcm),
            "AES128_CM_HMAC_SHA1_80" => Some(Self::Aes128CmSha1_80),
            _ => None,
        }
    }

    pub fn key_bytes(self) -> usize {
        match self {
            Self::AeadAes256Gcm => 32,
            _ => 16,
        }
    }

    pub fn salt_bytes(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 => 14,
            _ => 12,
        }
    }
}

/// Key or salt of the wrong size for the profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadKeys;

/// Labels of RFC 3711 4.3.2.
const LABEL_RTP_KEY: u8 = 0;
const LABEL_RTP_AUTH: u8 = 1;
const LABEL_RTP_SALT: u8 = 2;
const LABEL_RTCP_KEY: u8 = 3;
const LABEL_RTCP_AUTH: u8 = 4;
const LABEL_RTCP_SALT: u8 = 5;

fn counter_mode(key: &[u8]) -> Result<EncryptingKey, BadKeys> {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    EncryptingKey::ctr(UnboundCipherKey::new(algorithm, key).map_err(|_| BadKeys)?).map_err(|_| BadKeys)
}

fn apply_keystream(key: &EncryptingKey, iv: [u8; 16], data: &mut [u8]) -> Result<(), BadKeys> {
    key.less_safe_encrypt(data, EncryptionContext::Iv128(FixedLength::from(iv))).map(|_| ()).map_err(|_| BadKeys)
}

/// RFC 3711 4.3.1 with key derivation rate 0; a 96-bit salt is padded with zeros on the right (RFC 7714 11).
fn derive(master_key: &[u8], master_salt: &[u8], label: u8, out: &mut [u8]) -> Result<(), BadKeys> {
    let mut iv = [0u8; 16];
    iv[..master_salt.len()].copy_from_slice(master_salt);
    iv[7] ^= label;
    out.fill(0);
    apply_keystream(&counter_mode(master_key)?, iv, out)
}

/// Session keys of one direction of one stream kind (RTP or RTCP).
enum Cipher {
    Gcm { key: Box<LessSafeKey>, salt: [u8; 12] },
    CmSha1 { key: Box<EncryptingKey>, auth: Box<hmac::Key>, salt: [u8; 14] },
}

impl Cipher {
    fn new(profile: Profile, key: &[u8], salt: &[u8], labels: [u8; 3]) -> Result<Self, BadKeys> {
        if key.len() != profile.key_bytes() || salt.len() != profile.salt_bytes() {
            return Err(BadKeys);
        }
        let mut session_key = [0u8; 32];
        let session_key = &mut session_key[..profile.key_bytes()];
        derive(key, salt, labels[0], session_key)?;
        let algorithm = match profile {
            Profile::AeadAes128Gcm => &aead::AES_128_GCM,
            Profile::AeadAes256Gcm => &aead::AES_256_GCM,
            Profile::Aes128CmSha1_80 => {
                let mut auth = [0u8; 20];
                let mut session_salt = [0u8; 14];
                derive(key, salt, labels[1], &mut auth)?;
                derive(key, salt, labels[2], &mut session_salt)?;
                return Ok(Self::CmSha1 {
                    key: Box::new(counter_mode(session_key)?),
                    auth: Box::new(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &auth)),
                    salt: session_salt,
                });
            }
        };
        let mut session_salt = [0u8; 12];
        derive(key, salt, labels[2], &mut session_salt)?;
        let key = LessSafeKey::new(UnboundKey::new(algorithm, session_key).map_err(|_| BadKeys)?);
        Ok(Self::Gcm { key: Box::new(key), salt: session_salt })
    }

    fn rtp(profile: Profile, key: &[u8], salt: &[u8]) -> Result<Self, BadKeys> {
        Self::new(profile, key, salt, [LABEL_RTP_KEY, LABEL_RTP_AUTH, LABEL_RTP_SALT])
    }

    fn rtcp(profile: Profile, key: &[u8], salt: &[u8]) -> Result<Self, BadKeys> {
        Self::new(profile, key, salt, [LABEL_RTCP_KEY, LABEL_RTCP_AUTH, LABEL_RTCP_SALT])
    }
}

/// RFC 7714 8.1 (RTP) and 9.1 (RTCP, whose two upper index bytes are zero).
fn gcm_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> Nonce {
    let mut iv = [0u8; 12];
    iv[2..6].copy_from_slice(&ssrc.to_be_bytes());
    iv[6..12].copy_from_slice(&index.to_be_bytes()[2..]);
    for (byte, salt) in iv.iter_mut().zip(salt) {
        *byte ^= salt;
    }
    Nonce::assume_unique_for_key(iv)
}

/// RFC 3711 4.1.1.
fn cm_iv(salt: &[u8; 14], ssrc: u32, index: u64) -> [u8; 16] {
    let mut iv = [0u8; 16];
    iv[..14].copy_from_slice(salt);
    for (byte, x) in iv[4..8].iter_mut().zip(ssrc.to_be_bytes()) {
        *byte ^= x;
    }
    for (byte, x) in iv[8..14].iter_mut().zip(&index.to_be_bytes()[2..]) {
        *byte ^= x;
    }
    iv
}

fn sha1_tag(auth: &hmac::Key, packet: &[u8], roc: u32) -> hmac::Tag {
    let mut context = hmac::Context::with_key(auth);
    context.update(packet);
    context.update(&roc.to_be_bytes());
    context.sign()
}

/// Which indexes have been seen (RFC 3711 3.3.2), 1024 wide: a retransmission may come a second late.
#[derive(Debug, Clone)]
struct ReplayWindow {
    highest: u64,
    seen: [u64; ReplayWindow::WORDS],
}

impl ReplayWindow {
    const WORDS: usize = 16;
    const WIDTH: u64 = 64 * Self::WORDS as u64;

    fn starting_at(index: u64) -> Self {
        let mut window = Self { highest: index, seen: [0; Self::WORDS] };
        window.set(index);
        window
    }

    fn bit(index: u64) -> (usize, u64) {
        (((index / 64) % Self::WORDS as u64) as usize, 1 << (index % 64))
    }

    fn set(&mut self, index: u64) {
        let (word, mask) = Self::bit(index);
        self.seen[word] |= mask;
    }

    fn check(&self, index: u64) -> Parsed<()> {
        if index > self.highest {
            return Ok(());
        }
        let (word, mask) = Self::bit(index);
        if self.highest - index >= Self::WIDTH || self.seen[word] & mask != 0 {
            return Err(BadPacket::Replayed);
        }
        Ok(())
    }

    /// Call only for an index that `check` allowed and whose packet was authentic.
    fn accept(&mut self, index: u64) {
        if index > self.highest {
            if index - self.highest >= Self::WIDTH {
                self.seen = [0; Self::WORDS];
            } else {
                for passed in self.highest + 1..index {
                    let (word, mask) = Self::bit(passed);
                    self.seen[word] &= !mask;
                }
            }
            self.highest = index;
        }
        self.set(index);
    }
}

/// What a peer sends us.
pub struct Inbound {
    rtp: Cipher,
    rtcp: Cipher,
    sources: Vec<(u32, ReplayWindow)>,
    rtcp_sources: Vec<(u32, ReplayWindow)>,
    max_sources: usize,
}

impl Inbound {
    pub fn new(profile: Profile, master_key: &[u8], master_salt: &[u8]) -> Result<Self, BadKeys> {
        Ok(Self {
            rtp: Cipher::rtp(profile, master_key, master_salt)?,
            rtcp: Cipher::rtcp(profile, master_key, master_salt)?,
            sources: Vec::new(),
            rtcp_sources: Vec::new(),
            max_sources: MAX_SOURCES,
        })
    }

    /// A link between nodes carries many publications.
    pub fn allow_sources(&mut self, max_sources: usize) {
        self.max_sources = max_sources;
    }

    /// The peer will not speak with this source again; what it leaves free another one may take.
    pub fn forget(&mut self, ssrc: u32) {
        self.sources.retain(|(known, _)| *known != ssrc);
        self.rtcp_sources.retain(|(known, _)| *known != ssrc);
    }

    /// RFC 3711 3.3.1: the index nearest to the highest authentic one. A new source starts at rollover 0.
    fn guess_index(window: Option<&ReplayWindow>, seq: u16) -> u64 {
        window.map_or(u64::from(seq), |w| crate::rtp::extend_seq(seq, w.highest)) & 0xffff_ffff_ffff
    }

    /// Decrypts `packet` in place; returns (plain length, packet index). The index is authentic: it is the stream's
    /// 64-bit sequence number. `header_bytes` as `rtp::Header::len_bytes` says.
    pub fn unprotect_rtp_untrusted(
        &mut self,
        packet: &mut [u8],
        header_bytes: usize,
        ssrc: u32,
        seq: u16,
    ) -> Parsed<(usize, u64)> {
        let known = self.sources.iter().position(|(known, _)| *known == ssrc);
        if known.is_none() && self.sources.len() >= self.max_sources {
            return Err(BadPacket::TooMany);
        }
        let index = Self::guess_index(known.map(|at| &self.sources[at].1), seq);
        if let Some(at) = known {
            self.sources[at].1.check(index)?;
        }
        let plain_bytes = match &self.rtp {
            Cipher::Gcm { key, salt } => {
                if packet.len() < header_bytes + GCM_TAG_BYTES {
                    return Err(BadPacket::Truncated);
                }
                let (header, body) = packet.split_at_mut(header_bytes);
                key.open_in_place(gcm_nonce(salt, ssrc, index), Aad::from(&*header), body)
                    .map_err(|_| BadPacket::Integrity)?;
                packet.len() - GCM_TAG_BYTES
            }
            Cipher::CmSha1 { key, auth, salt } => {
                if packet.len() < header_bytes + SHA1_TAG_BYTES {
                    return Err(BadPacket::Truncated);
                }
                let plain_bytes = packet.len() - SHA1_TAG_BYTES;
                let (message, tag) = packet.split_at_mut(plain_bytes);
                let expected = sha1_tag(auth, message, (index >> 16) as u32);
                verify_slices_are_equal(&expected.as_ref()[..SHA1_TAG_BYTES], tag).map_err(|_| BadPacket::Integrity)?;
                apply_keystream(key, cm_iv(salt, ssrc, index), &mut message[header_bytes..])
                    .map_err(|_| BadPacket::Integrity)?;
                plain_bytes
            }
        };
        match known {
            Some(at) => self.sources[at].1.accept(index),
            None => self.sources.push((ssrc, ReplayWindow::starting_at(index))),
        }
        Ok((plain_bytes, index))
    }

    /// Decrypts an SRTCP compound in place and returns its plain length.
    pub fn unprotect_rtcp_untrusted(&mut self, packet: &mut [u8]) -> Parsed<usize> {
        let overhead = match &self.rtcp {
            Cipher::Gcm { .. } => GCM_TAG_BYTES + 4,
            Cipher::CmSha1 { .. } => SHA1_TAG_BYTES + 4,
        };
        if packet.len() < RTCP_CLEAR_BYTES + overhead {
            return Err(BadPacket::Truncated);
        }
        let ssrc = be32(packet, 4)?;
        let plain_bytes = packet.len() - overhead;
        let word_at = match &self.rtcp {
            Cipher::Gcm { .. } => packet.len() - 4,
            Cipher::CmSha1 { .. } => plain_bytes,
        };
        let word = be32(packet, word_at)?;
        let index = u64::from(word & !SRTCP_ENCRYPTED);
        // WebRTC always encrypts (RFC 8827 6.5); an authenticated clear report is refused rather than half supported.
        if word & SRTCP_ENCRYPTED == 0 {
            return Err(BadPacket::Version);
        }
        let known = self.rtcp_sources.iter().position(|(known, _)| *known == ssrc);
        if known.is_none() && self.rtcp_sources.len() >= self.max_sources {
            return Err(BadPacket::TooMany);
        }
        if let Some(at) = known {
            self.rtcp_sources[at].1.check(index)?;
        }
        match &self.rtcp {
            Cipher::Gcm { key, salt } => {
                let mut aad = [0u8; RTCP_CLEAR_BYTES + 4];
                aad[..RTCP_CLEAR_BYTES].copy_from_slice(&packet[..RTCP_CLEAR_BYTES]);
                aad[RTCP_CLEAR_BYTES..].copy_from_slice(&word.to_be_bytes());
                key.open_in_place(
                    gcm_nonce(salt, ssrc, index),
                    Aad::from(aad.as_slice()),
                    &mut packet[RTCP_CLEAR_BYTES..word_at],
                )
                .map_err(|_| BadPacket::Integrity)?;
            }
            Cipher::CmSha1 { key, auth, salt } => {
                let (message, tag) = packet.split_at_mut(plain_bytes + 4);
                let expected = hmac::sign(auth, message);
                verify_slices_are_equal(&expected.as_ref()[..SHA1_TAG_BYTES], tag).map_err(|_| BadPacket::Integrity)?;
                apply_keystream(key, cm_iv(salt, ssrc, index), &mut message[RTCP_CLEAR_BYTES..plain_bytes])
                    .map_err(|_| BadPacket::Integrity)?;
            }
        }
        match known {
            Some(at) => self.rtcp_sources[at].1.accept(index),
            None => self.rtcp_sources.push((ssrc, ReplayWindow::starting_at(index))),
        }
        Ok(plain_bytes)
    }
}

/// What we send to a peer.
pub struct Outbound {
    rtp: Cipher,
    rtcp: Cipher,
    next_rtcp_index: u32,
}

impl Outbound {
    pub fn new(profile: Profile, master_key: &[u8], master_salt: &[u8]) -> Result<Self, BadKeys> {
        Ok(Self {
            rtp: Cipher::rtp(profile, master_key, master_salt)?,
            rtcp: Cipher::rtcp(profile, master_key, master_salt)?,
            next_rtcp_index: 1,
        })
    }

    /// Protects the first `plain_bytes` of `packet` in place and returns the whole length.
    /// `packet` must have `MAX_RTP_OVERHEAD_BYTES` of room; None only if the cipher itself fails.
    #[inline]
    pub fn protect_rtp(
        &self,
        packet: &mut [u8],
        plain_bytes: usize,
        header_bytes: usize,
        ssrc: u32,
        ext_seq: u64,
    ) -> Option<usize> {
        match &self.rtp {
            Cipher::Gcm { key, salt } => {
                let (header, rest) = packet.split_at_mut(header_bytes);
                let (body, tail) = rest.split_at_mut(plain_bytes - header_bytes);
                let nonce = gcm_nonce(salt, ssrc, ext_seq & 0xffff_ffff_ffff);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(&*header), body).ok()?;
                tail[..GCM_TAG_BYTES].copy_from_slice(tag.as_ref());
                Some(plain_bytes + GCM_TAG_BYTES)
            }
            Cipher::CmSha1 { key, auth, salt } => {
                let (message, tail) = packet.split_at_mut(plain_bytes);
                apply_keystream(key, cm_iv(salt, ssrc, ext_seq & 0xffff_ffff_ffff), &mut message[header_bytes..])
                    .ok()?;
                let tag = sha1_tag(auth, message, (ext_seq >> 16) as u32);
                tail[..SHA1_TAG_BYTES].copy_from_slice(&tag.as_ref()[..SHA1_TAG_BYTES]);
                Some(plain_bytes + SHA1_TAG_BYTES)
            }
        }
    }

    /// Protects a compound RTCP packet in place and returns the whole length. Room: `MAX_RTCP_OVERHEAD_BYTES`.
    /// None when the 31-bit index is used up (RFC 3711 9.2: the keys must not be used any more) or the cipher fails.
    pub fn protect_rtcp(&mut self, packet: &mut [u8], plain_bytes: usize) -> Option<usize> {
        let index = self.next_rtcp_index;
        if index & SRTCP_ENCRYPTED != 0 || plain_bytes < RTCP_CLEAR_BYTES {
            return None;
        }
        self.next_rtcp_index += 1;
        let word = (index | SRTCP_ENCRYPTED).to_be_bytes();
        let ssrc = be32(packet, 4).ok()?;
        match &self.rtcp {
            Cipher::Gcm { key, salt } => {
                let mut aad = [0u8; RTCP_CLEAR_BYTES + 4];
                aad[..RTCP_CLEAR_BYTES].copy_from_slice(&packet[..RTCP_CLEAR_BYTES]);
                aad[RTCP_CLEAR_BYTES..].copy_from_slice(&word);
                let nonce = gcm_nonce(salt, ssrc, u64::from(index));
                let body = &mut packet[RTCP_CLEAR_BYTES..plain_bytes];
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad.as_slice()), body).ok()?;
                packet[plain_bytes..plain_bytes + GCM_TAG_BYTES].copy_from_slice(tag.as_ref());
                packet[plain_bytes + GCM_TAG_BYTES..plain_bytes + GCM_TAG_BYTES + 4].copy_from_slice(&word);
                Some(plain_bytes + GCM_TAG_BYTES + 4)
            }
            Cipher::CmSha1 { key, auth, salt } => {
                let body = &mut packet[RTCP_CLEAR_BYTES..plain_bytes];
                apply_keystream(key, cm_iv(salt, ssrc, u64::from(index)), body).ok()?;
                packet[plain_bytes..plain_bytes + 4].copy_from_slice(&word);
                let tag = hmac::sign(auth, &packet[..plain_bytes + 4]);
                packet[plain_bytes + 4..plain_bytes + 4 + SHA1_TAG_BYTES]
                    .copy_from_slice(&tag.as_ref()[..SHA1_TAG_BYTES]);
                Some(plain_bytes + 4 + SHA1_TAG_BYTES)
            }
        }
    }
}

#[cfg(test)]
#[path = "srtp_tests.rs"]
mod tests;
