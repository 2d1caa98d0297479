"""Joins and leaves by the hundred: what a session took is given back."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import psutil
import pytest

from media.dtls import NodeCertificate
from media.tokens import SlotClaim

BENCH = Path(__file__).parent.parent / "bench"
WARM_UP, JOINS = 50, 120
# What one join may leave behind. A leaked TLS connection alone is more than 100 kB; allocators keep some pages.
MAX_LEFT_BYTES = 4096


@pytest.fixture
def light_peers() -> Iterator[ModuleType]:
    """The benchmark's clients: real HTTP, ICE and DTLS, and then only a socket."""
    spec = importlib.util.spec_from_file_location("light_peers", BENCH / "light_peers.py")
    assert spec is not None and spec.loader is not None, "the file is there"
    module = importlib.util.module_from_spec(spec)
    sys.modules["light_peers"] = module  # dataclasses look their own module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["light_peers"]


@pytest.mark.slow
async def test_joins_and_leaves_leave_no_memory_behind(
    start_node: Any, light_peers: ModuleType, http: httpx.AsyncClient, name: str, media_redis: Any, eventually: Any
) -> None:
    node = start_node()
    certificate = NodeCertificate.generateCertificate()
    template = (Path(__file__).parent / "offers" / "obs_30_publish_shaped.sdp").read_text()
    offer = template.replace("Qz7f", "{ufrag}").replace("k2bV9cXw0TnYs4LdHq8RmJ", "{pwd}")
    head, tail = offer.split("a=fingerprint:")
    offer = head + "a=fingerprint:{fingerprint}\n" + tail.split("\n", 1)[1]
    offer = offer.replace("a=sendonly", "a=recvonly").replace("a=ssrc", "a=x-ssrc")
    slots = [SlotClaim("audio", "audio", "somewhere"), SlotClaim("camera", "video", "somewhere")]
    process = psutil.Process(node.process.pid)

    async def join_and_leave(number: int) -> None:
        token = node.token("play", f"{name}{number}", slots)
        url = f"{node.url}/whep/{name}{number}"
        peer = await light_peers.join(http, url, token, offer, certificate, name)
        ended = await http.delete(peer.location, headers={"Authorization": f"Bearer {token}"})
        assert ended.status_code == 200
        peer.sock.close()

    for number in range(WARM_UP):
        await join_and_leave(number)
    before_bytes, before_descriptors = process.memory_info().rss, process.num_fds()
    for number in range(WARM_UP, WARM_UP + JOINS):
        await join_and_leave(number)
    left_bytes = (process.memory_info().rss - before_bytes) / JOINS
    assert left_bytes < MAX_LEFT_BYTES, f"{left_bytes:.0f} bytes left behind by each join"

    # Whatever a join opened is closed; one more may be a connection of this test's own.
    await eventually(lambda: process.num_fds() <= before_descriptors + 1, 15, f"{before_descriptors} descriptors again")

    snapshot = (await http.get(f"{node.url}/control/snapshot", headers={"Authorization": "Bearer " + "c" * 32})).json()
    assert snapshot["router"]["transports"] == [] and snapshot["router"]["slots"] == []
    assert snapshot["sessions"]["subscriptions"] == [] and snapshot["sessions"]["waiting_sources"] == {}
