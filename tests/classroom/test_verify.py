"""Whatever is changed in the record afterwards, the audit says so and names the row."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import classroom
from classroom import open_record

COLUMNS = ("chain", "idx", "at_ms", "kind", "body", "prev_hash", "hash")


class Vandal:
    """Someone with the database file or the database password."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.postgres: asyncpg.Connection | None = None

    async def open(self) -> None:
        if self.url.startswith("postgresql"):
            self.postgres = await asyncpg.connect(self.url.replace("+asyncpg", ""))
        else:
            self.sqlite = sqlite3.connect(self.url.split("///", 1)[1], isolation_level=None)

    async def close(self) -> None:
        if self.postgres is not None:
            await self.postgres.close()
        else:
            self.sqlite.close()

    async def run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """`?` marks the values."""
        if self.postgres is None:
            return self.sqlite.execute(statement, values).fetchall()
        for place in range(1, len(values) + 1):
            statement = statement.replace("?", f"${place}", 1)
        return [tuple(row) for row in await self.postgres.fetch(statement, *values)]

    async def rows(self, table: str = "ledger_entries") -> list[tuple[Any, ...]]:
        return sorted(await self.run(f"SELECT {', '.join(COLUMNS)} FROM {table}"))

    async def put(self, chain: str, idx: int, column: str, value: Any) -> None:
        await self.run(f"UPDATE ledger_entries SET {column} = ? WHERE chain = ? AND idx = ?", value, chain, idx)


@pytest.fixture
async def over(world) -> AsyncIterator[tuple[Any, Vandal]]:
    """A lesson that is over, with every kind of evidence in its ledger, and someone who means harm."""
    await world.start(hours=1, factor=10)
    first, second = world.learners
    for person in world.learners:
        await world.sit(person)
    await world.flow(3)
    for person in world.learners:
        await world.check(person)
    await world.flow(20)
    await world.ping(first)
    await world.ping(second, answer=False, window_s=2)
    await world.flow(5)
    await classroom.close_pings(world.record, world.lesson, world.clock.now_ms)
    await classroom.record_fault(world.record, world.lesson, "media", world.clock.now_ms - 500, world.clock.now_ms)
    quiz = await classroom.open_quiz(world.record, world.lesson, 0, world.clock.now_ms + 9000, None)
    question = quiz.questions[0]["question_id"]
    await classroom.answer_quiz(world.record, quiz.quiz_id, first, question, [0], world.clock.pass_s(2))
    await world.end()
    vandal = Vandal(world.record.database_url)
    await vandal.open()
    yield world, vandal
    await vandal.close()


async def audit(world) -> classroom.VerifyReport:
    return await classroom.verify_lesson(world.record, world.lesson)


def flipped(value: str | int, rng: random.Random) -> str | int:
    """The value with one bit of one of its bytes turned."""
    if isinstance(value, int):
        return value ^ (1 << rng.randrange(0, 40))
    place = rng.randrange(len(value))
    return value[:place] + chr(ord(value[place]) ^ 1) + value[place + 1 :]


async def test_flipping_one_byte_of_any_row_breaks_it_and_names_the_row(over) -> None:
    """R-056, P-047: body, hash, link, time, kind, place: whichever byte, whichever row."""
    world, vandal = over
    assert (await audit(world)).result == "identical"
    rng = random.Random(20210226)
    rows = await vandal.rows()
    assert {row[3] for row in rows} >= {"FACE", "PING", "MEDIA", "FAULT", "QUIZ_ANSWER", "CREDIT_SETTLED"}
    for row in rng.sample(rows, min(9, len(rows))):
        chain, idx = row[0], row[1]
        for column, value in zip(COLUMNS, row, strict=True):
            changed = flipped(value, rng)
            await vandal.put(chain, idx, column, changed)
            report = await audit(world)
            assert (report.result, report.broken_row) == ("broken", (chain, idx)), (column, value, changed)
            assert chain in report.lines[-1] and str(idx) in report.lines[-1]
            where = (changed if column == "chain" else chain, changed if column == "idx" else idx)
            await vandal.put(*where, column, value)
    assert (await audit(world)).result == "identical"


