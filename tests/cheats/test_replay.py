"""Replay as cheats try it: seeking, ten players, faster clocks, unanswered challenges. None of it earns anything."""

from __future__ import annotations

import json
from typing import Any

import pytest

import classroom
from classroom import NotFound, ReplayRefused, ReplayView, TooLate, WrongState, verify_lesson

SEGMENTS_MS = [4000.0] * 150  # ten minutes


async def facts(world: Any, person: str) -> list[tuple[str, dict[str, Any]]]:
    found = await classroom.evidence_of(world.record, world.lesson, person)
    return [(entry["kind"], entry["body"]) for entry in found if entry["kind"].startswith("REPLAY")]


async def issue(world: Any, view: ReplayView, number: int) -> ReplayView | ReplayRefused:
    return await classroom.issue_segment(world.record, view.replay_id, view.person_id, number, SEGMENTS_MS)


async def watch_until_challenge(world: Any, view: ReplayView) -> ReplayView:
    """As an honest player does: the next segment every four seconds."""
    while view.progress.challenge is None:
        world.clock.pass_s(4)
        after = await issue(world, view, view.progress.issued)
        assert isinstance(after, ReplayView)
        view = after
    return view


@pytest.fixture
async def ended(small_world: Any) -> Any:
    world = small_world
    await world.start()
    await world.sit(world.learners[0])
    await world.flow(30, world.learners[0])
    await classroom.disconnected(world.record, world.lesson, world.learners[0], "seat-1", world.clock.now_ms)
    await world.end()
    return world


async def test_what_was_watched_is_written_down_and_gives_no_credit(ended: Any) -> None:
    world, me = ended, ended.learners[0]
    before = (await classroom.credit_of(world.record, world.lesson, me)).credited_ms
    view = await watch_until_challenge(world, await classroom.open_replay(world.record, world.lesson, me))
    assert 45_000 <= view.progress.issued_ms <= 139_000, "in the middle half of the first three minutes"
    challenge = view.progress.challenge
    assert challenge is not None
    view = await classroom.answer_replay(world.record, view.replay_id, me, challenge.challenge_id)
    assert view.progress.confirmed_ms == view.progress.issued_ms > 0
    [(kind, body)] = await facts(world, me)
    assert kind == "REPLAY_WATCHED" and body["to_media_ms"] == view.progress.confirmed_ms
    assert (await classroom.credit_of(world.record, world.lesson, me)).credited_ms == before
    assert (await verify_lesson(world.record, world.lesson)).result == "identical"


async def test_seeking_ahead_and_playing_faster_get_no_segment_R059(ended: Any) -> None:
    world, me = ended, ended.learners[0]
    view = await classroom.open_replay(world.record, world.lesson, me)
    assert await issue(world, view, 100) == ReplayRefused("not_in_order")
    handed = 0
    for _ in range(60):
        world.clock.pass_s(0.25)  # sixteen times too fast
        done = await issue(world, view, view.progress.issued)
        if isinstance(done, ReplayView):
            view, handed = done, handed + 1
        else:
            assert done.why == "too_early" and done.wait_ms > 0
    assert handed * 4 <= 12 + 15, "twelve seconds ahead of fifteen of wall clock, whatever was asked"


async def test_one_player_at_a_time_and_one_allowance_for_all_R060(ended: Any) -> None:
    world, me = ended, ended.learners[0]
    first = await classroom.open_replay(world.record, world.lesson, me)
    for number in range(3):
        assert isinstance(await issue(world, first, number), ReplayView)
    second = await classroom.open_replay(world.record, world.lesson, me)
    with pytest.raises(NotFound):
        await issue(world, first, 3)
    with pytest.raises(NotFound):
        await classroom.replay_state(world.record, first.replay_id, me)
    # A new player begins where the last answered challenge was, and has no fresh allowance to run ahead with.
    assert second.progress.issued == 0
    refused = await issue(world, second, 0)
    assert isinstance(refused, ReplayRefused) and refused.why == "too_early"
    other = await classroom.create_lesson(
        world.record, world.training_class, "第二课", world.instructor, world.clock.now_ms, 1.0
    )
    await classroom.start_lesson(world.record, other, world.instructor)
    await classroom.end_lesson(world.record, other, world.instructor)
    elsewhere = await classroom.open_replay(world.record, other, me)
    assert isinstance(await issue(world, elsewhere, 0), ReplayRefused)
    with pytest.raises(NotFound):
        await issue(world, second, 0)


