//! Padding that shows whether a viewer's path carries more than it gets.

use super::Core;
use super::tables::Transport;
use crate::outbox::Outbox;
use crate::srtp::MAX_RTP_OVERHEAD_BYTES;
use crate::stats::Counter;

/// RFC 3550 5.1: the last octet counts the padding, itself included.
const PADDING_BYTES: usize = 255;

impl Core {
    /// Begins a probe when it is time, and sends what is due of one. Padding goes on a retransmission stream: it has
    /// numbers of its own, so the media's are not disturbed, and a receiver drops it there (RFC 4588 needs two bytes).
    pub(super) fn probe(&mut self, now_us: u64, transport_at: usize, outbox: &mut Outbox) {
        let Some(transport) = self.transports.get_mut(transport_at) else { return };
        let Transport { bandwidth: Some(bandwidth), need_bps, slots, .. } = transport else { return };
        let need_bps = *need_bps;
        bandwidth.note_sent(now_us);
        if need_bps.is_none() && !bandwidth.has_probe() {
            return; // as good as always
        }
        let carrier = slots.iter().copied().find(|at| self.slots.get(*at).is_some_and(|slot| slot.rtx_way().is_some()));
        if !bandwidth.probing(now_us, need_bps, carrier.is_some()) {
            return;
        }
        let Some(slot) = carrier.and_then(|at| self.slots.get_mut(at)) else { return };
        let (Some(template), Some((ssrc, payload_type))) = (&slot.rtx_template, slot.rtx_way()) else { return };
        let Some(stamp_at) = template.stamp_at else { return };
        let header_bytes = template.bytes.len();
        let plain_bytes = header_bytes + PADDING_BYTES;
        let rtp_ts = slot.rewrite.last_ts();
        let Transport { tx: Some(tx), remote: Some(peer), bandwidth: Some(bandwidth), chain, tx_packets, .. } =
            transport
        else {
            return;
        };
        while bandwidth.padding_due_bytes(now_us) >= plain_bytes {
            let Some(room) = outbox.room() else { return };
            room[..header_bytes].copy_from_slice(&template.bytes);
            room[header_bytes..plain_bytes].fill(0);
            room[plain_bytes - 1] = PADDING_BYTES as u8;
            slot.rtx_ext_seq += 1;
            room[0] |= 0x20;
            room[1] = payload_type;
            room[2..4].copy_from_slice(&(slot.rtx_ext_seq as u16).to_be_bytes());
            room[4..8].copy_from_slice(&rtp_ts.to_be_bytes());
            if let Some(at) = template.level_at {
                room[at] = 0;
            }
            let seq = bandwidth.stamp(now_us, plain_bytes + MAX_RTP_OVERHEAD_BYTES);
            room[stamp_at..stamp_at + 2].copy_from_slice(&seq.to_be_bytes());
            let Some(len) = tx.protect_rtp(room, plain_bytes, header_bytes, ssrc, slot.rtx_ext_seq) else { return };
            outbox.commit(len, *peer, chain);
            *tx_packets += 1;
            self.counters.inc(Counter::PaddingOut);
        }
    }
}
