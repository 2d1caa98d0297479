"""Replay for learners: what may be handed out when, and what counts as watched (R-059, R-060). Pure.

Media time is counted in the server's own words only: segments are handed out in order, no faster than the wall clock
allows, and they count as watched when a challenge that fell into them was answered in its window. Where challenges
fall is an HMAC of the lesson's secret, as pings do. Nothing that a player says about its position is ever believed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from classroom.domain.lesson_plan import fraction

REPLAY = "replay"
# How far ahead of the wall clock segments are handed out, so that a player can keep a buffer. It is one allowance a
# person, not one a player or a lesson: ten players in parallel share it.
AHEAD_MS = 12_000


@dataclass(frozen=True)
class Allowance:
    """Milliseconds of media that a person may be handed at `at_ms`; grows with the wall clock up to AHEAD_MS."""

    ms: float = AHEAD_MS
    at_ms: int = 0

    def at(self, now_ms: int) -> Allowance:
        grown = min(float(AHEAD_MS), self.ms + max(0, now_ms - self.at_ms))
        return Allowance(grown, max(now_ms, self.at_ms))


@dataclass(frozen=True)
class Challenge:
    """An attendance question of a replay: to be answered from `opened_at_ms` to `closes_at_ms`."""

    challenge_id: str
    opened_at_ms: int
    closes_at_ms: int


@dataclass(frozen=True)
class Progress:
    """How far one person is in one recording. Numbers of segments count from 0 without gaps.

    `issued`: handed out in order; `confirmed`: of these, up to the last answered challenge: watched.
    """

    issued: int = 0
    issued_ms: float = 0.0
    confirmed: int = 0
    confirmed_ms: float = 0.0
    answered: int = 0  # challenges, which number the next one
    challenge: Challenge | None = None


@dataclass(frozen=True)
class Refused:
    """Why a segment is not handed out: `not_in_order`, `too_early` (with the time to wait), `challenge_open`."""

    why: str
    wait_ms: int = 0


def moment_ms(secret: bytes, person_id: str, index: int, interval_ms: int) -> int:
    """After how much handed-out media the `index`-th challenge opens: in the middle half of its interval."""
    return round((index + 0.25 + fraction(secret, person_id, REPLAY, index) / 2) * interval_ms)


def issue(
    progress: Progress, allowance: Allowance, number: int, duration_ms: float, now_ms: int
) -> tuple[Progress, Allowance] | Refused:
    """Hands out segment `number`. Again what was handed out before costs nothing and brings nothing."""
    if number < progress.issued:
        return progress, allowance.at(now_ms)
    if number > progress.issued:
        return Refused("not_in_order")
    if progress.challenge is not None:
        return Refused("challenge_open")
    grown = allowance.at(now_ms)
    if grown.ms < duration_ms:
        return Refused("too_early", round(duration_ms - grown.ms) + 1)
    after = replace(progress, issued=number + 1, issued_ms=progress.issued_ms + duration_ms)
    return after, Allowance(grown.ms - duration_ms, grown.at_ms)


def challenge_due(progress: Progress, next_moment_ms: int, *, is_last: bool) -> bool:
    """Whether a challenge opens now: its moment has been handed out, or the recording has (its end counts too)."""
    return progress.challenge is None and (
        progress.issued_ms >= next_moment_ms or (is_last and progress.issued > progress.confirmed)
    )


def answered(progress: Progress, challenge_id: str, now_ms: int) -> Progress | None:
    """What an answer in time confirms; None when there is no such challenge or its window is over."""
    challenge = progress.challenge
    if challenge is None or challenge.challenge_id != challenge_id:
        return None
    if not challenge.opened_at_ms <= now_ms <= challenge.closes_at_ms:
        return None
    return replace(
        progress,
        confirmed=progress.issued,
        confirmed_ms=progress.issued_ms,
        answered=progress.answered + 1,
        challenge=None,
    )


def given_up(progress: Progress) -> Progress:
    """A challenge was missed, or the player was closed: what was not confirmed has to be watched again."""
    return replace(progress, issued=progress.confirmed, issued_ms=progress.confirmed_ms, challenge=None)
