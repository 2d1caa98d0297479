"""Live actions: pings, checks, quizzes, presence, faults; what each tells, and to whom."""

from __future__ import annotations

import hashlib
import json

import pytest

import classroom
from signaling.protocol import TELLS


async def heard(world) -> list[classroom.OutboxRow]:
    """What was told since the last time; every payload has exactly the shape of the live contract."""
    rows = await world.hear()
    for row in rows:
        TELLS[row.type].model_validate(row.data)
        assert row.to in ("all", "staff") or row.to.startswith("person:p_")
    return rows


def of(rows: list[classroom.OutboxRow], kind: str, to: str | None = None) -> list[classroom.OutboxRow]:
    return [row for row in rows if row.type == kind and to in (None, row.to)]


async def confirmed(world) -> str:
    """A lesson in which the first learner is present."""
    await world.start()
    me = world.learners[0]
    await world.sit(me)
    await world.flow(10, me)
    await world.check(me)
    await world.hear()
    return me


async def test_ping_answered_in_its_window_is_evidence_R065(world) -> None:
    me = await confirmed(world)
    now = world.clock.pass_s(100)
    await classroom.record_media_flow(world.record, world.lesson, [(me, now - 100_000, now)])
    ping = await classroom.open_ping(world.record, world.lesson, me, now, now + 90_000, 0)
    assert await classroom.open_ping(world.record, world.lesson, me, now, now + 90_000, 0) == ping
    rows = await heard(world)
    (opened,) = of(rows, "ping.opened")
    assert (opened.to, opened.data["ping"]["ping_id"]) == (f"person:{me}", ping)
    with pytest.raises(classroom.NotFound):
        await classroom.answer_ping(world.record, ping, world.learners[1], now)
    later = world.clock.pass_s(3)
    first = await classroom.answer_ping(world.record, ping, me, later)
    again = await classroom.answer_ping(world.record, ping, me, world.clock.pass_s(1))
    assert first == again == classroom.PingAnswer(ping, True, later)
    rows = await heard(world)
    assert [row.data for row in of(rows, "ping.closed")] == [{"ping_id": ping, "answered": True}]
    assert of(rows, "credit.changed", f"person:{me}")[-1].data["credit"]["credited_s"] == 103
    entries = await classroom.evidence_of(world.record, world.lesson, me)
    assert [entry["kind"] for entry in entries].count("PING") == 1


async def test_ping_answered_too_late_or_never_is_missed_R065(world) -> None:
    me = await confirmed(world)
    opened = world.clock.now_ms
    ping = await classroom.open_ping(world.record, world.lesson, me, opened, opened + 90_000, 0)
    await world.flow(90, me)
    assert await classroom.close_pings(world.record, world.lesson, world.clock.now_ms) == []
    await world.flow(1, me)
    late = await classroom.answer_ping(world.record, ping, me, world.clock.now_ms)
    assert late.accepted is False
    missed = await classroom.close_pings(world.record, world.lesson, world.clock.now_ms)
    assert missed == [classroom.MissedPing(ping, me, False)]
    assert await classroom.close_pings(world.record, world.lesson, world.clock.now_ms) == []
    rows = await heard(world)
    assert of(rows, "ping.closed")[0].data == {"ping_id": ping, "answered": False}
    staff = of(rows, "participant.changed", "staff")[-1].data["participant"]
    assert (staff["state"], staff["alarm"]) == ("away", "ping_missed")
    assert (await classroom.answer_ping(world.record, ping, me, world.clock.now_ms)).accepted is False


async def test_a_fault_makes_the_ping_void_before_and_after_it_is_known(world) -> None:
    me = await confirmed(world)
    start = world.clock.now_ms
    for index, at_ms in ((0, start), (1, start + 200_000)):
        await classroom.open_ping(world.record, world.lesson, me, at_ms, at_ms + 90_000, index)
    await world.flow(100, me)
    (missed,) = await classroom.close_pings(world.record, world.lesson, world.clock.now_ms)
    assert not missed.void and (await classroom.credit_of(world.record, world.lesson, me)).alarm == "ping_missed"
    await classroom.record_fault(world.record, world.lesson, "web", start + 80_000, start + 220_000)
    assert (await classroom.credit_of(world.record, world.lesson, me)).state == "present"
    rows = await heard(world)
    assert of(rows, "fault.recorded", "all")[0].data["what"] == "web"
    await world.flow(200, me)
    (void,) = await classroom.close_pings(world.record, world.lesson, world.clock.now_ms)
    assert void.void
    (row, _) = await classroom.score_board(world.record, world.lesson)
    assert row.pings == {"sent": 2, "answered": 0, "missed": 0, "void": 2}


