//! RTCP both ways, and everything that is due by time.

use super::mirror::{MirrorWish, Share};
use super::tables::{SenderClock, Source, Transport};
use super::{Core, Event};
use crate::bandwidth::Bandwidth;
use crate::error::Parsed;
use crate::outbox::{MAX_DATAGRAM_BYTES, Outbox};
use crate::parameters::Kind;
use crate::rtcp::{Compound, Item, read_untrusted};
use crate::srtp::MAX_RTCP_OVERHEAD_BYTES;
use crate::stats::{Counter, Counters};
use crate::stream::Reception;

/// How often missing packets, key-frame requests and taps are looked at.
const TICK_US: u64 = 20_000;
/// RFC 7675 5.1: without a valid check for this long, sending has to stop.
const CONSENT_US: u64 = 30_000_000;
/// libwebrtc's own interval is 50 to 250 ms.
const TRANSPORT_CC_US: u64 = 80_000;
const REPORT_US: u64 = 1_000_000;
/// Between requests for key frames that are taken from one viewer's slot.
const VIEWER_PLI_US: u64 = 500_000;
/// Of a viewer's loss to a sound's encoder: 20 %, so that nobody's claim costs everyone the quality of the sound.
const MOST_LOSS_PASSED_ON: u8 = 51;
/// Without a publisher's sender report for this long after its start, our arrival clock stands in for its own.
const OWN_CLOCK_AFTER_US: u64 = 5_000_000;
/// A source that sends nothing (camera off) is not asked for key frames until it sends again.
const SILENT_US: u64 = 2_000_000;
/// Seconds from 1900 to 1970 (RFC 3550 4).
const NTP_EPOCH_S: u64 = 2_208_988_800;
/// Every source of this node is one "participant" to its viewers; the name says nothing about people (RFC 7022).
const CNAME: &str = "anke";

fn ntp_of_wall_us(wall_us: u64) -> u64 {
    let (seconds, micros) = (wall_us / 1_000_000, wall_us % 1_000_000);
    (seconds.wrapping_add(NTP_EPOCH_S)) << 32 | ((micros << 32) / 1_000_000)
}

fn ntp_of_span_us(span_us: u64) -> u64 {
    ((u128::from(span_us) << 32) / 1_000_000) as u64
}

fn ticks_of_span(span_us: u64, clock_rate_hz: u32) -> u32 {
    (u128::from(span_us) * u128::from(clock_rate_hz) / 1_000_000) as u32
}

impl Core {
    pub(super) fn rtcp_untrusted(&mut self, now_us: u64, at: usize, plain: &[u8], outbox: &mut Outbox) -> Parsed<()> {
        let mut nacks = std::mem::take(&mut self.nacks);
        nacks.clear();
        let mut keyframe_asked = false;
        let read = read_untrusted(plain, |item| {
            if let Item::TransportCc { at: from, end } = item {
                self.arrivals_untrusted(now_us, at, plain.get(from..end).unwrap_or_default());
            }
            keyframe_asked |= matches!(item, Item::Pli { .. } | Item::Fir { .. });
            self.item(now_us, at, item, &mut nacks);
        });
        for (slot_at, seq, following) in nacks.drain(..) {
            self.resend(now_us, slot_at, seq, following, outbox);
        }
        self.nacks = nacks;
        if keyframe_asked {
            self.send_due_plis(now_us, outbox);
        }
        read
    }

    fn item(&mut self, now_us: u64, at: usize, item: Item, nacks: &mut Vec<(usize, u16, u16)>) {
        match item {
            Item::SenderInfo { ssrc, ntp, rtp_ts } => {
                let source = self.transports.get(at).and_then(|t| t.ssrcs.iter().find(|(known, _)| *known == ssrc));
                if let Some(&(_, Source::Media(at))) = source
                    && let Some(ingest) = self.ingests.get_mut(at).filter(|i| i.ssrc == Some(ssrc))
                {
                    let clock = SenderClock { ntp, rtp_ts, arrival_us: now_us };
                    ingest.sender_clock = Some(clock);
                    self.share(at, Share::Clock(clock));
                }
            }
            Item::Report(block) => {
                let Some(slot) = self.slot_of(at, block.ssrc).and_then(|slot| self.slots.get_mut(slot)) else { return };
                slot.fraction_lost = block.fraction_lost;
                let sent = slot.reports.iter().find(|(ntp, _)| *ntp == block.last_sr && block.last_sr != 0);
                if let Some((_, sent_us)) = sent {
                    let held_us = u64::from(block.delay_since_last_sr) * 1_000_000 / 65_536;
                    slot.rtt_us = now_us.checked_sub(*sent_us).and_then(|us| us.checked_sub(held_us));
                }
            }
            Item::Nack { media_ssrc, seq, following } => {
                // One compound cannot hold more than this many within a datagram.
                if let Some(slot) = self.slot_of(at, media_ssrc) {
                    nacks.push((slot, seq, following));
                }
            }
            Item::Pli { media_ssrc } | Item::Fir { media_ssrc } => {
                let Some(slot) = self.slot_of(at, media_ssrc).and_then(|slot| self.slots.get_mut(slot)) else { return };
                slot.plis_received += 1;
                // Each key frame costs everyone who shows the source: one viewer on a bad path gets no more than this.
                if now_us < slot.next_pli_us {
                    self.counters.inc(Counter::PlisLimited);
                    return;
                }
                slot.next_pli_us = now_us + VIEWER_PLI_US;
                let ingest = slot.current.or(slot.wanted);
                if let Some(ingest) = ingest.and_then(|ingest| self.ingests.get_mut(ingest)) {
                    ingest.keyframe_request.want();
                }
            }
            Item::Remb { bitrate_bps } => self.remb(now_us, at, bitrate_bps),
            Item::Bye { .. } | Item::TransportCc { .. } | Item::Other => {}
        }
    }

