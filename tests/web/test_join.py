"""A further media node joins an installation, is drained by command, and leaves on a signal."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from media.control import MediaControl
from web.join import JoinRefused, joined
from web.settings import Settings

KEYS = {"ANKE_MEDIA_TOKEN_KEY": "ab" * 32, "ANKE_CONTROL_KEY": "cd" * 32}


def settings_of(tmp_path: Path, **changes: Any) -> Settings:
    return Settings(data_dir=tmp_path, **({"redis_url": "redis://127.0.0.1:1/0", "web_url": "http://page"} | changes))


def test_nothing_of_the_installation_is_made_up(tmp_path: Path) -> None:
    given = {"media_token_key": "ab" * 32, "control_key": "cd" * 32}
    with pytest.raises(JoinRefused, match="redis"):
        joined(settings_of(tmp_path, redis_url="", **given), None)
    with pytest.raises(JoinRefused, match="web-url"):
        joined(settings_of(tmp_path, web_url="", **given), None)
    with pytest.raises(JoinRefused, match=r"media-token\.key and .*control\.key"):
        joined(settings_of(tmp_path), None)
    assert not (tmp_path / "secrets").exists(), "a key of its own would open nothing"
    with pytest.raises(ValueError, match="64"):
        settings_of(tmp_path, control_key="short")


def test_the_node_is_announced_where_it_is_reached(tmp_path: Path) -> None:
    given = {"media_token_key": "ab" * 32, "control_key": "cd" * 32, "media_port": 9001}
    found = joined(settings_of(tmp_path, **given), None)
    assert (found.host, found.media_public_ips, found.media_url) == (
        "127.0.0.1",
        ["127.0.0.1"],
        "http://127.0.0.1:9001",
    )
    assert found.keys.control == "cd" * 32 and found.keys.media_token == "ab" * 32
    elsewhere = joined(settings_of(tmp_path, **given), "192.0.2.7")
    assert (elsewhere.host, elsewhere.media_ips) == ("0.0.0.0", ["192.0.2.7"]), "behind NAT all interfaces are bound"
    assert elsewhere.media_control == "http://192.0.2.7:9001"
    proxied = joined(settings_of(tmp_path, media_public_url="https://m1.example", **given), "2001:db8::7")
    assert (proxied.host, proxied.media_url, proxied.media_control) == (
        "::",
        "https://m1.example",
        "http://[2001:db8::7]:9001",
    )


@pytest.fixture
def anke(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANKE_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "web.cli", *arguments],
            env=environment | KEYS | {"ANKE_DATA_DIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)


async def test_a_node_joins_is_drained_and_leaves(
    anke: Callable[..., subprocess.Popen[str]],
    redis_url: str,
    free_port: Callable[[], int],
) -> None:
    redis = Redis.from_url(redis_url)
    control = MediaControl(redis, KEYS["ANKE_CONTROL_KEY"])
    node_id = f"m_{secrets.token_hex(4)}"
    try:
        arguments = ["--redis-url", redis_url, "--web-url", "http://page", "--node-id", node_id]
        node = anke("media", "--join", *arguments, "--http-port", str(free_port()), "--udp-port", str(free_port()))

        async def found() -> Any:
            return next((item for item in await control.nodes() if item.node_id == node_id), None)

        await _until(found, node)
        refused = anke("media", "--drain", "m_nobody", "--redis-url", redis_url)
        output = (await asyncio.to_thread(refused.communicate, timeout=60))[0]
        assert refused.returncode == 1 and node_id in output, output
        drained = anke("media", "--drain", node_id, "--redis-url", redis_url)
        output = (await asyncio.to_thread(drained.communicate, timeout=60))[0]
        assert drained.returncode == 0 and node_id in output, output

        async def draining() -> bool:
            record = await found()
            return record is not None and record.draining

        await _until(draining, node)
        node.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(node.wait, 30) == 0

        async def gone() -> bool:
            return await found() is None

        await _until(gone, None)
    finally:
        await control.close()
        await redis.aclose()


async def _until(check: Callable[[], Awaitable[Any]], process: subprocess.Popen[str] | None) -> None:
    async with asyncio.timeout(60):
        while not await check():
            assert process is None or process.poll() is None, process.communicate()[0] if process else ""
            await asyncio.sleep(0.1)
