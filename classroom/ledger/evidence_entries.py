"""Evidence as ledger entries and back: the ledger is the only place where evidence is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from classroom.domain.evidence import Evidence, Kind
from classroom.ledger.entries import Draft

# Kinds of entries that are facts about a lesson or a decision, not evidence.
LESSON_STARTED = "LESSON_STARTED"
LESSON_ENDED = "LESSON_ENDED"
QUIZ_SCORED = "QUIZ_SCORED"
CREDIT_SETTLED = "CREDIT_SETTLED"

_KINDS = {kind.value: kind for kind in Kind}


def draft(chain: str, lesson_id: str, evidence: Evidence, now_ms: int, **details: Any) -> Draft:
    """The entry that records one evidence; `details` are kept beside it for people who ask why."""
    body: dict[str, Any] = {**details, "lesson": lesson_id, "at_ms": evidence.at_ms}
    for name in ("ref", "outcome"):
        if getattr(evidence, name):
            body[name] = getattr(evidence, name)
    if evidence.from_ms or evidence.to_ms:
        body["from_ms"], body["to_ms"] = evidence.from_ms, evidence.to_ms
    return Draft(chain, now_ms, evidence.kind.value, body)


def read(kind: str, body: Mapping[str, Any]) -> Evidence | None:
    """The evidence an entry records; None for entries that are no evidence."""
    known = _KINDS.get(kind)
    if known is None:
        return None
    return Evidence(
        at_ms=body["at_ms"],
        kind=known,
        ref=body.get("ref", ""),
        outcome=body.get("outcome", ""),
        from_ms=body.get("from_ms", 0),
        to_ms=body.get("to_ms", 0),
    )


def read_for_lesson(lesson_id: str, kind: str, text: str) -> Evidence | None:
    """The evidence of one lesson in an entry's stored text; None for other lessons and other entries."""
    if kind not in _KINDS:
        return None
    body = json.loads(text)
    return read(kind, body) if body.get("lesson") == lesson_id else None
