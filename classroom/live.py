"""Reading a live lesson: credit, snapshot, score board, plan."""

from __future__ import annotations

from typing import Any

from classroom.domain.credit import CreditReport
from classroom.domain.lesson_plan import LessonPlan
from classroom.store.record import Record
from classroom.views import LessonSnapshot, ScoreRow


async def credit_of(record: Record, lesson_id: str, person_id: str) -> CreditReport:
    """Credit recomputed from the ledger now."""
    raise NotImplementedError


async def lesson_snapshot(record: Record, lesson_id: str, viewer_person_id: str) -> LessonSnapshot:
    """Everything a joining page needs, as this viewer may see it. Raises NotFound."""
    raise NotImplementedError


async def score_board(record: Record, lesson_id: str) -> list[ScoreRow]:
    """One row per enrolled learner."""
    raise NotImplementedError


async def plan_of(record: Record, lesson_id: str) -> LessonPlan:
    """The plan with its secret: for the conductor only. Raises WrongState before the start."""
    raise NotImplementedError


async def lesson_view(record: Record, lesson_id: str) -> LessonView:
    """The lesson as the platform itself sees it (no actor): for conductors and jobs."""
    raise NotImplementedError


async def live_lessons(record: Record) -> list[str]:
    """Ids of lessons that are live: each needs a conductor."""
    raise NotImplementedError


async def evidence_of(record: Record, lesson_id: str, person_id: str) -> list[dict[str, Any]]:
    """The ledger entries behind a credit, oldest first (R-056)."""
    raise NotImplementedError
