"""Settling: limits over lessons, late verdicts, and what a normal demonstration comes to."""

from __future__ import annotations

import dataclasses
import io

import openpyxl

import classroom
from classroom.seed.profiles import PROFILES, SHANXI


async def settled(world, person: str, lesson: str | None = None) -> float:
    board = await classroom.score_board(world.record, lesson or world.lesson)
    return next(row.credited_s for row in board if row.person_id == person)


async def test_honest_hour_on_both_databases(world) -> None:
    """R-021, R-070: credit follows from the ledger, and the audit recomputes the same."""
    await world.start()
    for person in world.learners:
        await world.sit(person)
    await world.honest_hour()
    await world.end()
    for row in await classroom.score_board(world.record, world.lesson):
        # From the first MATCH, 5 s in, to the last positive evidence, 5 s before the end at 2705 s.
        assert (row.needed_s, row.credited_s) == (2700, 2695)
        assert row.hours == 0  # 2695 < 2700: 约45 is never rounded up
    report = await classroom.verify_lesson(world.record, world.lesson)
    assert report.result == "identical", report.lines


async def test_a_demonstration_as_its_conductor_runs_it(small_world) -> None:
    """Pings and checks where the plan puts them, ×11.25: honest learners are within one max_gap of full time, the
    impostor and the absentee have nothing after their last positive evidence."""
    world = small_world
    absentee = await classroom.create_person(
        world.record, "absentee", "Anke-2026", "缺席者", {"learner"}, world.organisation
    )
    await classroom.give_consent(world.record, absentee, "face", "1")
    await classroom.record_template(world.record, absentee, "template-absentee", "Dlib", 3)
    honest, impostor = world.learners
    world.learners.append(absentee)
    await classroom.enrol(world.record, world.training_class, world.learners)
    await world.start(hours=1, factor=11.25)
    record, lesson = world.record, world.lesson
    plan = await classroom.plan_of(record, lesson)
    start = world.clock.now_ms
    for person in world.learners:
        await world.sit(person)
    left_ms = start + 80_000

    def due(kind: str) -> list[tuple[int, str, int]]:
        return [(m.at_ms, p, m.index) for p in world.learners for m in plan.moments(p, kind)]

    todo = [(at, "ping", p, k) for at, p, k in due(classroom.PING)]
    todo += [(at, "face", p, k) for at, p, k in due(classroom.FACE) if k > 0]
    todo += [(start + 1500, "face", p, 0) for p in world.learners]
    todo += [
        (at, kind, p, -1) for p in world.learners for at, kind in ((start + 236_000, "face"), (start + 238_000, "ping"))
    ]
    todo += [(at, "media", "", 0) for at in range(start + 2667, start + 240_001, 2667)]
    flowed = start + 300
    for at_ms, what, person, index in sorted(todo):
        world.clock.now_ms = at_ms
        await classroom.close_pings(record, lesson, at_ms)
        away = person == absentee and at_ms > left_ms
        if what == "media":
            people = [p for p in world.learners if p != absentee or at_ms <= left_ms]
            await classroom.record_media_flow(record, lesson, [(p, flowed, at_ms) for p in people])
            flowed = at_ms
        elif what == "ping":
            ping = await classroom.open_ping(record, lesson, person, at_ms, at_ms + 8000, index)
            if not away:
                await classroom.answer_ping(record, ping, person, at_ms + 1500)
        else:
            outcome = "MISMATCH" if person == impostor else "NO_FRAME" if away else "MATCH"
            check = await classroom.open_face_check(record, lesson, person, None, index, at_ms)
            await classroom.frame_taken(record, check, "ab" * 32, 1, 1, at_ms)
            await classroom.record_face_check(record, check, {"outcome": outcome})
    world.clock.now_ms = start + 242_000
    await classroom.end_lesson(record, lesson, None)
    board = {row.person_id: row for row in await classroom.score_board(record, lesson)}
    gap_s = plan.profile.max_gap_s
    assert board[honest].credited_s >= 240 - gap_s
    assert board[honest].credited_s >= 236, "this very demonstration loses only its first and last seconds"
    assert board[impostor].credited_s == 0 and "face_mismatch" in board[impostor].reasons
    assert 80 - gap_s <= board[absentee].credited_s <= 80
    assert {"media_stopped", "ping_missed"} & set(board[absentee].reasons)
    assert (await classroom.verify_lesson(record, lesson)).result == "identical"


