//! A datagram's way in: protocol, sender, keys, source, receive state, history.

use super::restart::Generation;
use super::tables::{Ingest, MAX_ADDRESSES, MAX_SSRCS, Source, Transport, TransportState};
use super::{Core, Event};
use crate::demux::{Protocol, classify_untrusted};
use crate::error::{BadPacket, Parsed, be16};
use crate::history::Kept;
use crate::outbox::{ChainHandle, MAX_DATAGRAM_BYTES, Outbox, Peer};
use crate::parameters::Kind;
use crate::payload::{Codec, Vp8Descriptor, key_frame_start_untrusted};
use crate::picture::picture_height_untrusted;
use crate::rtp::{Header, extend_seq};
use crate::stats::Counter;
use crate::stream::{Arrival, Stream};
use crate::stun;

/// Viewers from which it pays to wait for the rest of a burst.
const HOLD_VIEWERS: usize = 4;
/// How long: the packets of one frame leave a sender within this time, and sending them together halves the cost of
/// sending. Far below the 20 ms that a viewer's jitter buffer begins with.
const HOLD_US: u64 = 1_500;
const HOLD_PACKETS: usize = 48;

/// What the header extensions of one packet say.
#[derive(Default)]
pub(super) struct Labels<'a> {
    mid: Option<&'a str>,
    rid: Option<&'a str>,
    repaired_rid: Option<&'a str>,
    transport_cc: Option<u16>,
    audio_level: Option<u8>,
}

impl Core {
    /// Takes one datagram as it came; `datagram` is decrypted in place. Whatever is wrong with it is counted.
    pub fn handle_datagram(&mut self, now_us: u64, from: Peer, datagram: &mut [u8], outbox: &mut Outbox) {
        self.counters.inc(Counter::RxDatagrams);
        self.counters.add(Counter::RxBytes, datagram.len() as u64);
        if datagram.len() > MAX_DATAGRAM_BYTES {
            self.counters.inc(Counter::Oversized);
            return;
        }
        let handled = match classify_untrusted(datagram) {
            Ok(Protocol::Stun) => self.stun_untrusted(now_us, from, datagram, outbox),
            Ok(protocol) => match self.by_address.get(&from) {
                Some(at) => self.peer_untrusted(now_us, *at, from, protocol, datagram, outbox),
                None => {
                    self.counters.inc(Counter::Strangers);
                    return;
                }
            },
            Err(why) => Err(why),
        };
        if let Err(why) = handled {
            self.counters.bad(why);
        }
    }

    fn stun_untrusted(&mut self, now_us: u64, from: Peer, datagram: &[u8], outbox: &mut Outbox) -> Parsed<()> {
        let message = stun::Message::parse_untrusted(datagram)?;
        if message.message_type != stun::BINDING_REQUEST {
            // Indications keep NAT bindings open and want no answer; we ask nothing, so responses are not for us.
            self.counters.inc(Counter::StunOther);
            return Ok(());
        }
        let Some((local, remote)) = message.ufrags() else {
            self.counters.inc(Counter::StunRejected);
            return Ok(());
        };
        let Some(&at) = self.by_ufrag.get(local) else {
            self.counters.inc(Counter::StunUnknownUfrag);
            return Ok(());
        };
        let Some(transport) = self.transports.get_mut(at) else { return Ok(()) };
        let Some(generation) = transport.check_of(&message, local, remote) else {
            // No 401: an answer to who does not know the password would only help someone who guesses.
            self.counters.inc(Counter::StunRejected);
            return Ok(());
        };
        self.counters.inc(Counter::StunRequests);
        transport.rx_packets += 1;
        transport.consent_us = now_us;
        transport.checked = true;
        if let Some(room) = outbox.room() {
            let key = &transport.credentials_of(generation).integrity_key;
            let len = stun::write_binding_success(room, &message.transaction_id, from.address, key);
            let mut answer = ChainHandle::default();
            outbox.commit(len, from, &mut answer);
            transport.tx_packets += 1;
        }
        let nominated = message.use_candidate;
        if generation == Generation::Current {
            self.retire_credentials(at);
        }
        self.learn_address(at, from, nominated);
        Ok(())
    }

