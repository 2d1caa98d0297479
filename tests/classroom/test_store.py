"""Transactions, migrations and the outbox, on both databases."""

from __future__ import annotations

import asyncio
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

import classroom
from classroom.ledger.entries import Draft
from classroom.store import tables
from classroom.store.record import normal_url, open_engine

WRITER = """
import asyncio, sys, time
import classroom
from classroom.domain import evidence
from classroom.standing import hold_lesson, participant, record_evidence

async def main(url, lesson_id, person_id, tag, count):
    record = classroom.open_record(url)
    for k in range(count):
        async def change(work):
            lesson = await hold_lesson(work, lesson_id)
            await participant(work, lesson, person_id)
            await record_evidence(work, lesson, person_id, evidence.quiz_answer(k, f"{tag}{k}"))
        await record.change(change)
    await record.close()

url, lesson_id, person_id, tag, count = sys.argv[1:]
asyncio.run(main(url, lesson_id, person_id, tag, int(count)))
"""


async def test_two_processes_append_to_one_chain(world) -> None:
    """Web and worker write at once: nobody's entry is lost, and the chain stays whole."""
    await world.new_lesson()
    me, count = world.learners[0], 15
    command = [sys.executable, "-c", WRITER, world.record.database_url, world.lesson, me]
    children = [await asyncio.create_subprocess_exec(*command, tag, str(count)) for tag in "ab"]
    here = [classroom.connected(world.record, world.lesson, me, f"seat-{k}", world.clock.now_ms + k) for k in range(10)]
    await asyncio.gather(*here)
    assert [await asyncio.wait_for(child.wait(), 60) for child in children] == [0, 0]
    entries = await classroom.evidence_of(world.record, world.lesson, me)
    assert [entry["idx"] for entry in entries] == list(range(len(entries)))
    answers = {entry["body"]["ref"] for entry in entries if entry["kind"] == "QUIZ_ANSWER"}
    assert answers == {f"{tag}{k}" for tag in "ab" for k in range(count)}
    assert sum(entry["kind"] == "CONNECTED" for entry in entries) == 10
    assert (await classroom.verify_lesson(world.record, world.lesson)).result == "identical"


async def test_a_change_is_all_or_nothing(world) -> None:
    """A failing action leaves no row, no ledger entry and no message behind."""
    await world.hear()

    async def failing(work) -> None:
        await work.append([Draft("c_x/p_x", 1, "FACE", {"lesson": "l"})])
        work.tell("l", "all", "chat.posted", {})
        await work.insert(tables.organisations, id="o_x", name="x", kind="platform")
        raise classroom.WrongState()

    with pytest.raises(classroom.WrongState):
        await world.record.change(failing)

    async def left(work) -> list[object]:
        found = [await work.find(tables.organisations, id="o_x"), await work.find(tables.chain_heads, chain="c_x/p_x")]
        return [*found, *await work.many(tables.ledger_entries, chain="c_x/p_x")]

    assert not any(await world.record.read(left))
    assert await world.hear() == []


async def test_outbox_keeps_order_and_never_gives_an_id_out_again(world) -> None:
    """The event log drops repeats by outbox id: a deleted id must not come back."""
    await world.new_lesson()
    seen: list[int] = []
    for _ in range(3):
        for k in range(3):
            await classroom.post_notice(world.record, world.lesson, world.proctor, None, f"notice {k}")
        rows = await classroom.unsent_outbox(world.record, limit=2)
        assert [row.data["text"] for row in rows] == ["notice 0", "notice 1"]
        rows = await classroom.unsent_outbox(world.record)
        assert [row.data["text"] for row in rows] == ["notice 0", "notice 1", "notice 2"]
        seen += [row.id for row in rows]
        await classroom.mark_sent(world.record, [row.id for row in rows])
        assert await classroom.unsent_outbox(world.record) == []
    assert seen == sorted(set(seen))


