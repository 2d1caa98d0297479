"""Kills each process of the platform in turn while a demo class runs, and measures how the class comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from signaling.context import epoch_ms
from web.demo.client import Api
from web.supervisor import read_health

if TYPE_CHECKING:
    from web.demo.class_run import DemoClass, PlayedLearner
    from web.settings import Settings
    from web.supervisor import Supervisor

# part → when it dies, as a share of the planned class
DEATHS = {"web": 0.16, "worker": 0.34, "redis": 0.52, "media": 0.70}
RESUME_WITHIN_S = 15.0
GIVE_UP_S = 45.0
FRESH_LECTURE_S = 2.0


@dataclass
class Death:
    """One kill and what followed. Times in seconds after the kill; None: it did not happen."""

    part: str
    at_ms: int
    old_pid: int
    new_pid: int | None = None
    restarted_s: float | None = None
    resumed_s: float | None = None
    credited_ms_before: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    pings_answered_before: int = 0


class FaultPlan:
    """Runs beside the class. `deaths` says what happened; `finish` says what was wrong with it."""

    def __init__(self, settings: Settings, demo: DemoClass, supervisor: Supervisor) -> None:
        self.deaths: list[Death] = []
        self._settings, self._demo, self._supervisor = settings, demo, supervisor

    async def run(self) -> None:
        await self._demo.began.wait()
        for part, share in DEATHS.items():
            await asyncio.sleep(max(0.0, self._demo.planned_s * share - self._demo.elapsed_s))
            self.deaths.append(await self._kill(part))

    async def finish(self, running: asyncio.Task[None]) -> list[str]:
        """Complaints; empty when every part came back in time and learners went on answering."""
        if not running.done():
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        elif running.exception() is not None:
            return [f"fault plan broke: {running.exception()!r}"]
        complaints = [f"{part} was not killed: the class was over" for part in DEATHS if part not in self.parts]
        for death in self.deaths:
            if death.new_pid is None or death.new_pid == death.old_pid:
                complaints.append(f"{death.part} was not started again")
            if death.resumed_s is None or death.resumed_s > RESUME_WITHIN_S:
                complaints.append(f"after {death.part} died the class resumed in {death.resumed_s} s, not within 15 s")
        answered = self._answered()
        if self.deaths and answered <= self.deaths[-1].pings_answered_before:
            complaints.append("no ping was answered after the last kill")
        return complaints

    @property
    def parts(self) -> list[str]:
        return [death.part for death in self.deaths]

    def _answered(self) -> int:
        return sum(learner.tally.get("pings", {}).get("answered", 0) for learner in self._demo.learners)

    async def _kill(self, part: str) -> Death:
        child = self._supervisor.children[part]
        assert child.pid is not None, "a running child has a process id"
        credited = await credited_stretches(self._settings, self._demo)
        death = Death(part, epoch_ms(), child.pid, credited_ms_before=credited)
        death.pings_answered_before = self._answered()
        before = {learner.player.login: dict(learner.tally) for learner in self._demo.learners}
        killed_s = time.monotonic()
        os.kill(child.pid, signal.SIGKILL)
        while time.monotonic() - killed_s < GIVE_UP_S:
            await asyncio.sleep(0.1)
            if death.new_pid is None and child.pid != death.old_pid and child.running:
                death.new_pid, death.restarted_s = child.pid, round(time.monotonic() - killed_s, 2)
            if death.new_pid is None:
                continue
            back = all(self._is_back(learner, part, death, before) for learner in self._demo.learners)
            if back and await asyncio.to_thread(read_health, self._settings) is not None:
                death.resumed_s = round(time.monotonic() - killed_s, 2)
                break
        return death

    def _is_back(self, learner: PlayedLearner, part: str, death: Death, before: dict[str, dict[str, Any]]) -> bool:
        """In the lesson with camera and lecture, known from after the kill; where it had to reconnect, it did."""
        now, was = learner.tally, before[learner.player.login]
        if not learner.present or now["at_ms"] <= death.at_ms + 1000:
            return False
        if now["lecture_age_s"] is None or now["lecture_age_s"] > FRESH_LECTURE_S:
            return False
        if part == "web" and now["joins"] <= was["joins"]:
            return False
        connections = ("camera_connections", "lecture_connections")
        return part != "media" or all(now[name] > was[name] for name in connections)

    def to_list(self) -> list[dict[str, Any]]:
        hidden = {"credited_ms_before"}
        return [{key: value for key, value in asdict(death).items() if key not in hidden} for death in self.deaths]


async def credited_stretches(settings: Settings, demo: DemoClass) -> dict[str, list[tuple[int, int]]]:
    """Every learner's credited stretches (from_ms, to_ms) as the API tells the organiser now, by person id."""
    from web.demo.cast import ORGANISER

    api = Api(settings.own_url)
    try:
        await api.sign_in(ORGANISER.login, ORGANISER.password)
        rows = await api.call("GET", f"/api/lessons/{demo.lesson_id}/score-board")
        stretches = {}
        for row in rows:
            answer = await api.call("GET", f"/api/lessons/{demo.lesson_id}/credit/{row['person_id']}")
            parts = answer["credit"]["intervals"]
            stretches[row["person_id"]] = [(part["from_ms"], part["to_ms"]) for part in parts if part["credited"]]
        return stretches
    finally:
        await api.close()


def lost_ms(before: list[tuple[int, int]], after: list[tuple[int, int]]) -> int:
    """Milliseconds that were credited before and no longer are."""
    lost = 0
    for start, end in before:
        kept = sum(max(0, min(end, to) - max(start, since)) for since, to in merged(after))
        lost += (end - start) - kept
    return lost


def merged(stretches: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for since, to in sorted(stretches):
        if joined and since <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], to))
        else:
            joined.append((since, to))
    return joined
