"""What the signaling tests share: a lesson in a real record, web nodes on real ports, pages that talk to them.

Redis is the test session's real one, the record a SQLite file of the test's own; a node is the real Socket.IO server
under uvicorn, so two nodes here are two nodes as in production but for sharing a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import socketio
import uvicorn
from redis.asyncio import Redis

import classroom
from classroom import QuestionDraft, Record, open_record, upgrade
from signaling.context import Context, connect_redis
from signaling.protocol import ENVELOPE_EVENT, LESSON_NAMESPACE, SEAT_ENDED_EVENT
from signaling.server import LiveServer, make_server

WITHIN_S = 20.0  # generous: these tests share their cores with others
WEB_NODE = Path(__file__).with_name("web_node.py")


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = connect_redis(redis_url)
    yield client
    await client.aclose()


async def until(condition: Callable[[], Any], within_s: float = WITHIN_S) -> Any:
    """Waits for a condition that something else brings about; answers its value."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {within_s} s"
        await asyncio.sleep(0.02)
    return value


@dataclass
class World:
    """One training class with a scheduled lesson; `tokens` are signed-in people by login."""

    database_url: str
    lesson_id: str
    people: dict[str, str]  # login → person id
    tokens: dict[str, str]
    sessions: dict[str, str]
    record: Record


@dataclass(eq=False)
class Page:
    """One browser window: a Socket.IO client that keeps what it hears."""

    token: str
    window_id: str = field(default_factory=lambda: secrets.token_hex(8))
    heard: list[dict[str, Any]] = field(default_factory=list)
    ended: list[dict[str, Any]] = field(default_factory=list)
    disconnects: int = 0
    client: socketio.AsyncClient | None = None

    async def connect(self, port: int) -> None:
        client = socketio.AsyncClient(reconnection=False)

        async def hear(envelope: dict[str, Any]) -> None:
            self.heard.append(envelope)

        async def end(body: dict[str, Any]) -> None:
            self.ended.append(body)

        async def gone() -> None:
            self.disconnects += 1

        client.on(ENVELOPE_EVENT, hear, namespace=LESSON_NAMESPACE)
        client.on(SEAT_ENDED_EVENT, end, namespace=LESSON_NAMESPACE)
        client.on("disconnect", gone, namespace=LESSON_NAMESPACE)
        await client.connect(
            f"http://127.0.0.1:{port}",
            namespaces=[LESSON_NAMESPACE],
            auth={"token": self.token},
            transports=["websocket"],
            wait_timeout=5,
        )
        self.client = client

    async def call(self, event: str, **payload: Any) -> dict[str, Any]:
        assert self.client is not None
        answer = await self.client.call(event, payload, namespace=LESSON_NAMESPACE, timeout=10)
        assert isinstance(answer, dict)
        return answer

    async def ok(self, event: str, **payload: Any) -> dict[str, Any]:
        answer = await self.call(event, **payload)
        assert answer.get("ok") is True, answer
        return answer

    async def refused(self, event: str, **payload: Any) -> str:
        answer = await self.call(event, **payload)
        assert answer.get("ok") is False, answer
        assert answer["error"]["message"] and answer["error"]["message_en"]
        return str(answer["error"]["code"])

    async def join(self, lesson_id: str, **more: Any) -> dict[str, Any]:
        return await self.ok("join", lesson_id=lesson_id, window_id=self.window_id, **more)

    def of_type(self, name: str) -> list[dict[str, Any]]:
        return [envelope["data"] for envelope in self.heard if envelope["type"] == name]

    async def hears(self, name: str, within_s: float = WITHIN_S, **having: Any) -> dict[str, Any]:
        """The data of the first envelope of this type whose members are as given."""

        def found() -> dict[str, Any] | None:
            for data in self.of_type(name):
                if all(data.get(key) == value for key, value in having.items()):
                    return data
            return None

        data = await until(found, within_s)
        assert isinstance(data, dict)
        return data

    async def close(self) -> None:
        """Goes as a closed laptop does: no goodbye on our level."""
        if self.client is not None and self.client.connected:
            await self.client.disconnect()


@dataclass
class Node:
    live: LiveServer
    port: int
    context: Context
    stop: Callable[[], Awaitable[None]]