async def test_migrations_make_the_tables_the_code_knows(database_url: str) -> None:
    """Alembic finds nothing left to migrate on either database."""
    engine = open_engine(database_url)

    def differences(connection) -> list[object]:
        return compare_metadata(MigrationContext.configure(connection), tables.metadata)

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_upgrade_may_run_again_and_inside_a_running_loop(database_url: str) -> None:
    classroom.upgrade(database_url)
    classroom.upgrade(database_url)


def test_other_databases_and_keys_are_refused() -> None:
    assert normal_url("sqlite:///x.db") == "sqlite+aiosqlite:///x.db"
    assert normal_url("postgresql://u:p@h/d") == "postgresql+asyncpg://u:p@h/d"
    with pytest.raises(ValueError, match="not a database"):
        normal_url("mysql://h/d")
    with pytest.raises(ValueError, match="32 bytes"):
        classroom.open_record("sqlite:///x.db", signing_key=b"short")


async def test_two_openings_of_one_planned_ping_are_one_ping(world) -> None:
    """A conductor that takes over repeats what its predecessor was doing."""
    await world.start()
    me, now = world.learners[0], world.clock.now_ms
    opened = await asyncio.gather(
        *(classroom.open_ping(world.record, world.lesson, me, now, now + 1000, 5) for _ in range(4))
    )
    checks = await asyncio.gather(
        *(classroom.open_face_check(world.record, world.lesson, me, None, 5, now) for _ in range(4))
    )
    quizzes = await asyncio.gather(
        *(classroom.open_quiz(world.record, world.lesson, 0, now + 1000, None) for _ in range(4))
    )
    assert len(set(opened)) == len(set(checks)) == len({quiz.quiz_id for quiz in quizzes}) == 1


async def test_one_check_judged_twice_at_once_has_one_verdict(world) -> None:
    """Celery delivers at least once."""
    await world.start()
    me = world.learners[0]
    check = await classroom.open_face_check(world.record, world.lesson, me, None, 0, world.clock.now_ms)
    written = await asyncio.gather(
        *(classroom.record_face_check(world.record, check, {"outcome": "MATCH"}) for _ in range(4))
    )
    assert sorted(written) == [False, False, False, True]
    entries = await classroom.evidence_of(world.record, world.lesson, me)
    assert [entry["kind"] for entry in entries].count("FACE") == 1


async def test_an_answer_at_the_very_end_is_either_evidence_or_refused(world) -> None:
    """Ending the lesson and answering race: whoever wins, the signed checkpoint holds."""
    await world.start(factor=10)
    for person in world.learners:
        await world.sit(person)
        await world.flow(1, person)
        await world.check(person)
    now = world.clock.now_ms
    pings = [await classroom.open_ping(world.record, world.lesson, p, now, now + 9000, 0) for p in world.learners]
    answers = [classroom.answer_ping(world.record, g, p, now) for g, p in zip(pings, world.learners, strict=True)]
    await asyncio.gather(answers[0], world.end(), answers[1])
    report = await classroom.verify_lesson(world.record, world.lesson)
    assert report.result == "identical", report.lines


@pytest.mark.parametrize("text", ["a\x00b", "half a pair \ud83d"])
async def test_text_that_no_column_can_hold_is_the_senders_mistake(world, text: str) -> None:
    """Not a failure of the server (R-149); on PostgreSQL a NUL is refused by the database, on SQLite a half pair."""
    await world.new_lesson()
    with pytest.raises(classroom.BadInput):
        await classroom.post_chat(world.record, world.lesson, world.proctor, "proctor", text, "client-id-1", 1)
    with pytest.raises((classroom.BadInput, classroom.SignInRefused)):
        await classroom.sign_in(world.record, text, "x")
    await world.start()
    with pytest.raises(classroom.BadInput):
        await classroom.open_quiz(world.record, world.lesson, 2**70, 1, None)
