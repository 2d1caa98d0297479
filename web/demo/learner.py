"""One learner of the demo class, alone in its process: camera out, lecture in, pings and quizzes answered as people do.

Reads its part as one JSON object from standard input, writes what happens as JSON lines to standard output, leaves when
the class has ended.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from av import VideoFrame

from web.demo.cast import Behaviour
from web.demo.client import Api, CallRefused, Seat
from web.demo.footage import Camera, camera_for
from web.demo.peer import (
    ARRIVALS,
    PROCESS_BEGAN_S,
    Grant,
    Leg,
    camera_connection,
    is_loopback,
    lighten,
    player_connection,
)

KNOWS_ANSWER = 0.9  # share of questions an attentive learner gets right
PING_DELAY_SHARE = (0.08, 0.45)  # of the ping's window, until a person has seen it and clicked
QUESTION_DELAY_SHARE = (0.04, 0.11)  # of the quiz's window, for each question
ABSENT_AFTER_SHARE = 1 / 3  # of the class: then the absentee walks away
NOT_YET_S = 1e6  # nobody leaves before the class has begun
REPORT_EVERY_S = 1.0
ANSWER_RETRIES = 20
ANSWER_RETRY_S = 0.4


@dataclass(frozen=True)
class Part:
    """What a learner process is told."""

    base_url: str
    login: str
    password: str
    lesson_id: str
    index: int
    behaviour: Behaviour
    learnt: dict[str, list[str]] = field(default_factory=dict)  # question → its right options: what was taught


@dataclass
class Tally:
    """What happened to this learner, as the learner saw it."""

    joins: int = 0
    camera_connections: int = 0
    lecture_connections: int = 0
    camera_up: bool = False
    lecture_up: bool = False
    frames: dict[str, int] = field(default_factory=dict)
    octets: int = 0
    lecture_age_s: float | None = None
    pings: dict[str, int] = field(default_factory=lambda: {"sent": 0, "answered": 0, "late": 0})
    answers: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)
    credited_s: float = 0.0
    state: str = "absent"
    walked_away: bool = False
    problems: dict[str, str] = field(default_factory=dict)


class Learner:
    """Behaves as its part says until the class ends."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.tally = Tally()
        self.ended = asyncio.Event()
        self._random = random.Random(f"{part.lesson_id}/{part.login}")
        self._api = Api(part.base_url)
        self._seat = Seat(self._api, part.lesson_id, "learner", self._told)
        self._camera = self._new_camera()
        self._away = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._answered_quizzes: set[str] = set()
        self._answered_pings: set[str] = set()
        self._grants: dict[str, Any] | None = None
        self._legs = {
            "camera": Leg(self._api, self._camera_grant, camera_connection(self._picture)),
            "lecture": Leg(self._api, self._lecture_grant, player_connection),
        }

    async def attend(self) -> None:
        await self._api.sign_in(self.part.login, self.part.password)
        await self._seat.start()
        say("joined", {"joins": self._seat.joins})
        self._catch_up()
        for leg in self._legs.values():
            leg.start()
        reporter = asyncio.create_task(self._report())
        over = [asyncio.create_task(event.wait()) for event in (self.ended, self._seat.ended)]
        await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
        reporter.cancel()
        for task in [*over, *self._tasks]:
            task.cancel()
        for leg in self._legs.values():
            await leg.stop()
        await self._seat.stop()
        await self._api.close()
        say("left", {**asdict(self._counted()), "why": self._seat.ended_reason or "class ended"})

    def _new_camera(self, leave_in_s: float = NOT_YET_S) -> Camera:
        if self.part.behaviour != "absentee":
            return camera_for(self.part.behaviour, self.part.index)
        leaves_at_s = time.monotonic() - PROCESS_BEGAN_S + leave_in_s
        return camera_for(self.part.behaviour, self.part.index, leaves_at_s=leaves_at_s)

    def _picture(self, t_s: float) -> VideoFrame:
        return self._camera.video_frame_at(t_s)

    # Grants: those of the join serve the first connection; a later one asks for fresh tokens.

    async def _fresh_grants(self, leg: str) -> dict[str, Any]:
        if self._legs[leg].connections == 0 and not self._legs[leg].problem:
            return self._seat.joined
        await self._seat.in_lesson.wait()
        return await self._seat.call("media.renew")

    async def _camera_grant(self) -> Grant | None:
        try:
            publish = (await self._fresh_grants("camera"))["publish"]
        except CallRefused as error:
            raise RuntimeError(str(error)) from error
        return publish[0] if publish else None

    async def _lecture_grant(self) -> Grant | None:
        try:
            grant: Grant | None = (await self._fresh_grants("lecture"))["play"]
        except CallRefused as error:
            raise RuntimeError(str(error)) from error
        return grant

    # What the platform tells.

    def _catch_up(self) -> None:
        """What was already going on when this learner came in."""
        joined = self._seat.joined
        if joined["lesson"]["state"] == "live":
            self._class_started(joined["lesson"])
        if joined.get("open_ping"):
            self._later(self._answer_ping(joined["open_ping"]))
        if joined.get("open_quiz"):
            self._later(self._answer_quiz(joined["open_quiz"]))

    async def _told(self, kind: str, data: dict[str, Any]) -> None:
        if kind == "ping.opened":
            self._later(self._answer_ping(data["ping"]))
        elif kind == "quiz.opened":
            self._later(self._answer_quiz(data["quiz"]))
        elif kind == "class.started":
            self._class_started(data["lesson"])
        elif kind == "class.ended":
            self.ended.set()
        elif kind == "check.result" and data["person_id"] == self._api.person_id:
            self.tally.verdicts[data["outcome"]] = self.tally.verdicts.get(data["outcome"], 0) + 1
            say("verdict", {"outcome": data["outcome"], "distance": data["distance"]})
        elif kind == "credit.changed":
            self.tally.credited_s, self.tally.state = data["credit"]["credited_s"], data["credit"]["state"]

    def _class_started(self, lesson: dict[str, Any]) -> None:
        if self.part.behaviour == "absentee":
            leave_in_s = lesson["started_at_ms"] / 1000 + lesson["planned_s"] * ABSENT_AFTER_SHARE - time.time()
            self._later(self._walk_away(max(0.0, leave_in_s)))

    async def _walk_away(self, leave_in_s: float) -> None:
        self._camera = self._new_camera(leave_in_s)
        await asyncio.sleep(leave_in_s)
        self._away = self.tally.walked_away = True
        say("walked away", {})

    async def _answer_ping(self, ping: dict[str, Any]) -> None:
        if ping["ping_id"] in self._answered_pings:
            return
        self._answered_pings.add(ping["ping_id"])
        self.tally.pings["sent"] += 1
        window_s = (ping["closes_at_ms"] - ping["opened_at_ms"]) / 1000
        await asyncio.sleep(window_s * self._random.uniform(*PING_DELAY_SHARE))
        if self._away:
            return
        answer = await self._insist("ping.answer", {"ping_id": ping["ping_id"]})
        if answer is not None and answer["accepted"]:
            self.tally.pings["answered"] += 1
            say("ping answered", {"ping_id": ping["ping_id"]})
        else:
            self.tally.pings["late"] += 1

    async def _answer_quiz(self, quiz: dict[str, Any]) -> None:
        if quiz["quiz_id"] in self._answered_quizzes:
            return
        self._answered_quizzes.add(quiz["quiz_id"])
        window_s = (quiz["closes_at_ms"] - quiz["opened_at_ms"]) / 1000
        for question in quiz["questions"]:
            await asyncio.sleep(window_s * self._random.uniform(*QUESTION_DELAY_SHARE))
            if self._away:
                return
            payload = {"quiz_id": quiz["quiz_id"], "question_id": question["question_id"]}
            if await self._insist("quiz.answer", {**payload, "chosen": self._choose(question)}) is not None:
                self.tally.answers += 1

    def _choose(self, question: dict[str, Any]) -> list[int]:
        options: list[str] = question["options"]
        learnt = self.part.learnt.get(question["text"], [])
        right = [options.index(text) for text in learnt if text in options]
        if right and self._random.random() < KNOWS_ANSWER:
            return sorted(right)
        return [self._random.randrange(len(options))]

    async def _insist(self, event: str, payload: dict[str, Any]) -> dict[str, Any] | None:
        """A person clicks again when the page says that the connection is away; None when it was refused for good."""
        for _ in range(ANSWER_RETRIES):
            await self._seat.in_lesson.wait()
            if self._seat.ended.is_set():
                return None
            try:
                return await self._seat.call(event, payload)
            except CallRefused as error:
                self.tally.problems[event] = str(error)
                if error.code not in ("try_again", "too_fast", "wrong_state"):
                    return None
            await asyncio.sleep(ANSWER_RETRY_S)
        return None

    def _later(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # What the director hears.

    def _counted(self) -> Tally:
        camera, lecture, tally = self._legs["camera"], self._legs["lecture"], self.tally
        tally.joins = self._seat.joins
        tally.camera_connections, tally.lecture_connections = camera.connections, lecture.connections
        tally.camera_up, tally.lecture_up = camera.connected.is_set(), lecture.connected.is_set()
        tally.frames, tally.octets = dict(ARRIVALS.frames), ARRIVALS.octets
        tally.lecture_age_s = round(time.monotonic() - ARRIVALS.last_s, 2) if ARRIVALS.last_s else None
        for name, leg in self._legs.items():
            if leg.problem:
                tally.problems[name] = leg.problem
        return tally

    async def _report(self) -> None:
        while True:
            say("tally", {**asdict(self._counted()), "in_lesson": self._seat.in_lesson.is_set()})
            await asyncio.sleep(REPORT_EVERY_S)


def say(what: str, facts: dict[str, Any]) -> None:
    sys.stdout.write(
        json.dumps({"what": what, "at_ms": time.time_ns() // 1_000_000, **facts}, ensure_ascii=False) + "\n"
    )
    sys.stdout.flush()


async def attend(part: Part) -> None:
    learner = Learner(part)
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, learner.ended.set)
    await learner.attend()


def main() -> None:
    part = Part(**json.loads(sys.stdin.readline()))
    lighten(is_loopback(part.base_url))
    asyncio.run(attend(part))


if __name__ == "__main__":
    main()