    /// A viewer who cannot report arrivals says what it believes instead (draft-alvestrand-rmcat-remb-03).
    fn remb(&mut self, now_us: u64, at: usize, bitrate_bps: u64) {
        let Some(transport) = self.transports.get_mut(at).filter(|transport| !transport.slots.is_empty()) else {
            return;
        };
        self.counters.inc(Counter::RembIn);
        let bandwidth = transport.bandwidth.get_or_insert_with(|| Box::new(Bandwidth::new(now_us)));
        if bandwidth.told(now_us, bitrate_bps) {
            transport.next_choice_us = now_us;
        }
    }

    fn arrivals_untrusted(&mut self, now_us: u64, at: usize, body: &[u8]) {
        let Some(transport) = self.transports.get_mut(at) else { return };
        let Some(bandwidth) = &mut transport.bandwidth else { return };
        let before = (bandwidth.budget_bps(now_us), bandwidth.is_congested());
        if let Err(why) = bandwidth.feedback_untrusted(now_us, body) {
            self.counters.bad(why);
        }
        self.counters.inc(Counter::TransportCcIn);
        if before != (bandwidth.budget_bps(now_us), bandwidth.is_congested()) {
            transport.next_choice_us = now_us; // at the next tick
        }
    }

    fn slot_of(&self, at: usize, ssrc: u32) -> Option<usize> {
        let slots = &self.transports.get(at)?.slots;
        slots.iter().copied().find(|slot| self.slots.get(*slot).is_some_and(|slot| slot.parameters.ssrc == ssrc))
    }

    /// To be called when `next_timeout_us` has come; more often does no harm.
    pub fn handle_timeout(&mut self, now_us: u64, outbox: &mut Outbox) {
        if now_us < self.next_tick_us {
            return;
        }
        self.next_tick_us = now_us + TICK_US;
        self.expire_mirrors(now_us);
        self.expire_taps(now_us);
        self.settle_speech(now_us);
        self.send_nacks(now_us, outbox);
        let choice_due = std::mem::take(&mut self.choice_due);
        for at in 0..self.transports.bound() {
            self.choose_when_due(now_us, at, choice_due);
        }
        self.send_due_plis(now_us, outbox);
        for at in 0..self.transports.bound() {
            self.transport_timeout(now_us, at, outbox);
        }
    }

    fn expire_taps(&mut self, now_us: u64) {
        for at in 0..self.ingests.bound() {
            let Some(ingest) = self.ingests.get_mut(at) else { continue };
            let (events, counters) = (&mut self.events, &mut self.counters);
            ingest.taps.retain(|tap| {
                let live = now_us < tap.deadline_us;
                if !live {
                    counters.inc(Counter::TapsFailed);
                    events.push(Event::TapFailed { tap_id: tap.tap_id, reason: "deadline" });
                }
                live
            });
            if !ingest.taps.is_empty() {
                ingest.keyframe_request.want();
            }
        }
    }

    fn settle_speech(&mut self, now_us: u64) {
        for at in 0..self.ingests.bound() {
            let Some(ingest) = self.ingests.get_mut(at) else { continue };
            if let Some(is_speaking) = ingest.speech.as_mut().and_then(|speech| speech.settle(now_us)) {
                self.events.push(Event::Speaking { ingest_id: ingest.id, is_speaking });
            }
        }
    }

