"""What a lesson's conductor sees of media: whose picture flows, what of it is evidence, when a media node failed."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

import classroom
from classroom import ClassroomError
from media import MediaError
from signaling.flow_book import FlowBook
from signaling.flow_totals import FlowTotals
from signaling.grants import learner_of, lecture_id
from signaling.push import nudge_relays

if TYPE_CHECKING:
    from classroom import LessonView
    from media import Flow, NodeInfo
    from signaling.context import Context

SAMPLE_S = 1.0
# A publication is shown as stopped after this long without a packet, however fast the lesson's clock runs: a browser
# that encodes one picture a second is not absent.
STOPPED_MS = 3000
FAULT_STEP_MS = 3000  # while a node is away the fault is written in steps, so that what ends meanwhile is void
WHAT = "media_node_absent"
OURS_KEPT = 60  # samples, one a second or more: far longer than a node takes to come back

log = structlog.get_logger(__name__)


@dataclass
class _Node:
    started_at_ms: int
    draining: bool = False
    # When it carried something of this lesson, newest last.
    ours_at_ms: deque[int] = field(default_factory=lambda: deque(maxlen=OURS_KEPT))

    def last_before(self, at_ms: int) -> int | None:
        return next((ours for ours in reversed(self.ours_at_ms) if ours < at_ms), None)


@dataclass
class MediaWatch:
    """One lesson's media. `sample` and `record` are called about once a second by its conductor."""

    context: Context
    lesson: LessonView
    fence: int
    publishing: set[str] = field(default_factory=set)  # people whose camera is shown as on
    learners: set[str] = field(default_factory=set)  # whose cameras are evidence; the conductor keeps it up to date
    _nodes: dict[str, _Node] = field(default_factory=dict)  # by address
    _seen_at_ms: dict[str, int] = field(default_factory=dict)  # person → last packet
    _down_since_ms: int | None = None
    _seen_at: dict[str, str] = field(default_factory=dict)  # publication → address of the node that had it last

    def __post_init__(self) -> None:
        self.learners |= set(self.lesson.learner_ids)
        self.book = FlowBook(self.lesson.profile.ms("media_slack_s"))
        self._totals = FlowTotals()
        self._key = self.context.key(f"lesson:{{{self.lesson.lesson_id}}}:flows")

    async def sample(self) -> None:
        """Looks at all nodes once. Raises RedisError or a record's error; a media node that is away is a finding."""
        try:
            nodes = _newest_by_address(await self.context.media.nodes())
            flows = [
                flow
                for flow in await self.context.media.flows()
                if flow.room == self.lesson.lesson_id and flow.node_id in nodes
            ]
        except MediaError as error:
            log.warning("media not sampled", lesson=self.lesson.lesson_id, reason=str(error))
            return
        # The time of the answer, not of the question: a node that is just starting may let one wait for it, and what
        # it carries must not look older than the node itself.
        now_ms = self.context.clock_ms()
        await self._note_faults(now_ms, nodes, flows)
        cameras = {
            person_id: sample
            for publication_id, sample in self._totals.take(flows).items()
            if (person_id := self._person(publication_id)) is not None
        }
        for person_id, sample in cameras.items():
            if sample.last_packet_age_ms is not None:
                self._seen_at_ms[person_id] = now_ms - sample.last_packet_age_ms
        self.book.sample(now_ms, {person: sample for person, sample in cameras.items() if person in self.learners})
        await self._show(now_ms)

    def _person(self, publication_id: str) -> str | None:
        if publication_id == lecture_id(self.lesson.lesson_id):
            return self.lesson.instructor_id
        return learner_of(self.lesson.lesson_id, publication_id)

    async def _show(self, now_ms: int) -> None:
        """Tells the roster whose camera began or stopped."""
        now_on = {person for person, at_ms in self._seen_at_ms.items() if now_ms - at_ms <= STOPPED_MS}
        lesson_id = self.lesson.lesson_id
        for person_id in now_on ^ self.publishing:
            publication_id = None
            if person_id in now_on:
                lecture = person_id == self.lesson.instructor_id
                publication_id = lecture_id(lesson_id) if lecture else f"{lesson_id}.learner.{person_id}"
            self.publishing = self.publishing ^ {person_id}
            try:
                await classroom.publishing(self.context.record, lesson_id, person_id, publication_id, now_ms)
            except ClassroomError as error:
                # Someone who is no longer of the class: their camera is none of its evidence either.
                log.warning("camera not shown", lesson=lesson_id, person=person_id, code=error.code)
            await nudge_relays(self.context)

    async def _note_faults(self, now_ms: int, nodes: dict[str, NodeInfo], flows: list[Flow]) -> None:
        present = {node.control_url: node.started_at_ms for node in nodes.values()}
        lost_at_ms: list[int] = []
        for address, known in list(self._nodes.items()):
            started_at_ms = present.get(address)
            if started_at_ms == known.started_at_ms:
                continue
            del self._nodes[address]
            if known.draining and address not in self._seen_at.values():
                continue  # whatever it carried was seen elsewhere since: it was left, not lost
            # A node that is back at its address may have answered with new flows before it was seen to be new: what
            # was carried before it started is what tells when the old one went.
            last_ms = known.last_before(now_ms + 1 if started_at_ms is None else started_at_ms)
            if last_ms is not None:
                lost_at_ms.append(last_ms)
        for node in nodes.values():
            self._nodes.setdefault(node.control_url, _Node(node.started_at_ms)).draining = node.draining
        # A publication that is moving is at both for a moment, and will be at the one that stays.
        for flow in sorted(flows, key=lambda flow: not nodes[flow.node_id].draining):
            self._seen_at[flow.publication_id] = nodes[flow.node_id].control_url
        for address in {nodes[flow.node_id].control_url for flow in flows}:
            self._nodes[address].ours_at_ms.append(now_ms)
        if lost_at_ms and self._down_since_ms is None:
            self._down_since_ms = min(lost_at_ms)
        if self._down_since_ms is None:
            return
        if present or now_ms - self._down_since_ms >= FAULT_STEP_MS:
            await self._fault(self._down_since_ms, now_ms)
            self._down_since_ms = None if present else now_ms

    async def _fault(self, from_ms: int, to_ms: int) -> None:
        log.warning("media node was away", lesson=self.lesson.lesson_id, from_ms=from_ms, to_ms=to_ms)
        await classroom.record_fault(self.context.record, self.lesson.lesson_id, WHAT, from_ms, to_ms, self.fence)
        await nudge_relays(self.context)

    async def record(self, now_ms: int, *, all_of_it: bool = False) -> None:
        """Writes the stretches that are due; at the end of the lesson all of them."""
        at_least_ms = 1 if all_of_it else self.lesson.profile.ms("media_interval_s")
        stretches = self.book.take(now_ms, at_least_ms)
        if not stretches:
            return
        try:
            await classroom.record_media_flow(self.context.record, self.lesson.lesson_id, stretches, self.fence)
        except BaseException:
            self.book.put_back(stretches)
            raise
        await nudge_relays(self.context)

    def unrecorded(self) -> str:
        """What a successor would have to record; kept in Redis with each heartbeat."""
        return json.dumps(self.book.untaken())

    async def resume(self) -> None:
        """Begins with what the roster shows, so that a camera that stopped meanwhile is seen to have stopped."""
        snapshot = await classroom.lesson_snapshot(
            self.context.record, self.lesson.lesson_id, self.lesson.instructor_id
        )
        self.publishing = {row["person_id"] for row in snapshot.participants if row.get("publishing")}

    async def take_over(self, kept: bytes | str | None) -> None:
        """Records what the conductor before had seen and not written yet."""
        stretches = [(str(person), int(begin), int(end)) for person, begin, end in json.loads(kept or b"[]")]
        if stretches:
            await classroom.record_media_flow(self.context.record, self.lesson.lesson_id, stretches, self.fence)


def _newest_by_address(nodes: list[NodeInfo]) -> dict[str, NodeInfo]:
    """By node id, one node for each address: a node killed and started again is registered twice until its old
    registration runs out, and whoever asks either of the two hears the new one."""
    newest: dict[str, NodeInfo] = {}
    for node in sorted(nodes, key=lambda node: node.started_at_ms):
        newest[node.control_url] = node
    return {node.node_id: node for node in newest.values()}
