//! From the history to viewers: rewrite, protect, queue; retransmissions too.

use super::pace::Waiting;
use super::tables::{ALL_TEMPORAL, HeaderTemplate, Ingest, Slot, Table, Transport};
use super::{Core, Event};
use crate::history::{Entry, History};
use crate::outbox::{MAX_DATAGRAM_BYTES, Outbox};
use crate::parameters::Repair;
use crate::rewrite::{Numbers, Rewrite};
use crate::srtp::MAX_RTP_OVERHEAD_BYTES;
use crate::stats::{Counter, Counters};

/// Answers to NACKs per slot in 20 ms: 5000 packets/s is far above any stream, and bounds a viewer that asks for
/// everything again and again.
pub(super) const RESENDS: u32 = 100;
const RESENDS_EVERY_US: u64 = 20_000;
/// The same packet is sent again after a round trip, within these bounds.
const MIN_AGAIN_US: u64 = 10_000;
const MAX_AGAIN_US: u64 = 500_000;
/// Padding that makes packets of a burst equally long. Encoders cut a frame into parts that differ by a few bytes;
/// a GSO run needs equal ones.
const MAX_EQUALISING_PADDING_BYTES: usize = 24;
/// Padded packets stay below every path's MTU.
const MAX_PADDED_PAYLOAD_BYTES: usize = 1200;

impl Core {
    /// Forwards held packets that are due into `outbox`. True: the outbox is full, send it and call again.
    pub fn poll(&mut self, now_us: u64, outbox: &mut Outbox) -> bool {
        loop {
            let due = self.holding.iter().position(|at| self.ingests.get(*at).is_none_or(|i| i.due_us <= now_us));
            let Some(position) = due else { return !self.pace(now_us, outbox) };
            let at = self.holding[position];
            if !self.forward_held(now_us, at, outbox) {
                return true;
            }
            self.cursor = 0;
            // Looked up again: a slot that switched may have changed the list.
            self.holding.retain(|holding| *holding != at);
            if let Some(ingest) = self.ingests.get_mut(at) {
                ingest.held.clear();
            }
        }
    }

    /// False if the outbox filled up before the last viewer.
    fn forward_held(&mut self, now_us: u64, at: usize, outbox: &mut Outbox) -> bool {
        let Some(ingest) = self.ingests.get_mut(at) else { return true };
        if self.cursor == 0 {
            // In order, so that reordered packets of one burst are put right for everyone.
            ingest.held.sort_unstable();
            equalise(&mut ingest.history, &ingest.held);
        }
        let mut switched = Vec::new();
        let mut full = false;
        while let Some(&slot_at) = ingest.viewers.get(self.cursor) {
            if outbox.is_full() {
                full = true;
                break;
            }
            self.cursor += 1;
            let Some(slot) = self.slots.get_mut(slot_at) else { continue };
            let Some(transport) = self.transports.get_mut(slot.transport) else { continue };
            let before = slot.current;
            forward(now_us, at, ingest, slot, transport, outbox, &mut self.counters);
            if transport.pacer.is_news() {
                self.pacing.push(slot.transport);
                self.next_pace_us.get_or_insert(now_us);
            }
            if slot.current != before {
                self.events.push(Event::Routed { slot_id: slot.id, ingest_id: ingest.id });
                if let Some(before) = before {
                    switched.push((before, slot_at));
                }
            }
        }
        for (old, slot_at) in switched {
            self.detach(old, slot_at);
        }
        !full
    }

    /// A viewer misses packets: from the shared history, by RTX where negotiated (RFC 4588), else the same again.
    pub(super) fn resend(&mut self, now_us: u64, slot_at: usize, seq: u16, following: u16, outbox: &mut Outbox) {
        let Self { slots, transports, ingests, counters, .. } = self;
        let Some(slot) = slots.get_mut(slot_at) else { return };
        let Some(transport) = transports.get_mut(slot.transport) else { return };
        if now_us >= slot.resends_renewed_us + RESENDS_EVERY_US {
            (slot.resends_left, slot.resends_renewed_us) = (RESENDS, now_us);
        }
        // Asked again before the answer can have arrived: a second one would only lengthen the queue that it waits in.
        let queue_us = transport.bandwidth.as_ref().map_or(0, |bandwidth| bandwidth.queue_us());
        let again_us = (slot.rtt_us.unwrap_or(0) + queue_us).clamp(MIN_AGAIN_US, MAX_AGAIN_US);
        let further = (0..16u16).filter(|bit| following & (1 << bit) != 0).map(|bit| seq.wrapping_add(bit + 1));
        for seq in std::iter::once(seq).chain(further) {
            slot.nacks_received += 1;
            if slot.resent.iter().any(|(resent, at_us)| *resent == seq && now_us < *at_us + again_us) {
                counters.inc(Counter::NackEarly);
                continue;
            }
            if slot.resends_left == 0 {
                counters.inc(Counter::NackLimited);
                continue;
            }
            slot.resends_left -= 1;
            if resend_one(now_us, slot, transport, ingests, seq, outbox, counters).is_none() {
                counters.inc(Counter::NackMissed);
            } else {
                slot.resent[slot.next_resent] = (seq, now_us);
                slot.next_resent = (slot.next_resent + 1) % slot.resent.len();
            }
        }
    }
}

