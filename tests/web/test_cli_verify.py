"""`anke verify`: identical on what was written, broken and named on what was changed (R-056)."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

import classroom
from web.audit import run_verify
from web.demo.report import tamper
from web.failures import expected_failure
from web.parts import open_settings_record
from web.settings import Settings

FACTOR = 30.0
VERDICT = {"outcome": "MATCH", "distance": 0.02, "model": "m", "faces": 1, "size": [352, 288]}


async def hold_a_lesson(settings: Settings) -> str:
    """One lesson of two learners with evidence, ended and settled; its id."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    classroom.upgrade(settings.database)
    now_ms = 1_795_000_000_000
    record = classroom.open_record(settings.database, signing_key=settings.keys.ledger_signing, clock_ms=lambda: now_ms)
    try:
        organisation = await classroom.create_organisation(record, "矿", "enterprise")
        teacher = await classroom.create_person(record, "t.one", "password-1", "师", {"instructor"}, organisation)
        learners = [
            await classroom.create_person(record, f"l.{n}", "password-1", f"学{n}", {"learner"}, organisation)
            for n in range(2)
        ]
        course = await classroom.create_course(record, "课", 4.0)
        class_id = await classroom.create_class(record, course, organisation, "班", "shanxi-2021")
        await classroom.enrol(record, class_id, learners)
        lesson = await classroom.create_lesson(record, class_id, "一", teacher, now_ms, 1.0, FACTOR)
        for learner in learners:
            await classroom.give_consent(record, learner, "face", "v1")
            await classroom.record_template(record, learner, f"t_{learner}", "m", 3)
        await classroom.start_lesson(record, lesson, teacher)
        for learner in learners:
            await classroom.connected(record, lesson, learner, "s_1", now_ms, "learner")
        for step in range(6):
            start_ms, now_ms = now_ms, now_ms + 10_000
            flows = [(learner, start_ms, now_ms) for learner in learners]
            await classroom.record_media_flow(record, lesson, flows)
            for learner in learners:
                check = await classroom.open_face_check(record, lesson, learner, None, step, now_ms)
                await classroom.frame_taken(record, check, "00" * 32, 1, 2, now_ms)
                await classroom.record_face_check(record, check, VERDICT)
        await classroom.end_lesson(record, lesson, teacher)
        board = await classroom.score_board(record, lesson)
        assert [row.credited_s for row in board] == [50.0, 50.0], "five stretches between six faces"
        return lesson
    finally:
        await record.close()


def anke(settings: Settings, *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and complaints of the command as it is typed."""
    done = subprocess.run(
        [sys.executable, "-m", "web.cli", *arguments],
        env={**os.environ, **settings.environment()},
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.returncode, done.stdout, done.stderr


async def audit(settings: Settings, lesson: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The same without starting another Python."""
    capsys.readouterr()
    return await run_verify(settings, lesson), capsys.readouterr().out


@pytest.fixture
async def held(tmp_path: Path) -> tuple[Settings, str]:
    settings = Settings(data_dir=tmp_path / "data")
    return settings, await hold_a_lesson(settings)


async def test_what_was_written_is_identical_and_last_finds_it(held: Any) -> None:
    settings, lesson = held
    code, out, _ = await asyncio.to_thread(anke, settings, "verify", "last")
    assert code == 0
    assert out.splitlines()[-1] == f"{lesson}: identical"


async def test_one_flipped_bit_of_a_row_is_named(held: Any, tmp_path: Path, capsys: Any) -> None:
    settings, lesson = held
    copy = tmp_path / "copy.sqlite3"
    chain, idx = tamper(settings.data_dir / "anke.sqlite3", copy, lesson)
    tampered = settings.model_copy(update={"database_url": f"sqlite+aiosqlite:///{copy}"})
    code, out = await audit(tampered, lesson, capsys)
    assert code == 1
    assert f"broken row: chain {chain}, entry {idx}" in out
    assert (await audit(settings, lesson, capsys))[0] == 0, "the original was not touched"


async def test_a_changed_total_is_a_difference(held: Any, capsys: Any) -> None:
    settings, lesson = held
    with sqlite3.connect(settings.data_dir / "anke.sqlite3") as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        changed = database.execute("UPDATE credit_results SET credited_ms = credited_ms + 1000").rowcount
    assert changed == 2
    code, out = await audit(settings, lesson, capsys)
    assert code == 1
    assert out.splitlines()[-1] == f"{lesson}: different"


async def test_an_unknown_lesson_is_told_in_one_line(held: Any) -> None:
    settings, _ = held
    code, out, err = await asyncio.to_thread(anke, settings, "verify", "l_nothing")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("anke: ")


async def test_without_a_database_the_answer_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(OperationalError) as caught:
        await run_verify(Settings(data_dir=tmp_path / "data"), "last")
    sentence = expected_failure(caught.value)
    assert sentence is not None and "anke db upgrade" in sentence and "\n" not in sentence


async def test_create_admin_makes_someone_who_can_sign_in(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    for arguments in (["db", "upgrade"], ["create-admin", "boss", "--password", "a-long-password"]):
        code, _, err = await asyncio.to_thread(anke, settings, *arguments)
        assert code == 0, err
    record = open_settings_record(settings)
    try:
        signed_in = await classroom.sign_in(record, "boss", "a-long-password")
    finally:
        await record.close()
    assert signed_in.actor.roles == {"organiser", "operator"}