    fn send_nacks(&mut self, now_us: u64, outbox: &mut Outbox) {
        for at in 0..self.ingests.bound() {
            let Some(ingest) = self.ingests.get_mut(at) else { continue };
            let (Some(stream), Some(ssrc)) = (ingest.stream.as_mut(), ingest.ssrc) else { continue };
            if !stream.has_missing() {
                continue;
            }
            self.due_nacks.clear();
            let rtt_us = stream.rtt_us();
            let gave_up = stream.nacks_due(now_us, rtt_us, &mut self.due_nacks);
            if gave_up && !ingest.viewers.is_empty() {
                ingest.keyframe_request.want();
            }
            if self.due_nacks.is_empty() {
                continue;
            }
            ingest.nacks_sent += self.due_nacks.len() as u64;
            self.counters.add(Counter::NacksOut, self.due_nacks.len() as u64);
            let Some(transport) = self.transports.get_mut(ingest.transport) else { continue };
            self.compound.clear();
            self.compound.nack(transport.report_ssrc, ssrc, &self.due_nacks);
            send_compound(transport, &self.compound, outbox, &mut self.counters);
        }
    }

    pub(super) fn send_due_plis(&mut self, now_us: u64, outbox: &mut Outbox) {
        for at in 0..self.ingests.bound() {
            let Some(ingest) = self.ingests.get_mut(at) else { continue };
            if ingest.mirror.is_some() {
                if ingest.keyframe_request.due(now_us) {
                    self.ask_home(at, MirrorWish::Keyframe);
                }
                continue;
            }
            let (Some(ssrc), true) = (ingest.ssrc, ingest.parameters.pli || ingest.parameters.fir) else { continue };
            let Some(transport) = self.transports.get_mut(ingest.transport) else { continue };
            let silent = ingest.last_packet_us.is_none_or(|last| now_us > last + SILENT_US);
            if silent || transport.tx.is_none() || transport.remote.is_none() || !ingest.keyframe_request.due(now_us) {
                continue;
            }
            ingest.plis_sent += 1;
            self.counters.inc(Counter::PlisOut);
            self.compound.clear();
            if ingest.parameters.pli {
                self.compound.pli(transport.report_ssrc, ssrc);
            } else {
                self.compound.fir(transport.report_ssrc, ssrc, ingest.keyframe_request.number());
            }
            send_compound(transport, &self.compound, outbox, &mut self.counters);
        }
    }

    fn transport_timeout(&mut self, now_us: u64, at: usize, outbox: &mut Outbox) {
        let Some(transport) = self.transports.get_mut(at).filter(|transport| !transport.is_mirror) else { return };
        let consent_us = if transport.link.is_some() { super::links::CONSENT_US } else { CONSENT_US };
        if now_us.saturating_sub(transport.consent_us) > consent_us {
            let id = transport.id;
            self.counters.inc(Counter::ConsentExpired);
            self.close_transport(id, "consent");
            return;
        }
        if transport.tx.is_none() {
            return;
        }
        self.check_link(now_us, at, outbox);
        let Some(transport) = self.transports.get_mut(at) else { return };
        if now_us >= transport.next_transport_cc_us {
            transport.next_transport_cc_us = now_us + TRANSPORT_CC_US;
            self.send_transport_cc(at, outbox);
        }
        self.probe(now_us, at, outbox);
        let Some(transport) = self.transports.get_mut(at) else { return };
        if now_us >= transport.next_report_us {
            transport.next_report_us = now_us + REPORT_US;
            self.send_receiver_report(now_us, at, outbox);
            self.send_sender_reports(now_us, at, outbox);
        }
    }

    fn send_transport_cc(&mut self, at: usize, outbox: &mut Outbox) {
        let Some(transport) = self.transports.get_mut(at) else { return };
        if !transport.transport_cc.has_news() {
            return;
        }
        let ingests = &self.ingests;
        let media = transport.ingests.iter().filter_map(|i| ingests.get(*i));
        let Some(media_ssrc) = media.filter(|i| i.parameters.transport_cc).find_map(|i| i.ssrc) else { return };
        while transport.transport_cc.encode(&mut self.scratch).is_some() {
            self.compound.clear();
            self.compound.transport_cc(transport.report_ssrc, media_ssrc, &self.scratch);
            self.counters.inc(Counter::TransportCcOut);
            send_compound(transport, &self.compound, outbox, &mut self.counters);
        }
    }

