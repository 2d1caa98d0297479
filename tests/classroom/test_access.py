"""Who may see what: forbidden and absent give the same answer."""

from __future__ import annotations

import pytest

import classroom


async def actor(world, login: str) -> classroom.Actor:
    return (await classroom.sign_in(world.record, login, "Anke-2026")).actor


async def test_roles_decide_what_is_seen_R012(world) -> None:
    await world.new_lesson()
    record = world.record
    elsewhere = await classroom.create_organisation(record, "别的公司", "enterprise")
    platform = await classroom.create_organisation(record, "平台", "platform")
    for login, roles, organisation in (
        ("organiser", {"organiser"}, world.organisation),
        ("stranger", {"learner", "instructor", "proctor", "organiser"}, elsewhere),
        ("watcher", {"proctor"}, platform),
    ):
        await classroom.create_person(record, login, "Anke-2026", login, roles, organisation)
    expected = {
        "learner0": {"learner"},
        "instructor": {"instructor"},
        "proctor": {"proctor"},
        "organiser": {"organiser"},
        "watcher": {"proctor"},
    }
    for login, roles in expected.items():
        who = await actor(world, login)
        view = await classroom.access_lesson(record, who, world.lesson)
        assert view.roles_here == roles
        assert (view.my_credit_s is not None) is (roles == {"learner"})
        assert [v.lesson_id for v in await classroom.lessons_of(record, who)] == [world.lesson]
        assert [v.class_id for v in await classroom.classes_of(record, who)] == [world.training_class]
        assert classroom.may_see_board(view) is (roles != {"learner"})
    stranger = await actor(world, "stranger")
    with pytest.raises(classroom.NotFound) as forbidden:
        await classroom.access_lesson(record, stranger, world.lesson)
    with pytest.raises(classroom.NotFound) as absent:
        await classroom.access_lesson(record, stranger, "l_none")
    assert str(forbidden.value) == str(absent.value)
    assert await classroom.lessons_of(record, stranger) == []
    assert await classroom.classes_of(record, stranger) == []


async def test_class_detail_is_for_its_staff(world) -> None:
    await world.start(factor=10)
    await world.sit(world.learners[0])
    await world.flow(3)
    await world.check(world.learners[0])
    await world.flow(20)
    await world.ping(world.learners[0])
    await world.end()
    detail = await classroom.class_detail(world.record, await actor(world, "instructor"), world.training_class)
    assert (detail.view.learners, detail.view.lessons) == (2, 1)
    by_id = {row.person_id: row for row in detail.learners}
    assert by_id[world.learners[0]].credited_s == 20 and by_id[world.learners[0]].face_enrolled
    assert by_id[world.learners[1]].credited_s == 0
    for login in ("learner0", "learner1"):
        with pytest.raises(classroom.NotFound):
            await classroom.class_detail(world.record, await actor(world, login), world.training_class)


async def test_enrolment_is_idempotent_and_shows_in_learners_of(world) -> None:
    assert await classroom.enrol(world.record, world.training_class, world.learners) == 0
    await world.new_lesson()
    await classroom.withdraw_consent(world.record, world.learners[1], "face")
    learners = await classroom.learners_of(world.record, world.lesson)
    assert [(x.person_id, x.template_key, x.consented) for x in learners] == [
        (world.learners[0], "template-0", True),
        (world.learners[1], "template-1", False),
    ]


async def test_a_day_of_eight_hours_cannot_be_planned_R048(world) -> None:
    with pytest.raises(classroom.BadInput):
        await world.new_lesson(hours=8)
    await world.new_lesson(hours=6)


async def test_a_class_needs_rules_that_exist_R002(world) -> None:
    with pytest.raises(classroom.BadInput):
        await classroom.create_class(world.record, world.course, world.organisation, "x", "no-such-rules")


async def test_courses_and_questions_are_checked(world) -> None:
    with pytest.raises(classroom.BadInput):
        await classroom.create_course(world.record, "x", 8, industry="no_such_industry")
    for options, correct in ((["a"], [0]), (["a", "b"], []), (["a", "b"], [2])):
        with pytest.raises(classroom.BadInput):
            await classroom.add_questions(
                world.record, world.course, [classroom.QuestionDraft("q", options, correct, "why")]
            )
    (course,) = await classroom.courses(world.record)
    assert (course.title, course.questions) == ("危险化学品安全", len(classroom.seed_questions()))


def test_seed_bank_is_whole() -> None:
    """R-042: at least thirty questions over the eight topics, each answerable and explained."""
    bank = classroom.seed_questions()
    assert len(bank) >= 30 and len({q.text for q in bank}) == len(bank)
    assert {q.topic for q in bank} >= {
        "gas_detection", "work_at_height", "confined_space", "hot_work", "hazardous_chemicals", "fire", "ppe", "law",
    }  # fmt: skip
    for question in bank:
        assert len(set(question.options)) == len(question.options) >= 4 and question.explanation
        assert 0 < len(question.correct) < len(question.options)
        assert ("（多选）" in question.text) is (len(question.correct) > 1)