    /// The first address that proves the password is used until another is nominated (RFC 8445 8.1.1).
    fn learn_address(&mut self, at: usize, from: Peer, nominated: bool) {
        let previous = self.by_address.insert(from, at);
        if let Some(previous) = previous.filter(|previous| *previous != at) {
            // The same client port with new credentials: the older transport has lost it.
            if let Some(old) = self.transports.get_mut(previous) {
                old.addresses.retain(|address| *address != from);
                old.remote = old.remote.filter(|remote| *remote != from);
            }
        }
        if previous != Some(at) {
            self.address_changed(from, true);
        }
        let Some(transport) = self.transports.get_mut(at) else { return };
        if !transport.addresses.contains(&from) {
            if transport.addresses.len() >= MAX_ADDRESSES {
                let remote = transport.remote;
                let oldest = transport.addresses.iter().position(|address| Some(*address) != remote).unwrap_or(0);
                let evicted = transport.addresses.remove(oldest);
                transport.addresses.push(from);
                self.by_address.remove(&evicted);
                self.address_changed(evicted, false);
                self.counters.inc(Counter::AddressesEvicted);
            } else {
                transport.addresses.push(from);
            }
        }
        let Some(transport) = self.transports.get_mut(at) else { return };
        let changes = match transport.remote {
            None => true,
            Some(remote) => nominated && remote != from,
        };
        if changes {
            transport.remote = Some(from);
            if transport.state == TransportState::New {
                transport.state = TransportState::Ice;
            }
            self.events.push(Event::Ice { transport_id: transport.id, address: from.address });
        }
    }

    fn peer_untrusted(
        &mut self,
        now_us: u64,
        at: usize,
        from: Peer,
        protocol: Protocol,
        datagram: &mut [u8],
        outbox: &mut Outbox,
    ) -> Parsed<()> {
        let Some(transport) = self.transports.get_mut(at) else { return Ok(()) };
        transport.rx_packets += 1;
        match protocol {
            Protocol::Stun => Ok(()), // taken care of before the sender was looked up
            Protocol::Dtls => {
                if transport.state == TransportState::Ice {
                    transport.state = TransportState::Dtls;
                }
                self.counters.inc(Counter::DtlsIn);
                self.events.push(Event::Dtls { transport_id: transport.id, datagram: datagram.to_vec() });
                Ok(())
            }
            Protocol::Rtcp => {
                let Some(rx) = transport.rx.as_mut() else {
                    self.counters.inc(Counter::NoKeys);
                    return Ok(());
                };
                let plain_bytes = rx.unprotect_rtcp_untrusted(datagram)?;
                self.counters.inc(Counter::RtcpIn);
                if transport.remote == Some(from) {
                    // A viewer whose authentic, fresh reports come from where its media goes wants it. RFC 7675 asks for
                    // checks only, which GStreamer's webrtcbin sends at the beginning and never again.
                    transport.consent_us = now_us;
                }
                self.rtcp_untrusted(now_us, at, &datagram[..plain_bytes], outbox)
            }
            Protocol::Rtp => self.rtp_untrusted(now_us, at, datagram),
        }
    }

    fn rtp_untrusted(&mut self, now_us: u64, at: usize, datagram: &mut [u8]) -> Parsed<()> {
        let header = Header::parse_untrusted(datagram)?;
        let Some(transport) = self.transports.get_mut(at) else { return Ok(()) };
        let Some(rx) = transport.rx.as_mut() else {
            self.counters.inc(Counter::NoKeys);
            return Ok(());
        };
        let (plain_bytes, index) = rx.unprotect_rtp_untrusted(datagram, header.len_bytes, header.ssrc, header.seq)?;
        self.counters.inc(Counter::RtpIn);
        let packet = &datagram[..plain_bytes];
        if !transport.ingests.is_empty() {
            // RFC 7675 asks for checks only. A publisher whose media is authentic and fresh is there and willing, and
            // some encoders (ffmpeg 8.0's whip) check once and never again; we send them nothing but feedback.
            transport.consent_us = now_us;
        }
        let labels = labels(transport, &header, packet);
        if let Some(seq) = labels.transport_cc {
            transport.transport_cc.receive(seq, now_us);
        }
        let source = match transport.ssrcs.iter().find(|(ssrc, _)| *ssrc == header.ssrc) {
            Some((_, source)) => *source,
            None => match self.latch(at, &header, &labels)? {
                Some(source) => source,
                None => {
                    self.counters.inc(Counter::UnknownSsrc);
                    return Ok(());
                }
            },
        };
        self.share_packet(source, index, packet);
        self.sourced_untrusted(now_us, source, &header, index, packet, &labels)
    }

