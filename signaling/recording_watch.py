"""What a lesson's conductor sees of its recording: told to staff when it changes, noted in the record when it fails.

A recorder says once a second how it goes. One that has died says nothing, and that silence is the alarm: the recording
is evidence, so its failure must not be found out a week later.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
from redis.asyncio import Redis

import classroom
from media import MediaKeys
from signaling.protocol import Envelope, RecordingFacts, RecordingState

if TYPE_CHECKING:
    from signaling.context import Context
    from signaling.event_log import EventLog

LOOK_MS = 1000
SILENT_MS = 5000  # five missed beats
STARTING_MS = 15_000  # a recorder may have to be started first
ALARMING = frozenset({RecordingState.INTERRUPTED, RecordingState.FAILING})
RECORDER_ABSENT = "recorder_absent"

log = structlog.get_logger(__name__)


async def recording_facts(
    redis: Redis, prefix: str, lesson_id: str, live_since_ms: int | None, now_ms: int
) -> RecordingFacts:
    """How the recording stands at this moment. RedisError."""
    said = await redis.get(MediaKeys(prefix).recording(lesson_id))
    values: dict[str, Any] = json.loads(said) if said else {}
    state = RecordingState(values.get("state", RecordingState.NONE))
    at_ms = int(values.get("at_ms", 0))
    reason = str(values.get("reason", ""))
    if live_since_ms is not None:
        if at_ms <= live_since_ms and now_ms - live_since_ms <= STARTING_MS:
            state, reason = RecordingState.STARTING, ""
        elif now_ms - at_ms > SILENT_MS:
            state, reason = RecordingState.INTERRUPTED, RECORDER_ABSENT
    return RecordingFacts(state=state, reason=reason, at_ms=at_ms, bytes=int(values.get("bytes", 0)))


@dataclass
class RecordingWatch:
    """One lesson's recording; `look` is called every round by its conductor."""

    context: Context
    event_log: EventLog
    lesson_id: str
    started_at_ms: int
    fence: int
    _told: RecordingState | None = None
    _looked_ms: int = field(default=0)

    async def look(self, now_ms: int) -> None:
        """Raises RedisError or a record's error; the next look tries again."""
        if now_ms - self._looked_ms < LOOK_MS:
            return
        self._looked_ms = now_ms
        facts = await recording_facts(
            self.context.redis, self.context.prefix, self.lesson_id, self.started_at_ms, now_ms
        )
        if facts.state == self._told:
            return
        if facts.state in ALARMING:
            log.error("recording failed", lesson=self.lesson_id, state=facts.state, reason=facts.reason)
            since_ms = max(facts.at_ms, self.started_at_ms)
            await classroom.note_recording_interrupted(
                self.context.record, self.lesson_id, since_ms, now_ms, facts.reason or facts.state, self.fence
            )
        envelope = Envelope(
            seq=0, at_ms=now_ms, type="recording.changed", to="staff", data=facts.model_dump(mode="json")
        )
        await self.event_log.append(self.lesson_id, [(f"recording:{secrets.token_hex(8)}", envelope)])
        self._told = facts.state