async def test_a_check_is_judged_once_and_its_frame_is_traceable_R056_R057(world) -> None:
    me = await confirmed(world)
    asked = world.clock.pass_s(20)
    check = await classroom.open_face_check(world.record, world.lesson, me, world.proctor, 3, asked)
    assert await classroom.open_face_check(world.record, world.lesson, me, None, 3, asked) == check
    assert await heard(world) == []  # the learner hears of it only when the frame has been taken
    taken = world.clock.pass_s(0.4)
    for _ in range(2):
        await classroom.frame_taken(world.record, check, "cd" * 32, 4_000_000_001, 90_000, taken)
    rows = await heard(world)
    assert sorted(row.to for row in of(rows, "check.announced")) == [f"person:{me}", "staff"]
    world.clock.pass_s(1)
    verdict = {"outcome": "MISMATCH", "distance": 0.71, "faces": 1, "model": "Dlib", "detail": [1.5, float("nan")]}
    assert await classroom.record_face_check(world.record, check, verdict) is True
    assert await classroom.record_face_check(world.record, check, {"outcome": "MATCH"}) is False
    rows = await heard(world)
    staff, mine = of(rows, "check.result", "staff")[0].data, of(rows, "check.result", f"person:{me}")[0].data
    assert (staff["outcome"], staff["distance"], staff["at_ms"]) == ("MISMATCH", 0.71, taken)
    assert (mine["outcome"], mine["distance"], mine["note"]) == ("MISMATCH", None, "wait_for_proctor")
    entry = (await classroom.evidence_of(world.record, world.lesson, me))[-1]
    assert entry["kind"] == "FACE" and entry["body"]["at_ms"] == taken
    assert entry["body"]["frame_sha256"] == "cd" * 32 and entry["body"]["ssrc"] == 4_000_000_001
    assert entry["body"]["verdict"] == {**verdict, "detail": [1.5, None]}
    report = await classroom.credit_of(world.record, world.lesson, me)
    assert (report.state, report.alarm) == ("away", "face_mismatch")
    (seen,) = [c for c in await classroom.checks_of(world.record, world.lesson, me) if c.check_id == check]
    assert seen == await classroom.find_check(world.record, check)
    assert (seen.plan_index, seen.outcome, seen.taken_at_ms) == (3, "MISMATCH", taken)


async def test_no_consent_no_frame_P030(world) -> None:
    me = await confirmed(world)
    await classroom.withdraw_consent(world.record, me, "face")
    with pytest.raises(classroom.ConsentRequired):
        await classroom.open_face_check(world.record, world.lesson, me, None, None, world.clock.now_ms)
    await classroom.give_consent(world.record, me, "face", "1")
    await classroom.forget_template(world.record, me)
    with pytest.raises(classroom.FaceRequired):
        await classroom.open_face_check(world.record, world.lesson, me, None, None, world.clock.now_ms)


async def test_an_unknown_outcome_is_refused(world) -> None:
    me = await confirmed(world)
    check = await classroom.open_face_check(world.record, world.lesson, me, None, None, world.clock.now_ms)
    with pytest.raises(classroom.BadInput):
        await classroom.record_face_check(world.record, check, {"outcome": "PROBABLY"})
    with pytest.raises(classroom.NotFound):
        await classroom.record_face_check(world.record, "f_none", {"outcome": "MATCH"})
    assert await classroom.record_face_check(world.record, check, {"outcome": "NO_FRAME"})