    /// A plain packet whose source is known: it came from the network, or from the shard where its ingest lives.
    pub(super) fn sourced_untrusted(
        &mut self,
        now_us: u64,
        source: Source,
        header: &Header,
        index: u64,
        packet: &[u8],
        labels: &Labels,
    ) -> Parsed<()> {
        let payload = header.payload_untrusted(packet)?;
        match source {
            Source::Retired => {
                self.counters.inc(Counter::UnknownSsrc);
                Ok(())
            }
            Source::Media(ingest) => self.media_untrusted(now_us, ingest, header, index, payload, labels.audio_level),
            Source::Rtx(ingest) => self.rtx_untrusted(now_us, ingest, header, payload, labels.audio_level),
        }
    }

    /// Finds the ingest of a new SSRC: by mid (and rid), else by a payload type that only one ingest has.
    fn latch(&mut self, at: usize, header: &Header, labels: &Labels) -> Parsed<Option<Source>> {
        let Some(transport) = self.transports.get(at) else { return Ok(None) };
        let mut found = None;
        for &candidate in &transport.ingests {
            let Some(ingest) = self.ingests.get(candidate) else { continue };
            let parameters = &ingest.parameters;
            let rtx = match (parameters.codec_of(header.payload_type), parameters.codec_of_rtx(header.payload_type)) {
                (Some(_), _) => false,
                (None, Some(_)) => true,
                (None, None) => continue,
            };
            if labels.mid.is_some_and(|mid| mid != parameters.mid) {
                continue;
            }
            if let Some(rid) = &parameters.rid {
                let named = if rtx { labels.repaired_rid.or(labels.rid) } else { labels.rid };
                if named != Some(rid.as_str()) {
                    continue;
                }
            }
            if found.is_some() {
                return Ok(None); // ambiguous: wait for a packet that names itself
            }
            found = Some(if rtx { Source::Rtx(candidate) } else { Source::Media(candidate) });
        }
        let Some(source) = found else { return Ok(None) };
        let Some(transport) = self.transports.get_mut(at) else { return Ok(None) };
        if transport.ssrcs.len() >= MAX_SSRCS {
            return Err(BadPacket::TooMany);
        }
        for (ssrc, known) in &mut transport.ssrcs {
            if *known == source && *ssrc != header.ssrc {
                *known = Source::Retired;
            }
        }
        transport.ssrcs.push((header.ssrc, source));
        self.counters.inc(Counter::Latched);
        Ok(Some(source))
    }

    fn rtx_untrusted(
        &mut self,
        now_us: u64,
        at: usize,
        header: &Header,
        payload: &[u8],
        audio_level: Option<u8>,
    ) -> Parsed<()> {
        self.counters.inc(Counter::RtxIn);
        if payload.len() <= 2 {
            return Ok(()); // bandwidth probing: padding on the retransmission stream
        }
        let original_seq = be16(payload, 0)?; // RFC 4588 4
        let Some(ingest) = self.ingests.get_mut(at) else { return Ok(()) };
        let Some(stream) = &ingest.stream else { return Ok(()) };
        let Some(codec) = ingest.parameters.codec_of_rtx(header.payload_type).map(|c| c.payload_type) else {
            self.counters.inc(Counter::UnknownPayloadType);
            return Ok(());
        };
        let ext_seq = extend_seq(original_seq, stream.highest());
        // A retransmission never runs ahead of what it repeats; one that claims to would poison the sequence.
        if ext_seq > stream.highest() {
            self.counters.inc(Counter::TooOld);
            return Ok(());
        }
        self.keep_untrusted(now_us, at, header, codec, ext_seq, &payload[2..], audio_level, true)
    }