async def test_six_hours_a_day_over_two_lessons_R071(world, monkeypatch) -> None:
    """Two lessons of four hours on one day: the last two hours are attended, not credited, and the audit agrees."""
    # Evidence once an hour is enough here: the day's limit is what is looked at.
    rare = dataclasses.replace(SHANXI, profile_id="rare", max_gap_s=2700, max_face_age_s=2700, media_interval_s=2700)
    monkeypatch.setitem(PROFILES, "rare", rare)
    world.training_class = await classroom.create_class(
        world.record, world.course, world.organisation, "六学时", "rare", "2026"
    )
    await classroom.enrol(world.record, world.training_class, world.learners)
    me = world.learners[0]
    lessons = []
    for _ in range(2):
        await world.start(hours=4, factor=10)
        lessons.append(world.lesson)
        await world.sit(me)
        await world.flow(0.5, me)
        await world.check(me)
        for _ in range(4):
            await world.flow(270, me)
            await world.check(me)
        await world.end()
        await classroom.disconnected(world.record, world.lesson, me, "seat-1", world.clock.now_ms)
    assert await settled(world, me, lessons[0]) == 1080
    assert await settled(world, me, lessons[1]) == 540
    board = await classroom.score_board(world.record, lessons[1])
    assert next(row for row in board if row.person_id == me).reasons[0] == "daily_cap"
    for lesson in lessons:
        report = await classroom.verify_lesson(world.record, lesson)
        assert report.result == "identical", report.lines


async def test_a_verdict_that_comes_after_the_end_is_settled_anew(world) -> None:
    """A worker was busy: the frame was taken in time, so the evidence counts; later ones of the day follow."""
    me = world.learners[0]
    await world.start(factor=10)
    await world.sit(me)
    await world.flow(3, me)
    await world.check(me)
    await world.flow(20, me)
    check = await classroom.open_face_check(world.record, world.lesson, me, None, None, world.clock.now_ms)
    await classroom.frame_taken(world.record, check, "ab" * 32, 1, 1, world.clock.now_ms)
    world.clock.pass_s(1)
    await world.end()
    assert await settled(world, me) == 0
    world.clock.pass_s(5)
    assert await classroom.record_face_check(world.record, check, {"outcome": "MATCH"})
    assert await settled(world, me) == 20
    report = await classroom.verify_lesson(world.record, world.lesson)
    assert report.result == "identical" and "checkpoint 1" in " ".join(report.lines)
    late = await classroom.evidence_of(world.record, world.lesson, me)
    assert [entry["kind"] for entry in late][-3:] == ["CREDIT_SETTLED", "FACE", "CREDIT_SETTLED"]


async def test_pings_open_at_the_end_are_nobodys_fault(world) -> None:
    me = world.learners[0]
    await world.start()
    await world.sit(me)
    ping = await world.ping(me, answer=False)
    world.clock.pass_s(10)
    await world.end()
    row = next(r for r in await classroom.score_board(world.record, world.lesson) if r.person_id == me)
    assert row.pings == {"sent": 1, "answered": 0, "missed": 0, "void": 1}
    assert not (await classroom.answer_ping(world.record, ping, me, world.clock.now_ms)).accepted


async def test_the_score_board_as_a_spreadsheet(small_world) -> None:
    world = small_world
    evil = await classroom.create_person(world.record, "evil", "Anke-2026", "=1+1", {"learner"}, world.organisation)
    await classroom.enrol(world.record, world.training_class, [evil])
    await world.start(factor=10)
    await world.end()
    book = openpyxl.load_workbook(io.BytesIO(await classroom.score_board_xlsx(world.record, world.lesson)))
    sheet = book.active
    names = {sheet.cell(row, 1).value for row in range(5, sheet.max_row + 1)}
    assert names == {"学员0", "学员1", "'=1+1"}
    assert "×10" in sheet["A3"].value and all(cell.data_type != "f" for row in sheet for cell in row)
