"""A participant of the demo as seen by the platform: signs in over HTTP, sits in a lesson over Socket.IO.

Uses nothing but the public interfaces, exactly as a page would: sign-in, join with `since=`, calls with coded answers.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import socketio
from socketio.exceptions import ConnectionError as SocketRefused
from socketio.exceptions import SocketIOError

from signaling.protocol import ENVELOPE_EVENT, LESSON_NAMESPACE, SEAT_ENDED_EVENT

HTTP_TIMEOUT_S = 30.0
CALL_TIMEOUT_S = 5.0
RETRY_S = 0.5

Tell = Callable[[str, dict[str, Any]], Awaitable[None]]


class CallRefused(RuntimeError):
    """The platform said no; `code` is the stable code of the answer."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code


class Api:
    """The HTTP side of one person."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.token = ""
        self.person_id = ""
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=HTTP_TIMEOUT_S))

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON answer; raises CallRefused for any but 2xx."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        async with self.session.request(method, self.base_url + path, json=body, headers=headers) as answer:
            facts = await answer.json(content_type=None)
            if answer.status >= 300:
                error = facts.get("error", {}) if isinstance(facts, dict) else {}
                raise CallRefused(error.get("code", str(answer.status)), error.get("message_en", ""))
            return facts

    async def sign_in(self, login: str, password: str) -> None:
        facts = await self.call("POST", "/api/sign-in", {"login": login, "password": password})
        self.token, self.person_id = facts["token"], facts["person"]["id"]

    async def close(self) -> None:
        await self.session.close()


class Seat:
    """The Socket.IO side: keeps itself in the lesson through every interruption, hands each event on exactly once."""

    def __init__(self, api: Api, lesson_id: str, role: str, tell: Tell) -> None:
        self.joined: dict[str, Any] = {}
        self.joins = 0
        self.ended_reason: str | None = None
        self.in_lesson = asyncio.Event()
        self.ended = asyncio.Event()
        self._api, self._lesson_id, self._role, self._tell = api, lesson_id, role, tell
        self._window_id = secrets.token_hex(8)
        self._since: int | None = None
        self._lost = asyncio.Event()
        self._socket = self._new_socket()
        self._keeper: asyncio.Task[None] | None = None

    def _new_socket(self) -> socketio.AsyncClient:
        # Reconnecting is done here, where every failure is seen, rather than inside the library.
        socket = socketio.AsyncClient(
            http_session=self._api.session, reconnection=False, request_timeout=CALL_TIMEOUT_S
        )
        socket.on(ENVELOPE_EVENT, self._on_envelope, namespace=LESSON_NAMESPACE)
        socket.on(SEAT_ENDED_EVENT, self._on_seat_ended, namespace=LESSON_NAMESPACE)
        socket.on("disconnect", self._on_disconnect, namespace=LESSON_NAMESPACE)
        return socket

    async def start(self) -> None:
        """Returns once joined."""
        self._keeper = asyncio.create_task(self._keep())
        await self.in_lesson.wait()

    async def stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self._socket.disconnect()

    async def call(self, event: str, payload: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of a call; raises CallRefused, or CallRefused("try_again") when the connection is away."""
        try:
            answer = await self._socket.call(event, payload or {}, namespace=LESSON_NAMESPACE, timeout=CALL_TIMEOUT_S)
        except SocketIOError as error:
            raise CallRefused("try_again", f"{type(error).__name__}: {error}") from error
        if not answer.get("ok"):
            raise CallRefused(answer["error"]["code"], answer["error"]["message_en"])
        facts: dict[str, Any] = answer
        return facts

    async def _keep(self) -> None:
        while not self.ended.is_set():
            self._lost.clear()
            try:
                await self._socket.connect(
                    self._api.base_url,
                    auth={"token": self._api.token},
                    namespaces=[LESSON_NAMESPACE],
                    transports=["websocket"],
                    wait_timeout=CALL_TIMEOUT_S,
                )
                await self._join()
            except (SocketRefused, CallRefused, aiohttp.ClientError, OSError, TimeoutError) as error:
                if "sign_in_required" in str(error):
                    self._end("session ended")
                    return
                await self._drop()
                await asyncio.sleep(RETRY_S)
                continue
            self.in_lesson.set()
            await self._lost.wait()
            self.in_lesson.clear()
            await self._drop()

    async def _drop(self) -> None:
        """A client that failed half-way is not used again: its state is unknown."""
        old, self._socket = self._socket, self._new_socket()
        try:
            await asyncio.wait_for(old.disconnect(), 1.0)
        except (SocketIOError, aiohttp.ClientError, OSError, TimeoutError):
            return

    async def _join(self) -> None:
        payload = {"lesson_id": self._lesson_id, "window_id": self._window_id, "as_role": self._role}
        self.joined = await self.call("join", {**payload, "since": self._since})
        self.joins += 1
        for envelope in self.joined["missed"]:
            await self._apply(envelope)
        self._since = max(self._since or 0, self.joined["seq"])

    async def _on_envelope(self, envelope: dict[str, Any]) -> None:
        await self._apply(envelope)

    async def _apply(self, envelope: dict[str, Any]) -> None:
        if self._since is not None and envelope["seq"] <= self._since:
            return
        self._since = envelope["seq"]
        await self._tell(envelope["type"], envelope["data"])

    async def _on_seat_ended(self, facts: dict[str, Any]) -> None:
        self._end(str(facts.get("reason")))

    async def _on_disconnect(self, *_: object) -> None:
        self._lost.set()

    def _end(self, reason: str) -> None:
        self.ended_reason = reason
        self.ended.set()
        self.in_lesson.set()  # whoever waits to get in learns that it will not happen
        self._lost.set()
