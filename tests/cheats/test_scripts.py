"""Scripts that click for their owner: what they earn through the record's own actions."""

from __future__ import annotations

import pytest

import classroom
from classroom import NotFound, StaleFence, TooLate, WrongState


async def credited_s(world, person: str) -> float:
    report = await classroom.credit_of(world.record, world.lesson, person)
    return report.credited_ms / 1000


async def test_a_script_that_answers_every_ping_without_media_earns_nothing_R065(small_world) -> None:
    world = small_world
    script = world.learners[0]
    await world.start()
    await world.sit(script)
    for _ in range(15):
        world.clock.pass_s(180)
        await world.ping(script)
    await world.end()
    board = {row.person_id: row for row in await classroom.score_board(world.record, world.lesson)}
    assert board[script].pings["answered"] == 15
    assert board[script].credited_s == 0 and board[script].hours == 0


async def test_a_dead_camera_after_the_entry_check_earns_one_sample_at_most_R063_R065(small_world) -> None:
    world = small_world
    script = world.learners[0]
    await world.start()
    await world.sit(script)
    await world.flow(5, script)
    await world.check(script)
    for _ in range(60):
        world.clock.pass_s(10)
        await world.ping(script)
    await world.end()
    profile = (await classroom.lesson_view(world.record, world.lesson)).profile
    assert await credited_s(world, script) <= profile.media_interval_s


async def test_a_ping_is_answered_once_by_its_own_person_inside_its_window_R065(world) -> None:
    me, other = world.learners
    await world.start()
    for person in (me, other):
        await world.sit(person)
    early = world.clock.now_ms - 1
    ping = await world.ping(me, answer=False)
    with pytest.raises(NotFound):
        await classroom.answer_ping(world.record, ping, other, world.clock.now_ms)
    assert not (await classroom.answer_ping(world.record, ping, me, early)).accepted
    late = world.clock.pass_s(91)
    assert not (await classroom.answer_ping(world.record, ping, me, late)).accepted
    second = await world.ping(me)
    first_ms = world.clock.now_ms
    world.clock.pass_s(20)
    again = await classroom.answer_ping(world.record, second, me, world.clock.now_ms)
    assert (again.accepted, again.at_ms) == (True, first_ms)
    entries = await classroom.evidence_of(world.record, world.lesson, me)
    answers = [entry for entry in entries if entry["kind"] == "PING" and entry["body"]["outcome"] == "answered"]
    assert [entry["body"]["ref"] for entry in answers] == [second]


async def test_a_seat_in_one_lesson_answers_nothing_of_another_R060(small_world) -> None:
    """Two lessons at once, both fed by one script: its one seat speaks for one of them only."""
    world = small_world
    me = world.learners[0]
    other = await world.start()
    await world.sit(me)
    ping = await world.ping(me, answer=False)
    quiz = await classroom.open_quiz(world.record, other, 0, world.clock.now_ms + 60_000, None)
    question = quiz.questions[0]["question_id"]
    here = await world.start()
    now_ms = world.clock.now_ms
    with pytest.raises(NotFound):
        await classroom.answer_ping(world.record, ping, me, now_ms, lesson_id=here)
    with pytest.raises(NotFound):
        await classroom.answer_quiz(world.record, quiz.quiz_id, me, question, [0], now_ms, lesson_id=here)
    assert (await classroom.answer_ping(world.record, ping, me, now_ms, lesson_id=other)).accepted


async def test_quiz_answers_after_the_close_change_nothing_R081(world) -> None:
    me = world.learners[0]
    await world.start()
    await world.sit(me)
    quiz = await classroom.open_quiz(world.record, world.lesson, 0, world.clock.now_ms + 60_000, None)
    question = quiz.questions[0]["question_id"]
    await classroom.answer_quiz(world.record, quiz.quiz_id, me, question, [0], world.clock.now_ms)
    await classroom.close_quiz(world.record, quiz.quiz_id, world.clock.pass_s(10))
    before = await classroom.evidence_of(world.record, world.lesson, me)
    for at_ms in (world.clock.now_ms, world.clock.now_ms - 9000, world.clock.now_ms + 90_000):
        with pytest.raises(TooLate):
            await classroom.answer_quiz(world.record, quiz.quiz_id, me, question, [1], at_ms)
    assert await classroom.evidence_of(world.record, world.lesson, me) == before


async def test_a_face_shown_after_the_end_proves_nothing_about_the_lesson_R063(world) -> None:
    """The check was asked for in the last second and its frame taken when the class was over."""
    me = world.learners[0]
    await world.start()
    await world.sit(me)
    await world.flow(10, me)
    await world.check(me)
    await world.flow(100, me)
    check = await classroom.open_face_check(world.record, world.lesson, me, None, None, world.clock.now_ms)
    await world.end()
    before = await credited_s(world, me)
    world.clock.pass_s(60)
    await classroom.frame_taken(world.record, check, "cd" * 32, 7, 9, world.clock.now_ms)
    with pytest.raises(WrongState):
        await classroom.record_face_check(world.record, check, {"outcome": "MATCH"})
    assert await credited_s(world, me) == before
    assert (await classroom.verify_lesson(world.record, world.lesson)).result == "identical"


async def test_a_lesson_ended_twice_counts_once_R069(world) -> None:
    await world.start()
    for person in world.learners:
        await world.sit(person)
    await world.honest_hour()
    first = await world.end()
    settled = await classroom.score_board(world.record, world.lesson)
    world.clock.pass_s(600)
    again = await world.end()
    by_platform = await classroom.end_lesson(world.record, world.lesson, None)
    assert first.ended_at_ms == again.ended_at_ms == by_platform.ended_at_ms
    assert await classroom.score_board(world.record, world.lesson) == settled
    for person in world.learners:
        kinds = [entry["kind"] for entry in await classroom.evidence_of(world.record, world.lesson, person)]
        assert kinds.count("CREDIT_SETTLED") == 1


async def test_a_conductor_that_was_replaced_writes_nothing_R063(world) -> None:
    """Frozen with its lease, it comes back after another has taken over: every write of it is refused."""
    me = world.learners[0]
    await world.start()
    await world.sit(me)
    record, lesson, now_ms = world.record, world.lesson, world.clock.now_ms
    quiz = await classroom.open_quiz(record, lesson, 0, now_ms + 60_000, None, 7)
    ping = await classroom.open_ping(record, lesson, me, now_ms, now_ms + 1000, 0, 8)
    world.clock.pass_s(5)
    before = await classroom.evidence_of(record, lesson, me)
    late = 7
    for write in (
        classroom.record_media_flow(record, lesson, [(me, now_ms, now_ms + 5000)], late),
        classroom.record_fault(record, lesson, "conductor_absent", now_ms, now_ms + 5000, late),
        classroom.open_ping(record, lesson, me, now_ms, now_ms + 9000, 1, late),
        classroom.close_pings(record, lesson, now_ms + 5000, late),
        classroom.open_quiz(record, lesson, 1, now_ms + 60_000, None, late),
        classroom.close_quiz(record, quiz.quiz_id, now_ms + 5000, late),
        classroom.open_face_check(record, lesson, me, None, 1, now_ms, late),
        classroom.end_lesson(record, lesson, None, late),
    ):
        with pytest.raises(StaleFence):
            await write
    assert await classroom.evidence_of(record, lesson, me) == before
    assert (await classroom.lesson_view(record, lesson)).state == "live"
    assert [missed.ping_id for missed in await classroom.close_pings(record, lesson, now_ms + 5000, 8)] == [ping]
