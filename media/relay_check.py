"""Does our own TURN server relay to our own media port? Tried for real, from allocation to the answer of the router."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aioice import stun
from aioice.turn import create_turn_endpoint

from media.ice_servers import IceServer, Turn

if TYPE_CHECKING:
    from media.router import MediaRouter

logger = logging.getLogger(__name__)

CHECK_TIMEOUT_S = 4.0
RESEND_S = 0.5
CHECK_EVERY_S = 60.0
# A TURN server that starts together with the node is asked again soon.
CHECK_AGAIN_S = 2.0
TRIES_BEFORE_ALARM = 5
# RFC 7065 3.1, with the host of an IPv6 address in brackets.
_TURN_URL = re.compile(r"(turns?):(\[[0-9A-Fa-f:.]+\]|[^:?\[\]\s]+)(?::(\d+))?(?:\?transport=(udp|tcp))?\Z")


class RelayFailed(Exception):
    """A TURN server did not carry a packet to the media port; the text says where it ended."""


@dataclass(frozen=True, slots=True)
class TurnAddress:
    host: str
    port: int
    transport: str
    tls: bool


def turn_address(url: str) -> TurnAddress:
    """Where a `turn:` or `turns:` URL leads. ValueError when it is none."""
    found = _TURN_URL.match(url)
    if found is None:
        raise ValueError(f"{url!r} is no TURN URL (RFC 7065)")
    scheme, host, _, transport = found.groups()
    tls = scheme == "turns"
    port = int(found[3] or (5349 if tls else 3478))
    return TurnAddress(host.strip("[]"), port, transport or ("tcp" if tls else "udp"), tls)


class _Answers(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answered = asyncio.Event()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.answered.set()


async def relayed_check(server: IceServer, media: tuple[str, int], ufrag: str, pwd: str) -> float:
    """Milliseconds of one connectivity check by way of `server`, its allocation included. RelayFailed."""
    at = turn_address(server.url)
    began_s = time.monotonic()
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            transport, answers = await create_turn_endpoint(
                _Answers,
                (at.host, at.port),
                server.username,
                server.credential,
                ssl=ssl.create_default_context() if at.tls else None,
                transport=at.transport,
            )
    except TimeoutError:
        raise RelayFailed("no answer to the allocation") from None
    except ssl.SSLError as error:
        raise RelayFailed(f"TLS: {error.reason or error}") from error
    except (OSError, stun.TransactionError) as error:
        raise RelayFailed(f"no allocation: {error or type(error).__name__}") from error
    try:
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        request.attributes["USERNAME"] = f"{ufrag}:relaycheck"
        request.add_message_integrity(pwd.encode())
        request.add_fingerprint()
        for _ in range(int(CHECK_TIMEOUT_S / RESEND_S)):
            transport.sendto(bytes(request), media)
            try:
                await asyncio.wait_for(answers.answered.wait(), RESEND_S)
            except TimeoutError:
                continue
            return (time.monotonic() - began_s) * 1000
        raise RelayFailed(f"allocated, but nothing comes back from the media port {media[0]}:{media[1]}")
    finally:
        transport.close()


class RelayWatch:
    """Keeps trying; `problems` by URL, empty while every server relays, None before the first round."""

    def __init__(
        self,
        router: MediaRouter,
        turn: Turn,
        media: tuple[str, int],
        clock_ms: Callable[[], int],
        tell: Callable[[dict[str, str]], None],
    ) -> None:
        self.problems: dict[str, str] | None = None
        self._router = router
        self._turn = turn
        self._media = media
        self._clock_ms = clock_ms
        self._tell = tell

    async def run(self) -> None:
        """Never ends. The first failures are kept quiet: a TURN child may just be starting."""
        failures = 0
        while True:
            problems = await self.round()
            failures = failures + 1 if problems else 0
            if not problems or failures >= TRIES_BEFORE_ALARM:
                self._note(problems)
            await asyncio.sleep(CHECK_AGAIN_S if 0 < failures < TRIES_BEFORE_ALARM else CHECK_EVERY_S)

    async def round(self) -> dict[str, str]:
        """Tries every server once: URL → what is wrong."""
        problems: dict[str, str] = {}
        for server in self._turn.servers("relay-check", self._clock_ms()):
            try:
                with self._router.checkable() as (ufrag, pwd):
                    took_ms = await relayed_check(server, self._media, ufrag, pwd)
                logger.info("TURN %s relays to the media port, %.0f ms", server.url, took_ms)
            except (RelayFailed, ValueError) as error:
                problems[server.url] = str(error)
        return problems

    def _note(self, problems: dict[str, str]) -> None:
        if problems == self.problems:
            return
        for url, problem in problems.items():
            logger.error("TURN self-test failed: %s: %s; learners behind strict firewalls get no picture", url, problem)
        self.problems = problems
        self._tell(problems)
