"""What Chromium and Firefox have in common: a page with `page.js` in it, asked by a function that evaluates in it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from commands import Seen

PAGE_SCRIPT = (Path(__file__).parent.parent / "page.js").read_text()


class BrowserPeers:
    """`open_page(url)` loads a page with the script in it; `call(body, *arguments)` evaluates a function body there."""

    def __init__(
        self, name: str, open_page: Callable[[str], Awaitable[None]], call: Callable[..., Awaitable[Any]]
    ) -> None:
        self.name = name
        self._open_page, self._call = open_page, call
        self._origin: str | None = None
        self._turn = asyncio.Lock()

    async def _visit(self, url: str) -> None:
        # A page of the node's own origin: a secure context (loopback), and no question of CORS.
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        async with self._turn:
            if self._origin != origin:
                await self._open_page(f"{origin}/healthz")
                self._origin = origin

    async def publish(self, url: str, token: str, simulcast: bool = False) -> int:
        await self._visit(url)
        options = {"simulcast": simulcast}
        return await self._call("return publish(arguments[0], arguments[1], arguments[2])", url, token, options)

    async def play(self, url: str, token: str) -> int:
        await self._visit(url)
        return await self._call("return play(arguments[0], arguments[1], ['audio', 'video'])", url, token)

    async def seen(self, peer: int) -> Seen:
        stats = await self._call("return stats(arguments[0])", peer)
        video = stats["video"][0] if stats["video"] else {}
        audio = stats["audio"][0] if stats["audio"] else {}
        return {
            "pictures": video.get("decoded") or 0,
            "width": video.get("width") or 0,
            "sound": audio.get("energy") or 0.0,
        }

    async def stop(self, peer: int) -> None:
        await self._call("return stop(arguments[0])", peer)
