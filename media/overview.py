"""What is going on in one node, joined for people who look for a reason: each session with the flows behind it.

Counters count since their stream began; whoever wants rates takes two overviews and divides by the time between.
Nothing here is evidence of anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from media.publication import Publication
    from media.router import MediaRouter
    from media.subscription import Slot, Subscription

Flow = dict[str, Any]

# A camera sends several frames a second and a silent Opus stream (DTX) a packet every 400 ms; a still screen about one
# frame a second.
STALLED_AFTER_MS = 4000
# Opus with FEC and one retransmission hide this much; above it people hear and see it.
HIGH_LOSS = 0.08
# ITU-T G.114: above 400 ms one way conversation is impaired for everybody.
HIGH_RTT_MS = 400.0

#: Why a slot shows what it shows, most telling first. Words in both languages: `why` of `web/ui/src/locales`.
#: From `best` on they say that nothing is wrong.
WHY = (
    "not_connected",
    "no_source",
    "source_stalled",
    "waiting_keyframe",
    "paused_bandwidth",
    "loss_high",
    "rtt_high",
    "bandwidth",
    "layer_silent",
    "slot_small",
    "best",
    "nothing_asked",
)
# What the router itself says of a slot (`LayerReason` of `_router.pyi`) that stands as it is.
_ROUTER_SAYS = frozenset(WHY)


def overview(router: MediaRouter) -> dict[str, list[Flow]]:
    """`publications` and `subscriptions` of this node, trunks included, with their flows."""
    native: Mapping[str, Any] = router.native.snapshot()
    transports = {flow["transport_id"]: dict(flow) for flow in native["transports"]}
    ingests = {flow["ingest_id"]: dict(flow) for flow in native["ingests"]}
    slots = {flow["slot_id"]: dict(flow) for flow in native["slots"]}
    return {
        "publications": [_publication(item, transports, ingests) for item in router.publications.values()],
        "subscriptions": [_subscription(item, transports, ingests, slots) for item in router.subscriptions.values()],
    }


def _publication(item: Publication, transports: dict[int, Flow], ingests: dict[int, Flow]) -> Flow:
    encodings = []
    for encoding in item.encodings:
        flow = ingests.get(encoding.ingest_id, {})
        clock_rate_hz = 48_000 if encoding.kind.value == "audio" else 90_000
        encodings.append(
            {
                "native_id": encoding.ingest_id,
                "kind": encoding.kind.value,
                "rid": encoding.rid,
                "codec": encoding.codec,
                "height_px": flow.get("height_px"),
                "packets": flow.get("packets", 0),
                "payload_bytes": flow.get("payload_bytes", 0),
                "frames": flow.get("frames", 0) if encoding.kind.value == "video" else None,
                "lost": flow.get("lost", 0),
                "jitter_ms": round(flow.get("jitter_ts", 0) * 1000 / clock_rate_hz, 1),
                "keyframes": flow.get("keyframes", 0),
                "nacks_sent": flow.get("nacks_sent", 0),
                "plis_sent": flow.get("plis_sent", 0),
                "last_packet_age_ms": flow.get("last_packet_age_ms"),
            }
        )
    return {**_session(item), **_transport(item.transport, transports), "encodings": encodings}


def _subscription(
    item: Subscription, transports: dict[int, Flow], ingests: dict[int, Flow], slots: dict[int, Flow]
) -> Flow:
    transport = _transport(item.transport, transports)
    shown = []
    for slot in item.slots.values():
        flow = slots.get(slot.slot_id, {}) if slot.slot_id is not None else {}
        ingest_id = flow.get("ingest_id")
        source = ingests.get(ingest_id) if ingest_id is not None else None
        shown.append(
            {
                "native_id": slot.slot_id,
                "name": slot.name,
                "kind": slot.kind.value,
                "source": slot.source,
                "slot_height_px": slot.height_px,
                "shown_height_px": source.get("height_px") if source else None,
                "layer": flow.get("layer"),
                "wanted_layer": flow.get("wanted_layer"),
                "target_bps": flow.get("target_bps"),
                "packets": flow.get("packets", 0),
                "payload_bytes": flow.get("payload_bytes", 0),
                "retransmitted": flow.get("retransmitted", 0),
                "nacks_received": flow.get("nacks_received", 0),
                "plis_received": flow.get("plis_received", 0),
                "loss": flow.get("fraction_lost", 0.0),
                "why": why(slot, flow, source, connected=transport["state"] == "connected"),
            }
        )
    losses = [entry["loss"] for entry in shown if entry["packets"]]
    if transport["loss"] is None and losses:
        transport["loss"] = max(losses)
    return {**_session(item), **transport, "slots": shown}


def why(slot: Slot, flow: Flow, source: Flow | None, *, connected: bool) -> list[str]:
    """Codes of `WHY`, most telling first: why this slot's picture is missing, frozen or small, or that it is not.

    `flow` is the slot's own and may be empty, `source` that of the encoding it shows now.
    """
    if not connected:
        return ["not_connected"]
    if slot.source is None:
        return ["nothing_asked"]
    found = set()
    said = flow.get("reason")
    if source is None:
        # A picture that is paused, or chosen and not there yet, has a source all the same.
        if said not in ("paused_bandwidth", "waiting_keyframe"):
            found.add("waiting_keyframe" if flow.get("wanted_ingest_id") is not None else "no_source")
    else:
        age_ms = source.get("last_packet_age_ms")
        if age_ms is None or age_ms > STALLED_AFTER_MS:
            found.add("source_stalled")
        if flow.get("fraction_lost", 0.0) >= HIGH_LOSS:
            found.add("loss_high")
        if (flow.get("rtt_ms") or 0.0) >= HIGH_RTT_MS:
            found.add("rtt_high")
    if said in _ROUTER_SAYS and said != "best":
        found.add(said)
    if "no_source" in found:
        found.discard("waiting_keyframe")
    return [code for code in WHY if code in found] or ["best"]


def _session(item: Publication | Subscription) -> Flow:
    claims = item.claims
    return {
        "id": item.id,
        "holder": claims.holder,
        "seat": claims.seat,
        "room": claims.room,
        "started": item.started,
    }


def _transport(transport: Any, transports: dict[int, Flow]) -> Flow:
    flow = transports.get(transport.transport_id, {})
    return {
        "state": flow.get("state", "new"),
        "path": flow.get("path", "udp"),
        "rx_packets": flow.get("rx_packets", 0),
        "tx_packets": flow.get("tx_packets", 0),
        "estimate_bps": flow.get("estimate_bps"),
        "rtt_ms": flow.get("rtt_ms"),
        "loss": flow.get("loss"),
    }
