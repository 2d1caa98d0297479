//! Which layer of its source each video slot shows, and why.

use super::Core;
use super::tables::{Slot, Transport};
use crate::parameters::Kind;

/// A layer whose newest packet is this much older than another layer's is not sent any more: browsers stop their upper
/// layers at once when their upload falls.
const SILENT_US: u64 = 1_000_000;
/// A picture a little higher than its place still looks better there than one half as high.
const OVERSIZE_PERCENT: u64 = 125;
/// Heights of three layers while no key frame has told them, from the lowest.
const GUESSED_PX: [u32; 3] = [180, 360, 720];
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

impl Core {
    /// Chooses for one slot now.
    pub(super) fn choose(&mut self, _now_us: u64, slot_at: usize) {
        let Some(slot) = self.slots.get_mut(slot_at) else { return };
        let mut layers = std::mem::take(&mut slot.layers);
        self.sort(&mut layers);
        let Some(slot) = self.slots.get_mut(slot_at) else { return };
        slot.layers = layers;
        let Some(slot) = self.slots.get(slot_at) else { return };
        let Some((target, reason)) = self.fitting(slot) else {
            self.want(slot_at, None, Reason::NoSource);
            return;
        };
        self.want(slot_at, Some(target), reason);
    }

    pub(super) fn choose_when_due(&mut self, now_us: u64, transport_at: usize, anyway: bool) {
        let Some(transport) = self.transports.get_mut(transport_at) else { return };
        if transport.slots.is_empty() || (!anyway && now_us < transport.next_choice_us) {
            return;
        }
        transport.next_choice_us = now_us + CHOICE_US;
        self.choose_all(now_us, transport_at);
    }

    /// Chooses for every slot of a transport.
    pub(super) fn choose_all(&mut self, now_us: u64, transport_at: usize) {
        let count = self.transports.get(transport_at).map_or(0, |t| t.slots.len());
        for position in 0..count {
            if let Some(slot_at) = self.transports.get(transport_at).and_then(|t| t.slots.get(position)).copied()
                && self.slots.get(slot_at).is_some_and(|slot| !slot.layers.is_empty())
            {
                self.choose(now_us, slot_at);
            }
        }
    }

    /// The best layer that flows and that the slot is large enough for.
    fn fitting(&self, slot: &Slot) -> Option<(usize, Reason)> {
        let limit_px = slot.max_height_px.filter(|_| slot.parameters.kind == Kind::Video);
        let mut chosen = None;
        let (mut silent, mut too_high) = (false, false);
        for (place, &at) in slot.layers.iter().enumerate() {
            let fits = limit_px.is_none_or(|limit| {
                u64::from(self.height_px(slot, place)) * 100 <= u64::from(limit) * OVERSIZE_PERCENT
            });
            if !self.flows(at, &slot.layers) {
                silent |= fits;
            } else if fits || chosen.is_none() {
                chosen = Some(at);
            } else {
                too_high = true;
            }
        }
        // Before anything flows the first one promised is waited for, so that its key frame is asked for.
        let at = chosen.or_else(|| slot.layers.first().copied())?;
        let above = slot.layers.iter().rev().take_while(|layer| **layer != at).count() > 0;
        let reason = match () {
            () if above && silent => Reason::LayerSilent,
            () if above && too_high => Reason::SlotSmall,
            () => Reason::Best,
        };
        Some((at, reason))
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
        let worst = transport.slots.iter().filter_map(|at| self.slots.get(*at)).map(|slot| slot.fraction_lost).max();
        f64::from(worst.unwrap_or(0)) / 256.0
    }
}
