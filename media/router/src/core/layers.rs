//! Which layer of its source each video slot shows, and why.

use super::Core;
use super::tables::{ALL_TEMPORAL, Slot, Transport};

/// A layer whose newest packet is this much older than another layer's is not sent any more: browsers stop their upper
/// layers at once when their upload falls.
const SILENT_US: u64 = 1_000_000;
/// A picture a little higher than its place still looks better there than one half as high.
const OVERSIZE_PERCENT: u64 = 125;
/// Heights of three layers while no key frame has told them, from the lowest.
const GUESSED_PX: [u32; 3] = [180, 360, 720];
/// A higher layer has to fit with a tenth of what it adds to spare, or it would soon be left again.
const RISE_ROOM: u64 = 10;
/// Our own RTCP towards a viewer.
const REPORTS_BPS: u64 = 4_000;
/// How often layers are looked at without a reason.
pub(super) const CHOICE_US: u64 = 200_000;

/// Why a slot shows what it shows. The names are codes: the operators' page has words for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is routed, or its source is gone.
    NoSource,
    /// The highest layer there is.
    Best,
    /// A higher layer would not be seen in a slot this small.
    SlotSmall,
    /// The way to the viewer carries no higher layer.
    Bandwidth,
    /// It carries no layer at all: sound goes on alone.
    PausedBandwidth,
    /// The publisher has stopped sending a higher layer that would fit.
    LayerSilent,
    /// The chosen layer is shown from its next key frame on.
    WaitingKeyframe,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSource => "no_source",
            Self::Best => "best",
            Self::SlotSmall => "slot_small",
            Self::Bandwidth => "bandwidth",
            Self::PausedBandwidth => "paused_bandwidth",
            Self::LayerSilent => "layer_silent",
            Self::WaitingKeyframe => "waiting_keyframe",
        }
    }
}

/// A layer's place and its highest temporal layer, in the order of what they cost.
type Rung = (usize, u8);

/// What one video slot gets of a budget.
#[derive(Debug)]
pub(super) struct Grant {
    slot_at: usize,
    /// The place of the best layer that fits the slot, and why no better one.
    top: usize,
    reason: Reason,
    rung: Option<Rung>,
    cost_bps: u64,
    blocked: bool,
}

impl Core {
    pub(super) fn choose_when_due(&mut self, now_us: u64, transport_at: usize, anyway: bool) {
        let Some(transport) = self.transports.get_mut(transport_at) else { return };
        if transport.slots.is_empty() || (!anyway && now_us < transport.next_choice_us) {
            return;
        }
        transport.next_choice_us = now_us + CHOICE_US;
        self.choose(now_us, transport_at);
    }

    /// Chooses for every slot of a viewer: sound first, then each picture's lowest layer, then layer by layer upwards.
    pub(super) fn choose(&mut self, now_us: u64, transport_at: usize) {
        let mut grants = std::mem::take(&mut self.grants);
        grants.clear();
        let mut spent_bps = REPORTS_BPS;
        for position in 0..self.transports.get(transport_at).map_or(0, |t| t.slots.len()) {
            let Some(slot_at) = self.transports.get(transport_at).and_then(|t| t.slots.get(position)).copied() else {
                break;
            };
            self.sort_layers(slot_at);
            let Some(slot) = self.slots.get(slot_at).filter(|slot| !slot.layers.is_empty()) else {
                self.want(slot_at, None, Reason::NoSource);
                continue;
            };
            let (top, reason) = self.fitting(slot);
            if slot.is_video() {
                grants.push(Grant { slot_at, top, reason, rung: None, cost_bps: 0, blocked: false });
            } else {
                let at = slot.layers.get(top).copied();
                spent_bps += at.and_then(|at| self.ingests.get(at)).map_or(0, |ingest| ingest.meter.bps());
                self.want(slot_at, at, reason);
            }
        }
        if !grants.is_empty() {
            self.grant(now_us, transport_at, spent_bps, &mut grants);
        }
        self.grants = grants;
    }

