"""How a test tells a peer process what to do: one JSON object a line, answered by one JSON object a line.

`{"id": 1, "do": "publish" | "play" | "seen" | "stop", …}` → `{"id": 1, "result": …}` or `{"id": 1, "error": "…"}`.
The first line out names the stack: `{"ready": "Firefox 153.7.0"}`. The peer ends when its standard input does.

`publish` and `play` take `url` and `token` and answer a number that `seen` and `stop` take as `peer`. `seen` answers
`Seen`, the same for every stack, so that one test asks all of them the same question.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, Protocol, TypedDict


class Seen(TypedDict):
    """What a player has of one session: whole pictures decoded, the width of the last, and how much sound that was not
    silence, in any unit that grows with it."""

    pictures: int
    width: int
    sound: float


class Peers(Protocol):
    name: str

    async def publish(self, url: str, token: str) -> int: ...
    async def play(self, url: str, token: str) -> int: ...
    async def seen(self, peer: int) -> Seen: ...
    async def stop(self, peer: int) -> None: ...


def say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


async def serve(peers: Peers) -> None:
    """Carries out commands, several at once, until standard input ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    say({"ready": peers.name})

    async def carry_out(command: dict[str, Any]) -> None:
        number, verb = command.pop("id"), command.pop("do")
        try:
            assert verb in ("publish", "play", "seen", "stop"), verb
            say({"id": number, "result": await getattr(peers, verb)(**command)})
        except Exception as error:  # noqa: BLE001  # whatever it was, the test is told
            say({"id": number, "error": f"{type(error).__name__}: {error}"})

    async with asyncio.TaskGroup() as tasks:
        while line := await reader.readline():
            tasks.create_task(carry_out(json.loads(line)))
