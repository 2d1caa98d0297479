"""A face under another's name (R-064): what exchanging the template gets a cheat, what the record keeps of it."""

from __future__ import annotations

import pytest

import classroom
from classroom import BadInput, WrongState


async def test_a_face_cannot_be_exchanged_while_a_class_that_has_seen_it_runs_R064(world) -> None:
    """The owner of the account passes the entry check, then enrols the substitute's face and leaves."""
    me, late = world.learners
    await world.start()
    for person in (me, late):
        await world.sit(person)
    await world.flow(10)
    await world.check(me)
    with pytest.raises(WrongState):
        await classroom.record_template(world.record, me, "template-of-a-substitute", "Dlib", 3)
    assert await classroom.forget_template(world.record, me) == "template-0"
    with pytest.raises(WrongState):
        await classroom.record_template(world.record, me, "template-of-a-substitute", "Dlib", 3)
    assert await classroom.template_of(world.record, me) is None
    # Someone not judged yet may still put a bad picture right; and after the class so may everyone.
    assert await classroom.record_template(world.record, late, "better", "Dlib", 3) == "template-1"
    await world.end()
    assert await classroom.record_template(world.record, me, "another", "Dlib", 3) is None


async def test_the_ledger_says_which_template_a_face_was_compared_with_R056_R064(small_world) -> None:
    """Exchanged between two lessons, it is another key in the evidence: visible to whoever asks later."""
    world = small_world
    me = world.learners[0]
    keys = []
    for template in ("mine", "a substitute's"):
        await classroom.record_template(world.record, me, template, "Dlib", 3)
        await world.start()
        await world.sit(me)
        await world.check(me)
        entries = await classroom.evidence_of(world.record, world.lesson, me)
        keys += [entry["body"]["template_key"] for entry in entries if entry["kind"] == "FACE"]
        await world.end()
    assert keys == ["mine", "a substitute's"]


async def test_a_learner_is_not_made_the_instructor_of_the_own_class_R065(small_world) -> None:
    """Whoever starts, ends and pushes quizzes decides over credit: not somebody who earns it there."""
    world = small_world
    world.instructor, teacher = world.learners[0], world.instructor
    with pytest.raises(BadInput):
        await world.new_lesson()
    world.instructor = teacher
    await classroom.enrol(world.record, world.training_class, [teacher])
    with pytest.raises(BadInput):
        await world.new_lesson()


async def test_a_verdict_that_was_given_up_still_counts_when_it_comes_R064(world) -> None:
    """The judge was busy for a minute and the conductor gave up waiting; then it says that it was somebody else."""
    me = world.learners[0]
    await world.start()
    await world.sit(me)
    await world.flow(10)
    await world.check(me)
    await world.flow(60)
    now_ms = world.clock.now_ms
    check = await classroom.open_face_check(world.record, world.lesson, me, None, None, now_ms)
    await classroom.frame_taken(world.record, check, "ab" * 32, 7, 9, now_ms)
    await world.flow(60)
    assert await classroom.record_face_check(world.record, check, {"outcome": "NOT_JUDGED"})
    assert not await classroom.record_face_check(world.record, check, {"outcome": "NOT_JUDGED"})
    await world.ping(me)
    assert (await classroom.credit_of(world.record, world.lesson, me)).credited_ms == 120_000
    assert await classroom.record_face_check(world.record, check, {"outcome": "MISMATCH"})
    assert not await classroom.record_face_check(world.record, check, {"outcome": "MATCH"})
    report = await classroom.credit_of(world.record, world.lesson, me)
    assert (report.credited_ms, report.alarm) == (0, "face_mismatch")
    await world.end()
    assert (await classroom.verify_lesson(world.record, world.lesson)).result == "identical"