    fn grant(&mut self, now_us: u64, transport_at: usize, sound_bps: u64, grants: &mut [Grant]) {
        let Some(transport) = self.transports.get(transport_at) else { return };
        let bandwidth = transport.bandwidth.as_ref();
        let budget_bps = bandwidth.and_then(|bandwidth| bandwidth.budget_bps(now_us));
        // What is lost is sent again.
        let repair = 1.0 + bandwidth.map_or(0.0, |bandwidth| bandwidth.loss());
        let budget_bps = budget_bps.map(|bps| (bps as f64 / repair) as u64);
        let proven = bandwidth.is_some_and(|bandwidth| bandwidth.is_proven());
        let congested = bandwidth.is_some_and(|bandwidth| bandwidth.is_congested());
        let mut spent_bps = sound_bps;
        let mut need_bps = None;
        loop {
            let mut granted = false;
            for grant in grants.iter_mut().filter(|grant| !grant.blocked) {
                let Some(slot) = self.slots.get(grant.slot_at) else { continue };
                let Some(rung) = self.next_rung(slot, grant.rung, grant.top) else { continue };
                let cost_bps = self.cost_bps(slot, rung).max(grant.cost_bps);
                let more_bps = cost_bps - grant.cost_bps;
                let is_rise = slot.place_of(slot.wanted).is_none_or(|wanted| rung > (wanted, slot.wanted_temporal));
                // What is shown stays as long as it fits; what is not has to fit with room to spare.
                let with_room_bps = more_bps + more_bps / RISE_ROOM;
                let asked_bps = spent_bps + if is_rise { with_room_bps } else { more_bps };
                let free = budget_bps.is_none() || (grant.rung.is_none() && !proven);
                if free || budget_bps.is_some_and(|budget| asked_bps <= budget) {
                    spent_bps += more_bps;
                    (grant.rung, grant.cost_bps) = (Some(rung), cost_bps);
                    granted = true;
                } else {
                    grant.blocked = true;
                    let wish_bps = spent_bps + with_room_bps;
                    need_bps = Some(need_bps.map_or(wish_bps, |need: u64| need.min(wish_bps)));
                }
            }
            if !granted {
                break;
            }
        }
        for grant in grants.iter() {
            let Some(slot) = self.slots.get(grant.slot_at) else { continue };
            let reason = match grant.rung {
                None => Reason::PausedBandwidth,
                Some(rung) if rung < (grant.top, ALL_TEMPORAL) => Reason::Bandwidth,
                Some(_) => grant.reason,
            };
            let place = grant.rung.map(|(place, _)| place);
            let shown = slot.place_of(slot.current);
            let (target, current) = (place.and_then(|place| slot.layers.get(place)).copied(), slot.current);
            self.want(grant.slot_at, target, reason);
            // A queue stands: the higher layer does not go on until the lower one's key frame, sound would wait behind it.
            if let (Some((_, temporal)), Some(slot)) = (grant.rung, self.slots.get_mut(grant.slot_at)) {
                slot.wanted_temporal = temporal;
            }
            if congested && shown.is_some_and(|shown| place.is_some_and(|place| place < shown)) {
                self.stop_showing(grant.slot_at, current);
            }
        }
        if let Some(transport) = self.transports.get_mut(transport_at) {
            transport.need_bps = need_bps.map(|bps| (bps as f64 * repair) as u64);
        }
    }

    fn stop_showing(&mut self, slot_at: usize, current: Option<usize>) {
        if let (Some(slot), Some(current)) = (self.slots.get_mut(slot_at), current) {
            slot.current = None;
            self.detach(current, slot_at);
        }
    }

    /// The next step up: a temporal layer more, else the next layer that flows.
    fn next_rung(&self, slot: &Slot, rung: Option<Rung>, top: usize) -> Option<Rung> {
        if let Some((place, temporal)) = rung.filter(|(_, temporal)| *temporal < ALL_TEMPORAL) {
            return Some((place, self.next_temporal(slot, place, Some(temporal))));
        }
        let from = rung.map_or(0, |(place, _)| place + 1);
        let place = (from..=top).find(|place| *place == top || self.flows(slot.layers[*place], &slot.layers))?;
        Some((place, self.next_temporal(slot, place, None)))
    }

    /// The next temporal layer that makes a difference; streams without any have all at once.
    fn next_temporal(&self, slot: &Slot, place: usize, above: Option<u8>) -> u8 {
        let Some(meter) = slot.layers.get(place).and_then(|at| self.ingests.get(*at)).map(|i| &i.meter) else {
            return ALL_TEMPORAL;
        };
        let had_bps = above.map_or(0, |above| meter.bps_up_to(above));
        let from = above.map_or(0, |above| above + 1);
        let next = (from..ALL_TEMPORAL).find(|temporal| meter.bps_up_to(*temporal) * 10 > had_bps * 11);
        next.filter(|next| meter.bps_up_to(*next) * 100 < meter.bps() * 95).unwrap_or(ALL_TEMPORAL)
    }

    fn cost_bps(&self, slot: &Slot, (place, temporal): Rung) -> u64 {
        let meter = slot.layers.get(place).and_then(|at| self.ingests.get(*at)).map(|ingest| &ingest.meter);
        let measured_bps = meter.map_or(0, |meter| meter.bps_up_to(temporal));
        // In its first quarter of a second nothing is known but the height.
        if measured_bps > 0 { measured_bps } else { u64::from(self.height_px(slot, place)).pow(2) * 3 }
    }

