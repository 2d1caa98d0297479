//! Commands: what exists and what each slot shows.

use super::layers::Reason;
use super::mirror::Share;
use super::restart::Credentials;
use super::tables::{
    ALL_TEMPORAL, HeaderTemplate, Ingest, REPORTS_KEPT, RESENT_KEPT, Slot, Source, Transport, TransportState,
};
use super::{Core, Event, Keys};
use crate::bandwidth::Bandwidth;
use crate::feedback::KeyframeRequest;
use crate::history::History;
use crate::meter::Meter;
use crate::outbox::Outbox;
use crate::parameters::{IngestParameters, Kind, Repair, SlotParameters};
use crate::rewrite::Rewrite;
use crate::speech::Speech;
use crate::srtp::{Inbound, Outbound};
use crate::stats::Counter;
use crate::tap::Tap;

/// Audio is not retransmitted for long: 128 packets are 2.5 s of Opus.
const AUDIO_HISTORY_PACKETS: usize = 128;

impl Core {
    pub(super) fn add_transport(
        &mut self,
        now_us: u64,
        transport_id: u64,
        local_ufrag: String,
        local_pwd: &str,
        remote_ufrag: Option<String>,
    ) -> Option<()> {
        if self.by_ufrag.contains_key(&local_ufrag) {
            return None;
        }
        let spread_us = self.numbering.next() % 1_000_000;
        let report_ssrc = self.numbering.next() as u32;
        let credentials = Credentials::new(local_ufrag.clone(), local_pwd, remote_ufrag);
        let transport = Transport {
            consent_us: now_us,
            next_transport_cc_us: now_us,
            // Reports of many viewers spread over the second instead of coming as one burst.
            next_report_us: now_us + spread_us,
            report_ssrc,
            ..Transport::new(transport_id, credentials)
        };
        let at = self.transports.insert(transport_id, transport)?;
        self.by_ufrag.insert(local_ufrag, at);
        Some(())
    }

    pub(super) fn send_dtls(&mut self, transport_id: u64, datagram: &[u8], outbox: &mut Outbox) -> Option<()> {
        let at = self.transports.find(transport_id)?;
        let transport = self.transports.get_mut(at)?;
        match transport.remote {
            Some(peer) if outbox.push(datagram, peer, &mut transport.chain) => {
                transport.tx_packets += 1;
                self.counters.inc(Counter::DtlsOut);
            }
            _ => self.counters.inc(Counter::DtlsDropped),
        }
        Some(())
    }

    pub(super) fn set_keys(&mut self, transport_id: u64, keys: &Keys) -> Option<()> {
        let at = self.transports.find(transport_id)?;
        let transport = self.transports.get_mut(at)?;
        transport.rx = Some(Inbound::new(keys.profile, &keys.rx_key, &keys.rx_salt).ok()?);
        transport.tx = Some(Outbound::new(keys.profile, &keys.tx_key, &keys.tx_salt).ok()?);
        transport.state = TransportState::Connected;
        if let (Some(_), Some(rx)) = (&transport.link, transport.rx.as_mut()) {
            rx.allow_sources(super::links::MAX_SOURCES);
        }
        for slot in &transport.slots {
            let wanted = self.slots.get(*slot).and_then(|slot| slot.wanted);
            if let Some(ingest) = wanted.and_then(|at| self.ingests.get_mut(at)) {
                ingest.keyframe_request.want();
            }
        }
        for ingest in &transport.ingests {
            // A tap or a waiting viewer may have come before the handshake was through.
            if let Some(ingest) = self.ingests.get_mut(*ingest)
                && (!ingest.viewers.is_empty() || !ingest.taps.is_empty())
            {
                ingest.keyframe_request.want();
            }
        }
        Some(())
    }

    pub(super) fn close_transport(&mut self, transport_id: u64, reason: &'static str) -> Option<()> {
        let at = self.transports.find(transport_id)?;
        let transport = self.transports.get_mut(at)?;
        let (ingests, slots) = (std::mem::take(&mut transport.ingests), std::mem::take(&mut transport.slots));
        for ingest in ingests {
            if let Some(id) = self.ingests.get(ingest).map(|ingest| ingest.id) {
                self.remove_ingest(id);
            }
        }
        for slot in slots {
            if let Some(id) = self.slots.get(slot).map(|slot| slot.id) {
                self.remove_slot(id);
            }
        }
        let (at, transport) = self.transports.remove(transport_id)?;
        self.by_ufrag.remove(&transport.credentials.local_ufrag);
        if let Some(previous) = &transport.previous_credentials {
            self.by_ufrag.remove(&previous.local_ufrag);
        }
        for address in transport.addresses {
            if self.by_address.get(&address) == Some(&at) {
                self.by_address.remove(&address);
                self.address_changed(address, false);
            }
        }
        self.events.push(Event::Closed { transport_id, reason });
        Some(())
    }

