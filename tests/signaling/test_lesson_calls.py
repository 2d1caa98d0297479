"""Every call of the contract over real sockets: what it answers, who hears of it, who may not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from socketio.exceptions import ConnectionError as NotConnected

import classroom
from signaling.lesson_namespace import cookie_untrusted, parse_untrusted, token_untrusted
from signaling.protocol import CALLS, TELLS, Envelope, ErrorCode, Joined, LessonFacts
from signaling.sentences import SENTENCES, Refusal


def _valid(model: type[BaseModel], answer: dict[str, Any]) -> Any:
    return model.model_validate({key: value for key, value in answer.items() if key != "ok"})


def _well_formed(page: Any) -> None:
    for raw in page.heard:
        envelope = Envelope.model_validate(raw)
        TELLS[envelope.type].model_validate(envelope.data)


async def test_without_a_valid_token_there_is_no_connection(world: Any, node: Any, open_page: Any) -> None:
    world.tokens["stranger"] = "not-a-token"
    with pytest.raises(NotConnected):
        await open_page(world, "stranger", node)


async def test_joining_answers_with_everything_the_page_shows(world: Any, node: Any, open_page: Any) -> None:
    page = await open_page(world, "l1", node)
    joined: Joined = _valid(Joined, await page.join(world.lesson_id))
    assert joined.you.person_id == world.people["l1"] and joined.you.role == "learner" and joined.you.connected
    assert joined.lesson.state == "scheduled" and joined.lesson.profile.clock_factor == 60
    assert joined.publish == [] and joined.play is None, "no media node runs: the class goes on without pictures"
    assert await page.refused("media.renew") == ErrorCode.MEDIA_UNAVAILABLE


async def test_a_lesson_of_others_does_not_exist(world: Any, node: Any, open_page: Any) -> None:
    page = await open_page(world, "outsider", node)
    assert await page.refused("join", lesson_id=world.lesson_id, window_id=page.window_id) == ErrorCode.NOT_FOUND
    assert await page.refused("join", lesson_id="l_absent", window_id=page.window_id) == ErrorCode.NOT_FOUND
    assert await page.refused("chat.send", client_id="c" * 8, text="有人吗") == ErrorCode.WRONG_STATE


async def test_roles_one_does_not_have_are_not_given(world: Any, node: Any, open_page: Any) -> None:
    page = await open_page(world, "l1", node)
    asked = {"lesson_id": world.lesson_id, "window_id": page.window_id, "as_role": "instructor"}
    assert await page.refused("join", **asked) == ErrorCode.NOT_FOUND
    await page.join(world.lesson_id)
    for event, payload in (
        ("class.start", {}),
        ("class.end", {}),
        ("quiz.push", {}),
        ("check.demand", {"person_id": world.people["l2"]}),
        ("notice.send", {"person_id": None, "text": "x"}),
        ("wall.show", {"subscription_id": "x", "slots": {}}),
    ):
        assert await page.refused(event, **payload) == ErrorCode.NOT_FOUND


async def test_chat_reaches_everyone_once_however_often_it_is_sent(world: Any, node: Any, open_page: Any) -> None:
    one, two = await open_page(world, "l1", node), await open_page(world, "l2", node)
    for page in (one, two):
        await page.join(world.lesson_id)
    first = await one.ok("chat.send", client_id="client-id-1", text="老师好")
    again = await one.ok("chat.send", client_id="client-id-1", text="老师好")
    assert first["message_id"] == again["message_id"]
    await one.ok("chat.send", client_id="client-id-2", text="第二句")
    await _heard_texts(two, ["老师好", "第二句"])
    await _heard_texts(one, ["老师好", "第二句"])
    _well_formed(two)
    late = await open_page(world, "l3", node)
    joined = await late.join(world.lesson_id)
    assert [message["text"] for message in joined["chat"]] == ["老师好", "第二句"]


async def _heard_texts(page: Any, texts: list[str]) -> None:
    for _ in range(1000):
        heard = [data["message"]["text"] for data in page.of_type("chat.posted")]
        if len(heard) >= len(texts):
            break
        await asyncio.sleep(0.02)
    assert heard == texts
    numbers = [envelope["seq"] for envelope in page.heard]
    assert numbers == sorted(set(numbers))


async def test_a_hand_and_a_notice(world: Any, node: Any, open_page: Any) -> None:
    learner, other, teacher = [await open_page(world, login, node) for login in ("l1", "l2", "teacher")]
    for page in (learner, other, teacher):
        await page.join(world.lesson_id)
    await learner.ok("hand.raise", raised=True)
    for _ in range(1000):
        rows = [d["participant"] for d in teacher.of_type("participant.changed")]
        if any(row["hand_raised"] for row in rows if row["person_id"] == world.people["l1"]):
            break
        await asyncio.sleep(0.02)
    else:
        pytest.fail("the instructor did not see the hand")
    await teacher.ok("notice.send", person_id=world.people["l1"], text="请打开灯")
    assert (await learner.hears("notice.posted"))["text"] == "请打开灯"
    await teacher.ok("notice.send", person_id=None, text="休息五分钟")
    assert (await other.hears("notice.posted"))["text"] == "休息五分钟"
    assert [n["text"] for n in other.of_type("notice.posted")] == ["休息五分钟"], "a private notice stays private"


async def test_a_class_runs_from_start_to_end_over_sockets(world: Any, node: Any, open_page: Any) -> None:
    """R-065, R-080, R-081: pings are answered or missed, five questions are asked, the class ends with a settlement."""
    teacher, diligent, idle = [await open_page(world, login, node) for login in ("teacher", "l1", "l2")]
    for page in (teacher, diligent, idle):
        await page.join(world.lesson_id)
    assert await teacher.refused("class.end") == ErrorCode.WRONG_STATE
    started: LessonFacts = _valid(LessonFacts, await teacher.ok("class.start"))
    assert started.state == "live"
    await diligent.hears("class.started")

    ping = (await diligent.hears("ping.opened"))["ping"]
    answer = await diligent.ok("ping.answer", ping_id=ping["ping_id"])
    assert answer["accepted"] is True
    assert (await diligent.ok("ping.answer", ping_id=ping["ping_id"]))["accepted"] is True, "an answer is idempotent"
    assert (await diligent.hears("ping.closed", ping_id=ping["ping_id"]))["answered"] is True
    missed = (await idle.hears("ping.opened"))["ping"]
    assert await diligent.refused("ping.answer", ping_id=missed["ping_id"]) == ErrorCode.NOT_FOUND
    assert (await idle.hears("ping.closed", ping_id=missed["ping_id"]))["answered"] is False
    late = await idle.ok("ping.answer", ping_id=missed["ping_id"])
    assert late["accepted"] is False

    quiz_id = (await teacher.ok("quiz.push"))["quiz_id"]
    quiz = (await diligent.hears("quiz.opened"))["quiz"]
    assert quiz["quiz_id"] == quiz_id and len(quiz["questions"]) == 5
    assert all("correct" not in question for question in quiz["questions"])
    for question in quiz["questions"]:
        await diligent.ok("quiz.answer", quiz_id=quiz_id, question_id=question["question_id"], chosen=[0])
    progress = await teacher.hears("quiz.progress")
    assert progress["quiz_id"] == quiz_id
    await teacher.ok("quiz.close", quiz_id=quiz_id)
    for _ in range(1000):
        results = [r for r in diligent.of_type("quiz.closed") if r["items"]]
        if results:
            break
        await asyncio.sleep(0.02)
    assert len(results[0]["items"]) == 5 and results[0]["score"] is not None
    question_id = quiz["questions"][0]["question_id"]
    refused = await diligent.refused("quiz.answer", quiz_id=quiz_id, question_id=question_id, chosen=[1])
    assert refused == ErrorCode.TOO_LATE

    await teacher.ok("class.end")
    ending = await diligent.hears("class.ending")
    ended = await diligent.hears("class.ended", within_s=30)
    assert ended["lesson"]["state"] == "ended"
    assert ended["lesson"]["ended_at_ms"] <= ending["ends_by_ms"] + 1500
    for page in (teacher, diligent, idle):
        _well_formed(page)
    view = await classroom.lesson_view(world.record, world.lesson_id)
    assert view.state == "ended"
    again = await open_page(world, "l3", node)
    after = await again.join(world.lesson_id)
    assert after["lesson"]["state"] == "ended" and after["publish"] == []


async def test_a_flood_of_calls_is_slowed_down(world: Any, node: Any, open_page: Any) -> None:
    page = await open_page(world, "l1", node)
    await page.join(world.lesson_id)
    answers = await asyncio.gather(*(page.call("hand.raise", raised=bool(n % 2)) for n in range(60)))
    codes = [answer["error"]["code"] for answer in answers if not answer["ok"]]
    assert ErrorCode.TOO_FAST in codes and len(codes) < 60


async def test_what_is_no_call_or_no_payload_is_refused_and_harms_nothing(
    world: Any, node: Any, open_page: Any
) -> None:
    page = await open_page(world, "l1", node)
    assert await page.refused("class.burn") == ErrorCode.BAD_PAYLOAD
    assert await page.refused("join", lesson_id=7, window_id="x") == ErrorCode.BAD_PAYLOAD
    assert await page.refused("join", lesson_id=world.lesson_id, window_id="w" * 8, more=1) == ErrorCode.BAD_PAYLOAD
    assert (await page.join(world.lesson_id))["ok"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(sorted(CALLS)), st.lists(JSON, max_size=3))
def test_parsing_raises_only_the_coded_refusal(event: str, arguments: list[Any]) -> None:
    try:
        parsed = parse_untrusted(CALLS[event][0], tuple(arguments))
    except Refusal as refusal:
        assert refusal.code is ErrorCode.BAD_PAYLOAD
    else:
        assert isinstance(parsed, CALLS[event][0])


@given(st.text() | st.none() | st.integers(), JSON)
def test_any_cookie_header_and_any_auth_object_is_survived(header: Any, auth: Any) -> None:
    token = token_untrusted({"HTTP_COOKIE": header}, auth, "anke_session")
    assert token is None or isinstance(token, str)


def test_the_token_comes_from_auth_else_from_the_cookie() -> None:
    environ = {"HTTP_COOKIE": "a=b; anke_session=from-cookie"}
    assert token_untrusted(environ, {"token": "from-auth"}, "anke_session") == "from-auth"
    assert token_untrusted(environ, None, "anke_session") == "from-cookie"
    assert cookie_untrusted("a=b", "anke_session") is None


def test_every_code_has_a_sentence_in_both_languages() -> None:
    assert set(SENTENCES) == set(ErrorCode)
    for chinese, english in SENTENCES.values():
        assert any("\u4e00" <= c <= "\u9fff" for c in chinese) and english.isascii()


async def test_a_learner_enrolled_during_the_class_can_be_reached(world: Any, node: Any, open_page: Any) -> None:
    proctor = await open_page(world, "proctor", node)
    await proctor.join(world.lesson_id)
    late, stranger = world.people["outsider"], world.people["organiser"]
    assert await proctor.refused("notice.send", person_id=stranger, text="x") == ErrorCode.NOT_FOUND
    assert await proctor.refused("notice.send", person_id=late, text="x") == ErrorCode.NOT_FOUND
    view = await classroom.lesson_view(world.record, world.lesson_id)
    await classroom.enrol(world.record, view.class_id, [late])
    await proctor.ok("notice.send", person_id=late, text="欢迎")
    learner = await open_page(world, "outsider", node)
    await learner.join(world.lesson_id)
