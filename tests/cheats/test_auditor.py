"""Someone with the database's password and time: what the audit still notices (R-056, R-092)."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

import pytest

import classroom
from classroom.ledger.checkpoint import signed
from classroom.ledger.entries import Entry, entry_hash


class Vandal:
    """Rewrites the record's file; knows how every hash is made, but not the signing key."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.file = sqlite3.connect(world.record.database_url.split("///", 1)[1], isolation_level=None)

    def run(self, statement: str, *values: Any) -> list[Any]:
        return self.file.execute(statement, values).fetchall()

    def chain(self, person: str) -> str:
        return f"{self.world.training_class}/{person}"

    def length(self, chain: str) -> int:
        return int(self.run("SELECT count(*) FROM ledger_entries WHERE chain = ?", chain)[0][0])

    def truncate(self, chain: str, length: int) -> None:
        """Drops the chain's end and moves the recorded end back to match."""
        self.run("DELETE FROM ledger_entries WHERE chain = ? AND idx >= ?", chain, length)
        if length == 0:
            self.run("DELETE FROM chain_heads WHERE chain = ?", chain)
            return
        [(digest,)] = self.run("SELECT hash FROM ledger_entries WHERE chain = ? AND idx = ?", chain, length - 1)
        self.run("UPDATE chain_heads SET idx = ?, hash = ? WHERE chain = ?", length - 1, digest, chain)

    def append(self, chain: str, kind: str, body: dict[str, Any]) -> None:
        """A well-formed entry, as the platform itself would have written it."""
        idx, prev, at_ms = self.run(
            "SELECT idx, hash, at_ms FROM ledger_entries WHERE chain = ? ORDER BY idx DESC LIMIT 1", chain
        )[0]
        text = json.dumps(body, sort_keys=True, separators=(",", ":"))
        entry = Entry(chain, idx + 1, at_ms, kind, text, prev, entry_hash(prev, chain, idx + 1, at_ms, kind, text))
        row = entry.row()
        self.run(f"INSERT INTO ledger_entries ({', '.join(row)}) VALUES (?,?,?,?,?,?,?)", *row.values())
        self.run("UPDATE chain_heads SET idx = ?, hash = ? WHERE chain = ?", entry.idx, entry.hash, chain)

    def rechain(self, chain: str) -> None:
        """Makes every hash of a chain fit again after its rows were changed."""
        rows = self.run("SELECT idx, at_ms, kind, body FROM ledger_entries WHERE chain = ? ORDER BY idx", chain)
        prev = "0" * 64
        for place, (idx, at_ms, kind, body) in enumerate(rows):
            digest = entry_hash(prev, chain, place, at_ms, kind, body)
            self.run(
                "UPDATE ledger_entries SET idx = ?, prev_hash = ?, hash = ? WHERE chain = ? AND idx = ?",
                place, prev, digest, chain, idx,
            )  # fmt: skip
            prev = digest
        self.run("UPDATE chain_heads SET idx = ?, hash = ? WHERE chain = ?", len(rows) - 1, prev, chain)

    def sign_again(self, key: bytes | None) -> None:
        """Replaces the lesson's checkpoints by one over the present heads, with a key of one's own or none."""
        lesson = self.world.lesson
        heads = self.run(
            "SELECT chain, idx, hash FROM chain_heads WHERE chain LIKE ?", f"{self.world.training_class}/%"
        )
        at_ms = self.run("SELECT max(at_ms) FROM checkpoints WHERE lesson_id = ?", lesson)[0][0]
        point = signed(lesson, 0, at_ms, heads, key)
        self.run("DELETE FROM checkpoints WHERE lesson_id = ?", lesson)
        self.run(
            "INSERT INTO checkpoints (id, lesson_id, seq, at_ms, heads, root, public_key, signature)"
            " VALUES (?,?,?,?,?,?,?,?)",
            "m_forged", lesson, 0, at_ms, json.dumps([list(head) for head in point.heads]),
            point.root, point.public_key, point.signature,
        )  # fmt: skip

    def give(self, person: str, credited_ms: int) -> None:
        self.run(
            "UPDATE credit_results SET credited_ms = ?, hours = 1 WHERE lesson_id = ? AND person_id = ?",
            credited_ms, self.world.lesson, person,
        )  # fmt: skip