    fn media_untrusted(
        &mut self,
        now_us: u64,
        at: usize,
        header: &Header,
        index: u64,
        payload: &[u8],
        audio_level: Option<u8>,
    ) -> Parsed<()> {
        let Some(ingest) = self.ingests.get_mut(at) else { return Ok(()) };
        if ingest.parameters.codec_of(header.payload_type).is_none() {
            self.counters.inc(Counter::UnknownPayloadType);
            return Ok(());
        }
        if ingest.ssrc != Some(header.ssrc) {
            let restarted = ingest.ssrc.is_some();
            ingest.ssrc = Some(header.ssrc);
            if restarted {
                self.restart(at);
            }
        }
        let Some(ingest) = self.ingests.get(at) else { return Ok(()) };
        let ext_seq = ingest.ext_base + index;
        self.keep_untrusted(now_us, at, header, header.payload_type, ext_seq, payload, audio_level, false)
    }

    /// The publisher began anew under another SSRC: numbers go on above all earlier ones, viewers wait for a key frame.
    fn restart(&mut self, at: usize) {
        let Some(ingest) = self.ingests.get_mut(at) else { return };
        self.counters.inc(Counter::Restarts);
        let highest = ingest.history.highest().unwrap_or(0);
        ingest.ext_base = ((highest >> 16) + 2) << 16;
        ingest.stream = None;
        ingest.held.clear();
        ingest.sender_clock = None;
        ingest.newest_ts = None;
        for viewer in &ingest.viewers {
            let Some(slot) = self.slots.get_mut(*viewer) else { continue };
            slot.current = slot.current.filter(|current| *current != at);
        }
        if ingest.parameters.kind == Kind::Video && !ingest.viewers.is_empty() {
            ingest.keyframe_request.want();
        }
    }

    #[allow(clippy::too_many_arguments)] // one call, all of it facts of one packet
    fn keep_untrusted(
        &mut self,
        now_us: u64,
        at: usize,
        header: &Header,
        payload_type: u8,
        ext_seq: u64,
        payload: &[u8],
        audio_level: Option<u8>,
        retransmitted: bool,
    ) -> Parsed<()> {
        let Some(ingest) = self.ingests.get_mut(at) else { return Ok(()) };
        let Some(codec) = ingest.parameters.codec_of(payload_type).copied() else { return Ok(()) };
        let vp8 = match codec.codec {
            Codec::Vp8 if !payload.is_empty() => Vp8Descriptor::parse_untrusted(payload)?,
            _ => Vp8Descriptor::default(),
        };
        let key_frame_start = match codec.codec {
            _ if payload.is_empty() => false,
            Codec::Vp8 => vp8.key_frame_start,
            other => key_frame_start_untrusted(other, payload)?,
        };
        let entry = match ingest.history.claim(ext_seq) {
            Ok(entry) => entry,
            Err(Kept::Duplicate) => {
                self.counters.inc(Counter::Duplicates);
                return Ok(());
            }
            Err(Kept::TooOld) => {
                self.counters.inc(Counter::TooOld);
                return Ok(());
            }
        };
        entry.rtp_ts = header.rtp_ts;
        entry.codec = codec.codec;
        entry.marker = header.marker;
        entry.key_frame_start = key_frame_start;
        entry.padding = 0;
        entry.audio_level = audio_level;
        entry.vp8 = vp8;
        entry.payload.clear();
        entry.payload.extend_from_slice(payload);

        let is_video = ingest.parameters.kind == Kind::Video;
        match &mut ingest.stream {
            None => {
                ingest.started_us = now_us;
                self.choice_due = true;
                ingest.stream = Some(Stream::new(codec.clock_rate_hz, ext_seq, header.rtp_ts, now_us));
                self.events.push(Event::IngestStarted {
                    ingest_id: ingest.id,
                    ssrc: ingest.ssrc.unwrap_or(header.ssrc),
                    codec: codec.codec,
                });
            }
            Some(stream) => {
                let nack = ingest.parameters.nack;
                if stream.receive(ext_seq, header.rtp_ts, now_us, retransmitted, nack) == Arrival::Outage && is_video {
                    ingest.keyframe_request.want();
                }
            }
        }
        ingest.codec = Some(codec);
        ingest.packets += 1;
        // The marker bit ends a video frame (RFC 7741 4.1, RFC 6184 5.1).
        ingest.frames += u64::from(is_video && header.marker);
        ingest.payload_bytes += payload.len() as u64;
        ingest.last_packet_us = Some(now_us);
        // A packet that was sent again speaks of the past.
        if let (Some(level), Some(speech)) = (audio_level.filter(|_| !retransmitted), ingest.speech.as_mut())
            && let Some(is_speaking) = speech.hear(now_us, level)
        {
            self.events.push(Event::Speaking { ingest_id: ingest.id, is_speaking });
        }
        ingest.meter.add(now_us, payload.len(), vp8.temporal);
        if key_frame_start {
            ingest.keyframes += 1;
            let height_px = picture_height_untrusted(codec.codec, payload);
            if height_px.is_some() && height_px != ingest.height_px {
                ingest.height_px = height_px;
                self.choice_due = true;
            }
            ingest.keyframe_request.satisfied();
        }
        let mut taken = Vec::new();
        ingest.taps.retain_mut(|tap| match tap.advance(&ingest.history, ext_seq) {
            Some(frame) => {
                taken.push((tap.tap_id, frame));
                false
            }
            None => true,
        });
        if ingest.newest_ts.is_none_or(|newest| (header.rtp_ts.wrapping_sub(newest) as i32) > 0) {
            ingest.newest_ts = Some(header.rtp_ts);
        }
        if !ingest.viewers.is_empty() {
            Self::hold(&mut self.holding, ingest, at, now_us, ext_seq, header.marker || retransmitted);
        }
        for (tap_id, frame) in taken {
            self.tap_taken(now_us, at, tap_id, frame);
        }
        Ok(())
    }

