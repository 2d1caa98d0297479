"""Accounts, sessions, consents, templates."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

import classroom
from classroom.domain.identity_number import masked, normalised


async def test_a_second_sign_in_ends_the_first_session_R061(world) -> None:
    first = await classroom.sign_in(world.record, "learner0", "Anke-2026", "Firefox", "10.0.0.1")
    assert await classroom.find_actor(world.record, first.token) == first.actor
    assert first.ended_sessions == [] and first.actor.roles == {"learner"}
    second = await classroom.sign_in(world.record, "learner0", "Anke-2026")
    assert second.ended_sessions == [first.session_id]
    assert await classroom.find_actor(world.record, first.token) is None
    assert (await classroom.find_actor(world.record, second.token)).session_id == second.session_id
    await classroom.sign_out(world.record, second.session_id)
    await classroom.sign_out(world.record, second.session_id)
    assert await classroom.find_actor(world.record, second.token) is None
    assert await classroom.find_actor(world.record, "no such token") is None


async def test_two_sign_ins_at_once_leave_one_living_session_R061(world) -> None:
    both = await asyncio.gather(*(classroom.sign_in(world.record, "learner0", "Anke-2026") for _ in range(4)))
    living = [s for s in both if await classroom.find_actor(world.record, s.token) is not None]
    assert len(living) == 1


async def test_wrong_password_and_unknown_login_answer_alike(world) -> None:
    for login in ("learner0", "nobody"):
        with pytest.raises(classroom.SignInRefused) as refused:
            await classroom.sign_in(world.record, login, "guess")
        assert (refused.value.code, refused.value.message_en) == (
            "sign_in_refused",
            "The login or the password is not right.",
        )


async def test_five_failures_lock_for_fifteen_minutes_P041(world) -> None:
    for _ in range(5):
        with pytest.raises(classroom.SignInRefused):
            await classroom.sign_in(world.record, "learner0", "guess")
    with pytest.raises(classroom.LockedOut):
        await classroom.sign_in(world.record, "learner0", "Anke-2026")
    world.clock.pass_s(15 * 60 + 1)
    await classroom.sign_in(world.record, "learner0", "Anke-2026")


async def test_a_login_and_an_identity_exist_once_R010(world) -> None:
    new = ("Anke-2026", "张三", {"learner"}, world.organisation)
    await classroom.create_person(world.record, "zhang3", *new, id_number="11010519491231002x")
    with pytest.raises(classroom.Duplicate):
        await classroom.create_person(world.record, "zhang3", *new)
    with pytest.raises(classroom.Duplicate):
        await classroom.create_person(world.record, "zhang4", *new, id_number="11010519491231002X")
    for bad in ("110105194912310021", "1101051949123100", "", "110105209912310026"):
        with pytest.raises(classroom.BadInput):
            await classroom.create_person(world.record, "zhang5", *new, id_number=bad)


async def test_neither_password_nor_identity_number_nor_token_is_stored_R140(world) -> None:
    number = "440524188001010014"
    await classroom.create_person(
        world.record, "li4", "Planted-Secret-1", "李四", {"learner"}, world.organisation, id_number=number
    )
    signed_in = await classroom.sign_in(world.record, "li4", "Planted-Secret-1")

    async def dump(work) -> str:
        rows = [*await work.connection.execute(text("SELECT * FROM people"))]
        rows += [*await work.connection.execute(text("SELECT * FROM sessions"))]
        return "\n".join(map(str, rows))

    stored = await world.record.read(dump)
    for secret in (number, "Planted-Secret-1", signed_in.token):
        assert secret not in stored
    assert "440***********0014" in stored and "$argon2id$" in stored


@pytest.mark.parametrize("number", ["11010519491231002X", "440524188001010014"])
def test_identity_numbers_by_their_check_character(number: str) -> None:
    """GB 11643-1999: the two textbook numbers are valid, and no single changed digit is. R-011."""
    from datetime import date

    today = date(2026, 1, 1)
    assert normalised(number.lower(), today) == number
    assert masked(number) == number[:3] + "***********" + number[-4:]
    for place in range(17):
        for digit in "0123456789":
            if digit != number[place]:
                assert normalised(number[:place] + digit + number[place + 1 :], today) is None


async def test_consent_is_separate_dated_and_withdrawable_P030(world) -> None:
    person = await classroom.create_person(world.record, "wang5", "Anke-2026", "王五", {"learner"}, world.organisation)
    assert not await classroom.has_consent(world.record, person, "face")
    with pytest.raises(classroom.ConsentRequired):
        await classroom.record_template(world.record, person, "k1", "Dlib", 3)
    await classroom.give_consent(world.record, person, "face", "2")
    await classroom.give_consent(world.record, person, "face", "2")
    (held,) = await classroom.consents_of(world.record, person)
    assert held == {"purpose": "face", "text_version": "2", "given_at_ms": world.clock.now_ms}
    assert await classroom.record_template(world.record, person, "k1", "Dlib", 3) is None
    assert await classroom.record_template(world.record, person, "k2", "Dlib", 3) == "k1"
    assert await classroom.template_of(world.record, person) == "k2"
    await classroom.withdraw_consent(world.record, person, "face")
    assert not await classroom.has_consent(world.record, person, "face")
    assert await classroom.forget_template(world.record, person) == "k2"
    assert await classroom.forget_template(world.record, person) is None
    assert await classroom.template_of(world.record, person) is None


def test_every_refusal_has_a_code_and_two_sentences() -> None:
    kinds = classroom.ClassroomError.__subclasses__()
    assert len({kind.code for kind in kinds}) == len(kinds) >= 10
    for kind in kinds:
        assert any("一" <= c <= "鿿" for c in kind.message) and kind.message_en.isascii()
        assert kind("甲", "a").message == "甲"