async def test_a_quiz_from_push_to_result_R016_R017_R081(world) -> None:
    me = await confirmed(world)
    other = world.learners[1]
    await world.sit(other)
    await world.hear()
    record, now = world.record, world.clock.now_ms
    quiz = await classroom.open_quiz(record, world.lesson, 0, now + 300_000, world.instructor)
    assert (await classroom.open_quiz(record, world.lesson, 0, now + 300_000, None)).quiz_id == quiz.quiz_id
    assert len({q["question_id"] for q in quiz.questions}) == 5
    rows = await heard(world)
    answers = {q.text: sorted(q.correct) for q in classroom.seed_questions()}
    # nothing that reaches a learner before the close tells a right answer or an explanation.
    to_learners = [row for row in rows if row.to != "staff"]
    assert len(of(rows, "quiz.opened", "all")) == 1
    for word in ("correct", "explanation", "right"):
        assert word not in json.dumps([row.data for row in to_learners])
    snapshot = await classroom.lesson_snapshot(record, world.lesson, other)
    assert snapshot.open_quiz is not None and "correct" not in json.dumps(snapshot.open_quiz)
    questions = quiz.questions
    for place, question in enumerate(questions[:4]):
        chosen = answers[question["text"]] if place < 3 else [3 if answers[question["text"]] != [3] else 0]
        at_ms = world.clock.pass_s(5)
        done = await classroom.answer_quiz(record, quiz.quiz_id, me, question["question_id"], chosen, at_ms)
        assert (done.answered, done.of) == (place + 1, 5)
    # Changing one's mind before the close counts; the same answer again is no new evidence.
    last = questions[2]
    for chosen in ([0, 1, 2, 3], answers[last["text"]], answers[last["text"]]):
        await classroom.answer_quiz(record, quiz.quiz_id, me, last["question_id"], chosen, world.clock.pass_s(1))
    kinds = [entry["kind"] for entry in await classroom.evidence_of(record, world.lesson, me)]
    assert kinds.count("QUIZ_ANSWER") == 6
    mine = (await classroom.lesson_snapshot(record, world.lesson, me)).open_quiz
    assert mine is not None and len(mine["answered"]) == 4
    for bad in ([], [4], [-1]):
        with pytest.raises(classroom.BadInput):
            await classroom.answer_quiz(record, quiz.quiz_id, me, last["question_id"], bad, world.clock.now_ms)
    with pytest.raises(classroom.NotFound):
        await classroom.answer_quiz(record, quiz.quiz_id, me, "q_none", [0], world.clock.now_ms)
    with pytest.raises(classroom.NotFound):
        await classroom.answer_quiz(
            record, quiz.quiz_id, world.instructor, last["question_id"], [0], world.clock.now_ms
        )
    progress = await classroom.quiz_progress(record, quiz.quiz_id)
    assert (progress.learners, sum(progress.answered.values()), sum(progress.right.values())) == (2, 4, 3)
    with pytest.raises(classroom.TooLate):
        await classroom.answer_quiz(record, quiz.quiz_id, me, last["question_id"], [0], quiz.closes_at_ms + 1)
    rows = await heard(world)
    assert {row.to for row in of(rows, "quiz.progress")} == {"staff"}
    for _ in range(2):
        await classroom.close_quiz(record, quiz.quiz_id, world.clock.pass_s(1))
    with pytest.raises(classroom.TooLate):
        await classroom.answer_quiz(record, quiz.quiz_id, me, last["question_id"], [0], world.clock.now_ms)
    rows = of(await heard(world), "quiz.closed")
    assert sorted(row.to for row in rows) == sorted(["staff", f"person:{me}", f"person:{other}"])
    result = {row.to: row.data for row in rows}
    assert result[f"person:{me}"]["score"] == 60
    assert result[f"person:{other}"]["score"] == 0  # missing answers are worth nothing
    assert result["staff"]["mean_score"] == 30 and "items" not in result["staff"]
    items = result[f"person:{me}"]["items"]
    assert [item["right"] for item in items] == [True, True, True, False, False]
    assert all(item["explanation"] and item["correct"] == answers[item["text"]] for item in items)
    assert await classroom.open_quiz_of(record, world.lesson) is None
    assert [q.closed_at_ms is not None for q in await classroom.quizzes_of(record, world.lesson)] == [True]
    board = {row.person_id: row.quiz_score for row in await classroom.score_board(record, world.lesson)}
    assert board == {me: 60, other: 0}


