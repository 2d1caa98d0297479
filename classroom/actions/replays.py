"""Replay of a recorded lesson by its learners: one player a person, segments in order, challenges answered in time.

What was watched goes into the learner's chain as a fact. No profile here gives credit for it, so none is given: the
entries are no evidence of attendance (`classroom.domain.evidence` does not know their kinds).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import RowMapping

from classroom.actions.afterwards import append_to_lesson
from classroom.domain import replay
from classroom.domain.errors import NotFound, TooLate, WrongState
from classroom.domain.replay import Allowance, Challenge, Progress, Refused
from classroom.ledger.entries import Draft
from classroom.standing import ENDED, Lesson, read_lesson
from classroom.store import tables
from classroom.store.record import Record
from classroom.store.unit_of_work import UnitOfWork, new_id

REPLAY_WATCHED = "REPLAY_WATCHED"
REPLAY_MISSED = "REPLAY_MISSED"


@dataclass(frozen=True)
class ReplayView:
    """One player's right to segments. `replay_id` is "" when another player has taken it over."""

    replay_id: str
    lesson_id: str
    person_id: str
    progress: Progress
    allowance_ms: float


async def open_replay(record: Record, lesson_id: str, person_id: str) -> ReplayView:
    """Begins or goes on; any other player of this person, in whatever lesson, has had its last segment (R-060).

    Raises NotFound for those not enrolled, WrongState before the lesson's end or while the person sits in a class.
    """

    async def change(work: UnitOfWork) -> ReplayView:
        lesson = await read_lesson(work, lesson_id)
        if not await work.find(tables.enrolments, class_id=lesson.class_id, person_id=person_id):
            raise NotFound()
        if lesson.state != ENDED or await _sits_in_class(work, person_id):
            raise WrongState()
        await work.insert_new(
            tables.replay_allowances, person_id=person_id, ms=float(replay.AHEAD_MS), at_ms=work.now_ms
        )
        await _lock(work, person_id)
        await work.insert_new(
            tables.replays, lesson_id=lesson_id, person_id=person_id, **_columns(Progress()), replay_id=""
        )
        for row in await work.many(tables.replays, person_id=person_id):
            if row["replay_id"]:
                await _end(work, row)
        row = await work.one(tables.replays, lesson_id=lesson_id, person_id=person_id)
        replay_id = new_id("v")
        await _keep(work, row, replay.given_up(_progress(row)), replay_id)
        return await _view(work, replay_id, person_id)

    return await record.change(change)


async def issue_segment(
    record: Record, replay_id: str, person_id: str, number: int, durations_ms: Sequence[float]
) -> ReplayView | Refused:
    """Hands out segment `number` of the recording whose segments last `durations_ms`.

    Raises NotFound when this player's right has ended (another player, a missed challenge) or never was.
    """

    async def change(work: UnitOfWork) -> ReplayView | Refused | None:
        await _lock(work, person_id)
        row, lesson = await _row(work, replay_id, person_id)
        progress = await _after_window(work, lesson, row)
        if progress is None:
            return None  # not raised: the missed challenge is to be committed
        if not 0 <= number < len(durations_ms):
            raise NotFound()
        allowance = await _allowance(work, person_id)
        done = replay.issue(progress, allowance, number, durations_ms[number], work.now_ms)
        if isinstance(done, Refused):
            return done
        progress, allowance = done
        at_ms = replay.moment_ms(
            lesson.row["secret"], person_id, progress.answered, lesson.profile.ms("ping_interval_s")
        )
        if replay.challenge_due(progress, at_ms, is_last=progress.issued == len(durations_ms)):
            closes_at_ms = work.now_ms + replay.AHEAD_MS + lesson.profile.ms("ping_window_s")
            progress = _with(progress, Challenge(new_id("c"), work.now_ms, closes_at_ms))
        await _keep(work, row, progress, replay_id)
        await work.update(tables.replay_allowances, {"person_id": person_id}, ms=allowance.ms, at_ms=allowance.at_ms)
        return await _view(work, replay_id, person_id)

    found = await record.change(change)
    if found is None:
        raise NotFound()
    return found


async def replay_state(record: Record, replay_id: str, person_id: str) -> ReplayView:
    """How this player stands. A challenge whose window is over ends it. Raises NotFound when it has ended."""

    async def change(work: UnitOfWork) -> ReplayView | None:
        row, lesson = await _row(work, replay_id, person_id)
        if await _after_window(work, lesson, row) is None:
            return None
        return await _view(work, replay_id, person_id)

    found = await record.change(change)
    if found is None:
        raise NotFound()
    return found


async def answer_replay(record: Record, replay_id: str, person_id: str, challenge_id: str) -> ReplayView:
    """Confirms what was handed out so far. Raises TooLate outside the window, NotFound when the player has ended."""

    async def change(work: UnitOfWork) -> ReplayView | None:
        await _lock(work, person_id)
        row, lesson = await _row(work, replay_id, person_id)
        before = _progress(row)
        after = replay.answered(before, challenge_id, work.now_ms)
        if after is None:
            await _after_window(work, lesson, row)
            return None
        assert before.challenge is not None, "answered() found it"
        await append_to_lesson(work, lesson, [_entry(work, lesson, row, REPLAY_WATCHED, before, before.challenge)])
        await _keep(work, row, after, replay_id)
        return await _view(work, replay_id, person_id)

    found = await record.change(change)
    if found is None:
        raise TooLate()
    return found


