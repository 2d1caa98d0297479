"""Evidence: facts the server made or checked itself, as frozen values. Times are UTC epoch milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What an evidence is; the same words are the `kind` of its ledger entry."""

    FACE = "FACE"  # a face verdict; at_ms is when the frame was taken
    PING = "PING"  # a ping that ended: answered (at_ms = the answer), missed or void (at_ms = its end)
    QUIZ_ANSWER = "QUIZ_ANSWER"
    MEDIA = "MEDIA"  # the learner's media flowed from from_ms to to_ms
    CONNECTED = "CONNECTED"
    DISCONNECTED = "DISCONNECTED"
    FAULT = "FAULT"  # a fault on the server's side from from_ms to to_ms
    WITHHELD = "WITHHELD"  # an incident withholds from_ms to to_ms until it is RELEASED
    RELEASED = "RELEASED"
    SEAT = "SEAT"  # the person's one seat was taken by another window


class Outcome(StrEnum):
    """What a face check can come to; priced only in `classroom.domain.attendance`."""

    MATCH = "MATCH"
    MISMATCH = "MISMATCH"
    SPOOF_SUSPECTED = "SPOOF_SUSPECTED"
    NO_FACE = "NO_FACE"
    MANY_FACES = "MANY_FACES"
    UNSURE = "UNSURE"
    NO_FRAME = "NO_FRAME"
    NOT_JUDGED = "NOT_JUDGED"


ANSWERED = "answered"
MISSED = "missed"
VOID = "void"


@dataclass(frozen=True, order=True)
class Evidence:
    """One fact. `ref` is the id of what it answers (check, ping, quiz, incident); intervals use from_ms and to_ms."""

    at_ms: int
    kind: Kind
    ref: str = ""
    outcome: str = ""  # FACE: an Outcome; PING: answered | missed | void
    from_ms: int = 0
    to_ms: int = 0


def face(at_ms: int, outcome: str, ref: str = "") -> Evidence:
    return Evidence(at_ms, Kind.FACE, ref, str(outcome))


def ping(opened_at_ms: int, ended_at_ms: int, outcome: str, ref: str = "") -> Evidence:
    """A ping whose window began at `opened_at_ms` and that was answered or ended at `ended_at_ms`."""
    return Evidence(ended_at_ms, Kind.PING, ref, outcome, opened_at_ms, ended_at_ms)


def quiz_answer(at_ms: int, ref: str = "") -> Evidence:
    return Evidence(at_ms, Kind.QUIZ_ANSWER, ref)


def media(from_ms: int, to_ms: int) -> Evidence:
    return Evidence(to_ms, Kind.MEDIA, "", "", from_ms, to_ms)


def fault(from_ms: int, to_ms: int, what: str = "") -> Evidence:
    return Evidence(from_ms, Kind.FAULT, what, "", from_ms, to_ms)


def connected(at_ms: int, seat_id: str = "") -> Evidence:
    return Evidence(at_ms, Kind.CONNECTED, seat_id)


def disconnected(at_ms: int, seat_id: str = "") -> Evidence:
    return Evidence(at_ms, Kind.DISCONNECTED, seat_id)


def withheld(incident: str, from_ms: int, to_ms: int) -> Evidence:
    return Evidence(from_ms, Kind.WITHHELD, incident, "", from_ms, to_ms)


def released(incident: str, at_ms: int) -> Evidence:
    return Evidence(at_ms, Kind.RELEASED, incident)
