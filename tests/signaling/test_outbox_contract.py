"""What the record writes into its outbox is, to the letter, what the live contract promises to tell."""

from __future__ import annotations

import time
from typing import Any

import classroom
from classroom import OutboxRow
from signaling.protocol import TELLS
from signaling.push import envelope_of

FROM_SIGNALING = {  # told by the live side itself
    "class.ending",
    "slots.changed",
    "recording.changed",
    "stage.changed",
    "stage.speaking",
}


async def test_every_outbox_payload_is_of_the_contract_and_every_tell_occurs(world: Any) -> None:
    record, lesson, person = world.record, world.lesson_id, world.people
    learner, other, teacher = person["l1"], person["l2"], person["teacher"]

    def now_ms() -> int:
        return time.time_ns() // 1_000_000

    for login in ("l1", "l2", "teacher"):
        await classroom.connected(record, lesson, person[login], f"s_{login}", now_ms())
    await classroom.start_lesson(record, lesson, teacher)
    await classroom.give_consent(record, learner, "face", "v1")
    await classroom.record_template(record, learner, "t_1", "dlib", 3)
    await classroom.publishing(record, lesson, learner, f"{lesson}.learner.{learner}", now_ms())
    await classroom.raise_hand(record, lesson, learner, True, now_ms())
    await classroom.post_chat(record, lesson, learner, "learner", "你好", "client-id-1", now_ms())
    await classroom.post_notice(record, lesson, teacher, None, "注意", now_ms())
    await classroom.post_notice(record, lesson, teacher, learner, "看镜头", now_ms())
    check = await classroom.open_face_check(record, lesson, learner, None, 0, now_ms())
    await classroom.frame_taken(record, check, "ab" * 32, 7, 9, now_ms())
    await classroom.record_face_check(record, check, {"outcome": "MATCH", "distance": 0.04})
    ping = await classroom.open_ping(record, lesson, learner, now_ms(), now_ms() + 60_000, 0)
    await classroom.answer_ping(record, ping, learner, now_ms())
    await classroom.open_ping(record, lesson, other, now_ms() - 10_000, now_ms() - 5_000, 0)
    await classroom.close_pings(record, lesson, now_ms())
    quiz = await classroom.open_quiz(record, lesson, 0, now_ms() + 60_000, teacher)
    await classroom.answer_quiz(record, quiz.quiz_id, learner, quiz.questions[0]["question_id"], [0], now_ms())
    await classroom.close_quiz(record, quiz.quiz_id, now_ms())
    await classroom.record_media_flow(record, lesson, [(learner, now_ms() - 900, now_ms())])
    await classroom.record_fault(record, lesson, "conductor_absent", now_ms() - 900, now_ms())
    await classroom.disconnected(record, lesson, other, "s_l2", now_ms())
    await classroom.end_lesson(record, lesson, teacher)

    rows: list[OutboxRow] = await classroom.unsent_outbox(record, 1000)
    for row in rows:
        model = TELLS[row.type]
        model.model_validate(row.data)
        assert row.to in ("all", "staff") or row.to.startswith("person:p_"), row
        assert envelope_of(row) is not None
    assert {row.type for row in rows} == set(TELLS) - FROM_SIGNALING
    leaks = [row for row in rows if row.type == "quiz.opened" and "correct" in str(row.data)]
    assert leaks == []


async def test_a_row_that_breaks_the_contract_is_passed_over(caplog: Any) -> None:
    good = {"from_name": "老师", "text": "好"}
    row = OutboxRow(id=1, lesson_id="l_1", to="all", type="notice.posted", data=good, at_ms=1)
    envelope = envelope_of(row)
    assert envelope is not None and envelope.data == good
    assert envelope_of(OutboxRow(2, "l_1", "all", "notice.posted", {"text": 7}, 1)) is None
    assert envelope_of(OutboxRow(3, "l_1", "all", "class.burnt", {}, 1)) is None
