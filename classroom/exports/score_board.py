"""The score board as a spreadsheet."""

from __future__ import annotations

from classroom.store.record import Record


async def score_board_xlsx(record: Record, lesson_id: str) -> bytes:
    """An .xlsx file."""
    raise NotImplementedError
