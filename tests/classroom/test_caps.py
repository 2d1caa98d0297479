"""Six hours a day, each course once: case by case."""

from __future__ import annotations

from classroom.domain.caps import LessonCredit, capped, day_end_ms
from classroom.domain.credit import Stretch

HOUR_MS = 2_700_000
NOON_MS = 1_767_240_000_000  # 2026-01-01 12:00 Asia/Shanghai
MIDNIGHT_MS = NOON_MS + 12 * 3_600_000


def lesson(name: str, start_ms: int, hours: float, course: str = "x", course_hours: float = 100) -> LessonCredit:
    stretch = Stretch(start_ms, start_ms + round(hours * HOUR_MS), True)
    return LessonCredit(name, course, course_hours, HOUR_MS, 6, (stretch,))


def hours(parts: tuple[Stretch, ...]) -> float:
    return sum(part.to_ms - part.from_ms for part in parts if part.credited) / HOUR_MS


def test_the_seventh_hour_of_a_day_is_attended_but_not_credited_R071() -> None:
    morning, evening = lesson("a", NOON_MS - 4 * HOUR_MS, 4), lesson("b", NOON_MS, 3, course="y")
    outcome = capped([evening, morning])
    assert (hours(outcome["a"]), hours(outcome["b"])) == (4, 2)
    assert outcome["b"][-1] == Stretch(NOON_MS + 2 * HOUR_MS, NOON_MS + 3 * HOUR_MS, False, "daily_cap")


def test_a_lesson_over_midnight_counts_to_both_days_R071() -> None:
    """Five hours are used up on the first day; of four hours around midnight, one and two count."""
    assert day_end_ms(NOON_MS) == MIDNIGHT_MS
    before = lesson("a", MIDNIGHT_MS - 9 * HOUR_MS, 5)
    late = lesson("b", MIDNIGHT_MS - 2 * HOUR_MS, 4)
    outcome = capped([before, late])
    assert hours(outcome["b"]) == 1 + 2
    assert [part.credited for part in outcome["b"]] == [True, False, True]


def test_a_course_counts_once_R069() -> None:
    first, again = lesson("a", NOON_MS, 2, course_hours=2), lesson("b", NOON_MS + 86_400_000, 2, course_hours=2)
    outcome = capped([first, again])
    assert (hours(outcome["a"]), hours(outcome["b"])) == (2, 0)
    assert outcome["b"][0].reason == "course_complete"


def test_two_lessons_at_once_are_one_life_R060() -> None:
    outcome = capped([lesson("a", NOON_MS, 2), lesson("b", NOON_MS + HOUR_MS, 2, course="y")])
    assert (hours(outcome["a"]), hours(outcome["b"])) == (2, 1)
    assert outcome["b"][0].reason == "other_lesson"


def test_hours_of_a_demonstration_clock_are_hours() -> None:
    """Six hours on a clock ×10 fill the day like six real ones."""
    quick = LessonCredit("a", "x", 100, HOUR_MS // 10, 6, (Stretch(NOON_MS, NOON_MS + 7 * HOUR_MS // 10, True),))
    outcome = capped([quick, lesson("b", NOON_MS + HOUR_MS, 1, course="y")])
    assert sum(p.to_ms - p.from_ms for p in outcome["a"] if p.credited) == 6 * HOUR_MS // 10
    assert hours(outcome["b"]) == 0
