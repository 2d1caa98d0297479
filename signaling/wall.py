"""What proctors do: which learner each slot of their wall shows, a check now, a notice."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import classroom
from signaling.grants import learner_of, learner_publication_id, wall_subscription_id
from signaling.lesson_namespace import Call, Window
from signaling.protocol import (
    CheckDemand,
    CheckDemanded,
    Envelope,
    ErrorCode,
    Nothing,
    NoticeSend,
    Role,
    SlotsChanged,
    WallShow,
    WallShown,
)
from signaling.push import nudge_relays
from signaling.sentences import Refusal

if TYPE_CHECKING:
    from signaling.context import Context
    from signaling.event_log import EventLog
    from signaling.face_checks import FaceChecks

OVERSEERS = (Role.PROCTOR, Role.INSTRUCTOR)


class Wall:
    def __init__(self, context: Context, face_checks: FaceChecks, event_log: EventLog) -> None:
        self._context = context
        self._log = event_log
        self._face_checks = face_checks

    def calls(self) -> dict[str, Call]:
        return {"check.demand": self.demand, "notice.send": self.notice, "wall.show": self.show}

    async def demand(self, window: Window, payload: CheckDemand) -> CheckDemanded:
        """One face check of one learner now, ahead of the planned ones."""
        seat, lesson, _ = window.require(*OVERSEERS)
        await self._require_learners(window, [payload.person_id])
        check_id = await self._face_checks.demand(lesson.lesson_id, payload.person_id, seat.person_id)
        return CheckDemanded(check_id=check_id)

    async def notice(self, window: Window, payload: NoticeSend) -> Nothing:
        seat, lesson, _ = window.require(*OVERSEERS)
        if payload.person_id is not None:
            await self._require_learners(window, [payload.person_id])
        await classroom.post_notice(
            self._context.record,
            lesson.lesson_id,
            seat.person_id,
            payload.person_id,
            payload.text,
            self._context.clock_ms(),
        )
        await nudge_relays(self._context)
        return Nothing()

    async def show(self, window: Window, payload: WallShow) -> WallShown:
        """Routes slots of one's own wall; answers what every slot is set to."""
        seat, lesson, _ = window.require(*OVERSEERS, Role.ORGANISER)
        if payload.subscription_id != wall_subscription_id(seat):
            raise Refusal(ErrorCode.NOT_FOUND)
        await self._require_learners(window, [person for person in payload.slots.values() if person is not None])
        wanted: dict[str, str | None] = {}
        for slot, person_id in payload.slots.items():
            wanted[slot] = None if person_id is None else learner_publication_id(lesson.lesson_id, person_id)
        shown = await self._context.media.show(payload.subscription_id, wanted)
        set_to = {slot: _learner(lesson.lesson_id, state) for slot, state in shown.items()}
        changed = SlotsChanged(subscription_id=payload.subscription_id, slots=set_to)
        envelope = Envelope(
            seq=0,
            at_ms=self._context.clock_ms(),
            type="slots.changed",
            to=f"person:{seat.person_id}",
            data=changed.model_dump(mode="json"),
        )
        await self._log.append(lesson.lesson_id, [(f"slots:{secrets.token_hex(8)}", envelope)])
        return WallShown(shown=set_to)

    async def _require_learners(self, window: Window, person_ids: list[str]) -> None:
        """Refusal(NOT_FOUND) unless all are learners of the lesson, late enrolments included."""
        _, lesson, _ = window.sitting()
        if not set(person_ids) <= set(lesson.learner_ids):
            window.lesson = lesson = await classroom.access_lesson(self._context.record, window.actor, lesson.lesson_id)
            if not set(person_ids) <= set(lesson.learner_ids):
                raise Refusal(ErrorCode.NOT_FOUND)


def _learner(lesson_id: str, state: dict[str, Any]) -> str | None:
    """The learner a slot is to show; it turns to them at their next key frame, or when their camera begins."""
    source = state["source"]
    return None if source is None else learner_of(lesson_id, source)
