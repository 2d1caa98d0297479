"""One demo class from the first learner's arrival to the last one's leaving."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from classroom import seed_questions
from web.demo.cast import PASSWORD, Behaviour, Player
from web.demo.process import DemoProcess, Line
from web.demo.seed import player_login

log = structlog.get_logger(__name__)

# Given to learners ready-made: importing the record's house in twelve processes would cost a core for seconds.
LEARNT = {draft.text: [draft.options[number] for number in draft.correct] for draft in seed_questions()}

# Two processes import WebRTC at a time: more would only make each other late on two cores.
ARRIVALS_AT_ONCE = 2
ARRIVAL_PATIENCE_S = 60.0
ENCODER_WATCH_S = 3.0
ENCODER_RETRY_S = 0.7
ENCODER_ASIDE_S = 2.0
CLOSING_PATIENCE_S = 60.0  # the conductor asks one last ping and one last picture of everybody
LEAVING_PATIENCE_S = 15.0
LOOK_EVERY_S = 0.5


class ArrivalFailed(RuntimeError):
    """A learner or the lecture did not get into the class; the text carries their last words."""


class Chair(Protocol):
    """Whoever holds the class: starts it, may publish its lecture, ends it."""

    async def start_class(self) -> float:
        """Returns how long the class is planned to last, in seconds."""

    async def lecture_grant(self) -> dict[str, Any] | None:
        """Where the encoder publishes; None while somebody else teaches."""

    async def lecture_lost(self) -> bool:
        """Whether the lecture that the encoder believes to publish is no longer there."""

    async def end_class(self) -> None: ...

    async def class_ended(self) -> bool: ...


@dataclass
class PlayedLearner:
    """One learner process and the last it told."""

    player: Player
    process: DemoProcess | None = None
    tally: Line = field(default_factory=dict)
    left: Line | None = None
    notes: list[Line] = field(default_factory=list)

    def heard(self, line: Line) -> None:
        if line["what"] == "tally":
            self.tally = line
        elif line["what"] == "left":
            self.tally = self.left = line
        else:
            self.notes.append(line)

    @property
    def present(self) -> bool:
        """In the lesson, camera published, lecture received."""
        facts = self.tally
        return bool(facts.get("in_lesson") and facts.get("camera_up") and facts.get("lecture_up"))

    @property
    def behaviour(self) -> Behaviour:
        return self.player.behaviour


class DemoClass:
    """Plays the learners and the encoder of one lesson; the chair decides when it begins and ends."""

    def __init__(
        self, base_url: str, lesson_id: str, players: list[Player], cohort: int, chair: Chair, start_with: int
    ) -> None:
        """The class begins when `start_with` learners are there; the others come in late."""
        self.lesson_id = lesson_id
        self.learners = [PlayedLearner(player) for player in players]
        self.planned_s = 0.0
        self.began_s = 0.0  # monotonic
        self.began = asyncio.Event()
        self.encoder_starts = 0
        self.encoder_on = False
        self._base_url, self._cohort, self._chair, self._start_with = base_url, cohort, chair, start_with
        self._encoder: DemoProcess | None = None
        self._encoder_keeper: asyncio.Task[None] | None = None

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.began_s if self.began_s else 0.0

    async def run(self, look: Callable[[], None]) -> None:
        """The whole class; `look` is called twice a second. Raises ArrivalFailed when it could not begin."""
        arriving: asyncio.Task[None] | None = None
        try:
            self._encoder_keeper = asyncio.create_task(self._keep_encoder())
            arriving = asyncio.create_task(self._arrive(look))
            while not arriving.done() and sum(learner.present for learner in self.learners) < self._start_with:
                await asyncio.wait({arriving}, timeout=LOOK_EVERY_S)
            if arriving.done():
                await arriving
            self.planned_s = await self._chair.start_class()
            self.began_s = time.monotonic()
            self.began.set()
            while self.elapsed_s < self.planned_s and not await self._chair.class_ended():
                look()
                await asyncio.sleep(LOOK_EVERY_S)
            await self._chair.end_class()
            closing_s = time.monotonic() + CLOSING_PATIENCE_S
            while not await self._chair.class_ended():
                if time.monotonic() > closing_s:
                    raise ArrivalFailed(f"the class did not end within {CLOSING_PATIENCE_S:.0f} s")
                look()
                await asyncio.sleep(LOOK_EVERY_S)
            await arriving
            await asyncio.gather(*(self._leave(learner) for learner in self.learners))
        finally:
            if arriving is not None:
                arriving.cancel()
                await asyncio.gather(arriving, return_exceptions=True)
            await self.stop()

    async def stop(self) -> None:
        if self._encoder_keeper is not None:
            self._encoder_keeper.cancel()
            await asyncio.gather(self._encoder_keeper, return_exceptions=True)
        stopping = [learner.process.stop() for learner in self.learners if learner.process is not None]
        if self._encoder is not None:
            stopping.append(self._encoder.stop())
        await asyncio.gather(*stopping)

    async def _arrive(self, look: Callable[[], None]) -> None:
        turn = asyncio.Semaphore(ARRIVALS_AT_ONCE)

        async def arrive(learner: PlayedLearner) -> None:
            async with turn:
                await self._start_learner(learner)
                deadline_s = time.monotonic() + ARRIVAL_PATIENCE_S
                while not learner.present:
                    if time.monotonic() > deadline_s or (learner.process and not learner.process.running):
                        words = learner.process.last_words if learner.process else []
                        raise ArrivalFailed(
                            f"{learner.player.name} did not get into the class: {learner.tally} {words}"
                        )
                    await asyncio.sleep(0.1)
                    look()

        async with asyncio.TaskGroup() as group:
            for learner in self.learners:
                group.create_task(arrive(learner))

    async def _start_learner(self, learner: PlayedLearner) -> None:
        player = learner.player
        part = {
            "base_url": self._base_url,
            "login": player_login(player, self._cohort),
            "password": PASSWORD,
            "lesson_id": self.lesson_id,
            "index": player.index,
            "behaviour": player.behaviour,
            "learnt": LEARNT,
        }
        learner.process = DemoProcess("web.demo.learner", part, learner.heard)
        await learner.process.start()

    async def _leave(self, learner: PlayedLearner) -> None:
        if learner.process is not None and not await learner.process.ended(LEAVING_PATIENCE_S):
            await learner.process.stop()

    async def _keep_encoder(self) -> None:
        """The lecture comes back whenever its session breaks, with a fresh token, unless somebody else teaches."""
        while True:
            try:
                grant = await self._chair.lecture_grant()
            except (OSError, RuntimeError) as error:
                log.warning("no grant for the lecture yet", reason=str(error))
                grant = None
            if grant is None:
                await asyncio.sleep(ENCODER_ASIDE_S)
                continue
            self._encoder = DemoProcess("web.demo.encoder", grant, self._encoder_heard)
            self.encoder_starts += 1
            await self._encoder.start()
            while not await self._encoder.ended(ENCODER_WATCH_S):
                if self.encoder_on and await self._chair.lecture_lost():
                    await self._encoder.stop()
            self.encoder_on = False
            log.info("lecture interrupted", exit_code=self._encoder.exit_code, words=self._encoder.last_words[-2:])
            await asyncio.sleep(ENCODER_RETRY_S)

    def _encoder_heard(self, line: Line) -> None:
        self.encoder_on = line["what"] == "publishing"
        if line["what"] == "broken":
            log.info("lecture broken", reason=line.get("reason"))


def progress(elapsed_s: float, total_s: float, width: int = 24) -> str:
    """A bar with elapsed and total, e.g. `[######------------------] 01:02/04:10`."""
    share = min(1.0, elapsed_s / total_s) if total_s else 0.0
    filled = round(share * width)
    return f"[{'#' * filled}{'-' * (width - filled)}] {_clock(elapsed_s)}/{_clock(total_s)}"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def describe(demo: DemoClass) -> str:
    """One line on how the class stands."""
    tallies = [learner.tally for learner in demo.learners]
    here = sum(1 for learner in demo.learners if learner.present)
    answered = sum(tally.get("pings", {}).get("answered", 0) for tally in tallies)
    sent = sum(tally.get("pings", {}).get("sent", 0) for tally in tallies)
    verdicts: dict[str, int] = {}
    for tally in tallies:
        for outcome, count in tally.get("verdicts", {}).items():
            verdicts[outcome] = verdicts.get(outcome, 0) + count
    seen = " ".join(f"{outcome} {count}" for outcome, count in sorted(verdicts.items())) or "none yet"
    return f"{here}/{len(demo.learners)} in class, pings {answered}/{sent}, faces: {seen}"
