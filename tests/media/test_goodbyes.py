"""A viewer's DTLS association goes after the join; still we say goodbye, its goodbye counts, a forged one does not."""

from __future__ import annotations

import ctypes
import time
from collections.abc import AsyncIterator
from typing import Any

import aioice.ice
import psutil
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription

import media.goodbyes
import media.heap
import media.transport
from media import _router
from media.heap import Heap
from media.router import MediaEvent, MediaRouter
from media.tokens import Act, Claims, SlotClaim
from media.transport import Transport

FORGED_ALERTS = (
    b"\x15\xfe\xfd\x00\x01\x00\x00\x00\x00\x00\x09\x00\x1a" + bytes(26),  # as long as a sealed close_notify
    b"\x15\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x09\x00\x02\x01\x00",  # a plain close_notify
    b"\x2e" + bytes(30),  # DTLS 1.3's unified header
)
BLOCKS, BLOCK_BYTES = 8000, 8000


@pytest.fixture
async def small_router(
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[tuple[MediaRouter, list[MediaEvent]]]:
    monkeypatch.setattr(media.transport, "LAST_FLIGHT_S", 0.3)
    monkeypatch.setattr(media.goodbyes, "PROOF_S", 4.0)
    monkeypatch.setattr(media.goodbyes, "LOOK_S", 0.1)
    monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", 0.3)
    native = _router.Router([("127.0.0.1", 0)])
    events: list[MediaEvent] = []
    router = MediaRouter(native, tuple(native.local_addresses()), on_event=events.append)
    yield router, events
    await router.close()


async def play(router: MediaRouter, name: str, eventually: Any) -> tuple[RTCPeerConnection, Transport]:
    """A viewer that has joined and whose association is gone."""
    pc = RTCPeerConnection()
    pc.addTransceiver("audio", direction="recvonly")
    await pc.setLocalDescription(await pc.createOffer())
    slots = (SlotClaim("audio", "audio", "nobody"),)
    claims = Claims("p_test", "s_test", "l_test", Act.PLAY, name, slots, 0, time.time_ns() // 1_000_000 + 60_000)
    begun = router.play(claims, pc.localDescription.sdp.encode())
    await pc.setRemoteDescription(RTCSessionDescription(begun.answer, "answer"))
    transport = router.sessions[begun.session_id].transport
    await eventually(lambda: transport.state == "connected" and transport._dtls is None, 20, "the association went")
    assert transport._pipe is None and transport._handshake is None
    await eventually(lambda: pc.connectionState == "connected", 20, "the peer has its keys as well")
    return pc, transport


async def test_forged_alerts_end_nobody_who_lives(small_router: Any, eventually: Any) -> None:
    router, events = small_router
    pc, transport = await play(router, "live", eventually)
    (transceiver,) = pc.getTransceivers()
    ice = transceiver.receiver.transport.transport
    for alert in FORGED_ALERTS:
        before = transport.dropped_datagrams
        await ice._send(alert)
        await eventually(lambda before=before: transport.dropped_datagrams > before, 10, "the alert arrived")
        assert router._goodbyes._heard, "it is being judged"
        await eventually(lambda: not router._goodbyes._heard, 20, "it was judged")
        assert transport.state == "connected" and not [item for item in events if item.type.endswith("_ended")]
    await pc.close()


async def test_a_viewer_that_leaves_is_noticed_without_its_association(small_router: Any, eventually: Any) -> None:
    router, events = small_router
    pc, transport = await play(router, "leaving", eventually)
    await pc.close()
    ended = await eventually(lambda: [item for item in events if item.type == "subscription_ended"], 20, "it is over")
    assert [(item.id, item.reason) for item in ended] == [("leaving", "peer_closed")]
    assert transport.state == "closed" and not router.sessions and not router._transports


async def test_our_goodbye_was_sealed_before_and_still_opens(small_router: Any, eventually: Any) -> None:
    router, _ = small_router
    pc, transport = await play(router, "ended", eventually)
    (session,) = router.sessions.values()
    router.end(session, "seat_ended")
    await eventually(lambda: pc.connectionState == "closed", 4, "the peer opened it")
    await pc.close()


async def test_a_session_that_ends_before_leaves_no_timer(small_router: Any, eventually: Any) -> None:
    router, events = small_router
    pc, transport = await play(router, "twice", eventually)
    (transceiver,) = pc.getTransceivers()
    await transceiver.receiver.transport.transport._send(FORGED_ALERTS[0])
    await eventually(lambda: router._goodbyes._heard, 10, "it is being judged")
    transport.close("removed")
    assert not router._goodbyes._heard
    assert [item.reason for item in events if item.type == "subscription_ended"] == ["removed"]
    await pc.close()


async def test_freed_memory_goes_back_to_the_machine(monkeypatch: pytest.MonkeyPatch, eventually: Any) -> None:
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim"):
        pytest.skip("this C library is not glibc")
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    monkeypatch.setattr(media.heap, "QUIET_S", 0.05)
    process, heap = psutil.Process(), Heap()
    blocks = [libc.malloc(BLOCK_BYTES) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK_BYTES)
    # One small block above the others keeps glibc from returning them by itself.
    pin = libc.malloc(64)
    for block in blocks:
        libc.free(block)
    full_bytes = process.memory_info().rss
    heap.freed()
    heap.freed()
    await eventually(lambda: process.memory_info().rss < full_bytes - BLOCKS * BLOCK_BYTES // 2, 10, "pages went back")
    libc.free(pin)