async def test_an_unanswered_challenge_ends_the_player_and_its_time_R065(ended: Any) -> None:
    world, me = ended, ended.learners[0]
    view = await watch_until_challenge(world, await classroom.open_replay(world.record, world.lesson, me))
    challenge = view.progress.challenge
    assert challenge is not None
    assert await issue(world, view, view.progress.issued) == ReplayRefused("challenge_open")
    world.clock.now_ms = challenge.closes_at_ms + 1
    with pytest.raises(TooLate):
        await classroom.answer_replay(world.record, view.replay_id, me, challenge.challenge_id)
    with pytest.raises(NotFound):
        await issue(world, view, view.progress.issued)
    [(kind, body)] = await facts(world, me)
    assert kind == "REPLAY_MISSED" and body["challenge"] == challenge.challenge_id
    again = await classroom.open_replay(world.record, world.lesson, me)
    assert again.progress.issued_ms == again.progress.confirmed_ms == 0, "to be watched again"


async def test_a_challenge_cannot_be_answered_ahead_of_time_or_by_another(ended: Any) -> None:
    world, me = ended, ended.learners[0]
    view = await classroom.open_replay(world.record, world.lesson, me)
    with pytest.raises(TooLate):
        await classroom.answer_replay(world.record, view.replay_id, me, "c_0123456789abcdef")
    view = await watch_until_challenge(world, view)
    assert view.progress.challenge is not None
    with pytest.raises(NotFound):
        await classroom.answer_replay(
            world.record, view.replay_id, world.instructor, view.progress.challenge.challenge_id
        )
    assert await facts(world, me) == []


async def test_nobody_replays_from_inside_a_class_or_before_its_end(small_world: Any) -> None:
    world, me = small_world, small_world.learners[0]
    first = await world.start()
    with pytest.raises(WrongState):
        await classroom.open_replay(world.record, first, me)
    await world.end()
    await classroom.open_replay(world.record, first, me)
    await world.start()
    await world.sit(me)
    with pytest.raises(WrongState):
        await classroom.open_replay(world.record, first, me)
    with pytest.raises(NotFound):
        await classroom.open_replay(world.record, first, world.proctor)


async def test_a_lecture_delivered_by_hls_is_no_evidence_of_anyone_s_presence(small_world: Any) -> None:
    world, me = small_world, small_world.learners[0]
    lesson = await world.start()
    now_ms = world.clock.pass_s(600)
    await classroom.record_delivery(world.record, lesson, me, [(now_ms - 600_000, now_ms)])
    await classroom.record_delivery(world.record, lesson, world.proctor, [(now_ms - 600_000, now_ms)])
    report = await classroom.credit_of(world.record, lesson, me)
    assert (report.credited_ms, report.attended_ms, report.state) == (0, 0, "absent")
    # Of two who do the same, one with the lecture delivered and one without, neither is credited a second more.
    other = world.learners[1]
    for person in (me, other):
        await world.sit(person)
        await world.check(person)
    for _ in range(4):
        at_ms = world.clock.pass_s(60)
        await classroom.record_delivery(world.record, lesson, me, [(at_ms - 60_000, at_ms)])
        for person in (me, other):
            await world.ping(person)
        mine, theirs = [await classroom.credit_of(world.record, lesson, person) for person in (me, other)]
        assert mine.credited_ms == theirs.credited_ms
    assert mine.credited_ms == 0, "no camera flowed"
    await world.end()
    assert (await verify_lesson(world.record, lesson)).result == "identical"


async def test_an_interrupted_recording_excuses_nobody_and_voids_no_ping(small_world: Any) -> None:
    world, me = small_world, small_world.learners[0]
    lesson = await world.start()
    await world.sit(me)
    await world.flow(10, me)
    await world.check(me)
    opened_ms = world.clock.now_ms
    await world.ping(me, answer=False, window_s=60)
    world.clock.pass_s(61)
    await classroom.note_recording_interrupted(world.record, lesson, opened_ms, world.clock.now_ms, "recorder_absent")
    [missed] = await classroom.close_pings(world.record, lesson, world.clock.now_ms)
    assert not missed.void
    await world.end()
    await classroom.close_recording(world.record, lesson, "ab" * 32, 10, 1, world.clock.now_ms)
    await classroom.close_recording(world.record, lesson, "ab" * 32, 10, 1, world.clock.now_ms)
    report = await verify_lesson(world.record, lesson)
    assert report.result == "identical"


async def test_every_entry_says_of_which_lesson_and_person_it_is(ended: Any) -> None:
    world, me = ended, ended.learners[0]
    view = await watch_until_challenge(world, await classroom.open_replay(world.record, world.lesson, me))
    assert view.progress.challenge is not None
    await classroom.answer_replay(world.record, view.replay_id, me, view.progress.challenge.challenge_id)
    [(_, body)] = await facts(world, me)
    assert body["lesson"] == world.lesson and body["person"] == me and json.dumps(body)
