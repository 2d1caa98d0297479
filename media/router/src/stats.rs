//! Counters by name: everything that was refused, answered or given up is countable from outside.

macro_rules! counters {
    ($($name:ident => $text:literal),* $(,)?) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Counter { $($name),* }
        pub const COUNTER_NAMES: [&str; [$($text),*].len()] = [$($text),*];
    };
}

counters! {
    RxDatagrams => "rx_datagrams",
    RxBytes => "rx_bytes",
    TxDatagrams => "tx_datagrams",
    TxBytes => "tx_bytes",
    TxMessages => "tx_messages",
    TxDropped => "tx_dropped",
    TxWaits => "tx_waits",
    RxBatches => "rx_batches",
    BadTruncated => "bad_truncated",
    BadVersion => "bad_version",
    BadLength => "bad_length",
    BadPadding => "bad_padding",
    BadIntegrity => "bad_integrity",
    BadReplayed => "bad_replayed",
    BadTooMany => "bad_too_many",
    BadUnknown => "bad_unknown",
    Oversized => "oversized",
    Strangers => "strangers",
    StunRequests => "stun_requests",
    StunUnknownUfrag => "stun_unknown_ufrag",
    StunRejected => "stun_rejected",
    StunOther => "stun_other",
    IceRestarts => "ice_restarts",
    AddressesEvicted => "addresses_evicted",
    ConsentExpired => "consent_expired",
    TcpAccepted => "tcp_accepted",
    TcpRefused => "tcp_refused",
    TcpClosed => "tcp_closed",
    TcpDropped => "tcp_dropped",
    DtlsIn => "dtls_in",
    DtlsOut => "dtls_out",
    DtlsDropped => "dtls_dropped",
    EventsDropped => "events_dropped",
    NoKeys => "no_keys",
    RtpIn => "rtp_in",
    RtcpIn => "rtcp_in",
    RtpOut => "rtp_out",
    RtcpOut => "rtcp_out",
    RtxIn => "rtx_in",
    RtxOut => "rtx_out",
    ResentPlain => "resent_plain",
    NackMissed => "nack_missed",
    NackLimited => "nack_limited",
    NackEarly => "nack_early",
    NacksOut => "nacks_out",
    PlisOut => "plis_out",
    TransportCcOut => "transport_cc_out",
    TransportCcIn => "transport_cc_in",
    PaddingOut => "padding_out",
    Paced => "paced",
    PlisLimited => "plis_limited",
    RembIn => "remb_in",
    UnknownSsrc => "unknown_ssrc",
    UnknownPayloadType => "unknown_payload_type",
    CodecMissing => "codec_missing",
    Duplicates => "duplicates",
    TooOld => "too_old",
    Latched => "latched",
    Restarts => "restarts",
    TapsDone => "taps_done",
    TapsFailed => "taps_failed",
    CommandsIgnored => "commands_ignored",
    HandedOver => "handed_over",
    Mirrored => "mirrored",
    ParcelsDropped => "parcels_dropped",
}

/// One number per `Counter`, from the router's start.
#[derive(Debug, Clone)]
pub struct Counters {
    values: [u64; COUNTER_NAMES.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self { values: [0; COUNTER_NAMES.len()] }
    }
}

impl Counters {
    #[inline]
    pub fn add(&mut self, counter: Counter, by: u64) {
        self.values[counter as usize] += by;
    }

    #[inline]
    pub fn inc(&mut self, counter: Counter) {
        self.add(counter, 1);
    }

    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.values.iter_mut().zip(other.values) {
            *mine += theirs;
        }
    }

    pub fn get(&self, counter: Counter) -> u64 {
        self.values[counter as usize]
    }

    /// Books a refused datagram under its reason.
    pub fn bad(&mut self, why: crate::error::BadPacket) {
        use crate::error::BadPacket as B;
        self.inc(match why {
            B::Truncated => Counter::BadTruncated,
            B::Version => Counter::BadVersion,
            B::Length => Counter::BadLength,
            B::Padding => Counter::BadPadding,
            B::Integrity => Counter::BadIntegrity,
            B::Replayed => Counter::BadReplayed,
            B::TooMany => Counter::BadTooMany,
            B::Unknown => Counter::BadUnknown,
        });
    }

    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        COUNTER_NAMES.iter().copied().zip(self.values.iter().copied())
    }
}
