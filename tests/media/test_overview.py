"""What operators and Prometheus see of a node: joined flows, reasons for what a slot shows, series without people."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from media import _router as native
from media.overview import WHY, why
from media.tokens import SlotClaim


async def test_overview_joins_sessions_with_their_flows(
    media_node: Any, control: Any, name: str, aiortc_publish: Any, aiortc_play: Any, eventually: Any
) -> None:
    await aiortc_publish(media_node, name, holder="p_teacher", room=f"l_{name}")
    slots = [
        SlotClaim("audio", "audio", name),
        SlotClaim("camera", "video", name),
        SlotClaim("screen", "video", f"{name}.never"),
        SlotClaim("guest", "video", None),
    ]
    await aiortc_play(
        media_node, f"{name}.v", slots, ("audio", "video", "video", "video"), holder="p_viewer", room=f"l_{name}"
    )

    async def settled() -> dict[str, Any] | None:
        (seen,) = (await control.overview()).values()
        found = {
            kind: next((item for item in seen[kind] if item["room"] == f"l_{name}"), None)
            for kind in ("publications", "subscriptions")
        }
        if None in found.values() or seen["node"]["counters"]["publications_begun"] < 1:
            return None
        slots = {slot["name"]: slot for slot in found["subscriptions"]["slots"]}
        return found | {"slots": slots} if slots["camera"]["packets"] > 10 and slots["audio"]["packets"] else None

    found = await eventually(settled, 20.0)
    assert found["publications"]["holder"] == "p_teacher"
    assert found["publications"]["state"] == found["subscriptions"]["state"] == "connected"
    encodings = {encoding["kind"]: encoding for encoding in found["publications"]["encodings"]}
    assert encodings["video"]["codec"] == "vp8" and encodings["video"]["keyframes"] >= 1
    assert encodings["video"]["last_packet_age_ms"] < 5000 and encodings["audio"]["jitter_ms"] >= 0
    slots_by_name = found["slots"]
    assert slots_by_name["camera"]["why"] == slots_by_name["audio"]["why"] == ["best"]
    assert slots_by_name["camera"]["source"] == name and slots_by_name["camera"]["payload_bytes"] > 0
    assert slots_by_name["screen"]["why"] == ["no_source"]
    assert slots_by_name["guest"]["why"] == ["nothing_asked"]


def slot(source: str | None = "lecture") -> Any:
    return SimpleNamespace(source=source)


GOOD = {"last_packet_age_ms": 30, "height_px": 720}
FLOW = {"ingest_id": 1, "wanted_ingest_id": 1, "fraction_lost": 0.0, "rtt_ms": 40.0, "reason": "best"}


@pytest.mark.parametrize(
    ("changes", "source", "expected"),
    [
        ({}, GOOD, ["best"]),
        ({"reason": "slot_small"}, GOOD, ["slot_small"]),
        ({"reason": "bandwidth", "fraction_lost": 0.2}, GOOD, ["loss_high", "bandwidth"]),
        ({"reason": "layer_silent", "rtt_ms": 900.0}, GOOD, ["rtt_high", "layer_silent"]),
        ({}, {"last_packet_age_ms": 9000}, ["source_stalled"]),
        ({}, {"last_packet_age_ms": None}, ["source_stalled"]),
        ({"wanted_ingest_id": 2, "reason": "waiting_keyframe"}, None, ["waiting_keyframe"]),
        ({"wanted_ingest_id": None, "reason": "no_source"}, None, ["no_source"]),
        ({"wanted_ingest_id": None, "reason": "paused_bandwidth"}, None, ["paused_bandwidth"]),
        ({"rtt_ms": None}, GOOD, ["best"]),
    ],
)
def test_a_slot_is_explained(changes: dict[str, Any], source: Any, expected: list[str]) -> None:
    assert why(slot(), FLOW | changes, source, connected=True) == expected


def test_what_is_not_connected_or_not_asked_needs_no_other_reason() -> None:
    assert why(slot(), {}, None, connected=False) == ["not_connected"]
    assert why(slot(None), {}, None, connected=True) == ["nothing_asked"]
    assert why(slot(), {}, None, connected=True) == ["no_source"]


def test_every_reason_of_the_router_is_one_of_ours() -> None:
    from pathlib import Path

    stub = Path(native.__file__).with_name("_router.pyi").read_text()
    said = re.search(r"LayerReason = Literal\[(.*?)\]", stub, re.DOTALL)
    assert said is not None
    assert set(re.findall(r'"(\w+)"', said.group(1))) <= set(WHY)


async def test_metrics_count_by_kind_and_layer_and_name_nobody(
    media_node: Any,
    control: Any,
    name: str,
    http: httpx.AsyncClient,
    aiortc_publish: Any,
    aiortc_play: Any,
    eventually: Any,
) -> None:
    slots = [SlotClaim("audio", "audio", name), SlotClaim("camera", "video", name)]
    await aiortc_publish(media_node, name, holder=f"p_{name}", room=f"l_{name}")
    await aiortc_play(media_node, f"{name}.v", slots, holder=f"q_{name}", room=f"l_{name}")

    async def series() -> dict[str, float]:
        text = (await http.get(f"{media_node.url}/metrics")).text
        assert name not in text
        return {
            line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line and not line.startswith("#")
        }

    def video_sent(found: dict[str, float]) -> float:
        return sum(
            value for key, value in found.items() if key.startswith('anke_media_sent_packets_total{kind="video"')
        )

    async def flows() -> dict[str, float] | None:
        found = await series()
        return found if video_sent(found) > 10 else None

    before = await eventually(flows, 20.0)
    assert before['anke_media_received_keyframes_total{kind="video",layer=""}'] >= 1
    assert before['anke_media_viewers{path="udp"}'] >= 1
    assert before['anke_media_slots{kind="video",why="best"}'] >= 1
    assert before["anke_media_memory_bytes"] > 10_000_000

    async def grown() -> bool:
        return video_sent(await series()) > video_sent(before)

    await eventually(grown, 20.0)