    fn send_receiver_report(&mut self, now_us: u64, at: usize, outbox: &mut Outbox) {
        let Some(transport) = self.transports.get_mut(at) else { return };
        let mut blocks: Vec<(u32, Reception, u32, u32)> = Vec::new();
        for ingest in &transport.ingests {
            let Some(ingest) = self.ingests.get_mut(*ingest) else { continue };
            let (Some(stream), Some(ssrc)) = (ingest.stream.as_mut(), ingest.ssrc) else { continue };
            let (last_sr, delay) = ingest.sender_clock.map_or((0, 0), |clock| {
                let delay = now_us.saturating_sub(clock.arrival_us).saturating_mul(65_536) / 1_000_000;
                ((clock.ntp >> 16) as u32, u32::try_from(delay).unwrap_or(u32::MAX))
            });
            let mut reception = stream.report();
            if ingest.parameters.kind == Kind::Audio {
                // An encoder adds as much redundancy (RFC 6716 2.1.7) as its reports say is lost, and those of a clean
                // way to us say nothing is. What counts is the way to the viewers; the totals stay those of our own.
                let slots = &self.slots;
                let told = ingest.viewers.iter().filter_map(|slot| slots.get(*slot)).map(|slot| slot.fraction_lost);
                let worst = told.max().unwrap_or(0).min(MOST_LOSS_PASSED_ON);
                reception.fraction_lost = reception.fraction_lost.max(worst);
            }
            blocks.push((ssrc, reception, last_sr, delay));
        }
        if blocks.is_empty() {
            return;
        }
        // One datagram each: a link between nodes may have hundreds.
        for blocks in blocks.chunks(31) {
            self.compound.clear();
            self.compound.receiver_report(transport.report_ssrc, blocks);
            self.compound.cname(transport.report_ssrc, CNAME);
            send_compound(transport, &self.compound, outbox, &mut self.counters);
        }
    }

    /// Each slot's report carries its source's own clock, moved on to now: sound and picture that came from one
    /// computer stay together at the viewer (RFC 3550 6.4.1).
    fn send_sender_reports(&mut self, now_us: u64, at: usize, outbox: &mut Outbox) {
        let wall_us = self.wall_us(now_us);
        let Some(transport) = self.transports.get_mut(at) else { return };
        self.compound.clear();
        for position in 0..transport.slots.len() {
            let Some(slot) = self.slots.get_mut(transport.slots[position]) else { continue };
            let Some(ingest) = slot.current.and_then(|ingest| self.ingests.get(ingest)) else { continue };
            let clock_rate_hz = ingest.clock_rate_hz();
            let (ntp, source_ts) = match (ingest.sender_clock, ingest.newest_ts, ingest.last_packet_us) {
                (Some(clock), _, _) => {
                    let elapsed_us = now_us.saturating_sub(clock.arrival_us);
                    let source_ts = clock.rtp_ts.wrapping_add(ticks_of_span(elapsed_us, clock_rate_hz));
                    (clock.ntp.wrapping_add(ntp_of_span_us(elapsed_us)), source_ts)
                }
                (None, Some(newest_ts), Some(last_us)) if now_us >= ingest.started_us + OWN_CLOCK_AFTER_US => {
                    let elapsed_us = now_us.saturating_sub(last_us);
                    (ntp_of_wall_us(wall_us), newest_ts.wrapping_add(ticks_of_span(elapsed_us, clock_rate_hz)))
                }
                _ => continue,
            };
            let Some(rtp_ts) = slot.rewrite.map_ts(source_ts) else { continue };
            let ssrc = slot.parameters.ssrc;
            self.compound.sender_report(ssrc, ntp, rtp_ts, slot.packets as u32, slot.payload_bytes as u32);
            self.compound.cname(ssrc, CNAME);
            slot.reports.rotate_right(1);
            slot.reports[0] = ((ntp >> 16) as u32, now_us);
            if self.compound.bytes.len() > 1000 {
                send_compound(transport, &self.compound, outbox, &mut self.counters);
                self.compound.clear();
            }
        }
        if !self.compound.is_empty() {
            send_compound(transport, &self.compound, outbox, &mut self.counters);
        }
    }
}

fn send_compound(transport: &mut Transport, compound: &Compound, outbox: &mut Outbox, counters: &mut Counters) {
    let Transport { tx: Some(tx), remote: Some(peer), chain, .. } = transport else { return };
    let plain_bytes = compound.bytes.len();
    let sent = (plain_bytes + MAX_RTCP_OVERHEAD_BYTES <= MAX_DATAGRAM_BYTES).then_some(()).and_then(|()| {
        let room = outbox.room()?;
        room[..plain_bytes].copy_from_slice(&compound.bytes);
        let len = tx.protect_rtcp(room, plain_bytes)?;
        outbox.commit(len, *peer, chain);
        Some(())
    });
    match sent {
        Some(()) => {
            transport.tx_packets += 1;
            counters.inc(Counter::RtcpOut);
        }
        None => counters.inc(Counter::TxDropped),
    }
}