@pytest.fixture
async def over(small_world) -> AsyncIterator[tuple[Any, Vandal]]:
    """One hour that is over: the first learner was there, the second was found to be someone else half way through."""
    world = small_world
    await world.start()
    honest, cheat = world.learners
    for person in world.learners:
        await world.sit(person)
    await world.flow(5)
    for person in world.learners:
        await world.check(person)
    for k in range(8):
        await world.flow(300)
        for person in world.learners:
            await world.check(person, "MISMATCH" if person == cheat and k >= 4 else "MATCH")
    await world.end()
    vandal = Vandal(world)
    yield world, vandal
    vandal.file.close()


async def result(world: Any) -> str:
    return (await classroom.verify_lesson(world.record, world.lesson)).result


async def test_an_end_cut_off_a_chain_is_noticed_however_well_the_rest_fits_R056(over) -> None:
    world, vandal = over
    assert await result(world) == "identical"
    for person in world.learners:
        chain = vandal.chain(person)
        before = vandal.run("SELECT * FROM ledger_entries WHERE chain = ? ORDER BY idx", chain)
        head = vandal.run("SELECT idx, hash FROM chain_heads WHERE chain = ?", chain)[0]
        for length in (len(before) - 1, len(before) // 2, 1):
            vandal.truncate(chain, length)
            report = await classroom.verify_lesson(world.record, world.lesson)
            assert (report.result, report.broken_row is not None and report.broken_row[0]) == ("broken", chain)
        vandal.run("DELETE FROM ledger_entries WHERE chain = ?", chain)
        marks = ",".join("?" * len(before[0]))
        vandal.file.executemany(f"INSERT INTO ledger_entries VALUES ({marks})", before)
        vandal.run("UPDATE chain_heads SET idx = ?, hash = ? WHERE chain = ?", *head, chain)
        assert await result(world) == "identical"


async def test_a_person_wiped_out_of_the_lesson_is_missed_R056_R093(over) -> None:
    """Chain, its end, the result, the participation: all gone, as if the impostor had never been there."""
    world, vandal = over
    cheat = world.learners[1]
    vandal.truncate(vandal.chain(cheat), 0)
    for table in ("credit_results", "participants"):
        vandal.run(f"DELETE FROM {table} WHERE lesson_id = ? AND person_id = ?", world.lesson, cheat)
    assert await result(world) == "broken"


async def test_a_result_without_evidence_or_evidence_without_a_result_is_noticed_R056(over) -> None:
    world, vandal = over
    honest = world.learners[0]
    vandal.run("DELETE FROM credit_results WHERE person_id = ?", honest)
    vandal.run("DELETE FROM participants WHERE person_id = ?", honest)
    assert await result(world) == "different"


async def test_a_row_added_to_a_settled_lesson_is_noticed_R056(over) -> None:
    world, vandal = over
    cheat = world.learners[1]
    body = {"lesson": world.lesson, "person": cheat, "at_ms": world.clock.now_ms - 1, "outcome": "MATCH", "ref": "f_x"}
    vandal.append(vandal.chain(cheat), "FACE", body)
    assert await result(world) == "broken"


@pytest.mark.parametrize("key", [None, hashlib.sha256(b"my own").digest()], ids=["unsigned", "own key"])
async def test_a_history_rewritten_from_the_first_row_needs_the_platforms_key_R056_R092(over, key) -> None:
    """Every verdict of the impostor turned into a MATCH, all hashes, results and checkpoints made to fit."""
    world, vandal = over
    cheat = world.learners[1]
    chain = vandal.chain(cheat)
    vandal.run("UPDATE ledger_entries SET body = replace(body, 'MISMATCH', 'MATCH') WHERE chain = ?", chain)
    vandal.rechain(chain)
    assert await result(world) == "broken", "the checkpoint pins the old end"
    vandal.sign_again(key)
    assert await result(world) == "broken", "nobody else signs for the platform"


async def test_no_checkpoint_at_all_is_noticed_R056(over) -> None:
    world, vandal = over
    vandal.run("DELETE FROM checkpoints")
    assert await result(world) == "broken"


@pytest.mark.parametrize("state", ["live", "scheduled"])
async def test_a_lesson_set_back_to_before_its_end_is_not_passed_over_R056(over, state) -> None:
    """Results of a lesson that has 'not ended yet' are not compared: so the lesson must not be able to un-end."""
    world, vandal = over
    vandal.give(world.learners[1], 2_700_000)
    vandal.run("UPDATE lessons SET state = ? WHERE id = ?", state, world.lesson)
    assert await result(world) != "identical"


async def test_results_before_the_end_of_a_lesson_are_noticed_R056(small_world) -> None:
    """A row of credit for a lesson that has not even begun."""
    world = small_world
    await world.new_lesson()
    assert await result(world) == "identical"
    vandal = Vandal(world)
    vandal.run(
        "INSERT INTO credit_results (lesson_id, person_id, credited_ms, attended_ms, hours, state, own, intervals,"
        " settled_at_ms) VALUES (?,?,2700000,2700000,1,'present','[]','[]',0)",
        world.lesson, world.learners[0],
    )  # fmt: skip
    vandal.file.close()
    assert await result(world) == "different"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE courses SET hours = 80",
        "UPDATE classes SET term = 'another term'",
        "UPDATE classes SET course_id = 'u_other'",
        "UPDATE lessons SET profile = replace(profile, '\"daily_cap_hours\": 6', '\"daily_cap_hours\": 60')",
        "UPDATE lessons SET started_at_ms = started_at_ms - 60000",
        "UPDATE lessons SET ended_at_ms = ended_at_ms + 60000",
        "UPDATE lessons SET planned_hours = 6",
        "UPDATE lessons SET secret = zeroblob(32)",
    ],
)
async def test_the_rules_a_lesson_was_held_under_cannot_be_exchanged_R056_R069(over, change) -> None:
    """What the limits are computed from is frozen with the lesson, not read from whatever the tables say today."""
    world, vandal = over
    other = await classroom.create_course(world.record, "别的课", 80)
    before = vandal.file.total_changes
    vandal.run(change.replace("u_other", other))
    assert vandal.file.total_changes > before
    assert await result(world) == "different"


