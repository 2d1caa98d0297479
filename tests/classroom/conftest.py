"""A world to test in: a clock that only the test moves, a fresh database, a class with learners and a lesson."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import classroom
from classroom import Record, open_record, seed_questions, upgrade

START_MS = 1_767_240_000_000  # 2026-01-01 12:00 in Shanghai
SIGNING_KEY = bytes(range(32))


@dataclass
class Clock:
    now_ms: int = START_MS

    def __call__(self) -> int:
        return self.now_ms

    def pass_s(self, seconds: float) -> int:
        self.now_ms += round(seconds * 1000)
        return self.now_ms


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy, so that each test does not run the migrations again."""
    path = tmp_path_factory.mktemp("record") / "empty.db"
    upgrade(f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(empty_database: Path, tmp_path: Path) -> str:
    path = tmp_path / "anke.db"
    shutil.copy(empty_database, path)
    return f"sqlite+aiosqlite:///{path}"


async def _administrate(postgres_url: str, statement: str) -> None:
    for attempt in range(100):
        try:
            connection = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
            break
        except asyncpg.CannotConnectNowError:  # the port is open, the server still starting
            if attempt == 99:
                raise
            await asyncio.sleep(0.1)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> str:
    """A migrated PostgreSQL database to copy; its name."""
    name = f"template_{secrets.token_hex(6)}"
    asyncio.run(_administrate(postgres_url, f'CREATE DATABASE "{name}"'))
    upgrade(postgres_url.rsplit("/", 1)[0] + "/" + name)
    return name


@pytest.fixture
async def postgres_record_url(postgres_url: str, postgres_template: str) -> AsyncIterator[str]:
    """A migrated PostgreSQL database of one test."""
    name = f"t_{secrets.token_hex(6)}"
    await _administrate(postgres_url, f'CREATE DATABASE "{name}" TEMPLATE "{postgres_template}"')
    yield postgres_url.rsplit("/", 1)[0] + "/" + name
    await _administrate(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database: the test runs on each kind."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_record_url"))


@dataclass
class World:
    record: Record
    clock: Clock
    organisation: str = ""
    course: str = ""
    training_class: str = ""
    lesson: str = ""
    instructor: str = ""
    proctor: str = ""
    learners: list[str] = field(default_factory=list)
    told: list[classroom.OutboxRow] = field(default_factory=list)

    async def new_lesson(self, hours: float = 1, factor: float = 1.0, title: str = "第一课") -> str:
        self.lesson = await classroom.create_lesson(
            self.record, self.training_class, title, self.instructor, self.clock.now_ms, hours, factor
        )
        return self.lesson

    async def start(self, hours: float = 1, factor: float = 1.0) -> str:
        await self.new_lesson(hours, factor)
        await classroom.start_lesson(self.record, self.lesson, self.instructor)
        return self.lesson

    async def sit(self, person: str, seat: str = "seat-1") -> None:
        await classroom.connected(self.record, self.lesson, person, seat, self.clock.now_ms)

    async def flow(self, seconds: float, *people: str) -> None:
        """Time passes while the media of these people flows."""
        from_ms = self.clock.now_ms
        to_ms = self.clock.pass_s(seconds)
        flows = [(person, from_ms, to_ms) for person in people or self.learners]
        await classroom.record_media_flow(self.record, self.lesson, flows)

    async def check(self, person: str, outcome: str = "MATCH", **verdict: Any) -> str:
        now = self.clock.now_ms
        check_id = await classroom.open_face_check(self.record, self.lesson, person, None, None, now)
        await classroom.frame_taken(self.record, check_id, "ab" * 32, 7, 9, now)
        facts = {"outcome": outcome, "distance": 0.31, "model": "Dlib", **verdict}
        await classroom.record_face_check(self.record, check_id, facts)
        return check_id

    async def ping(self, person: str, answer: bool = True, window_s: float = 90) -> str:
        now = self.clock.now_ms
        closes = now + round(window_s * 1000)
        ping_id = await classroom.open_ping(self.record, self.lesson, person, now, closes, None)
        if answer:
            assert (await classroom.answer_ping(self.record, ping_id, person, now)).accepted
        return ping_id

    async def end(self) -> classroom.LessonView:
        return await classroom.end_lesson(self.record, self.lesson, self.instructor)

    async def honest_hour(self, people: list[str] | None = None, hours: float = 1) -> None:
        """A lesson as honest learners live it: check at entry, a ping each three minutes, checks each nine, the end."""
        people = self.learners if people is None else people
        await self.flow(5, *people)
        for person in people:
            await self.check(person)
        for k in range(round(hours * 15)):
            await self.flow(175, *people)
            for person in people:
                await self.ping(person)
                if k % 3 == 2:
                    await self.check(person)
            await self.flow(5, *people)

    async def hear(self) -> list[classroom.OutboxRow]:
        """Takes everything out of the outbox; returns what is new."""
        new: list[classroom.OutboxRow] = []
        while rows := await classroom.unsent_outbox(self.record):
            new += rows
            await classroom.mark_sent(self.record, [row.id for row in rows])
        self.told += new
        return new


async def build(record: Record, clock: Clock, learners: int = 2) -> World:
    world = World(record, clock)
    world.organisation = await classroom.create_organisation(record, "晋城化工有限公司", "enterprise")
    world.course = await classroom.create_course(record, "危险化学品安全", 8, "hazardous_chemicals")
    await classroom.add_questions(record, world.course, seed_questions())
    world.training_class = await classroom.create_class(
        record, world.course, world.organisation, "2026年第一期", "shanxi-2021", "2026"
    )
    for role in ("instructor", "proctor"):
        person = await classroom.create_person(record, role, "Anke-2026", f"{role}-name", {role}, world.organisation)
        setattr(world, role, person)
    for k in range(learners):
        person = await classroom.create_person(
            record, f"learner{k}", "Anke-2026", f"学员{k}", {"learner"}, world.organisation
        )
        await classroom.give_consent(record, person, "face", "1")
        await classroom.record_template(record, person, f"template-{k}", "Dlib", 3)
        world.learners.append(person)
    await classroom.enrol(record, world.training_class, world.learners)
    return world


BuildWorld = Callable[..., Awaitable[World]]


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A class of two learners on each kind of database."""
    clock = Clock()
    record = open_record(database_url, signing_key=SIGNING_KEY, clock_ms=clock)
    yield await build(record, clock)
    await record.close()


@pytest.fixture
async def small_world(sqlite_url: str) -> AsyncIterator[World]:
    """The same on SQLite only, for what does not depend on the database."""
    clock = Clock()
    record = open_record(sqlite_url, signing_key=SIGNING_KEY, clock_ms=clock)
    yield await build(record, clock)
    await record.close()