async def replay_progress(record: Record, lesson_id: str, person_id: str) -> Progress:
    """How far the person is in this recording; all zero before the first time."""

    async def look(work: UnitOfWork) -> Progress:
        row = await work.find(tables.replays, lesson_id=lesson_id, person_id=person_id)
        return Progress() if row is None else _progress(row)

    return await record.read(look)


# ---------------------------------------------------------------------------------------------------------------------


async def _sits_in_class(work: UnitOfWork, person_id: str) -> bool:
    sitting = await work.many(tables.participants, person_id=person_id, connected=True)
    lessons = [row["lesson_id"] for row in sitting]
    return bool(lessons) and bool(await work.many(tables.lessons, id=lessons, state="live"))


async def _lock(work: UnitOfWork, person_id: str) -> None:
    """One change of a person's replays at a time; SQLite has one writer anyway."""
    await work.update(tables.replay_allowances, {"person_id": person_id}, person_id=person_id)


async def _row(work: UnitOfWork, replay_id: str, person_id: str) -> tuple[RowMapping, Lesson]:
    if not replay_id:
        raise NotFound()
    row = await work.one(tables.replays, replay_id=replay_id, person_id=person_id)
    return row, await read_lesson(work, row["lesson_id"])


async def _after_window(work: UnitOfWork, lesson: Lesson, row: RowMapping) -> Progress | None:
    """The progress as it stands now; None when a challenge was missed, which ends this player's right."""
    progress = _progress(row)
    challenge = progress.challenge
    if challenge is None or work.now_ms <= challenge.closes_at_ms:
        return progress
    await append_to_lesson(work, lesson, [_entry(work, lesson, row, REPLAY_MISSED, progress, challenge)])
    await _keep(work, row, replay.given_up(progress), "")
    return None


async def _end(work: UnitOfWork, row: RowMapping) -> None:
    lesson = await read_lesson(work, row["lesson_id"])
    if await _after_window(work, lesson, row) is not None:
        await _keep(work, row, replay.given_up(_progress(row)), "")


async def _allowance(work: UnitOfWork, person_id: str) -> Allowance:
    row = await work.one(tables.replay_allowances, person_id=person_id)
    return Allowance(row["ms"], row["at_ms"])


async def _view(work: UnitOfWork, replay_id: str, person_id: str) -> ReplayView:
    row = await work.one(tables.replays, replay_id=replay_id, person_id=person_id)
    allowance = (await _allowance(work, person_id)).at(work.now_ms)
    return ReplayView(replay_id, row["lesson_id"], person_id, _progress(row), allowance.ms)


async def _keep(work: UnitOfWork, row: RowMapping, progress: Progress, replay_id: str) -> None:
    key = {"lesson_id": row["lesson_id"], "person_id": row["person_id"]}
    await work.update(tables.replays, key, **_columns(progress), replay_id=replay_id)


def _entry(
    work: UnitOfWork, lesson: Lesson, row: RowMapping, kind: str, progress: Progress, challenge: Challenge
) -> Draft:
    body = {
        "lesson": lesson.id,
        "person": row["person_id"],
        "replay": row["replay_id"],
        "from_media_ms": round(progress.confirmed_ms),
        "to_media_ms": round(progress.issued_ms),
        "challenge": challenge.challenge_id,
        "opened_at_ms": challenge.opened_at_ms,
        "ended_at_ms": work.now_ms,
    }
    return Draft(lesson.chain_of(row["person_id"]), work.now_ms, kind, body)


def _with(progress: Progress, challenge: Challenge) -> Progress:
    return Progress(
        progress.issued, progress.issued_ms, progress.confirmed, progress.confirmed_ms, progress.answered, challenge
    )


def _progress(row: RowMapping) -> Progress:
    challenge = None
    if row["challenge_id"]:
        challenge = Challenge(row["challenge_id"], row["challenge_opened_at_ms"], row["challenge_closes_at_ms"])
    return Progress(row["issued"], row["issued_ms"], row["confirmed"], row["confirmed_ms"], row["answered"], challenge)


def _columns(progress: Progress) -> dict[str, Any]:
    challenge = progress.challenge
    return {
        "issued": progress.issued,
        "issued_ms": progress.issued_ms,
        "confirmed": progress.confirmed,
        "confirmed_ms": progress.confirmed_ms,
        "answered": progress.answered,
        "challenge_id": "" if challenge is None else challenge.challenge_id,
        "challenge_opened_at_ms": 0 if challenge is None else challenge.opened_at_ms,
        "challenge_closes_at_ms": 0 if challenge is None else challenge.closes_at_ms,
    }
