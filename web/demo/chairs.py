"""Who holds a demo class: an instructor who signed in like anybody, or the platform itself among visitors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import classroom
from media import MediaError
from media.tokens import Act, mint
from signaling.closing import ask_to_close
from signaling.context import Context, epoch_ms
from signaling.grants import lecture_id
from signaling.push import nudge_relays
from web.demo.cast import INSTRUCTOR
from web.demo.client import Api, CallRefused, Seat

if TYPE_CHECKING:
    from classroom import Record

TOKEN_LIFETIME_MS = 10 * 60 * 1000


class SignedInChair:
    """The instructor of the headless demo: signs in, sits in the lesson, does everything over the public interfaces."""

    def __init__(self, base_url: str, lesson_id: str) -> None:
        self.events: dict[str, int] = {}
        self._api = Api(base_url)
        self._seat = Seat(self._api, lesson_id, "instructor", self._told)
        self._ended = False

    async def sit_down(self) -> None:
        await self._api.sign_in(INSTRUCTOR.login, INSTRUCTOR.password)
        await self._seat.start()

    async def get_up(self) -> None:
        await self._seat.stop()
        await self._api.close()

    async def start_class(self) -> float:
        return float((await self._insist("class.start"))["planned_s"])

    async def lecture_grant(self) -> dict[str, Any] | None:
        await self._seat.in_lesson.wait()
        publish = (await self._seat.call("media.renew"))["publish"]
        return {"url": publish[0]["url"], "token": publish[0]["token"]} if publish else None

    async def lecture_lost(self) -> bool:
        """Nobody else can sign in as the instructor here; a dead node ends the encoder by itself."""
        return False

    async def end_class(self) -> None:
        if not self._ended:
            await self._insist("class.end")

    async def class_ended(self) -> bool:
        return self._ended

    async def _insist(self, call: str) -> dict[str, Any]:
        while True:
            await self._seat.in_lesson.wait()
            try:
                return await self._seat.call(call)
            except CallRefused as error:
                if error.code != "try_again":
                    raise

    async def _told(self, kind: str, data: dict[str, Any]) -> None:
        self.events[kind] = self.events.get(kind, 0) + 1
        if kind == "class.ended":
            self._ended = True


class StandingChair:
    """Holds the class of `make run`. Signing in as the instructor would end a visitor who is the instructor just now
    (R-061), so the class begins and ends by the record's own actions and the encoder has a token of its own, as a
    hardware encoder would."""

    def __init__(self, context: Context, record: Record, lesson_id: str, instructor_id: str) -> None:
        self._context, self._record = context, record
        self._lesson_id, self._instructor_id = lesson_id, instructor_id
        self._holder = f"encoder.{lesson_id}"

    async def start_class(self) -> float:
        view = await classroom.start_lesson(self._record, self._lesson_id, self._instructor_id)
        await nudge_relays(self._context)
        return view.planned_s

    async def lecture_grant(self) -> dict[str, Any] | None:
        name = lecture_id(self._lesson_id)
        try:
            node = await self._context.media.node()
            if await self._holders() - {self._holder}:
                return None
        except MediaError as error:
            raise RuntimeError(str(error)) from error
        token = mint(
            self._context.media_token_key,
            holder=self._holder,
            seat=self._holder,
            room=self._lesson_id,
            act=Act.PUBLISH,
            id=name,
            now_ms=epoch_ms(),
            lifetime_ms=TOKEN_LIFETIME_MS,
        )
        return {"url": f"{node.public_url}/whip/{name}", "token": token}

    async def lecture_lost(self) -> bool:
        """A visitor who went live as the instructor has replaced the encoder, which does not notice by itself."""
        try:
            return self._holder not in await self._holders()
        except MediaError:
            return False

    async def _holders(self) -> set[str]:
        name = lecture_id(self._lesson_id)
        return {flow.holder for flow in await self._context.media.flows() if flow.publication_id == name}

    async def end_class(self) -> None:
        if not await self.class_ended():
            await ask_to_close(self._context, self._lesson_id, self._instructor_id)

    async def class_ended(self) -> bool:
        return (await classroom.lesson_view(self._record, self._lesson_id)).state == "ended"
