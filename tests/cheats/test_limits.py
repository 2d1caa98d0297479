"""Ways around the limits: more hours than a day has, than a course has, more lessons than one at a time."""

from __future__ import annotations

import asyncio

import pytest

import classroom
from classroom.actions import settlement
from classroom.actions.settlement import write_checkpoint
from classroom.store.unit_of_work import UnitOfWork


async def take_part(world, person: str, minutes: float) -> str:
    """One started lesson in which this person is confirmed every six minutes, then ended."""
    await world.sit(person)
    await world.flow(1, person)
    await world.check(person)
    for _ in range(round(minutes / 6)):
        await world.flow(360, person)
        await world.check(person)
    await world.end()
    return world.lesson


async def stored_s(world, lesson: str, person: str) -> float:
    board = await classroom.score_board(world.record, lesson)
    return next(row.credited_s for row in board if row.person_id == person)


async def another_class(world, course: str) -> str:
    class_id = await classroom.create_class(world.record, course, world.organisation, "又一期", "shanxi-2021", "2026")
    await classroom.enrol(world.record, class_id, world.learners)
    return class_id


async def test_a_later_lesson_brings_back_nothing_that_a_limit_took_R071(small_world) -> None:
    """Day 1: six hours of one course, then an hour of a second: nothing of it counts. Day 2: one more hour of the
    second course. Settling it looks again at the first hour of that course, and must still see day 1 whole."""
    world = small_world
    me = world.learners[0]
    first_course = await another_class(world, world.course)
    second = await classroom.create_course(world.record, "又一门课", 8)
    await classroom.add_questions(world.record, second, classroom.seed_questions())
    second_course = await another_class(world, second)
    world.clock.now_ms -= 11 * 3_600_000  # one in the morning in Shanghai

    world.training_class = first_course
    await world.start(hours=6)
    full_day = await take_part(world, me, 6 * 45)
    world.training_class = second_course
    await world.start(hours=1)
    too_much = await take_part(world, me, 48)
    assert await stored_s(world, full_day, me) >= 6 * 2700 - 1
    left_s = 6 * 2700 - await stored_s(world, full_day, me)
    assert await stored_s(world, too_much, me) <= left_s

    world.clock.pass_s(24 * 3600)
    await world.start(hours=1)
    next_day = await take_part(world, me, 48)
    assert await stored_s(world, next_day, me) > 2700
    day_s = await stored_s(world, full_day, me) + await stored_s(world, too_much, me)
    assert day_s <= 6 * 2700
    for lesson in (full_day, too_much, next_day):
        report = await classroom.verify_lesson(world.record, lesson)
        assert report.result == "identical", report.lines


async def test_two_lessons_at_once_never_exceed_the_clock_R060_R069(small_world) -> None:
    """Ten players in parallel: the same person confirmed in two lessons at the same time is credited once."""
    world = small_world
    me = world.learners[0]
    first = await world.start()
    second = await world.start()
    began_ms = world.clock.now_ms
    for lesson in (first, second):
        world.lesson = lesson
        await world.sit(me)
    for _ in range(9):
        from_ms = world.clock.now_ms
        to_ms = world.clock.pass_s(300)
        for lesson in (first, second):
            world.lesson = lesson
            await classroom.record_media_flow(world.record, lesson, [(me, from_ms, to_ms)])
            await world.check(me)
    for lesson in (first, second):
        world.lesson = lesson
        await world.end()
    lived_s = (world.clock.now_ms - began_ms) / 1000
    assert await stored_s(world, first, me) + await stored_s(world, second, me) <= lived_s


async def test_lessons_that_end_in_the_same_moment_share_the_limits_R060_R071(
    world, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a database with several writers neither may settle as if the other were not there."""

    async def slowly(work: UnitOfWork, lesson_id: str, class_id: str) -> None:
        await asyncio.sleep(0.3)  # both have computed before either commits, unless one waits for the other
        await write_checkpoint(work, lesson_id, class_id)

    monkeypatch.setattr(settlement, "write_checkpoint", slowly)
    me = world.learners[0]
    lessons = []
    for _ in range(2):
        world.training_class = await another_class(world, world.course)
        lessons.append(await world.start(hours=6))
    began_ms = world.clock.now_ms
    for lesson in lessons:
        world.lesson = lesson
        await world.sit(me)
    for _ in range(9):
        from_ms = world.clock.now_ms
        to_ms = world.clock.pass_s(300)
        for lesson in lessons:
            world.lesson = lesson
            await classroom.record_media_flow(world.record, lesson, [(me, from_ms, to_ms)])
            await world.check(me)
    await asyncio.gather(*(classroom.end_lesson(world.record, lesson, None) for lesson in lessons))
    sum_s = sum([await stored_s(world, lesson, me) for lesson in lessons])
    assert 0 < sum_s <= (world.clock.now_ms - began_ms) / 1000
    for lesson in lessons:
        report = await classroom.verify_lesson(world.record, lesson)
        assert report.result == "identical", report.lines
