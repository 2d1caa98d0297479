"""Who is told to leave a media node, when, and how often."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from media import MediaError, NodeInfo
from signaling.lesson_namespace import Window
from signaling.media_moves import MediaMoves
from signaling.protocol import LESSON_NAMESPACE, MEDIA_MOVED_EVENT
from signaling.seats import Seat

A = NodeInfo("m_a", "http://a:1", "http://media-a", 1)
B = NodeInfo("m_b", "http://b:1", "http://media-b", 2)


class ScriptedMedia:
    """Registry and liveness, look by look."""

    def __init__(self) -> None:
        self.present: list[NodeInfo] = []
        self.answering: set[str] = set()
        self.away = False

    async def nodes(self) -> list[NodeInfo]:
        if self.away:
            raise MediaError("no_node")
        return self.present

    async def is_alive(self, node: NodeInfo) -> bool:
        return node.node_id in self.answering


class Sockets:
    """Where emits go."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []

    async def emit(self, event: str, body: dict[str, Any], *, to: str, namespace: str, ignore_queue: bool) -> None:
        assert event == MEDIA_MOVED_EVENT and namespace == LESSON_NAMESPACE and ignore_queue
        self.told.append((to, body["public_url"], body["reason"]))

    def take(self) -> list[tuple[str, str, str]]:
        told, self.told = self.told, []
        return sorted(told)


Watched = tuple[MediaMoves, ScriptedMedia, Sockets, dict[str, Window]]


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    media, sockets, windows = ScriptedMedia(), Sockets(), {}
    for sid in ("s1", "s2"):
        windows[sid] = _window(sid)
    windows["standing"] = replace(_window("standing"), seat=None)
    context: Any = SimpleNamespace(media=media)
    namespace: Any = SimpleNamespace(windows=windows)
    moves = MediaMoves(context, namespace, sockets)  # type: ignore[arg-type]
    media.present = [A, B]
    await moves.look()
    assert sockets.take() == []
    yield moves, media, sockets, windows


def _window(sid: str) -> Window:
    actor: Any = SimpleNamespace(person_id=f"p_{sid}")
    return Window(sid, actor, "token", seat=Seat("s", f"p_{sid}", "x", "w", "l"))


async def test_a_draining_node_is_left_once_by_each_window(watched: Watched) -> None:
    moves, media, sockets, windows = watched
    media.present = [replace(A, draining=True), B]
    await moves.look()
    await moves.look()
    assert sockets.take() == [("s1", "http://media-a", "draining"), ("s2", "http://media-a", "draining")]
    windows["s3"] = _window("s3")  # came back from another web node in the middle of it
    await moves.look()
    assert sockets.take() == [("s3", "http://media-a", "draining")]
    media.present = [A, B]
    await moves.look()
    media.present = [replace(A, draining=True), B]
    await moves.look()
    assert len(sockets.take()) == 3, "drained a second time"


async def test_a_dead_node_is_left_as_soon_as_there_is_another(watched: Watched) -> None:
    moves, media, sockets, _ = watched
    media.present = [B]
    await moves.look()
    assert sockets.take() == [("s1", "http://media-a", "gone"), ("s2", "http://media-a", "gone")]
    media.present = []
    await moves.look()
    assert sockets.take() == [], "there is nowhere to go"
    media.present = [NodeInfo("m_c", "http://c:1", "http://media-c", 3)]
    await moves.look()
    assert sockets.take() == [("s1", "http://media-b", "gone"), ("s2", "http://media-b", "gone")]


async def test_a_redis_that_lost_its_data_moves_nobody(watched: Watched) -> None:
    moves, media, sockets, _ = watched
    media.answering = {"m_a", "m_b"}
    media.away = True
    await moves.look()
    media.away, media.present = False, [B]
    await moves.look()
    media.present = [A, B]
    await moves.look()
    assert sockets.take() == []
    media.present, media.answering = [B], set()
    await moves.look()
    assert len(sockets.take()) == 2, "and a death after that is still seen"


async def test_a_node_that_was_started_again_at_its_address_is_not_left(watched: Watched) -> None:
    moves, media, sockets, _ = watched
    media.present = [B, NodeInfo("m_a2", A.control_url, A.public_url, 9)]
    await moves.look()
    assert sockets.take() == []
