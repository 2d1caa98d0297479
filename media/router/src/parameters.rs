//! What was negotiated, as plain values (names follow `media/_router.pyi`).

use crate::payload::{CODEC_COUNT, Codec};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Audio,
    Video,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }
}

/// RFC 8285 ids; None is not negotiated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExtensionIds {
    pub mid: Option<u8>,
    pub rid: Option<u8>,
    pub repaired_rid: Option<u8>,
    pub transport_cc: Option<u8>,
    pub audio_level: Option<u8>,
}

impl ExtensionIds {
    /// Extension ids are one space per bundled transport (RFC 8843 9.2): ids of further m-lines complete the first's.
    pub fn complete(&mut self, other: &Self) {
        self.mid = self.mid.or(other.mid);
        self.rid = self.rid.or(other.rid);
        self.repaired_rid = self.repaired_rid.or(other.repaired_rid);
        self.transport_cc = self.transport_cc.or(other.transport_cc);
        self.audio_level = self.audio_level.or(other.audio_level);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodecParameters {
    pub codec: Codec,
    pub payload_type: u8,
    pub clock_rate_hz: u32,
    pub rtx_payload_type: Option<u8>,
}

#[derive(Debug, Clone)]
pub struct IngestParameters {
    pub kind: Kind,
    pub mid: String,
    pub rid: Option<String>,
    pub ssrc: Option<u32>,
    pub rtx_ssrc: Option<u32>,
    pub codecs: Vec<CodecParameters>,
    pub extensions: ExtensionIds,
    pub nack: bool,
    pub pli: bool,
    /// FIR was negotiated (RFC 5104 4.3.1); used where PLI was not.
    pub fir: bool,
    pub transport_cc: bool,
}

impl IngestParameters {
    /// A stream found by mid or payload type, without extensions or feedback; callers set what else was negotiated.
    pub fn new(kind: Kind, mid: &str, codecs: Vec<CodecParameters>) -> Self {
        Self {
            kind,
            mid: mid.into(),
            rid: None,
            ssrc: None,
            rtx_ssrc: None,
            codecs,
            extensions: ExtensionIds::default(),
            nack: false,
            pli: false,
            fir: false,
            transport_cc: false,
        }
    }

    pub fn codec_of(&self, payload_type: u8) -> Option<&CodecParameters> {
        self.codecs.iter().find(|c| c.payload_type == payload_type)
    }

    pub fn codec_of_rtx(&self, payload_type: u8) -> Option<&CodecParameters> {
        self.codecs.iter().find(|c| c.rtx_payload_type == Some(payload_type))
    }
}

#[derive(Debug, Clone)]
pub struct SlotParameters {
    pub kind: Kind,
    pub mid: String,
    pub ssrc: u32,
    pub rtx_ssrc: Option<u32>,
    pub codecs: Vec<CodecParameters>,
    pub extensions: ExtensionIds,
    pub nack: bool,
}

/// How a viewer gets a packet again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Not at all.
    Never,
    /// On the retransmission stream, under numbers of its own (RFC 4588).
    Rtx,
    /// The same bytes once more.
    Plain,
}

impl SlotParameters {
    /// Of the stream itself: `Rtx` only if every codec has a retransmission payload type.
    pub fn repair(&self) -> Repair {
        match (self.nack, self.rtx_ssrc) {
            (false, _) => Repair::Never,
            (true, Some(_)) if self.codecs.iter().all(|codec| codec.rtx_payload_type.is_some()) => Repair::Rtx,
            (true, _) => Repair::Plain,
        }
    }

    /// A slot without extensions, retransmission or feedback; callers set what else was negotiated.
    pub fn new(kind: Kind, mid: &str, ssrc: u32, codecs: Vec<CodecParameters>) -> Self {
        let extensions = ExtensionIds::default();
        Self { kind, mid: mid.into(), ssrc, rtx_ssrc: None, codecs, extensions, nack: false }
    }

    /// The slot's way to send each codec; the first of several entries counts (they are in order of preference).
    pub fn by_codec(&self) -> [Option<CodecParameters>; CODEC_COUNT] {
        let mut table = [None; CODEC_COUNT];
        for codec in self.codecs.iter().rev() {
            table[codec.codec as usize] = Some(*codec);
        }
        table
    }
}
