"""The floor: who may speak beside the instructor, and everyone hearing it.

The stage of a lesson is one value in Redis beside its event log, so it outlives the web node that changed it. A change
is first written there, then told to everyone, then carried out in the media; whatever of the last two a failure keeps
from happening is made good by `keep`, which every conductor's node runs for its lessons.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import structlog
from redis.exceptions import RedisError, WatchError

import classroom
from media import MediaError
from signaling import stage
from signaling.grants import speaker_of, stage_sources, voice_id
from signaling.lesson_namespace import Call, Window
from signaling.protocol import (
    Envelope,
    ErrorCode,
    FloorPerson,
    Guest,
    Nothing,
    Role,
    Stage,
    StageChanged,
    StageSpeaking,
)
from signaling.push import nudge_relays
from signaling.sentences import Refusal
from signaling.stage import StageState

if TYPE_CHECKING:
    from pydantic import BaseModel

    from signaling.conductors import Conductors
    from signaling.context import Context
    from signaling.event_log import EventLog
    from signaling.presence import Presence

Act = Literal["granted", "taken", "left", "muted", "muted_all", "gone"]
Change = Callable[[StageState], StageState]

MUTERS = (Role.INSTRUCTOR, Role.PROCTOR)
KEEP_S = 2.0
# A guest whose window is gone this long gives the floor back: longer than a reload or a lost network takes.
GONE_MS = 30_000
_TTL_S = 24 * 3600
_ATTEMPTS = 50  # at an optimistic change; each failure means that somebody else's succeeded

log = structlog.get_logger(__name__)


def stage_facts(state: StageState) -> Stage:
    """The stage as pages see it."""
    guests = [Guest(**vars(guest)) for guest in state.guests]
    return Stage(
        guests=guests,
        speaking=sorted(state.speaking),
        dominant=state.dominant,
        shown=state.shown,
        version_ms=state.version_ms,
    )


class Floor:
    def __init__(self, context: Context, event_log: EventLog, presence: Presence, conductors: Conductors) -> None:
        self._context = context
        self._log = event_log
        self._presence = presence
        self._conductors = conductors

    def calls(self) -> dict[str, Call]:
        return {
            "floor.grant": self.grant,
            "floor.take": self.take,
            "floor.mute": self.mute,
            "floor.mute_all": self.mute_all,
            "floor.leave": self.leave,
        }

    # Calls ---------------------------------------------------------------------------------------------------------

    async def grant(self, window: Window, payload: FloorPerson) -> Stage:
        """The floor for a learner whose hand is up, or the microphone back for a guest who was muted."""
        seat, lesson, _ = window.require(Role.INSTRUCTOR)
        lesson_id, person_id = lesson.lesson_id, payload.person_id
        now = await classroom.access_lesson(self._context.record, window.actor, lesson_id)
        window.lesson = now
        if person_id not in now.learner_ids:
            raise Refusal(ErrorCode.NOT_FOUND)
        if now.state != "live":
            raise Refusal(ErrorCode.WRONG_STATE)
        guest = (await self.load(lesson_id)).guest(person_id)
        if guest is None:
            # A microphone is opened only for someone who asked to speak.
            name = await self._name_of_raised_hand(lesson_id, seat.person_id, person_id)
        else:
            name = guest.name

        def change(state: StageState) -> StageState:
            granted = stage.grant(state, person_id, name, self._context.clock_ms())
            if granted is None:
                raise Refusal(ErrorCode.FLOOR_FULL)
            return granted

        facts = await self._act(lesson_id, change, "granted", person_id, seat.person_id)
        if guest is None:
            now_ms = self._context.clock_ms()
            await classroom.raise_hand(self._context.record, lesson_id, person_id, False, now_ms)
            await nudge_relays(self._context)
        return facts

    async def _name_of_raised_hand(self, lesson_id: str, viewer_id: str, person_id: str) -> str:
        snapshot = await classroom.lesson_snapshot(self._context.record, lesson_id, viewer_id)
        row = next((row for row in snapshot.participants if row["person_id"] == person_id), None)
        if row is None or not row["hand_raised"]:
            raise Refusal(ErrorCode.NO_HAND)
        return str(row["name"])

    async def take(self, window: Window, payload: FloorPerson) -> Stage:
        seat, lesson, _ = window.require(Role.INSTRUCTOR)
        return await self._end(lesson.lesson_id, payload.person_id, "taken", seat.person_id)

    async def leave(self, window: Window, payload: Nothing) -> Stage:
        """A guest gives the floor back."""
        seat, lesson, _ = window.require(Role.LEARNER)
        return await self._end(lesson.lesson_id, seat.person_id, "left", seat.person_id)

    async def mute(self, window: Window, payload: FloorPerson) -> Stage:
        """Takes one guest's microphone at its source."""
        seat, lesson, _ = window.require(*MUTERS)
        person_id = payload.person_id
        if (await self.load(lesson.lesson_id)).guest(person_id) is None:
            raise Refusal(ErrorCode.NOT_FOUND)
        facts = await self._act(
            lesson.lesson_id, lambda state: stage.mute(state, [person_id]), "muted", person_id, seat.person_id
        )
        await self._hush(lesson.lesson_id, [person_id], facts.version_ms)
        return facts

    async def mute_all(self, window: Window, payload: Nothing) -> Stage:
        """Takes every guest's microphone at its source; the instructor's own is not a guest's."""
        seat, lesson, _ = window.require(*MUTERS)
        facts = await self._act(
            lesson.lesson_id,
            lambda state: stage.mute(state, [guest.person_id for guest in state.guests]),
            "muted_all",
            None,
            seat.person_id,
        )
        await self._hush(lesson.lesson_id, [guest.person_id for guest in facts.guests], facts.version_ms)
        return facts

    async def _end(self, lesson_id: str, person_id: str, act: Act, by: str) -> Stage:
        if (await self.load(lesson_id)).guest(person_id) is None:
            raise Refusal(ErrorCode.NOT_FOUND)
        facts = await self._act(lesson_id, lambda state: stage.take(state, person_id), act, person_id, by)
        await self._hush(lesson_id, [person_id], facts.version_ms)
        return facts

    async def gone(self, lesson_id: str, person_id: str) -> None:
        """Someone left the lesson on purpose, or has been away for long: a floor of theirs is free again."""
        if (await self.load(lesson_id)).guest(person_id) is not None:
            await self._end(lesson_id, person_id, "gone", person_id)

    # The value -----------------------------------------------------------------------------------------------------

    def _key(self, lesson_id: str) -> str:
        return self._context.key(f"lesson:{{{lesson_id}}}:stage")

    async def load(self, lesson_id: str) -> StageState:
        """Raises RedisError when Redis is away."""
        return stage.parse(await self._context.redis.get(self._key(lesson_id)))

    async def _change(self, lesson_id: str, change: Change) -> tuple[StageState, StageState]:
        """Before and after, written if it differs, with a version above all earlier ones."""
        key = self._key(lesson_id)
        async with self._context.redis.pipeline(transaction=True) as pipe:
            for _ in range(_ATTEMPTS):
                try:
                    await pipe.watch(key)
                    before = stage.parse(await pipe.get(key))
                    after = change(before)
                    if after == before:
                        return before, before
                    after = replace(after, version_ms=max(self._context.clock_ms(), before.version_ms + 1))
                    pipe.multi()
                    pipe.set(key, after.text(), ex=_TTL_S)
                    await pipe.execute()
                    return before, after
                except WatchError:
                    continue
        raise Refusal(ErrorCode.TRY_AGAIN)

    async def _act(self, lesson_id: str, change: Change, act: Act, person_id: str | None, by: str) -> Stage:
        before, after = await self._change(lesson_id, change)
        facts = stage_facts(after)
        if after != before:
            log.info("floor", lesson=lesson_id, act=act, person=person_id, by=by)
            told = StageChanged(stage=facts, act=act, person_id=person_id, by=by)
            await self._tell(lesson_id, "stage.changed", told, f"stage:{secrets.token_hex(8)}")
            await self._route(lesson_id, after)
        return facts

    async def _tell(self, lesson_id: str, type_: str, payload: BaseModel, event_id: str) -> None:
        data = payload.model_dump(mode="json")
        envelope = Envelope(seq=0, at_ms=self._context.clock_ms(), type=type_, to="all", data=data)
        await self._log.append(lesson_id, [(event_id, envelope)])

    # The media -----------------------------------------------------------------------------------------------------

    async def _route(self, lesson_id: str, state: StageState) -> None:
        try:
            await self._context.media.show_room(lesson_id, stage_sources(lesson_id, state), state.version_ms)
        except MediaError as error:
            log.warning("stage not routed yet", lesson=lesson_id, reason=error.code)

    async def _hush(self, lesson_id: str, person_ids: list[str], at_ms: int) -> None:
        """Ends these microphones' publications and refuses their tokens made so far."""
        for person_id in person_ids:
            try:
                await self._context.media.end_publication(voice_id(lesson_id, person_id), at_ms)
            except MediaError as error:
                log.warning("microphone not taken yet", lesson=lesson_id, person=person_id, reason=error.code)

    async def heard(
        self, event_id: str, type_: str, publication_id: str, holder: str, lesson_id: str, why: str
    ) -> None:
        """A media event of this lesson. Every web node hears of it; the first one counts it."""
        person_id = speaker_of(lesson_id, publication_id, holder)
        if person_id is None or type_ not in ("speaking", "publication_started", "publication_ended"):
            return
        # A publication that begins or ends is silent: its node may have died before it could say so.
        speaking = type_ == "speaking" and why == "began"

        def change(state: StageState) -> StageState:
            if not stage.later(event_id, state.heard):
                return state
            if speaking and publication_id == voice_id(lesson_id, person_id) and not state.may_speak(person_id):
                return state
            after = stage.spoke(state, person_id, speaking, self._context.clock_ms())
            return state if after == state else replace(after, heard=event_id)

        before, after = await self._change(lesson_id, change)
        if after == before:
            return
        told = StageSpeaking(person_id=person_id, speaking=speaking, stage=stage_facts(after))
        await self._tell(lesson_id, "stage.speaking", told, f"speaking:{event_id}")
        if after.shown != before.shown:
            await self._route(lesson_id, after)

    async def keep(self) -> None:
        """For ever: routes again what a node may have missed, ends microphones that should be off, frees the places of
        guests who are gone. An error is the caller's to log and retry."""
        while True:
            for lesson_id in self._conductors.conducting():
                now_ms = self._context.clock_ms()
                state = await self.load(lesson_id)
                if state.guests or now_ms - state.version_ms < GONE_MS:
                    await self._keep(lesson_id, state, now_ms)
            await asyncio.sleep(KEEP_S)

    async def _keep(self, lesson_id: str, state: StageState, now_ms: int) -> None:
        """`now_ms` is from before the stage was read: a token made later may be of a floor granted since."""
        await self._route(lesson_id, state)
        try:
            flows = await self._context.media.flows()
        except MediaError as error:
            log.warning("microphones not looked at", lesson=lesson_id, reason=error.code)
            flows = []
        voices = {flow.holder for flow in flows if flow.publication_id == voice_id(lesson_id, flow.holder)}
        unwanted = [person_id for person_id in voices if not state.may_speak(person_id)]
        await self._hush(lesson_id, unwanted, now_ms)
        sittings = await self._presence.of_lesson(lesson_id)
        for guest in state.guests:
            sitting = sittings.get(guest.person_id)
            if sitting is not None and not sitting.connected and now_ms - sitting.at_ms > GONE_MS:
                await self.gone(lesson_id, guest.person_id)


async def stage_of(floor: Floor, lesson_id: str) -> StageState:
    """The stage for a snapshot; empty while Redis is away, since the class goes on without it."""
    try:
        return await floor.load(lesson_id)
    except (RedisError, OSError) as error:
        log.warning("stage not read", lesson=lesson_id, reason=str(error))
        return StageState()