/// All held packets of one ingest to one slot.
fn forward(
    now_us: u64,
    at: usize,
    ingest: &Ingest,
    slot: &mut Slot,
    transport: &mut Transport,
    outbox: &mut Outbox,
    counters: &mut Counters,
) {
    let (Some(_), Some(_)) = (&transport.tx, transport.remote) else { return };
    for &ext_seq in &ingest.held {
        let Some(entry) = ingest.history.get(ext_seq) else { continue };
        if slot.current == Some(at) {
            forward_one(now_us, entry, slot, transport, outbox, counters);
            continue;
        }
        // Video begins at a key frame; until then the slot's old source goes on.
        if slot.wanted != Some(at) || (slot.is_video() && !entry.key_frame_start) {
            continue;
        }
        let Some(way) = slot.way(entry.codec) else {
            counters.inc(Counter::CodecMissing);
            continue;
        };
        let clock_rate_hz = way.clock_rate_hz;
        slot.rewrite.switch(ingest.id, now_us, clock_rate_hz, entry.ext_seq, entry.rtp_ts, &entry.vp8);
        slot.current = Some(at);
        slot.frame = None;
        // A key frame whose first packet had to be repaired: what follows it has come already. Otherwise this is just
        // the rest of what is held.
        for ext_seq in ext_seq..=ingest.history.highest().unwrap_or(ext_seq) {
            if let Some(entry) = ingest.history.get(ext_seq) {
                forward_one(now_us, entry, slot, transport, outbox, counters);
            }
        }
        return;
    }
}

#[inline]
fn forward_one(
    now_us: u64,
    entry: &Entry,
    slot: &mut Slot,
    transport: &mut Transport,
    outbox: &mut Outbox,
    counters: &mut Counters,
) {
    let Some(way) = slot.way(entry.codec) else {
        counters.inc(Counter::CodecMissing);
        return;
    };
    let payload_type = way.payload_type;
    if (slot.temporal != ALL_TEMPORAL || slot.wanted_temporal != ALL_TEMPORAL) && !slot.keeps(entry) {
        return;
    }
    let Some(numbers) = slot.rewrite.map(entry.ext_seq, entry.rtp_ts, &entry.vp8, now_us) else { return };
    if transport.is_paced() && slot.is_video() {
        let (slot_id, ingest_id, src_ext_seq) = (slot.id, slot.rewrite.source(), entry.ext_seq);
        transport.pacer.push(Waiting { slot_id, ingest_id, src_ext_seq, numbers });
        return;
    }
    let ssrc = slot.parameters.ssrc;
    let sent =
        send(now_us, &slot.template, ssrc, payload_type, numbers.ext_seq, numbers, entry, None, transport, outbox);
    match sent {
        Some(()) => {
            slot.packets += 1;
            slot.payload_bytes += entry.payload.len() as u64;
            counters.inc(Counter::RtpOut);
        }
        None => counters.inc(Counter::TxDropped),
    }
}

fn resend_one(
    now_us: u64,
    slot: &mut Slot,
    transport: &mut Transport,
    ingests: &Table<Ingest>,
    seq: u16,
    outbox: &mut Outbox,
    counters: &mut Counters,
) -> Option<()> {
    let (epoch, src_ext_seq) = slot.rewrite.find(seq)?;
    let ingest = ingests.get(ingests.find(epoch.source)?)?;
    let entry = ingest.history.get(src_ext_seq)?;
    let numbers = Rewrite::again(epoch, src_ext_seq, entry.rtp_ts, &entry.vp8);
    let way = *slot.way(entry.codec)?;
    match (&slot.rtx_template, way.rtx_payload_type, slot.parameters.rtx_ssrc) {
        _ if slot.repair == Repair::Never => return None,
        (Some(template), Some(payload_type), Some(ssrc)) => {
            slot.rtx_ext_seq += 1;
            let original = Some(numbers.ext_seq as u16);
            send(now_us, template, ssrc, payload_type, slot.rtx_ext_seq, numbers, entry, original, transport, outbox)?;
            counters.inc(Counter::RtxOut);
        }
        _ => {
            // The same SRTP index again: only where nothing in the packet can differ.
            (slot.repair == Repair::Plain && slot.template.stamp_at.is_none()).then_some(())?;
            let ssrc = slot.parameters.ssrc;
            send(
                now_us,
                &slot.template,
                ssrc,
                way.payload_type,
                numbers.ext_seq,
                numbers,
                entry,
                None,
                transport,
                outbox,
            )?;
            counters.inc(Counter::ResentPlain);
        }
    }
    slot.retransmitted += 1;
    Some(())
}