    pub(super) fn add_ingest(&mut self, ingest_id: u64, transport_id: u64, parameters: IngestParameters) -> Option<()> {
        let transport_at = self.transports.find(transport_id)?;
        let history_packets = match parameters.kind {
            Kind::Audio => self.history_packets.min(AUDIO_HISTORY_PACKETS),
            Kind::Video => self.history_packets,
        };
        let (ssrc, rtx_ssrc, extensions) = (parameters.ssrc, parameters.rtx_ssrc, parameters.extensions);
        let publisher = self.transports.get(transport_at)?;
        let first_hand = parameters.kind == Kind::Audio && publisher.link.is_none() && !publisher.is_mirror;
        let ingest = Ingest {
            id: ingest_id,
            transport: transport_at,
            parameters,
            ssrc: None,
            ext_base: 0,
            stream: None,
            codec: None,
            history: History::new(history_packets),
            viewers: Vec::new(),
            candidates: Vec::new(),
            height_px: None,
            meter: Meter::default(),
            held: Vec::new(),
            due_us: 0,
            keyframe_request: KeyframeRequest::default(),
            speech: first_hand.then(Speech::default),
            taps: Vec::new(),
            newest_ts: None,
            sender_clock: None,
            packets: 0,
            payload_bytes: 0,
            nacks_sent: 0,
            plis_sent: 0,
            keyframes: 0,
            frames: 0,
            last_packet_us: None,
            started_us: 0,
            shared_with: 0,
            mirror: None,
        };
        let at = self.ingests.insert(ingest_id, ingest)?;
        let transport = self.transports.get_mut(transport_at)?;
        transport.ingests.push(at);
        transport.extensions.complete(&extensions);
        for (ssrc, source) in [(ssrc, Source::Media(at)), (rtx_ssrc, Source::Rtx(at))] {
            let Some(ssrc) = ssrc else { continue };
            transport.ssrcs.retain(|(known, _)| *known != ssrc);
            transport.ssrcs.push((ssrc, source));
        }
        Some(())
    }

    pub(super) fn remove_ingest(&mut self, ingest_id: u64) -> Option<()> {
        let shared = self.ingests.find(ingest_id)?;
        self.share(shared, Share::Gone);
        let (at, ingest) = self.ingests.remove(ingest_id)?;
        self.holding.retain(|holding| *holding != at);
        self.cursor = 0;
        for tap in ingest.taps {
            self.counters.inc(Counter::TapsFailed);
            self.events.push(Event::TapFailed { tap_id: tap.tap_id, reason: "no_ingest" });
        }
        for slot in ingest.viewers {
            let Some(slot) = self.slots.get_mut(slot) else { continue };
            slot.current = slot.current.filter(|current| *current != at);
            slot.wanted = slot.wanted.filter(|wanted| *wanted != at);
        }
        for slot in &ingest.candidates {
            if let Some(slot) = self.slots.get_mut(*slot) {
                slot.layers.retain(|layer| *layer != at);
            }
        }
        self.choice_due |= !ingest.candidates.is_empty();
        if let Some(transport) = self.transports.get_mut(ingest.transport) {
            transport.ingests.retain(|ingest| *ingest != at);
            if let (Some(_), Some(rx)) = (&transport.link, transport.rx.as_mut()) {
                let gone = transport
                    .ssrcs
                    .iter()
                    .filter(|(_, source)| matches!(source, Source::Media(i) | Source::Rtx(i) if *i == at));
                gone.for_each(|(ssrc, _)| rx.forget(*ssrc));
            }
            transport.ssrcs.retain(|(_, source)| *source != Source::Media(at) && *source != Source::Rtx(at));
        }
        if ingest.mirror.is_some() {
            self.mirror_removed(ingest.transport);
        }
        Some(())
    }

    pub(super) fn add_slot(
        &mut self,
        now_us: u64,
        slot_id: u64,
        transport_id: u64,
        parameters: SlotParameters,
    ) -> Option<()> {
        let transport_at = self.transports.find(transport_id)?;
        let (first_seq, first_ts, rtx_seq) =
            (self.numbering.next() as u16, self.numbering.next() as u32, self.numbering.next());
        let extensions = &parameters.extensions;
        let repair = parameters.repair();
        let slot = Slot {
            id: slot_id,
            transport: transport_at,
            by_codec: parameters.by_codec(),
            template: HeaderTemplate::new(parameters.ssrc, &parameters.mid, extensions, repair),
            // Each retransmission has a number of its own.
            rtx_template: parameters
                .rtx_ssrc
                .map(|ssrc| HeaderTemplate::new(ssrc, &parameters.mid, extensions, Repair::Rtx)),
            repair,
            rewrite: Rewrite::new(first_seq, first_ts),
            rtx_ext_seq: rtx_seq & 0x7fff,
            layers: Vec::new(),
            max_height_px: None,
            current: None,
            wanted: None,
            reason: Reason::NoSource,
            wanted_temporal: ALL_TEMPORAL,
            temporal: ALL_TEMPORAL,
            frame: None,
            packets: 0,
            payload_bytes: 0,
            retransmitted: 0,
            nacks_received: 0,
            plis_received: 0,
            fraction_lost: 0,
            rtt_us: None,
            reports: [(0, 0); REPORTS_KEPT],
            next_pli_us: 0,
            resends_left: super::forward::RESENDS,
            resent: [(0, 0); RESENT_KEPT],
            next_resent: 0,
            resends_renewed_us: 0,
            parameters,
        };
        let stamped = slot.template.stamp_at.is_some();
        let at = self.slots.insert(slot_id, slot)?;
        let transport = self.transports.get_mut(transport_at)?;
        transport.slots.push(at);
        if stamped {
            transport.bandwidth.get_or_insert_with(|| Box::new(Bandwidth::new(now_us)));
        }
        Some(())
    }