async def test_learners_see_no_state_verdict_or_credit_of_each_other(world) -> None:
    """R-B5: of a classmate: name, role, connection, hand."""
    me, other = world.learners
    await world.start()
    for person in world.learners:
        await world.sit(person)
    await world.flow(5)
    await classroom.publishing(world.record, world.lesson, me, "x.learner", world.clock.now_ms)
    await world.check(me, "MISMATCH")
    await world.check(other)
    await world.flow(30)
    await world.ping(other)
    await classroom.raise_hand(world.record, world.lesson, me, True, world.clock.now_ms)
    for row in await heard(world):
        if row.to not in ("staff", f"person:{me}") and row.type == "participant.changed":
            shown = row.data["participant"]
            hidden = ("last_outcome", "last_check_at_ms", "alarm", "publication_id", "credited_s", "publishing")
            assert not any(shown[name] for name in hidden)
            assert shown["state"] == ("present" if shown["connected"] else "absent")
        if row.to == "all":
            assert "MISMATCH" not in json.dumps(row.data) and row.type != "credit.changed"
    rows = {
        p["person_id"]: p for p in (await classroom.lesson_snapshot(world.record, world.lesson, other)).participants
    }
    assert (rows[me]["last_outcome"], rows[me]["alarm"], rows[me]["hand_raised"]) == (None, None, True)
    assert rows[other]["last_outcome"] == "MATCH"  # the own row is whole
    staff = await classroom.lesson_snapshot(world.record, world.lesson, world.proctor)
    rows = {p["person_id"]: p for p in staff.participants}
    assert (rows[me]["alarm"], rows[me]["publication_id"]) == ("face_mismatch", "x.learner")
    assert staff.credit is None
    with pytest.raises(classroom.NotFound):
        stranger = await classroom.create_person(world.record, "s", "Anke-2026", "s", {"learner"}, world.organisation)
        await classroom.lesson_snapshot(world.record, world.lesson, stranger)


async def test_staff_hear_the_whole_row_last(world) -> None:
    """Staff are in both audiences and the newest row wins: the reduced row must come first."""
    await world.start()
    await world.sit(world.learners[0])
    rows = of(await heard(world), "participant.changed")
    assert [row.to for row in rows[-2:]] == ["all", "staff"]


async def test_snapshot_has_what_a_joining_page_needs(world) -> None:
    me = await confirmed(world)
    now = world.clock.now_ms
    ping = await classroom.open_ping(world.record, world.lesson, me, now, now + 90_000, 0)
    first = await classroom.post_chat(world.record, world.lesson, me, "learner", "听得到", "client-id-1", now)
    again = await classroom.post_chat(world.record, world.lesson, me, "learner", "听得到吗", "client-id-1", now + 5)
    assert first == again
    await classroom.post_notice(world.record, world.lesson, world.proctor, me, "请看镜头", now)
    rows = await heard(world)
    assert len(of(rows, "chat.posted", "all")) == 1
    assert of(rows, "notice.posted", f"person:{me}")[0].data == {"from_name": "proctor-name", "text": "请看镜头"}
    snapshot = await classroom.lesson_snapshot(world.record, world.lesson, me)
    assert snapshot.open_ping == {"ping_id": ping, "opened_at_ms": now, "closes_at_ms": now + 90_000}
    assert snapshot.chat == [first] and snapshot.credit is not None
    assert snapshot.lesson["profile"]["seconds_per_hour"] == 2700 and snapshot.lesson["state"] == "live"
    absent = (await classroom.lesson_snapshot(world.record, world.lesson, world.proctor)).participants
    assert {p["person_id"] for p in absent if p["state"] == "absent"} == {world.learners[1]}
    with pytest.raises(classroom.BadInput):
        await classroom.post_chat(world.record, world.lesson, me, "learner", "x" * 1001, "client-id-2", now)