    fn sort_layers(&mut self, slot_at: usize) {
        let Some(slot) = self.slots.get_mut(slot_at).filter(|slot| slot.layers.len() > 1) else { return };
        let mut layers = std::mem::take(&mut slot.layers);
        self.sort(&mut layers);
        if let Some(slot) = self.slots.get_mut(slot_at) {
            slot.layers = layers;
        }
    }

    /// The place of the best layer that flows and that the slot is large enough for, and why no better one.
    fn fitting(&self, slot: &Slot) -> (usize, Reason) {
        let limit_px = slot.max_height_px.filter(|_| slot.is_video());
        let mut chosen = None;
        let (mut silent, mut too_high) = (false, false);
        for (place, &at) in slot.layers.iter().enumerate() {
            let fits = limit_px.is_none_or(|limit| {
                u64::from(self.height_px(slot, place)) * 100 <= u64::from(limit) * OVERSIZE_PERCENT
            });
            if !self.flows(at, &slot.layers) {
                silent |= fits;
            } else if fits || chosen.is_none() {
                chosen = Some(place);
            } else {
                too_high = true;
            }
        }
        // Before anything flows the first one promised is waited for, so that its key frame is asked for.
        let place = chosen.unwrap_or(0);
        let above = place + 1 < slot.layers.len();
        let reason = match () {
            () if above && silent => Reason::LayerSilent,
            () if above && too_high => Reason::SlotSmall,
            () => Reason::Best,
        };
        (place, reason)
    }

    /// The highest layer that flows of the m-line that `ingest_at` belongs to: what a tap takes.
    pub(super) fn best_layer(&self, ingest_at: usize) -> usize {
        let Some(named) = self.ingests.get(ingest_at).filter(|ingest| ingest.parameters.rid.is_some()) else {
            return ingest_at;
        };
        let Some(transport) = self.transports.get(named.transport) else { return ingest_at };
        let mid = &named.parameters.mid;
        let of_line = |at: &usize| self.ingests.get(*at).is_some_and(|ingest| ingest.parameters.mid == *mid);
        let mut layers: Vec<usize> = transport.ingests.iter().copied().filter(of_line).collect();
        self.sort(&mut layers);
        layers.iter().rev().copied().find(|at| self.flows(*at, &layers)).unwrap_or(ingest_at)
    }

    fn flows(&self, at: usize, layers: &[usize]) -> bool {
        let last_us = |at: usize| self.ingests.get(at).and_then(|ingest| ingest.last_packet_us);
        let newest_us = layers.iter().filter_map(|at| last_us(*at)).max();
        last_us(at).is_some_and(|last| newest_us.is_some_and(|newest| last + SILENT_US >= newest))
    }

    /// From the lowest to the highest picture, once key frames have told all heights; some encoders offer them the
    /// other way round.
    fn sort(&self, layers: &mut [usize]) {
        let height_px = |at: &usize| self.ingests.get(*at).and_then(|ingest| ingest.height_px);
        if layers.len() > 1 && layers.iter().all(|at| height_px(at).is_some()) {
            layers.sort_by_key(height_px);
        }
    }

    fn height_px(&self, slot: &Slot, place: usize) -> u32 {
        let told = slot.layers.get(place).and_then(|at| self.ingests.get(*at)).and_then(|ingest| ingest.height_px);
        // Browsers halve each layer against the one above; the lowest of two is the middle one of three.
        let guess = (GUESSED_PX.len() + place).saturating_sub(slot.layers.len()).min(GUESSED_PX.len() - 1);
        told.unwrap_or(GUESSED_PX[guess])
    }

    /// The code for people: a chosen layer that is not there yet is waited for.
    pub(super) fn reason_of(&self, slot: &Slot) -> Reason {
        if slot.wanted.is_some() && slot.wanted != slot.current { Reason::WaitingKeyframe } else { slot.reason }
    }

    /// The round trip to a viewer: the shortest that its slots' reports told.
    pub(super) fn rtt_of(&self, transport: &Transport) -> Option<u64> {
        transport.slots.iter().filter_map(|at| self.slots.get(*at)?.rtt_us).min()
    }

    /// The worst loss that a slot's last report told, as a share.
    pub(super) fn loss_of(&self, transport: &Transport) -> f64 {
        if let Some(bandwidth) = &transport.bandwidth {
            return bandwidth.loss();
        }
        let worst = transport.slots.iter().filter_map(|at| self.slots.get(*at)).map(|slot| slot.fraction_lost).max();
        f64::from(worst.unwrap_or(0)) / 256.0
    }
}
