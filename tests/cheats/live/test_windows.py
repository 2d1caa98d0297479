"""Several windows, ended sessions, borrowed seats: what they still get over real sockets."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import classroom
from signaling.protocol import ErrorCode


async def _started(world: Any, node: Any, open_page: Any) -> Any:
    teacher = await open_page(world, "teacher", node)
    await teacher.join(world.lesson_id)
    await teacher.ok("class.start")
    return teacher


async def test_a_copied_window_is_a_second_window_R060(world: Any, node: Any, open_page: Any, until: Any) -> None:
    """A browser that duplicates a tab, or a script, shows the window id of the first: it takes over, like any other."""
    first = await open_page(world, "l1", node)
    await first.join(world.lesson_id)
    copy = await open_page(world, "l1", node, window_id=first.window_id)
    await copy.join(world.lesson_id)
    await until(lambda: first.ended, 5)
    await until(lambda: first.disconnects, 5)
    assert first.ended[0]["reason"] == "second_window"
    assert not copy.ended
    await copy.ok("hand.raise", raised=True)
    rows = (await classroom.lesson_snapshot(world.record, world.lesson_id, world.people["l1"])).participants
    assert next(row for row in rows if row["person_id"] == world.people["l1"])["connected"]


async def test_a_copied_window_on_another_node_is_a_second_window_too_R060(
    world: Any, make_node: Any, open_page: Any, until: Any
) -> None:
    one, two = await make_node(), await make_node()
    first = await open_page(world, "l1", one)
    await first.join(world.lesson_id)
    copy = await open_page(world, "l1", two, window_id=first.window_id)
    await copy.join(world.lesson_id)
    await until(lambda: first.disconnects, 5)
    assert not copy.ended
    await copy.ok("hand.raise", raised=True)


async def test_a_socket_opened_before_its_session_ended_gets_no_seat_R061(
    world: Any, node: Any, open_page: Any
) -> None:
    """Connected but not in a lesson yet, and the notice that the session ended was lost with a connection."""
    waiting = await open_page(world, "l1", node)
    await classroom.sign_in(world.record, "l1", "Correct-horse-9", "elsewhere", "127.0.0.2")
    asked = {"lesson_id": world.lesson_id, "window_id": waiting.window_id}
    assert await waiting.refused("join", **asked) in (ErrorCode.SIGN_IN_REQUIRED, ErrorCode.SEAT_TAKEN)


async def test_answers_of_a_session_that_ended_do_not_count_R061(world: Any, node: Any, open_page: Any) -> None:
    """Between the sign-in elsewhere and the last word to this window, it still has a socket and a ping."""
    await _started(world, node, open_page)
    page = await open_page(world, "l1", node)
    await page.join(world.lesson_id)
    now_ms = time.time_ns() // 1_000_000
    ping = await classroom.open_ping(world.record, world.lesson_id, world.people["l1"], now_ms, now_ms + 60_000, None)

    async def nothing(window: object, reason: str) -> None:
        return None

    node.live.namespace.end_window = nothing
    await node.live.end_session(world.people["l1"], world.sessions["l1"], "signed_out")
    await asyncio.sleep(0.5)
    assert await page.refused("ping.answer", ping_id=ping) == ErrorCode.SEAT_TAKEN


async def test_a_seat_lost_unseen_loses_its_media_too_R060(
    world: Any, node: Any, open_page: Any, until: Any, redis: Any
) -> None:
    """Redis came back empty, so the second window replaced nobody: the first one's tokens must die all the same."""
    first = await open_page(world, "l1", node)
    await first.join(world.lesson_id)
    [(seat, _, _)] = node.live.namespace.sitting()
    await redis.delete(node.context.key(f"seat:{{{world.people['l1']}}}"))
    second = await open_page(world, "l1", node)
    await second.join(world.lesson_id)
    await until(lambda: first.disconnects, 5)

    assert not second.ended
    ended = node.context.key(f"media:ended:{seat.seat_id}")
    for _ in range(50):
        if await redis.exists(ended):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the tokens of the lost seat still open the media")


async def test_a_window_answers_only_for_its_own_person_and_lesson_R060_R065(
    world: Any, node: Any, open_page: Any
) -> None:
    await _started(world, node, open_page)
    mine, other = await open_page(world, "l1", node), await open_page(world, "l2", node)
    for page in (mine, other):
        await page.join(world.lesson_id)
    now_ms = time.time_ns() // 1_000_000
    ping = await classroom.open_ping(world.record, world.lesson_id, world.people["l1"], now_ms, now_ms + 60_000, None)
    assert await other.refused("ping.answer", ping_id=ping) == ErrorCode.NOT_FOUND

    view = await classroom.lesson_view(world.record, world.lesson_id)
    elsewhere = await classroom.create_lesson(
        world.record, view.class_id, "另一课", world.people["teacher"], now_ms, 1.0, 60.0
    )
    await mine.join(elsewhere)
    assert await mine.refused("ping.answer", ping_id=ping) == ErrorCode.NOT_FOUND
    await mine.join(world.lesson_id)
    assert (await mine.ok("ping.answer", ping_id=ping))["accepted"]


async def test_every_call_of_staff_is_closed_to_learners_R065(world: Any, node: Any, open_page: Any) -> None:
    await _started(world, node, open_page)
    page = await open_page(world, "l1", node)
    await page.join(world.lesson_id)
    quiz = await classroom.open_quiz(
        world.record, world.lesson_id, 0, time.time_ns() // 1_000_000 + 60_000, world.people["teacher"]
    )
    calls: list[tuple[str, dict[str, Any]]] = [
        ("class.start", {}),
        ("class.end", {}),
        ("quiz.push", {}),
        ("quiz.close", {"quiz_id": quiz.quiz_id}),
        ("check.demand", {"person_id": world.people["l1"]}),
        ("notice.send", {"person_id": None, "text": "下课了"}),
        ("wall.show", {"subscription_id": "x", "slots": {}}),
    ]
    for event, payload in calls:
        assert await page.refused(event, **payload) == ErrorCode.NOT_FOUND
    view = await classroom.lesson_view(world.record, world.lesson_id)
    assert view.state == "live"
    assert (await classroom.open_quiz_of(world.record, world.lesson_id)) is not None


async def test_a_learner_enrolled_while_the_class_runs_has_a_camera_like_all_R063(
    world: Any, node: Any, open_page: Any, until: Any
) -> None:
    """The other side of strictness: whoever is watched must also be seen."""
    await _started(world, node, open_page)
    await until(lambda: node.live.conductors.conducting())
    view = await classroom.lesson_view(world.record, world.lesson_id)
    await classroom.enrol(world.record, view.class_id, [world.people["outsider"]])
    conductor, _ = node.live.conductors._running[world.lesson_id]
    await until(lambda: world.people["outsider"] in conductor.watches, 10)
    assert world.people["outsider"] in conductor.media.learners