    pub(super) fn remove_slot(&mut self, slot_id: u64) -> Option<()> {
        self.route(0, slot_id, &[]);
        let (at, slot) = self.slots.remove(slot_id)?;
        if let Some(transport) = self.transports.get_mut(slot.transport) {
            transport.slots.retain(|slot| *slot != at);
        }
        Some(())
    }

    /// The slot shall show these layers of one source, low to high: audio from its next packet, video from the key
    /// frame of the layer that fits; until then what it shows now goes on. None shows nothing, at once.
    pub(super) fn route(&mut self, now_us: u64, slot_id: u64, ingest_ids: &[u64]) -> Option<()> {
        let slot_at = self.slots.find(slot_id)?;
        let (kind, transport_at) = self.slots.get(slot_at).map(|slot| (slot.parameters.kind, slot.transport))?;
        let mut layers = Vec::with_capacity(ingest_ids.len());
        for id in ingest_ids {
            let at = self.ingests.find(*id)?;
            // A video ingest never feeds an audio slot, nor the other way round.
            (self.ingests.get(at)?.parameters.kind == kind && !layers.contains(&at)).then_some(())?;
            layers.push(at);
        }
        for at in &layers {
            let candidates = &mut self.ingests.get_mut(*at)?.candidates;
            if !candidates.contains(&slot_at) {
                candidates.push(slot_at);
            }
        }
        let before = std::mem::replace(&mut self.slots.get_mut(slot_at)?.layers, layers);
        let slot = self.slots.get(slot_at)?;
        for at in before.iter().filter(|at| !slot.layers.contains(at)) {
            if let Some(ingest) = self.ingests.get_mut(*at) {
                ingest.candidates.retain(|candidate| *candidate != slot_at);
            }
        }
        if slot.layers.is_empty() {
            self.want(slot_at, None, Reason::NoSource);
        } else {
            self.choose(now_us, transport_at);
        }
        Some(())
    }

    pub(super) fn limit_slot(&mut self, now_us: u64, slot_id: u64, max_height_px: Option<u32>) -> Option<()> {
        let slot_at = self.slots.find(slot_id)?;
        let slot = self.slots.get_mut(slot_at)?;
        slot.max_height_px = max_height_px;
        let transport_at = slot.transport;
        self.choose(now_us, transport_at);
        Some(())
    }

    /// Sets what a slot turns to. None ends what it shows at once.
    pub(super) fn want(&mut self, slot_at: usize, target: Option<usize>, reason: Reason) -> Option<()> {
        let slot = self.slots.get_mut(slot_at)?;
        slot.reason = reason;
        let (current, before) = (slot.current, slot.wanted);
        if before == target && (target.is_some() || current.is_none()) {
            return Some(());
        }
        slot.wanted = target;
        if target.is_none() {
            slot.current = None;
        }
        let slot_current = slot.current;
        for stale in [current, before].into_iter().flatten() {
            if Some(stale) != target && Some(stale) != slot_current {
                self.detach(stale, slot_at);
            }
        }
        if let Some(target) = target {
            let ingest = self.ingests.get_mut(target)?;
            if !ingest.viewers.contains(&slot_at) {
                ingest.viewers.push(slot_at);
            }
            if slot_current != Some(target) && ingest.parameters.kind == Kind::Video {
                ingest.keyframe_request.want();
            }
        }
        Some(())
    }

    pub(super) fn detach(&mut self, ingest_at: usize, slot_at: usize) {
        if let Some(ingest) = self.ingests.get_mut(ingest_at) {
            ingest.viewers.retain(|viewer| *viewer != slot_at);
        }
    }

    pub(super) fn request_keyframe(&mut self, ingest_id: u64) -> Option<()> {
        let at = self.best_layer(self.ingests.find(ingest_id)?);
        self.ingests.get_mut(at)?.keyframe_request.want();
        Some(())
    }

    pub(super) fn tap(&mut self, ingest_id: u64, tap_id: u64, deadline_us: u64) -> Option<()> {
        let at = self.ingests.find(ingest_id).map(|at| self.best_layer(at));
        let Some(ingest) = at.and_then(|at| self.ingests.get_mut(at)) else {
            self.counters.inc(Counter::TapsFailed);
            self.events.push(Event::TapFailed { tap_id, reason: "no_ingest" });
            return Some(());
        };
        ingest.taps.push(Tap::new(tap_id, deadline_us, ingest.newest_ts));
        ingest.keyframe_request.want_now();
        Some(())
    }
}
