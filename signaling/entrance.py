"""Coming in and going out: a seat, a snapshot, what was missed, media grants; and the way back after a lost socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from redis.exceptions import RedisError

import classroom
from media import MediaError
from signaling.feed import Feeds, addressed
from signaling.floor import Floor, stage_facts, stage_of
from signaling.grants import grant
from signaling.lesson_namespace import Call, LessonNamespace, Window
from signaling.protocol import (
    ChatMessage,
    CreditStrip,
    ErrorCode,
    Join,
    Joined,
    LessonFacts,
    MediaGrants,
    Nothing,
    OpenPing,
    OpenQuiz,
    Participant,
    RecordingFacts,
    Role,
)
from signaling.push import nudge_relays
from signaling.recording_watch import recording_facts
from signaling.sentences import Refusal
from signaling.stage import StageState

if TYPE_CHECKING:
    from classroom import LessonView
    from signaling.context import Context
    from signaling.event_log import EventLog
    from signaling.presence import Presence
    from signaling.seats import Seats

# Strongest first: the role of a person with several who does not say which.
STRENGTH = (Role.INSTRUCTOR, Role.PROCTOR, Role.ORGANISER, Role.LEARNER)
MISSED_LIMIT = 2000  # more than this and the snapshot alone must do
ATTACH_RETRY_S = 0.5

log = structlog.get_logger(__name__)


class Entrance:
    def __init__(
        self,
        context: Context,
        seats: Seats,
        event_log: EventLog,
        feeds: Feeds,
        presence: Presence,
        namespace: LessonNamespace,
        floor: Floor,
    ) -> None:
        self._context = context
        self._seats = seats
        self._log = event_log
        self._feeds = feeds
        self._presence = presence
        self._namespace = namespace
        self._floor = floor
        self._attaching: set[asyncio.Task[None]] = set()
        namespace.left = self.gone

    def calls(self) -> dict[str, Call]:
        return {"join": self.join, "leave": self.leave, "media.renew": self.renew}

    async def join(self, window: Window, payload: Join) -> Joined:
        """Takes the seat and answers with everything the page shows. Later events follow the answer, in order."""
        async with window.joining:
            return await self._join(window, payload)

    async def _join(self, window: Window, payload: Join) -> Joined:
        context, actor = self._context, window.actor
        # The socket may be older than the end of its session, and the notice of that may have been lost.
        if await context.find_actor(window.token) is None:
            raise Refusal(ErrorCode.SIGN_IN_REQUIRED)
        lesson = await classroom.access_lesson(context.record, actor, payload.lesson_id)
        role = _role_here(lesson, payload.as_role)
        if window.seat is not None and window.seat.lesson_id != payload.lesson_id:
            # Before the new seat is taken: the end of the old one must not end the window that moves.
            await self._put_away(window)
        seat = await self._seats.take(actor.person_id, actor.session_id, payload.window_id, payload.lesson_id)
        window.joined_ms = context.clock_ms()
        window.seat, window.lesson, window.role, window.wall_slots = seat, lesson, role, payload.wall_slots
        you: Participant | None = None
        if lesson.state != "ended":
            now_ms = context.clock_ms()
            row = await classroom.connected(
                context.record, payload.lesson_id, actor.person_id, seat.seat_id, now_ms, role.value
            )
            you = Participant.model_validate(row)
            await self._presence.sat_down(seat, window.sid, role)
            await self._seats.one_socket(seat, window.sid, window.joined_ms)
            await nudge_relays(context)
        # The number first: whatever is committed after it reaches this window as an event, at worst a second time
        # as part of the snapshot; events carry whole rows, so applying one twice changes nothing.
        head = await self._log.head(payload.lesson_id)
        snapshot = await classroom.lesson_snapshot(context.record, payload.lesson_id, actor.person_id)
        missed = []
        if payload.since is not None:
            later = await self._log.since(payload.lesson_id, payload.since, until=head)
            missed = [e for e in later if addressed(e, actor.person_id, staff=window.staff)][-MISSED_LIMIT:]
        participants = [Participant.model_validate(row) for row in snapshot.participants]
        if you is None:
            mine = [p for p in participants if p.person_id == actor.person_id]
            you = mine[0] if mine else Participant(person_id=actor.person_id, name=actor.name, role=role)
        # What was said is said: a class that is over has no stage.
        stage = StageState() if lesson.state == "ended" else await stage_of(self._floor, payload.lesson_id)
        try:
            media = await grant(context, seat, lesson, role, window.wall_slots, stage)
        except MediaError as error:
            # The class goes on without pictures; the page asks again with `media.renew`.
            log.warning("joined without media", lesson=payload.lesson_id, reason=error.code)
            media = MediaGrants(publish=[], play=None)
        self._attach_after_answer(window, head)
        return Joined(
            you=you,
            lesson=LessonFacts.model_validate(snapshot.lesson),
            participants=participants,
            seq=head,
            server_ms=context.clock_ms(),
            publish=media.publish,
            play=media.play,
            chat=[ChatMessage.model_validate(message) for message in snapshot.chat],
            open_ping=OpenPing.model_validate(snapshot.open_ping) if snapshot.open_ping else None,
            open_quiz=OpenQuiz.model_validate(snapshot.open_quiz) if snapshot.open_quiz else None,
            credit=CreditStrip.model_validate(snapshot.credit) if snapshot.credit else None,
            stage=stage_facts(stage),
            recording=await self._recording(lesson) if window.staff else None,
            missed=missed,
        )

    async def _recording(self, lesson: LessonView) -> RecordingFacts | None:
        context = self._context
        live_since_ms = lesson.started_at_ms if lesson.state == "live" else None
        try:
            return await recording_facts(
                context.redis, context.prefix, lesson.lesson_id, live_since_ms, context.clock_ms()
            )
        except (RedisError, OSError) as error:
            log.warning("recording not known", lesson=lesson.lesson_id, reason=str(error))
            return None

    def _attach_after_answer(self, window: Window, head: int) -> None:
        # A task of its own runs only after this call's answer is in the socket's queue: no event can overtake it.
        task = asyncio.get_running_loop().create_task(self._attach(window, head))
        self._attaching.add(task)
        task.add_done_callback(self._attaching.discard)

    async def _attach(self, window: Window, head: int) -> None:
        seat = window.seat
        while seat is not None and window.seat == seat and window.sid in self._namespace.windows:
            try:
                await self._feeds.of(seat.lesson_id).attach(window.sid, seat.person_id, staff=window.staff, seq=head)
                return
            except (RedisError, OSError) as error:
                log.warning("window not supplied yet", sid=window.sid, reason=str(error))
                await asyncio.sleep(ATTACH_RETRY_S)

    async def leave(self, window: Window, payload: Nothing) -> Nothing:
        """Goes out on purpose: the seat is free, the lesson's events stop."""
        if window.seat is not None:
            await self._put_away(window)
        return Nothing()

    async def _put_away(self, window: Window) -> None:
        seat = window.seat
        await self.gone(window, "left")
        window.seat = window.lesson = window.role = None
        if seat is not None:
            await self._floor.gone(seat.lesson_id, seat.person_id)
            await self._seats.leave(seat)

    async def gone(self, window: Window, reason: str) -> None:
        """The socket closed or its person left; the seat stays theirs for a window that comes back."""
        seat = window.seat
        if seat is None:
            return
        log.info("window gone", lesson=seat.lesson_id, person=seat.person_id, reason=reason)
        await self._feeds.of(seat.lesson_id).detach(window.sid, seat.person_id)
        await self._presence.stood_up(seat, window.sid)
        await nudge_relays(self._context)

    async def renew(self, window: Window, payload: Nothing) -> MediaGrants:
        """Fresh tokens for the same publications and slots: after a media node came back, or when tokens ran out."""
        seat, lesson, role = window.sitting()
        now = await classroom.access_lesson(self._context.record, window.actor, lesson.lesson_id)
        window.lesson = now
        stage = await stage_of(self._floor, lesson.lesson_id)
        return await grant(self._context, seat, now, role, window.wall_slots, stage)


def _role_here(lesson: LessonView, wanted: Role | None) -> Role:
    here = {Role(role) for role in lesson.roles_here if role in set(Role)}
    if wanted is not None and wanted not in here:
        raise Refusal(ErrorCode.NOT_FOUND)
    if wanted is not None:
        return wanted
    for role in STRENGTH:
        if role in here:
            return role
    raise Refusal(ErrorCode.NOT_FOUND)