async def test_a_newer_conductor_shuts_out_the_older_one(world) -> None:
    """Every write of a conductor carries its fencing token; a lower one than the highest seen writes nothing."""
    me = await confirmed(world)
    record, lesson, now = world.record, world.lesson, world.clock.now_ms
    await classroom.record_media_flow(record, lesson, [(me, now - 1000, now)], fence=4)
    await classroom.close_pings(record, lesson, now, fence=7)
    before = len(await classroom.evidence_of(record, lesson, me))
    for attempt in (
        classroom.record_media_flow(record, lesson, [(me, now, now + 1000)], fence=6),
        classroom.open_ping(record, lesson, me, now, now + 1000, 0, fence=6),
        classroom.open_face_check(record, lesson, me, None, 0, now, fence=6),
        classroom.open_quiz(record, lesson, 0, now + 1000, None, fence=6),
        classroom.record_fault(record, lesson, "x", now, now + 1, fence=6),
        classroom.close_pings(record, lesson, now, fence=6),
        classroom.end_lesson(record, lesson, None, fence=6),
    ):
        with pytest.raises(classroom.StaleFence):
            await attempt
    assert len(await classroom.evidence_of(record, lesson, me)) == before
    assert await classroom.live_lessons(record) == [lesson]
    await classroom.record_media_flow(record, lesson, [(me, now, now + 1000)], fence=7)


async def test_seats_and_connections_are_evidence_R060_R019(world) -> None:
    me = await confirmed(world)
    record, lesson = world.record, world.lesson
    await classroom.connected(record, lesson, me, "seat-1", world.clock.pass_s(1))  # the same seat again: no news
    await classroom.connected(record, lesson, me, "seat-2", world.clock.pass_s(1))
    await classroom.disconnected(record, lesson, me, "seat-1", world.clock.pass_s(1))  # of the seat that was taken over
    kinds = [e["kind"] for e in await classroom.evidence_of(record, lesson, me)]
    assert [k for k in kinds if k in ("CONNECTED", "SEAT", "DISCONNECTED")] == ["CONNECTED", "SEAT", "CONNECTED"]
    await classroom.disconnected(record, lesson, me, "seat-2", world.clock.pass_s(1))
    rows = await heard(world)
    assert of(rows, "participant.changed", "staff")[-1].data["participant"]["state"] == "absent"
    assert (await classroom.credit_of(record, lesson, me)).state == "absent"


async def test_start_and_end_belong_to_the_instructor(world) -> None:
    record = world.record
    lesson = await world.new_lesson()
    with pytest.raises(classroom.NotFound):
        await classroom.start_lesson(record, lesson, world.learners[0])
    with pytest.raises(classroom.WrongState):
        await classroom.end_lesson(record, lesson, world.instructor)
    with pytest.raises(classroom.WrongState):
        await classroom.plan_of(record, lesson)
    started = await classroom.start_lesson(record, lesson, world.instructor)
    world.clock.pass_s(60)
    assert await classroom.start_lesson(record, lesson, world.instructor) == started
    plan = await classroom.plan_of(record, lesson)
    with pytest.raises(classroom.NotFound):
        await classroom.end_lesson(record, lesson, world.proctor)
    ended = await classroom.end_lesson(record, lesson, None)
    assert await classroom.end_lesson(record, lesson, world.instructor) == ended
    with pytest.raises(classroom.WrongState):
        await classroom.start_lesson(record, lesson, world.instructor)
    assert await classroom.live_lessons(record) == []
    rows = await heard(world)
    assert [row.data["lesson"]["state"] for row in rows if row.type.startswith("class.")] == ["live", "ended"]
    # The secret was promised by its digest at the start and shown at the end: the plan can be replayed.
    chain = f"{world.training_class}/lesson:{lesson}"

    async def entries(work):
        from classroom.store import tables

        return await work.many(tables.ledger_entries, "idx", chain=chain)

    first, last = await record.read(entries)
    promised = json.loads(first["body"])["secret_sha256"]
    assert hashlib.sha256(bytes.fromhex(json.loads(last["body"])["secret"])).hexdigest() == promised
    assert bytes.fromhex(json.loads(last["body"])["secret"]) == plan.secret


async def test_the_demonstration_clock_shows_in_the_facts(world) -> None:
    await world.start(factor=11.25)
    view = await classroom.lesson_view(world.record, world.lesson)
    assert view.facts()["profile"]["clock_factor"] == 11.25
    assert (view.planned_s, view.profile.seconds_per_hour, view.profile.ping_window_s) == (240, 240, 8)
