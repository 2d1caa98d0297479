"""Media nodes that are to be left: one that drains, or one that died. Every page is told, at once, to build what it has
there anew on another node, instead of waiting until its connection is seen to have failed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import structlog

from media import MediaError
from signaling.protocol import LESSON_NAMESPACE, MEDIA_MOVED_EVENT, MediaMoved

if TYPE_CHECKING:
    import socketio

    from media import NodeInfo
    from signaling.context import Context
    from signaling.lesson_namespace import LessonNamespace

Reason = Literal["draining", "gone"]

LOOK_S = 0.5
# A window that comes back to this web node only now may not have heard of it.
REMEMBERED_S = 60.0
# Pages of one node spread their joins over this time: a join costs a node milliseconds of its processor.
DRAIN_WITHIN_MS = 3000
GONE_WITHIN_MS = 1000

log = structlog.get_logger(__name__)


class MediaMoves:
    """Watches the registry of media nodes for the windows of this web node."""

    def __init__(self, context: Context, namespace: LessonNamespace, server: socketio.AsyncServer) -> None:
        self._context = context
        self._namespace = namespace
        self._server = server
        self._known: dict[str, NodeInfo] = {}
        self._left: dict[str, tuple[Reason, float]] = {}  # by public address: why, until when it is remembered
        self._told: dict[str, set[str]] = {}  # by public address: sockets

    async def run(self) -> None:
        """For ever; an error is the caller's to log and retry."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """One look at the nodes; tells who has not been told."""
        try:
            nodes = await self._context.media.nodes()
        except MediaError:
            return  # Redis is away: nobody's media is
        now_s = asyncio.get_running_loop().time()
        live = {node.node_id: node for node in nodes}
        addresses = {node.public_url for node in nodes if not node.draining}
        for node in [node for node in self._known.values() if node.node_id not in live]:
            # Back at its address it is the same to its pages, which find it again by themselves.
            if node.public_url in addresses:
                del self._known[node.node_id]
            elif not await self._context.media.is_alive(node):
                del self._known[node.node_id]
                self._leave(node.public_url, "gone", now_s)
            # One that answers is only missing in Redis, which may have lost its data, and will be there again.
        self._known |= live
        for node in nodes:
            if node.draining:
                self._leave(node.public_url, "draining", now_s)
        for url, (_, until_s) in list(self._left.items()):
            if url in addresses or until_s < now_s:
                del self._left[url]
                self._told.pop(url, None)
        if addresses:
            await self._tell()

    def _leave(self, url: str, reason: Reason, now_s: float) -> None:
        before = self._left.get(url)
        if before is None or before[0] != reason:
            log.warning("media node is left", url=url, reason=reason)
            self._told[url] = set()
        self._left[url] = (reason, now_s + REMEMBERED_S)

    async def _tell(self) -> None:
        for url, (reason, _) in self._left.items():
            within_ms = DRAIN_WITHIN_MS if reason == "draining" else GONE_WITHIN_MS
            body = MediaMoved(public_url=url, reason=reason, within_ms=within_ms).model_dump(mode="json")
            told = self._told[url]
            told.intersection_update(self._namespace.windows)
            for sid in [sid for sid, window in self._namespace.windows.items() if window.seat and sid not in told]:
                told.add(sid)
                await self._server.emit(MEDIA_MOVED_EVENT, body, to=sid, namespace=LESSON_NAMESPACE, ignore_queue=True)
