"""When a media node failed, and for how long: the fault must cover the whole absence, whatever was seen in between."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import classroom
from media import Flow, MediaError, NodeInfo
from signaling.media_watch import MediaWatch


class ScriptedMedia:
    """What the media nodes would answer, sample by sample: the race under test lasts milliseconds in real ones."""

    def __init__(self) -> None:
        self.present: list[NodeInfo] = []
        self.carried: list[Flow] = []
        self.away = False
        self.now_ms = 0

    async def nodes(self) -> list[NodeInfo]:
        if self.away:
            raise MediaError("no_node")
        return self.present

    async def flows(self) -> list[Flow]:
        return self.carried


async def sample(watch: MediaWatch, media: ScriptedMedia, at_ms: int) -> None:
    media.now_ms = at_ms
    await watch.sample()


@pytest.fixture
async def watched(world: Any, node: Any) -> Any:
    await node.live._loops.stop()
    lesson = await classroom.start_lesson(world.record, world.lesson_id, world.people["teacher"])
    media = ScriptedMedia()
    person_id = world.people["l1"]
    flow = Flow(
        f"{world.lesson_id}.learner.{person_id}", person_id, "s_1", world.lesson_id, "video", None, 1, 1, 5, "m_1"
    )
    watch = MediaWatch(replace(node.context, media=media, clock_ms=lambda: media.now_ms), lesson, 1)

    async def faults() -> list[tuple[int, int]]:
        rows = await classroom.unsent_outbox(world.record, 1000)
        return [(r.data["from_ms"], r.data["to_ms"]) for r in rows if r.type == "fault.recorded"]

    return watch, media, flow, faults, lesson.started_at_ms


def _node(started_at_ms: int, node_id: str = "m_1") -> NodeInfo:
    return NodeInfo(node_id, "http://127.0.0.1:1", "http://127.0.0.1:1", started_at_ms)


async def test_a_node_back_under_its_name_is_a_fault_since_it_last_carried_us(watched: Any) -> None:
    watch, media, flow, faults, t0 = watched
    media.present = [_node(t0 - 9000)]
    for n in range(1, 4):
        media.carried = [replace(flow, payload_bytes=100 * n)]
        await sample(watch, media, t0 + 1000 * n)
    media.carried = []  # it died; its registration lives on for a while
    await sample(watch, media, t0 + 4000)
    media.carried = [replace(flow, payload_bytes=50)]  # the new one answers before it is seen to be new
    await sample(watch, media, t0 + 8000)
    media.present = [_node(t0 + 7000)]
    await sample(watch, media, t0 + 8300)
    assert await faults() == [(t0 + 3000, t0 + 8300)]
    await sample(watch, media, t0 + 9300)
    assert len(await faults()) == 1


async def test_a_node_back_under_another_name_is_not_taken_for_the_one_that_died(watched: Any) -> None:
    """Both are registered for some seconds, at one address: what the new one carries is not the old one's."""
    watch, media, flow, faults, t0 = watched
    old, new = _node(t0 - 9000, "m_1"), _node(t0 + 4500, "m_2")
    media.present = [old]
    for n in range(1, 4):
        media.carried = [replace(flow, payload_bytes=100 * n)]
        await sample(watch, media, t0 + 1000 * n)
    media.present = [old, new]
    media.carried = [replace(flow, payload_bytes=9), replace(flow, payload_bytes=9, node_id="m_2")]
    await sample(watch, media, t0 + 6000)
    assert await faults() == [(t0 + 3000, t0 + 6000)]
    media.carried = [replace(flow, payload_bytes=20), replace(flow, payload_bytes=20, node_id="m_2")]
    await sample(watch, media, t0 + 7000)
    media.present = [new]
    media.carried = [replace(flow, payload_bytes=40, node_id="m_2")]
    await sample(watch, media, t0 + 8000)
    assert len(await faults()) == 1
    assert watch.book.untaken()[-1][1:] == (t0 + 6000, t0 + 8000 - 5), "counted once while registered twice"


async def test_a_node_that_stays_away_is_written_down_in_steps_without_holes(watched: Any) -> None:
    watch, media, flow, faults, t0 = watched
    media.present, media.carried = [_node(t0 - 9000)], [replace(flow, payload_bytes=100)]
    await sample(watch, media, t0 + 1000)
    media.present, media.carried = [], []
    for n in range(2, 12):
        await sample(watch, media, t0 + 1000 * n)
    media.present = [_node(t0 + 11_500)]
    await sample(watch, media, t0 + 12_000)
    written = await faults()
    assert written[0][0] == t0 + 1000 and written[-1][1] == t0 + 12_000
    assert all(a[1] == b[0] for a, b in zip(written, written[1:], strict=False))
    assert len(written) >= 3


async def test_a_node_that_carried_nothing_of_ours_is_no_fault_of_this_lesson(watched: Any) -> None:
    watch, media, flow, faults, t0 = watched
    media.present = [_node(t0 - 9000)]
    media.carried = [replace(flow, room="l_other", publication_id="l_other.learner.p_x")]
    await sample(watch, media, t0 + 1000)
    media.present, media.carried = [_node(t0 + 1500)], []
    await sample(watch, media, t0 + 2000)
    assert await faults() == []


async def test_nobody_is_taken_for_silent_while_the_nodes_cannot_be_asked(watched: Any) -> None:
    watch, media, flow, faults, t0 = watched
    media.present, media.carried = [_node(t0 - 9000)], [replace(flow, payload_bytes=100)]
    await sample(watch, media, t0 + 1000)
    assert watch.publishing
    media.away = True
    await sample(watch, media, t0 + 10_000)
    assert watch.publishing and await faults() == []


def _two(t0: int) -> tuple[NodeInfo, NodeInfo]:
    leaving = replace(_node(t0 - 9000), draining=True)
    return leaving, NodeInfo("m_2", "http://127.0.0.1:2", "http://127.0.0.1:2", t0 - 5000)


async def test_a_node_that_was_left_before_it_went_is_no_fault(watched: Any) -> None:
    watch, media, flow, faults, t0 = watched
    leaving, other = _two(t0)
    media.present = [leaving, other]
    for n in range(1, 4):
        media.carried = [replace(flow, payload_bytes=100 * n)]
        await sample(watch, media, t0 + 1000 * n)
    # Both have it for a moment, then only the new one; the line of evidence has no hole.
    media.carried = [replace(flow, payload_bytes=10, node_id="m_2"), replace(flow, payload_bytes=400)]
    await sample(watch, media, t0 + 4000)
    for n in range(5, 9):
        media.carried = [replace(flow, payload_bytes=10 * n, node_id="m_2")]
        await sample(watch, media, t0 + 1000 * n)
    media.present = [other]
    await sample(watch, media, t0 + 9000)
    assert await faults() == []
    assert watch.book.untaken() == [(flow.holder, t0 + 1000, t0 + 8000 - 5)], "one line of evidence, without a hole"


async def test_a_draining_node_that_died_with_someone_on_it_is_a_fault(watched: Any) -> None:
    watch, media, flow, faults, t0 = watched
    leaving, other = _two(t0)
    media.present = [leaving, other]
    media.carried = [replace(flow, payload_bytes=100)]
    await sample(watch, media, t0 + 1000)
    media.present, media.carried = [other], []
    await sample(watch, media, t0 + 6000)
    assert await faults() == [(t0 + 1000, t0 + 6000)]