async def test_a_settlement_taken_back_is_noticed_by_the_class_s_later_checkpoints_R056(over) -> None:
    """A late verdict was settled in a second checkpoint; both are cut off together, results put back. The lesson's own
    checkpoints then fit, but the next lesson of the class has signed the longer chain."""
    world, vandal = over
    honest, _ = world.learners
    first = world.lesson
    await world.start()
    await world.sit(honest)
    await world.flow(5, honest)
    check = await classroom.open_face_check(world.record, world.lesson, honest, None, None, world.clock.now_ms)
    await classroom.frame_taken(world.record, check, "ab" * 32, 1, 1, world.clock.now_ms)
    world.clock.pass_s(1)
    second = world.lesson
    await world.end()
    chain = vandal.chain(honest)
    length = vandal.length(chain)
    rows = vandal.run("SELECT * FROM credit_results WHERE lesson_id = ?", second)
    world.clock.pass_s(1)
    await classroom.record_face_check(world.record, check, {"outcome": "MISMATCH"})
    world.clock.pass_s(60)
    third = await world.start()
    await world.end()
    assert await result(world) == "identical"

    [(person_before, *_)] = [(row,) for row in rows if row[1] == honest]
    lesson_chain = f"{world.training_class}/lesson:{third}"
    assert vandal.length(lesson_chain) == 2
    vandal.truncate(chain, length)
    vandal.run("DELETE FROM checkpoints WHERE lesson_id = ? AND seq > 0", second)
    vandal.run("DELETE FROM credit_results WHERE lesson_id = ? AND person_id = ?", second, honest)
    marks = ",".join("?" * len(person_before))
    vandal.run(f"INSERT INTO credit_results VALUES ({marks})", *person_before)
    world.lesson = second
    assert await result(world) == "broken"
    world.lesson = first
    assert await result(world) == "broken"
