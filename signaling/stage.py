"""Who is on the stage of a lesson beside its instructor: guests with the floor, who speaks, whose picture is shown.

Pure: every function answers a new `StageState`. The numbers in `version_ms` only grow, on whichever node a change is
made, so that pages and media nodes can tell the newest word from one that was overtaken on its way.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace

VOICES = ("voice0", "voice1", "voice2")  # one slot of everyone's subscription for each guest


@dataclass(frozen=True)
class Guest:
    """A learner who has the floor. `muted`: the microphone was taken, the place is still theirs."""

    person_id: str
    name: str
    voice: str
    granted_at_ms: int
    muted: bool = False


@dataclass(frozen=True)
class StageState:
    guests: tuple[Guest, ...] = ()
    speaking: dict[str, int] = field(default_factory=dict)  # person → since when
    dominant: str | None = None  # of those who speak, the one to look at
    shown: str | None = None  # the guest whose picture is shown: who speaks, else who spoke last
    version_ms: int = 0
    heard: str = "0-0"  # the newest media event that was taken into account

    def text(self) -> str:
        return json.dumps(asdict(self))

    def guest(self, person_id: str) -> Guest | None:
        return next((guest for guest in self.guests if guest.person_id == person_id), None)

    def may_speak(self, person_id: str) -> bool:
        guest = self.guest(person_id)
        return guest is not None and not guest.muted


def parse(text: bytes | str | None) -> StageState:
    if not text:
        return StageState()
    values = json.loads(text)
    return StageState(**{**values, "guests": tuple(Guest(**guest) for guest in values["guests"])})


def grant(state: StageState, person_id: str, name: str, now_ms: int) -> StageState | None:
    """Gives the floor, or gives a muted guest the microphone back; None when all places are taken."""
    known = state.guest(person_id)
    if known is not None:
        return _with_guests(state, [replace(g, muted=False) if g == known else g for g in state.guests])
    free = [voice for voice in VOICES if all(guest.voice != voice for guest in state.guests)]
    if not free:
        return None
    return _with_guests(state, [*state.guests, Guest(person_id, name, free[0], now_ms)])


def take(state: StageState, person_id: str) -> StageState:
    """The floor ends for one person, whoever ended it."""
    return _silenced(_with_guests(state, [g for g in state.guests if g.person_id != person_id]), [person_id])


def mute(state: StageState, person_ids: list[str]) -> StageState:
    """Microphones are taken; the places stay."""
    guests = [replace(guest, muted=guest.muted or guest.person_id in person_ids) for guest in state.guests]
    return _silenced(_with_guests(state, guests), person_ids)


def spoke(state: StageState, person_id: str, speaking: bool, at_ms: int) -> StageState:
    """A source began or stopped to speak. Someone who goes on speaking is not replaced by who joins in."""
    if not speaking:
        return _silenced(state, [person_id])
    if person_id in state.speaking:
        return state
    return _settled(replace(state, speaking={**state.speaking, person_id: at_ms}))


def _with_guests(state: StageState, guests: list[Guest]) -> StageState:
    return _settled(replace(state, guests=tuple(guests)))


def _silenced(state: StageState, person_ids: list[str]) -> StageState:
    speaking = {person: since for person, since in state.speaking.items() if person not in person_ids}
    return _settled(replace(state, speaking=speaking))


def _settled(state: StageState) -> StageState:
    """`dominant` and `shown` follow from who speaks and who they were before."""
    by_patience = sorted(state.speaking, key=lambda person: (state.speaking[person], person))
    dominant = state.dominant if state.dominant in state.speaking else next(iter(by_patience), None)
    guests = [guest.person_id for guest in state.guests]
    speaking_guests = [person for person in by_patience if person in guests]
    shown = state.shown if state.shown in guests else None
    if shown not in state.speaking:
        shown = next(iter(speaking_guests), shown or next(iter(guests), None))
    return replace(state, dominant=dominant, shown=shown)


def later(event_id: str, than: str) -> bool:
    """Whether a Redis stream's entry comes after another one."""
    return _numbers(event_id) > _numbers(than)


def _numbers(event_id: str) -> tuple[int, int]:
    at_ms, _, number = event_id.partition("-")
    return int(at_ms), int(number or 0)
