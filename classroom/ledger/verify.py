"""The audit: re-reads the raw ledger rows, names the first broken one, recomputes every credited second, compares.

It trusts no total: chains are checked against their own hashes, against the recorded ends and against the signed
checkpoints; credit is recomputed by the same pure functions from nothing but checked entries.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import RowMapping

from classroom.actions.settlement import bearing_on, credited_ms, lesson_credit, packed
from classroom.domain.caps import LessonCredit, capped
from classroom.domain.credit import CreditReport, credit
from classroom.domain.evidence import Evidence, Kind
from classroom.domain.profile import RuleProfile, profile_of
from classroom.domain.quizzes import score
from classroom.domain.roles import Role
from classroom.ledger import evidence_entries
from classroom.ledger.chain import Break, RawRow, checked
from classroom.ledger.checkpoint import Checkpoint, problem, public_key_of
from classroom.ledger.entries import Entry, lesson_chain, person_chain
from classroom.standing import ENDED, LIVE, SCHEDULED, Lesson, read_lesson
from classroom.store import queries, tables
from classroom.store.record import Record
from classroom.store.unit_of_work import UnitOfWork
from classroom.views import VerifyReport


@dataclass
class _Ledger:
    """The checked chains of one training class."""

    chains: dict[str, list[Entry]]
    breaks: list[Break]
    bodies: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)

    def body(self, entry: Entry) -> dict[str, Any]:
        key = (entry.chain, entry.idx)
        if key not in self.bodies:
            self.bodies[key] = json.loads(entry.body)
        return self.bodies[key]

    def entries(self, chain: str, lesson_id: str) -> list[Entry]:
        return [entry for entry in self.chains.get(chain, []) if self.body(entry).get("lesson") == lesson_id]

    def evidence(self, chain: str, lesson_id: str) -> list[Evidence]:
        found = (evidence_entries.read(entry.kind, self.body(entry)) for entry in self.entries(chain, lesson_id))
        return [evidence for evidence in found if evidence is not None]

    def fact(self, chain: str, lesson_id: str, kind: str) -> dict[str, Any] | None:
        """The newest entry of a kind about the lesson."""
        found = [self.body(entry) for entry in self.entries(chain, lesson_id) if entry.kind == kind]
        return found[-1] if found else None


async def verify_lesson(record: Record, lesson_id: str) -> VerifyReport:
    """Audits one lesson. Raises NotFound.

    `broken`: a ledger row or a checkpoint is not what was written; `broken_row` names it. `different`: the ledger is
    whole, but a stored result is not what follows from it. `identical`: everything follows.
    """

    async def look(work: UnitOfWork) -> VerifyReport:
        return await _Audit(work, await read_lesson(work, lesson_id)).run()

    return await record.read(look)


class _Audit:
    def __init__(self, work: UnitOfWork, lesson: Lesson) -> None:
        self.work = work
        self.lesson = lesson
        self.ledgers: dict[str, _Ledger] = {}
        self.differences: list[dict[str, Any]] = []
        self.lines: list[str] = []

    async def run(self) -> VerifyReport:
        ledger = await self._ledger(self.lesson.class_id)
        broken = ledger.breaks[0] if ledger.breaks else None
        if broken is None:
            count = sum(len(entries) for entries in ledger.chains.values())
            self.lines.append(f"账本 ledger: {len(ledger.chains)} chains, {count} entries, every hash fits")
            broken = await self._checkpoints(ledger)
        if broken is None:
            broken = await self._compare(ledger)
        if broken is not None:
            self.lines.append(f"账本已被改动 BROKEN at {broken.chain} #{broken.idx}: {broken.what}")
            return VerifyReport("broken", (broken.chain, broken.idx), self.differences, self.lines)
        if self.differences:
            self.lines.append(f"不一致 DIFFERENT in {len(self.differences)} places")
            return VerifyReport("different", None, self.differences, self.lines)
        self.lines.append("一致 IDENTICAL: every credited second follows from the ledger")
        return VerifyReport("identical", None, [], self.lines)

    # --- the rows ----------------------------------------------------------------------------------------------------

    async def _ledger(self, class_id: str) -> _Ledger:
        if class_id in self.ledgers:
            return self.ledgers[class_id]
        raw: dict[str, list[RawRow]] = {}
        for row in await self.work.fetch(queries.raw_entries(self.work.dialect, class_id)):
            # A chain name that is no text any more sorts under its escaped form and is found broken there.
            name = bytes(row["chain"]).decode("ascii", "backslashreplace")
            raw.setdefault(name, []).append(RawRow(**{key: bytes(row[key]) for key in RawRow.__annotations__}))
        heads = {row["chain"]: row for row in await self.work.fetch(queries.heads_of(class_id))}
        ledger = _Ledger({}, [])
        # Chains known by their ends come first: of a row moved to another chain, the gap it left is named.
        for chain in [*sorted(heads), *sorted(raw.keys() - heads.keys())]:
            entries, broken = checked(chain, raw.get(chain, []))
            ledger.chains[chain] = entries
            broken = broken or _end_break(chain, entries, heads.get(chain))
            if broken is not None:
                ledger.breaks.append(broken)
        self.ledgers[class_id] = ledger
        return ledger

    async def _checkpoints(self, ledger: _Ledger) -> Break | None:
        """The lesson's own checkpoints, then those of the other lessons of its class.

        Each of them pins all chains of the class: an end cut off together with the checkpoint that signed it is still
        missed by the checkpoints of later lessons.
        """
        rows: dict[str, list[RowMapping]] = {self.lesson.id: []}
        lessons = await self.work.many(tables.lessons, "starts_at_ms", "id", class_id=self.lesson.class_id)
        lesson_ids = [row["id"] for row in lessons]
        for row in await self.work.many(tables.checkpoints, "lesson_id", "seq", lesson_id=lesson_ids):
            rows.setdefault(row["lesson_id"], []).append(row)
        newest: dict[str, int] = {}
        for lesson_id, points in rows.items():
            for place, row in enumerate(points):
                signed = self._signed(ledger, lesson_id, place, row)
                if isinstance(signed, Break):
                    return signed
                if lesson_id == self.lesson.id:
                    newest = signed
        if self.lesson.state != ENDED:
            return None
        if not rows[self.lesson.id]:
            return Break(f"checkpoint:{self.lesson.id}", 0, "an ended lesson has none")
        for chain in sorted(ledger.chains):
            for entry in ledger.entries(chain, self.lesson.id):
                if entry.idx > newest.get(chain, -1):
                    return Break(chain, entry.idx, "it was added after the signed checkpoint")
        return None

    def _signed(self, ledger: _Ledger, lesson_id: str, place: int, row: RowMapping) -> dict[str, int] | Break:
        """The chains' ends (chain → index) that a checkpoint pins, all of them found as they were signed."""
        trusted = None if self.work.signing_key is None else public_key_of(self.work.signing_key)
        name = f"checkpoint:{lesson_id}"
        if row["seq"] != place:
            return Break(name, place, "a checkpoint is missing")
        point = _checkpoint(row)
        wrong = "it is not readable" if point is None else problem(point, trusted)
        if point is None or wrong is not None:
            return Break(name, place, wrong or "")
        for chain, idx, digest in point.heads:
            entries = ledger.chains.get(chain, [])
            if idx >= len(entries) or entries[idx].hash != digest:
                return Break(chain, idx, f"it is not what checkpoint {place} signed")
        by = "not signed" if point.public_key is None else f"signed by {point.public_key[:16]}…"
        known = "" if trusted else " (signer not checked: no key configured)"
        of = "" if lesson_id == self.lesson.id else f" of {lesson_id}"
        self.lines.append(f"检查点 checkpoint {place}{of}: root {point.root[:16]}…, {by}{known}")
        return {chain: idx for chain, idx, _ in point.heads}

    # --- what follows from them --------------------------------------------------------------------------------------

    async def _compare(self, ledger: _Ledger) -> Break | None:
        lesson, work = self.lesson, self.work
        self._differs("lesson", "state", lesson.state, self._state(ledger))
        if lesson.state != SCHEDULED:
            self._compare_facts(ledger)
        if lesson.state != ENDED:
            for row in await work.many(tables.credit_results, "person_id", lesson_id=lesson.id):
                self._differs(row["person_id"], "credited_ms", row["credited_ms"], None)
            live = lesson.state == LIVE
            self.lines.append(
                "课程进行中 the lesson is live: nothing has been settled yet" if live else "课程尚未开始 not started"
            )
            return None
        rows = await work.many(tables.participants, "person_id", lesson_id=lesson.id, role=str(Role.LEARNER))
        stored = {row["person_id"]: row for row in await work.many(tables.credit_results, lesson_id=lesson.id)}
        people = {row["person_id"] for row in rows} | stored.keys() | self._evidenced(ledger)
        names = {row["id"]: row["name"] for row in await work.many(tables.people, id=sorted(people))}
        for person_id in sorted(people):
            broken = await self._compare_person(ledger, person_id, names.get(person_id, person_id), stored)
            if broken is not None:
                return broken
        await self._compare_scores(ledger, names)
        return None

    def _evidenced(self, ledger: _Ledger) -> set[str]:
        """Learners by their settled entries: a result row that was deleted is missed too."""
        prefix = f"{self.lesson.class_id}/"
        return {
            chain.removeprefix(prefix)
            for chain in ledger.chains
            if ledger.fact(chain, self.lesson.id, evidence_entries.CREDIT_SETTLED) is not None
        }

    def _state(self, ledger: _Ledger) -> str:
        """What the lesson's own entries say of it: a lesson cannot be un-ended to hide its results."""
        if ledger.fact(self.lesson.chain, self.lesson.id, evidence_entries.LESSON_ENDED) is not None:
            return ENDED
        started = ledger.fact(self.lesson.chain, self.lesson.id, evidence_entries.LESSON_STARTED)
        return SCHEDULED if started is None else LIVE

    def _compare_facts(self, ledger: _Ledger) -> None:
        row, chain = self.lesson.row, self.lesson.chain
        started = ledger.fact(chain, self.lesson.id, evidence_entries.LESSON_STARTED) or {}
        self._differs("lesson", "started_at_ms", row["started_at_ms"], started.get("started_at_ms"))
        self._differs("lesson", "planned_ms", self.lesson.planned_ms, started.get("planned_ms"))
        self._differs("lesson", "profile", row["profile"], started.get("profile"))
        self._differs("lesson", "course", row["course_id"], started.get("course"))
        self._differs("lesson", "course_hours", row["course_hours"], started.get("course_hours"))
        self._differs("lesson", "term", row["term"], started.get("term"))
        digest = hashlib.sha256(row["secret"]).hexdigest()
        self._differs("lesson", "secret_sha256", digest, started.get("secret_sha256"))
        if self.lesson.state == ENDED:
            ended = ledger.fact(chain, self.lesson.id, evidence_entries.LESSON_ENDED) or {}
            self._differs("lesson", "ended_at_ms", row["ended_at_ms"], ended.get("ended_at_ms"))
            self._differs("lesson", "secret", row["secret"].hex(), ended.get("secret"))

    def _differs(self, who: str, what: str, stored: Any, recomputed: Any) -> bool:
        if stored == recomputed:
            return False
        self.differences.append({"who": who, "what": what, "stored": stored, "recomputed": recomputed})
        self.lines.append(f"不一致 {who}: {what} stored {_short(stored)}, recomputed {_short(recomputed)}")
        return True

    async def _compare_person(
        self, ledger: _Ledger, person_id: str, name: str, stored: Mapping[str, RowMapping]
    ) -> Break | None:
        own, report = self._own(ledger, self.lesson.row, person_id)
        if own is None or report is None:
            self._differs(person_id, "lesson facts", "stored", None)
            return None
        credits = [own]
        ended = await self.work.fetch(queries.ended_lessons_of(person_id))
        for row in bearing_on(self.lesson.row, (row for row in ended if row["id"] != self.lesson.id)):
            other = await self._ledger(row["class_id"])
            wanted = {person_chain(row["class_id"], person_id), lesson_chain(row["class_id"], row["id"])}
            broken = next((b for b in other.breaks if b.chain in wanted), None)
            if broken is not None:
                return broken
            theirs, _ = self._own(other, row, person_id)
            if theirs is not None:
                credits.append(theirs)
        parts = capped(credits)[self.lesson.id]
        profile = _profile(ledger, self.lesson.row) or self.lesson.profile
        right = {
            "credited_ms": credited_ms(parts),
            "attended_ms": report.attended_ms,
            "hours": profile.hours(credited_ms(parts)),
            "state": report.state,
            "own": packed(report.intervals),
            "intervals": packed(parts),
        }
        result = stored.get(person_id)
        if result is None:
            self._differs(person_id, "credited_ms", None, right["credited_ms"])
            return None
        different = [self._differs(person_id, what, result[what], value) for what, value in right.items()]
        chain = person_chain(self.lesson.class_id, person_id)
        settled = ledger.fact(chain, self.lesson.id, evidence_entries.CREDIT_SETTLED) or {}
        different.append(
            self._differs(person_id, "credited_ms in ledger", settled.get("credited_ms"), right["credited_ms"])
        )
        if not any(different):
            self.lines.append(f"{name}: {credited_ms(parts) / 1000:.1f} s, {right['hours']:g} 学时, as stored")
        return None

    def _own(self, ledger: _Ledger, row: RowMapping, person_id: str) -> tuple[LessonCredit | None, CreditReport | None]:
        """A lesson's credit by itself, from the ledger's own account of the lesson."""
        chain = lesson_chain(row["class_id"], row["id"])
        started = ledger.fact(chain, row["id"], evidence_entries.LESSON_STARTED)
        ended = ledger.fact(chain, row["id"], evidence_entries.LESSON_ENDED)
        profile = _profile(ledger, row)
        if started is None or ended is None or profile is None:
            return None, None
        faults = [e for e in ledger.evidence(chain, row["id"]) if e.kind is Kind.FAULT]
        evidence = ledger.evidence(person_chain(row["class_id"], person_id), row["id"])
        ended_ms = ended["ended_at_ms"]
        report = credit(profile, [*faults, *evidence], started["started_at_ms"], ended_ms, ended_ms)
        # The limits as they were frozen at the start, not as the tables have them today.
        frozen = {"course_id": started["course"], "course_hours": started["course_hours"], "term": started["term"]}
        return lesson_credit({**row, **frozen}, profile, report.intervals), report

    async def _compare_scores(self, ledger: _Ledger, names: Mapping[str, str]) -> None:
        quizzes = await self.work.many(tables.quizzes, "hour_index", lesson_id=self.lesson.id)
        rows = await self.work.many(tables.quiz_scores, quiz_id=[quiz["id"] for quiz in quizzes])
        stored = {(row["quiz_id"], row["person_id"]): row["score"] for row in rows}
        scored: dict[tuple[str, str], float] = {}
        for person_id in names:
            answers: dict[str, dict[str, Sequence[int]]] = {}
            for entry in ledger.entries(person_chain(self.lesson.class_id, person_id), self.lesson.id):
                body = ledger.body(entry)
                if entry.kind == Kind.QUIZ_ANSWER:
                    answers.setdefault(body["ref"], {})[body["question"]] = body["chosen"]
                elif entry.kind == evidence_entries.QUIZ_SCORED:
                    value = score(body["correct"], answers.get(body["quiz"], {}))
                    scored[(body["quiz"], person_id)] = value
                    self._differs(person_id, f"score {body['quiz']} in ledger", body["score"], value)
        for key in sorted(stored.keys() | scored.keys()):
            self._differs(key[1], f"score {key[0]}", stored.get(key), scored.get(key))


def _profile(ledger: _Ledger, row: RowMapping) -> RuleProfile | None:
    started = ledger.fact(lesson_chain(row["class_id"], row["id"]), row["id"], evidence_entries.LESSON_STARTED)
    return None if started is None else profile_of(started["profile"])


def _end_break(chain: str, entries: list[Entry], head: RowMapping | None) -> Break | None:
    """What the recorded end of a chain says about its rows."""
    if head is None:
        return Break(chain, max(0, len(entries) - 1), "the end of its chain is not on record")
    if head["idx"] >= len(entries):
        return Break(chain, len(entries), "a row is missing")
    if head["idx"] < len(entries) - 1:
        return Break(chain, head["idx"] + 1, "a row was added")
    if head["hash"] != entries[-1].hash:
        return Break(chain, head["idx"], "it is not the recorded end of its chain")
    return None


def _checkpoint(row: RowMapping) -> Checkpoint | None:
    try:
        heads = tuple((str(chain), int(idx), str(digest)) for chain, idx, digest in row["heads"])
    except (TypeError, ValueError):
        return None
    return Checkpoint(
        row["lesson_id"], row["seq"], row["at_ms"], heads, row["root"], row["public_key"], row["signature"]
    )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
