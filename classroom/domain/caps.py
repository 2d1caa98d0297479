"""Limits over all lessons of one person: six hours a day (R-071), each course once (R-069), no second twice (R-060)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from classroom.domain.credit import Stretch, joined

DAILY_CAP = "daily_cap"
COURSE_COMPLETE = "course_complete"
OTHER_LESSON = "other_lesson"

_SHANGHAI_MS = 8 * 3_600_000  # UTC+8 all year
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class LessonCredit:
    """Credit of one lesson before the limits. A person's lessons may run under profiles of different clocks."""

    lesson_id: str
    course: str  # course and training term: what counts once
    course_hours: float
    hour_ms: int  # one credit hour on this lesson's clock
    daily_cap_hours: int
    intervals: tuple[Stretch, ...]


def shanghai_day(at_ms: int) -> int:
    """The calendar day in Asia/Shanghai that a moment belongs to, as days since the epoch."""
    return (at_ms + _SHANGHAI_MS) // _DAY_MS


def day_end_ms(at_ms: int) -> int:
    """The midnight in Asia/Shanghai after a moment."""
    return (shanghai_day(at_ms) + 1) * _DAY_MS - _SHANGHAI_MS


def capped(lessons: Iterable[LessonCredit]) -> dict[str, tuple[Stretch, ...]]:
    """Each lesson's intervals after the limits, in the order in which the seconds happened.

    What is cut off stays as attended, not credited, with its reason. A stretch over midnight counts to both days.
    """
    known = list(lessons)
    parts: dict[str, list[Stretch]] = {lesson.lesson_id: [] for lesson in known}
    day_used: dict[int, Fraction] = {}
    course_used: dict[str, Fraction] = {}
    lived_to_ms: int | None = None
    timeline = sorted(
        ((part.from_ms, lesson.lesson_id, part, lesson) for lesson in known for part in lesson.intervals),
        key=lambda item: (item[0], item[1]),
    )
    for _, lesson_id, part, lesson in timeline:
        out = parts[lesson_id]
        if not part.credited:
            out.append(part)
            continue
        cursor_ms = part.from_ms
        if lived_to_ms is not None and cursor_ms < lived_to_ms:
            end_ms = min(part.to_ms, lived_to_ms)
            out.append(Stretch(cursor_ms, end_ms, False, OTHER_LESSON))
            cursor_ms = end_ms
        while cursor_ms < part.to_ms:
            end_ms, day = min(part.to_ms, day_end_ms(cursor_ms)), shanghai_day(cursor_ms)
            left_day = Fraction(lesson.daily_cap_hours) - day_used.get(day, Fraction(0))
            left_course = Fraction(lesson.course_hours) - course_used.get(lesson.course, Fraction(0))
            allowed_ms = max(0, int(min(left_day, left_course) * lesson.hour_ms))
            taken_ms = min(end_ms - cursor_ms, allowed_ms)
            if taken_ms:
                out.append(Stretch(cursor_ms, cursor_ms + taken_ms, True))
                hours = Fraction(taken_ms, lesson.hour_ms)
                day_used[day] = day_used.get(day, Fraction(0)) + hours
                course_used[lesson.course] = course_used.get(lesson.course, Fraction(0)) + hours
                lived_to_ms = cursor_ms + taken_ms
            if cursor_ms + taken_ms < end_ms:
                why = COURSE_COMPLETE if left_course <= left_day else DAILY_CAP
                out.append(Stretch(cursor_ms + taken_ms, end_ms, False, why))
            cursor_ms = end_ms
    return {lesson_id: tuple(joined(sorted(found, key=lambda p: p.from_ms))) for lesson_id, found in parts.items()}