async def test_a_deleted_row_is_named(over) -> None:
    world, vandal = over
    for row in random.Random(5).sample(await vandal.rows(), 6):
        await vandal.run("DELETE FROM ledger_entries WHERE chain = ? AND idx = ?", row[0], row[1])
        report = await audit(world)
        assert (report.result, report.broken_row) == ("broken", (row[0], row[1]))
        marks = ", ".join("?" * len(COLUMNS))
        await vandal.run(f"INSERT INTO ledger_entries VALUES ({marks})", *row)
    assert (await audit(world)).result == "identical"


async def test_a_row_added_by_hand_is_named_even_when_every_hash_fits(over) -> None:
    """Someone who knows the format can extend a chain; the signed checkpoint tells."""
    from classroom.ledger.entries import canonical, entry_hash

    world, vandal = over
    chain = f"{world.training_class}/{world.learners[1]}"
    last = [row for row in await vandal.rows() if row[0] == chain][-1]
    body = canonical({"lesson": world.lesson, "at_ms": last[2], "outcome": "MATCH", "ref": "f_forged"})
    digest = entry_hash(last[6], chain, last[1] + 1, last[2], "FACE", body)
    await vandal.run(
        "INSERT INTO ledger_entries VALUES (?, ?, ?, ?, ?, ?, ?)",
        chain, last[1] + 1, last[2], "FACE", body, last[6], digest,
    )  # fmt: skip
    assert (await audit(world)).broken_row == (chain, last[1] + 1)
    await vandal.run("UPDATE chain_heads SET idx = ?, hash = ? WHERE chain = ?", last[1] + 1, digest, chain)
    report = await audit(world)
    assert (report.result, report.broken_row) == ("broken", (chain, last[1] + 1))


async def test_a_chain_rewritten_from_end_to_end_does_not_fit_the_checkpoint(over) -> None:
    """Every hash recomputed, the recorded end too: only the signature stands against it."""
    from classroom.ledger.entries import canonical, entry_hash

    world, vandal = over
    chain = f"{world.training_class}/{world.learners[1]}"
    prev = "0" * 64
    for row in [row for row in await vandal.rows() if row[0] == chain]:
        _, idx, at_ms, kind, body, _, _ = row
        if kind == "PING":
            body = canonical({**json.loads(body), "outcome": "answered"})
        digest = entry_hash(prev, chain, idx, at_ms, kind, body)
        for column, value in (("body", body), ("prev_hash", prev), ("hash", digest)):
            await vandal.put(chain, idx, column, value)
        prev = digest
    await vandal.run("UPDATE chain_heads SET hash = ? WHERE chain = ?", prev, chain)
    report = await audit(world)
    assert (report.result, report.broken_row and report.broken_row[0]) == ("broken", chain)


async def test_a_forged_checkpoint_is_found(over) -> None:
    """R-092: the root, the signature, the signer and the number of checkpoints are all checked."""
    world, vandal = over
    ((root, signature, key),) = await vandal.run("SELECT root, signature, public_key FROM checkpoints")
    for column, value in (("root", root), ("signature", signature), ("public_key", key)):
        await vandal.run(f"UPDATE checkpoints SET {column} = ?", flipped(value, random.Random(1)))
        report = await audit(world)
        assert (report.result, report.broken_row) == ("broken", (f"checkpoint:{world.lesson}", 0)), column
        await vandal.run(f"UPDATE checkpoints SET {column} = ?", value)
    assert (await audit(world)).result == "identical"
    await vandal.run("DELETE FROM checkpoints")
    assert (await audit(world)).broken_row == (f"checkpoint:{world.lesson}", 0)


async def test_another_signer_is_not_believed(over) -> None:
    world, _ = over
    stranger = open_record(world.record.database_url, signing_key=bytes(32), clock_ms=world.clock)
    report = await classroom.verify_lesson(stranger, world.lesson)
    await stranger.close()
    assert report.result == "broken" and "another key" in report.lines[-1]