    fn hold(holding: &mut Vec<usize>, ingest: &mut Ingest, at: usize, now_us: u64, ext_seq: u64, urgent: bool) {
        if ingest.held.is_empty() {
            holding.push(at);
            ingest.due_us = now_us + HOLD_US;
        }
        ingest.held.push(ext_seq);
        let worth_waiting = ingest.parameters.kind == Kind::Video && ingest.viewers.len() >= HOLD_VIEWERS;
        if urgent || !worth_waiting || ingest.held.len() >= HOLD_PACKETS {
            ingest.due_us = now_us;
        }
    }

    fn tap_taken(&mut self, now_us: u64, at: usize, tap_id: u64, frame: crate::tap::Taken) {
        let arrival_wall_us = self.wall_us(now_us);
        let Some(ingest) = self.ingests.get(at) else { return };
        let payloads = (frame.first..=frame.last)
            .filter_map(|ext_seq| ingest.history.get(ext_seq))
            .filter(|entry| !entry.payload.is_empty())
            .map(|entry| entry.payload.clone())
            .collect();
        self.counters.inc(Counter::TapsDone);
        self.events.push(Event::Keyframe {
            tap_id,
            ingest_id: ingest.id,
            codec: ingest.codec.map_or(Codec::Vp8, |c| c.codec),
            ssrc: ingest.ssrc.unwrap_or(0),
            rtp_ts: frame.rtp_ts,
            arrival_wall_us,
            payloads,
        });
    }
}

pub(super) fn labels<'a>(transport: &Transport, header: &Header, packet: &'a [u8]) -> Labels<'a> {
    let ids = &transport.extensions;
    let mut labels = Labels::default();
    for (id, value) in header.extensions(packet) {
        let id = Some(id);
        if id == ids.transport_cc {
            labels.transport_cc = be16(value, 0).ok();
        } else if id == ids.mid {
            labels.mid = std::str::from_utf8(value).ok();
        } else if id == ids.rid {
            labels.rid = std::str::from_utf8(value).ok();
        } else if id == ids.repaired_rid {
            labels.repaired_rid = std::str::from_utf8(value).ok();
        } else if id == ids.audio_level {
            labels.audio_level = value.first().copied();
        }
    }
    labels
}
