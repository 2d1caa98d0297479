"""All lessons this node conducts: watches what is live, takes the leases that are free, gives them back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import classroom
from classroom import NotFound, WrongState
from signaling.conductor import Conductor
from signaling.lease import Lease
from signaling.upkeep import end_tasks, wait_for_event

if TYPE_CHECKING:
    from signaling.context import Context
    from signaling.event_log import EventLog
    from signaling.face_checks import FaceChecks
    from signaling.presence import Presence

LOOK_S = 1.0


class Conductors:
    """One task and one lease for each lesson conducted here."""

    def __init__(self, context: Context, presence: Presence, face_checks: FaceChecks, event_log: EventLog) -> None:
        self._context = context
        self._presence = presence
        self._face_checks = face_checks
        self._log = event_log
        self._running: dict[str, tuple[Conductor, asyncio.Task[None]]] = {}
        self._look = asyncio.Event()

    def look(self) -> None:
        """A lesson has just started: do not wait for the next round."""
        self._look.set()

    def wake(self, lesson_id: str) -> None:
        """Something happened in the lesson's media: its conductor, if it is here, looks at once."""
        if lesson_id in self._running:
            self._running[lesson_id][0].wake.set()

    def conducting(self) -> list[str]:
        return [lesson_id for lesson_id, (_, task) in self._running.items() if not task.done()]

    def snapshot(self) -> dict[str, dict[str, Any]]:
        return {key: conductor.snapshot() for key, (conductor, task) in self._running.items() if not task.done()}

    async def run(self) -> None:
        """For ever; an error is the caller's to log and retry."""
        while True:
            self._running = {key: pair for key, pair in self._running.items() if not pair[1].done()}
            for lesson_id in await classroom.live_lessons(self._context.record):
                if lesson_id not in self._running:
                    await self._try(lesson_id)
            await wait_for_event(self._look, LOOK_S)

    async def _try(self, lesson_id: str) -> None:
        context = self._context
        lease = Lease(context.redis, f"lesson:{lesson_id}", prefix=context.prefix)
        if not await lease.acquire():
            return
        try:
            lesson = await classroom.lesson_view(context.record, lesson_id)
            plan = await classroom.plan_of(context.record, lesson_id)
        except (NotFound, WrongState):
            await lease.release()
            return
        conductor = Conductor(context, lesson, plan, lease, self._presence, self._face_checks, self._log)
        task = asyncio.get_running_loop().create_task(self._conduct(conductor, lease), name=f"conduct {lesson_id}")
        self._running[lesson_id] = (conductor, task)

    async def _conduct(self, conductor: Conductor, lease: Lease) -> None:
        try:
            await conductor.run()
        finally:
            await lease.release()

    async def stop(self) -> None:
        """Gives all lessons up; another node takes them at once."""
        await end_tasks(task for _, task in self._running.values())
        self._running.clear()