/// Writes, protects and queues one packet. The bytes before protection follow from the arguments alone, but for the stamp
/// of templates that have one: a plain retransmission must not differ from the first sending (see `srtp`).
#[allow(clippy::too_many_arguments)] // the hot path; a struct would be filled and emptied at each call
#[inline]
pub(super) fn send(
    now_us: u64,
    template: &HeaderTemplate,
    ssrc: u32,
    payload_type: u8,
    ext_seq: u64,
    numbers: Numbers,
    entry: &Entry,
    original_seq: Option<u16>,
    transport: &mut Transport,
    outbox: &mut Outbox,
) -> Option<()> {
    let (tx, peer) = (transport.tx.as_ref()?, transport.remote?);
    let header_bytes = template.bytes.len();
    let prefix = if original_seq.is_some() { 2 } else { 0 };
    let body_at = header_bytes + prefix;
    let payload_end = body_at + entry.payload.len();
    let plain_bytes = payload_end + usize::from(entry.padding);
    if plain_bytes + MAX_RTP_OVERHEAD_BYTES > MAX_DATAGRAM_BYTES {
        return None;
    }
    let room = outbox.room()?;
    room[..header_bytes].copy_from_slice(&template.bytes);
    if entry.padding > 0 {
        room[0] |= 0x20;
        room[payload_end..plain_bytes].fill(0);
        room[plain_bytes - 1] = entry.padding;
    }
    room[1] = payload_type | if entry.marker { 0x80 } else { 0 };
    room[2..4].copy_from_slice(&(ext_seq as u16).to_be_bytes());
    room[4..8].copy_from_slice(&numbers.rtp_ts.to_be_bytes());
    if let Some(at) = template.level_at {
        match entry.audio_level {
            Some(level) => room[at + 1] = level,
            None => room[at] = 0, // no level came: two bytes of extension padding (RFC 8285 4.2)
        }
    }
    if let Some(seq) = original_seq {
        room[header_bytes..body_at].copy_from_slice(&seq.to_be_bytes());
    }
    room[body_at..payload_end].copy_from_slice(&entry.payload);
    entry.vp8.rewrite(&mut room[body_at..payload_end], numbers.picture_id, numbers.tl0picidx);
    if let (Some(at), Some(bandwidth)) = (template.stamp_at, &mut transport.bandwidth) {
        let seq = bandwidth.stamp(now_us, plain_bytes + MAX_RTP_OVERHEAD_BYTES);
        room[at..at + 2].copy_from_slice(&seq.to_be_bytes());
    }
    let len = tx.protect_rtp(room, plain_bytes, header_bytes, ssrc, ext_seq)?;
    outbox.commit(len, peer, &mut transport.chain);
    transport.tx_packets += 1;
    Some(())
}

/// Gives the packets of one burst equal lengths where a little padding does it. A run may end with one shorter packet.
fn equalise(history: &mut History, held: &[u64]) {
    let len = |history: &History, ext_seq: u64| history.get(ext_seq).map(|e| e.payload.len());
    let mut from = 0;
    while from < held.len() {
        let Some(first) = len(history, held[from]) else {
            from += 1;
            continue;
        };
        let (mut shortest, mut longest) = (first, first);
        let mut to = from + 1;
        while let Some(next) = held.get(to).and_then(|ext_seq| len(history, *ext_seq)) {
            let (low, high) = (shortest.min(next), longest.max(next));
            if high - low > MAX_EQUALISING_PADDING_BYTES {
                break;
            }
            (shortest, longest) = (low, high);
            to += 1;
        }
        if to - from > 1 && longest <= MAX_PADDED_PAYLOAD_BYTES {
            for (i, ext_seq) in held[from..to].iter().enumerate() {
                let Some(entry) = history.get_mut(*ext_seq) else { continue };
                let missing = longest - entry.payload.len();
                let is_last_of_all = from + i + 1 == held.len();
                // An empty payload is a keep-alive, padding would make it look like probing; leave it.
                if missing > 0 && !is_last_of_all && !entry.payload.is_empty() {
                    entry.padding = missing as u8;
                }
            }
        }
        from = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_a_burst_get_equal_lengths() {
        let mut history = History::new(16);
        let lengths = [1150, 1151, 1150, 1149, 400, 402, 30];
        for (ext_seq, len) in lengths.iter().enumerate() {
            history.claim(ext_seq as u64).unwrap().payload = vec![0; *len];
        }
        equalise(&mut history, &[0, 1, 2, 3, 4, 5, 6]);
        let padded: Vec<usize> =
            (0..7).map(|at| history.get(at).map_or(0, |e| e.payload.len() + usize::from(e.padding))).collect();
        assert_eq!(padded, [1151, 1151, 1151, 1151, 402, 402, 30]);
    }
}