async def test_a_changed_result_is_shown_with_the_difference(over) -> None:
    """R-021: there is no editable total; the audit shows what it was changed to and what follows from the ledger."""
    world, vandal = over
    person = world.learners[0]
    for column, value in (("credited_ms", 2_700_000), ("attended_ms", 1), ("hours", 1.0), ("state", "absent")):
        read = f"SELECT {column} FROM credit_results WHERE person_id = ?"
        write = f"UPDATE credit_results SET {column} = ? WHERE person_id = ?"
        ((before,),) = await vandal.run(read, person)
        await vandal.run(write, value, person)
        report = await audit(world)
        assert (report.result, report.broken_row) == ("different", None)
        (difference,) = report.differences
        assert difference == {"who": person, "what": column, "stored": value, "recomputed": before}
        await vandal.run(write, before, person)
    assert (await audit(world)).result == "identical"


async def test_a_deleted_or_changed_result_row_and_lesson_row_are_found(over) -> None:
    world, vandal = over
    (before,) = await vandal.run("SELECT profile FROM lessons WHERE id = ?", world.lesson)
    profile = json.loads(before[0])
    profile["max_gap_s"] = 9999
    cast = "?::json" if vandal.postgres is not None else "?"
    await vandal.run(f"UPDATE lessons SET profile = {cast} WHERE id = ?", json.dumps(profile), world.lesson)
    report = await audit(world)
    assert report.result == "different" and report.differences[0]["what"] == "profile"
    await vandal.run(f"UPDATE lessons SET profile = {cast} WHERE id = ?", before[0], world.lesson)
    await vandal.run("UPDATE quiz_scores SET score = 100 WHERE person_id = ?", world.learners[1])
    report = await audit(world)
    assert report.result == "different" and report.differences[0]["what"].startswith("score")
    await vandal.run("UPDATE quiz_scores SET score = 0 WHERE person_id = ?", world.learners[1])
    await vandal.run("DELETE FROM credit_results WHERE person_id = ?", world.learners[0])
    report = await audit(world)
    assert report.result == "different" and report.differences[0]["stored"] is None


def contents(path: str) -> bytes:
    return Path(path).read_bytes()


def overwrite(path: str, data: bytes) -> None:
    Path(path).write_bytes(data)


async def test_bytes_flipped_in_the_database_file_itself(small_world) -> None:
    """Not through SQL: a bit turned on the disk, bytes that are no text included."""
    world = small_world
    await world.start(hours=1, factor=10)
    await world.sit(world.learners[0])
    await world.flow(3)
    await world.check(world.learners[0])
    await world.flow(20)
    await world.ping(world.learners[0])
    await world.end()
    await world.record.close()
    path = world.record.database_url.split("///", 1)[1]
    with sqlite3.connect(path) as plain:
        plain.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        rows = plain.execute("SELECT chain, idx, body, hash FROM ledger_entries WHERE kind != 'MEDIA'").fetchall()
    plain.close()
    good = contents(path)
    rng = random.Random(3)
    for chain, idx, body, digest in rng.sample(rows, 4):
        for text in (body, digest):
            # The hash also stands in the next row as prev_hash, in chain_heads and in the checkpoint: take its own row.
            start = good.find(body.encode()) if text is body else good.find(digest.encode(), good.find(body.encode()))
            assert start >= 0
            for mask in (0x01, 0x80):
                bad = bytearray(good)
                bad[start + rng.randrange(len(text))] ^= mask
                overwrite(path, bytes(bad))
                record = open_record(world.record.database_url, signing_key=world.record.signing_key)
                report = await classroom.verify_lesson(record, world.lesson)
                await record.close()
                assert (report.result, report.broken_row) == ("broken", (chain, idx))
    overwrite(path, good)
    record = open_record(world.record.database_url, signing_key=world.record.signing_key)
    assert (await classroom.verify_lesson(record, world.lesson)).result == "identical"
    await record.close()


async def test_a_live_lesson_verifies_its_chains(small_world) -> None:
    await small_world.start()
    await small_world.sit(small_world.learners[0])
    report = await audit(small_world)
    assert report.result == "identical" and "live" in report.lines[-2]
