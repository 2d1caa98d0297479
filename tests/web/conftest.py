"""A web node in this process: the real application with a real record and a real Redis, called as HTTP clients call."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from quart import Quart
from redis.asyncio import Redis

import classroom
from classroom import Record, seed_questions
from web.app import compose
from web.parts import open_settings_record
from web.settings import Settings

# Web nodes use plain keys, as in production: a database of their own keeps other tests' keys away.
REDIS_DATABASE = 9
PASSWORD = "a-long-password"


@dataclass
class Organisation:
    """One organisation with a class, a lesson, and one person of each role. `people`: role → (login, person id)."""

    organisation_id: str
    class_id: str
    course_id: str
    lesson_id: str
    people: dict[str, tuple[str, str]]


@dataclass
class Town:
    """Two organisations that must not see each other."""

    settings: Settings
    record: Record
    app: Quart
    ours: Organisation
    theirs: Organisation
    tokens: dict[str, str] = field(default_factory=dict)

    async def token(self, login: str) -> str:
        """A session of this person, one for the whole test."""
        if login not in self.tokens:
            self.tokens[login] = (await classroom.sign_in(self.record, login, PASSWORD)).token
        return self.tokens[login]

    async def ask(
        self, login: str | None, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Any:
        """The response of one call by that person (None: by nobody)."""
        sent = dict(headers or {})
        if login is not None:
            sent["Authorization"] = f"Bearer {await self.token(login)}"
        client = self.app.test_client(use_cookies=False)
        return await client.open(path, method=method, json=body, headers=sent)


@pytest.fixture
def web_settings(tmp_path: Path, redis_url: str) -> Settings:
    dist = tmp_path / "dist"
    (dist / "assets").mkdir(parents=True)
    (dist / "index.html").write_text("<!doctype html><title>page</title>")
    (dist / "assets" / "index-B4xQ9_ab.js").write_text("export {}")
    return Settings(
        data_dir=tmp_path / "data", redis_url=f"{redis_url.rsplit('/', 1)[0]}/{REDIS_DATABASE}", ui_dist=dist
    )


async def found(record: Record, name: str) -> Organisation:
    organisation_id = await classroom.create_organisation(record, name, "enterprise")
    people = {}
    for role in ("learner", "instructor", "proctor", "organiser"):
        login = f"{role}.{secrets.token_hex(4)}"
        person_id = await classroom.create_person(record, login, PASSWORD, f"{name}{role}", {role}, organisation_id)
        people[role] = (login, person_id)
    course_id = await classroom.create_course(record, f"{name}课程", 4.0)
    await classroom.add_questions(record, course_id, seed_questions())
    class_id = await classroom.create_class(record, course_id, organisation_id, f"{name}班", "shanxi-2021")
    await classroom.enrol(record, class_id, [people["learner"][1]])
    lesson_id = await classroom.create_lesson(record, class_id, "第一课", people["instructor"][1], 1_000, 1.0)
    return Organisation(organisation_id, class_id, course_id, lesson_id, people)


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Organisation, Organisation]:
    """Both organisations, made once: hashing eight passwords takes longer than most tests here."""
    path = tmp_path_factory.mktemp("founded") / "anke.sqlite3"
    url = f"sqlite+aiosqlite:///{path}"
    classroom.upgrade(url)

    async def both() -> tuple[Organisation, Organisation]:
        record = classroom.open_record(url)
        try:
            return await found(record, "甲矿"), await found(record, "乙矿")
        finally:
            await record.close()

    ours, theirs = asyncio.run(both())
    return path, ours, theirs


@pytest.fixture
async def town(web_settings: Settings, founded: tuple[Path, Organisation, Organisation]) -> AsyncIterator[Town]:
    path, ours, theirs = founded
    web_settings.data_dir.mkdir()
    with sqlite3.connect(path) as source, sqlite3.connect(web_settings.data_dir / "anke.sqlite3") as copy:
        source.backup(copy)
    async with Redis.from_url(web_settings.redis) as redis:
        await redis.flushdb()
    record = open_settings_record(web_settings)
    try:
        app = compose(web_settings)
        await app.startup()
        yield Town(web_settings, record, app, ours, theirs)
        await app.shutdown()
    finally:
        await record.close()