def _load_web_node() -> Any:
    spec = importlib.util.spec_from_file_location("web_node", WEB_NODE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


web_node = _load_web_node()


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    url = f"sqlite+aiosqlite:///{tmp_path}/record.sqlite3"
    upgrade(url)
    return url


LEARNERS = ("l1", "l2", "l3")
CLOCK_FACTOR = 60.0  # a credit hour passes in 45 s, a ping window in 1.5 s


@pytest.fixture
async def make_world(database_url: str) -> AsyncIterator[Callable[..., Awaitable[World]]]:
    """A function that makes a class with instructor, proctor, organiser, an outsider and three learners."""
    async with AsyncExitStack() as stack:

        async def make(clock_factor: float = CLOCK_FACTOR, planned_hours: float = 1.0) -> World:
            record = open_record(database_url, signing_key=secrets.token_bytes(32))
            stack.push_async_callback(record.close)
            organisation = await classroom.create_organisation(record, "山西某煤业公司", "enterprise")
            foreign = await classroom.create_organisation(record, "别的公司", "enterprise")
            roles = {"teacher": ["instructor"], "proctor": ["proctor"], "organiser": ["organiser"]}
            people: dict[str, str] = {}
            for login in [*roles, *LEARNERS, "outsider"]:
                home = foreign if login == "outsider" else organisation
                people[login] = await classroom.create_person(
                    record, login, "Correct-horse-9", f"姓名{login}", roles.get(login, ["learner"]), home
                )
            course = await classroom.create_course(record, "安全生产法", 1)
            drafts = [QuestionDraft(f"第{n}题", ["甲", "乙", "丙", "丁"], [n % 4], "见教材") for n in range(12)]
            await classroom.add_questions(record, course, drafts)
            class_id = await classroom.create_class(record, course, organisation, "一班", "shanxi-2021")
            await classroom.enrol(record, class_id, [people[login] for login in LEARNERS])
            lesson_id = await classroom.create_lesson(
                record, class_id, "第一课", people["teacher"], time.time_ns() // 1_000_000, planned_hours, clock_factor
            )
            tokens, sessions = {}, {}
            for login in people:
                signed = await classroom.sign_in(record, login, "Correct-horse-9", "test", "127.0.0.1")
                tokens[login], sessions[login] = signed.token, signed.session_id
            return World(database_url, lesson_id, people, tokens, sessions, record)

        yield make


@pytest.fixture
async def world(make_world: Callable[..., Awaitable[World]]) -> World:
    return await make_world()


@pytest.fixture
async def make_node(
    redis_url: str, redis_prefix: str, database_url: str, free_port: Callable[[], int]
) -> AsyncIterator[Callable[..., Awaitable[Node]]]:
    """A function that starts a web node; all nodes of a test share Redis and the record."""
    async with AsyncExitStack() as stack:
        numbers = itertools.count()

        async def make() -> Node:
            settings = {"database_url": database_url, "redis_url": redis_url, "prefix": redis_prefix}
            context = web_node.make_context({**settings, "node_id": f"n_{next(numbers)}"})
            live = make_server(context)
            port = free_port()
            config = uvicorn.Config(
                live.asgi(web_node.nothing_here),
                host="127.0.0.1",
                port=port,
                log_level="error",
                lifespan="off",
                ws="auto",
            )
            server = uvicorn.Server(config)
            server.install_signal_handlers = lambda: None  # type: ignore[attr-defined,method-assign]
            await live.start()
            serving = asyncio.create_task(server.serve())
            await until(lambda: server.started)
            stopped = False

            async def stop() -> None:
                nonlocal stopped
                if stopped:
                    return
                stopped = True
                server.should_exit = server.force_exit = True
                await serving
                await live.stop()
                await context.media.close()
                await context.record.close()
                await context.redis.aclose()

            stack.push_async_callback(stop)
            return Node(live, port, context, stop)

        yield make


@pytest.fixture
async def node(make_node: Callable[..., Awaitable[Node]]) -> Node:
    return await make_node()


@dataclass
class Process:
    """A web node in a process of its own, to be killed."""

    port: int
    child: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()


def _start(port: int, argument: str) -> Process:
    return Process(port, subprocess.Popen([sys.executable, str(WEB_NODE), argument]))


@pytest.fixture
async def spawn_node(
    redis_url: str, redis_prefix: str, database_url: str, free_port: Callable[[], int]
) -> AsyncIterator[Callable[..., Awaitable[Process]]]:
    """A function that starts a web node as its own process."""
    started: list[Process] = []

    async def spawn(name: str) -> Process:
        port = free_port()
        settings = {"database_url": database_url, "redis_url": redis_url, "prefix": redis_prefix}
        argument = json.dumps({**settings, "node_id": name, "port": port})
        process = _start(port, argument)
        started.append(process)
        await until(lambda: _accepts(port), 60)
        return process

    yield spawn
    for process in started:
        process.kill()


def _accepts(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., Awaitable[Any]]:
    return until


@pytest.fixture
async def open_page() -> AsyncIterator[Callable[..., Awaitable[Page]]]:
    """A function that opens a window of a signed-in person on a node."""
    async with AsyncExitStack() as stack:

        async def make(world: World, login: str, node: Node, **more: Any) -> Page:
            page = Page(world.tokens[login], **more)
            await page.connect(node.port)
            stack.push_async_callback(page.close)
            return page

        yield make
