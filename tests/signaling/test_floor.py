"""The floor over real sockets and Redis: granted, full, muted, taken, given back; and a web node that dies under it."""

from __future__ import annotations

import time
from typing import Any

import pytest

import classroom
from media.keys import MediaKeys
from media.node import Endings, MediaNode, MediaNodeConfig
from media.router import wall_clock_ms
from media.tokens import Claims, verify_untrusted
from signaling.protocol import ErrorCode

TOKEN_KEY = "m" * 40
STREAM = "media:events"


@pytest.fixture
async def media_record(redis: Any, redis_url: str, redis_prefix: str, free_port: Any) -> Any:
    """A media node's registration, so that grants are given; what it would carry is not looked at here."""
    url = f"http://127.0.0.1:{free_port()}"
    config = MediaNodeConfig(
        bind=(("127.0.0.1", 0),),
        http_host="127.0.0.1",
        http_port=1,
        public_url=url,
        control_url=url,
        redis_url=redis_url,
        token_secret=TOKEN_KEY,
        control_secret="c" * 40,
        redis_prefix=redis_prefix,
    )
    node = MediaNode(redis, config, wall_clock_ms)
    node.start()
    await node.register()  # not when its first heartbeat gets its turn: grants are asked for at once
    yield node
    await node.stop()


@pytest.fixture
def in_class(world: Any, open_page: Any) -> Any:
    """`await in_class(node, login, …)` → pages that joined; the class runs."""

    async def come(node: Any, *logins: str) -> list[Any]:
        pages = []
        for login in logins:
            page = await open_page(world, login, node)
            await page.join(world.lesson_id)
            pages.append(page)
        return pages

    return come


async def raised(world: Any, page: Any, teacher: Any, login: str) -> None:
    await page.ok("hand.raise", raised=True)
    await teacher.hears("participant.changed", participant=Hand(world.people[login], up=True))


class Hand:
    """Equal to any row of this person with the hand up (or down)."""

    def __init__(self, person_id: str, up: bool) -> None:
        self.person_id, self.up = person_id, up

    def __eq__(self, row: object) -> bool:
        return isinstance(row, dict) and row["person_id"] == self.person_id and row["hand_raised"] is self.up

    __hash__ = None  # type: ignore[assignment]


def claims_of(grant: dict[str, Any]) -> Claims:
    return verify_untrusted(grant["token"], TOKEN_KEY, time.time_ns() // 1_000_000)


def sources_of(play: dict[str, Any]) -> dict[str, str | None]:
    return {slot.name: slot.source for slot in claims_of(play).slots}


def of_person(answer: dict[str, Any], person_id: str) -> dict[str, Any] | None:
    return next((guest for guest in answer["guests"] if guest["person_id"] == person_id), None)


async def test_a_raised_hand_is_granted_the_floor_and_everyone_is_told(
    world: Any, node: Any, in_class: Any, media_record: Any
) -> None:
    teacher, guest, other = await in_class(node, "teacher", "l1", "l2")
    lesson_id, person_id = world.lesson_id, world.people["l1"]
    assert await teacher.refused("floor.grant", person_id=person_id) == ErrorCode.WRONG_STATE, "not live yet"
    await teacher.ok("class.start")
    assert await teacher.refused("floor.grant", person_id=person_id) == ErrorCode.NO_HAND
    await raised(world, guest, teacher, "l1")
    granted = await teacher.ok("floor.grant", person_id=person_id)
    assert of_person(granted, person_id)["voice"] == "voice0" and granted["shown"] == person_id
    told = await other.hears("stage.changed", act="granted", person_id=person_id, by=world.people["teacher"])
    assert told["stage"] == {key: value for key, value in granted.items() if key != "ok"}
    await guest.hears("participant.changed", participant=Hand(person_id, up=False))

    voice, camera = f"{lesson_id}.voice.{person_id}", f"{lesson_id}.learner.{person_id}"
    mine, theirs = await guest.ok("media.renew"), await other.ok("media.renew")
    assert [grant["id"] for grant in mine["publish"]] == [camera, voice]
    assert [grant["id"] for grant in theirs["publish"]] == [f"{lesson_id}.learner.{world.people['l2']}"]
    assert [slot["name"] for slot in theirs["play"]["slots"]] == [
        "audio",
        "camera",
        "screen",
        "guest",
        "voice0",
        "voice1",
        "voice2",
    ]
    stage = {name: source for name, source in sources_of(theirs["play"]).items() if name[:5] in ("guest", "voice")}
    assert stage == {"guest": camera, "voice0": voice, "voice1": None, "voice2": None}
    own = sources_of(mine["play"])
    assert own["voice0"] is None and own["guest"] is None, "nobody hears or sees themselves come back"
    wall = sources_of((await teacher.ok("media.renew"))["play"])
    assert wall["voice0"] == voice
    (late,) = await in_class(node, "proctor")
    assert (await late.join(lesson_id))["stage"]["guests"] == granted["guests"], "the snapshot holds it"


async def test_three_at_once_and_the_fourth_is_told_why_not(
    make_world: Any, make_node: Any, open_page: Any, redis: Any, database_url: str
) -> None:
    world, node = await make_world(), await make_node()
    more = await classroom.create_person(
        world.record, "l4", "Correct-horse-9", "姓名l4", ["learner"], await _home(world)
    )
    lesson = await classroom.lesson_view(world.record, world.lesson_id)
    await classroom.enrol(world.record, lesson.class_id, [more])
    world.people["l4"] = more
    world.tokens["l4"] = (await classroom.sign_in(world.record, "l4", "Correct-horse-9", "test", "127.0.0.1")).token
    teacher = await open_page(world, "teacher", node)
    await teacher.join(world.lesson_id)
    await teacher.ok("class.start")
    for login in ("l1", "l2", "l3", "l4"):
        page = await open_page(world, login, node)
        await page.join(world.lesson_id)
        await raised(world, page, teacher, login)
    for login in ("l1", "l2", "l3"):
        await teacher.ok("floor.grant", person_id=world.people[login])
    assert await teacher.refused("floor.grant", person_id=more) == ErrorCode.FLOOR_FULL
    await teacher.ok("floor.take", person_id=world.people["l2"])
    granted = await teacher.ok("floor.grant", person_id=more)
    assert of_person(granted, more)["voice"] == "voice1"


async def _home(world: Any) -> str:
    actor = await classroom.find_actor(world.record, world.tokens["l1"])
    return str(actor.organisation_id)


async def test_mute_all_takes_every_microphone_until_granted_again(
    world: Any, node: Any, in_class: Any, media_record: Any, redis: Any, redis_prefix: str
) -> None:
    teacher, proctor, guest, other = await in_class(node, "teacher", "proctor", "l1", "l2")
    await teacher.ok("class.start")
    for page, login in ((guest, "l1"), (other, "l2")):
        await raised(world, page, teacher, login)
        await teacher.ok("floor.grant", person_id=world.people[login])
    token = claims_of((await guest.ok("media.renew"))["publish"][1])
    endings = Endings(redis, MediaKeys(redis_prefix))
    assert not await endings.refuses(token)
    muted = await proctor.ok("floor.mute_all")
    assert [entry["muted"] for entry in muted["guests"]] == [True, True]
    assert await endings.refuses(token), "the token that could have brought the sound back is void"
    assert len((await guest.ok("media.renew"))["publish"]) == 1
    await guest.hears("stage.changed", act="muted_all", by=world.people["proctor"], person_id=None)
    again = await teacher.ok("floor.grant", person_id=world.people["l1"])
    assert [entry["muted"] for entry in again["guests"]] == [False, True]
    fresh = claims_of((await guest.ok("media.renew"))["publish"][1])
    assert not await endings.refuses(fresh)
    one = await teacher.ok("floor.mute", person_id=world.people["l1"])
    assert [entry["muted"] for entry in one["guests"]] == [True, True]
    left = await other.ok("floor.leave")
    assert [entry["person_id"] for entry in left["guests"]] == [world.people["l1"]]


async def test_who_may_not_is_told_that_there_is_no_such_thing(world: Any, node: Any, in_class: Any) -> None:
    teacher, proctor, learner = await in_class(node, "teacher", "proctor", "l1")
    await teacher.ok("class.start")
    await raised(world, learner, teacher, "l1")
    person = {"person_id": world.people["l1"]}
    absent = [
        (learner, "floor.grant", person),
        (learner, "floor.take", person),
        (learner, "floor.mute", person),
        (learner, "floor.mute_all", {}),
        (learner, "floor.leave", {}),
        (proctor, "floor.grant", person),
        (proctor, "floor.take", person),
        (proctor, "floor.leave", {}),
        (teacher, "floor.grant", {"person_id": world.people["outsider"]}),
        (teacher, "floor.take", person),
        (teacher, "floor.mute", {"person_id": "p_absent"}),
    ]
    for page, call, payload in absent:
        assert await page.refused(call, **payload) == ErrorCode.NOT_FOUND, call


async def test_who_speaks_is_told_once_however_many_nodes_hear_it(
    world: Any, make_node: Any, in_class: Any, redis: Any, redis_prefix: str, until: Any
) -> None:
    here, there = await make_node(), await make_node()
    teacher, guest = await in_class(here, "teacher", "l1")
    (other,) = await in_class(there, "l2")
    await teacher.ok("class.start")
    await raised(world, guest, teacher, "l1")
    await teacher.ok("floor.grant", person_id=world.people["l1"])

    async def media_tells(type_: str, publication: str, login: str, reason: str) -> None:
        fields = {"type": type_, "id": f"{world.lesson_id}.{publication}", "holder": world.people[login], "seat": "s"}
        await redis.xadd(
            redis_prefix + STREAM, {**fields, "room": world.lesson_id, "reason": reason, "node_id": "m", "at_ms": 1}
        )

    voice = f"voice.{world.people['l1']}"
    await media_tells("speaking", "lecture", "teacher", "began")
    await media_tells("speaking", voice, "l1", "began")
    await media_tells("speaking", f"voice.{world.people['l2']}", "l2", "began")  # has no floor
    await media_tells("speaking", f"learner.{world.people['l2']}", "l2", "began")  # a camera's own sound is no voice
    await media_tells("speaking", "lecture", "teacher", "stopped")
    await media_tells("publication_ended", voice, "l1", "deleted")
    for page in (guest, other):
        await until(lambda page=page: len(page.of_type("stage.speaking")) >= 4)
        told = [(one["person_id"], one["speaking"], one["stage"]["dominant"]) for one in page.of_type("stage.speaking")]
        teacher_id, guest_id = world.people["teacher"], world.people["l1"]
        assert told == [
            (teacher_id, True, teacher_id),
            (guest_id, True, teacher_id),
            (teacher_id, False, guest_id),
            (guest_id, False, None),
        ]
    versions = [one["stage"]["version_ms"] for one in other.of_type("stage.speaking")]
    assert versions == sorted(set(versions))


async def test_the_floor_outlives_the_web_node_that_granted_it(
    world: Any, make_node: Any, spawn_node: Any, open_page: Any, in_class: Any
) -> None:
    doomed, survivor = await spawn_node("n_doomed"), await make_node()
    teacher, guest = await in_class(doomed, "teacher", "l1")
    await teacher.ok("class.start")
    await raised(world, guest, teacher, "l1")
    granted = await teacher.ok("floor.grant", person_id=world.people["l1"])
    doomed.kill()
    (back,) = await in_class(survivor, "l2")
    again = await open_page(world, "teacher", survivor)
    joined = await again.join(world.lesson_id)
    assert joined["stage"] == {key: value for key, value in granted.items() if key != "ok"}
    taken = await again.ok("floor.take", person_id=world.people["l1"])
    assert taken["guests"] == []
    assert (await back.hears("stage.changed", act="taken"))["stage"]["version_ms"] > granted["version_ms"]


async def test_who_leaves_the_class_gives_the_floor_back(world: Any, node: Any, in_class: Any) -> None:
    teacher, guest = await in_class(node, "teacher", "l1")
    await teacher.ok("class.start")
    await raised(world, guest, teacher, "l1")
    await teacher.ok("floor.grant", person_id=world.people["l1"])
    await guest.ok("leave")
    assert (await teacher.hears("stage.changed", act="gone"))["stage"]["guests"] == []


async def test_a_class_that_is_over_has_no_stage(world: Any, node: Any, in_class: Any) -> None:
    teacher, guest = await in_class(node, "teacher", "l1")
    await teacher.ok("class.start")
    await raised(world, guest, teacher, "l1")
    await teacher.ok("floor.grant", person_id=world.people["l1"])
    await classroom.end_lesson(world.record, world.lesson_id, world.people["teacher"])
    (late,) = await in_class(node, "l2")
    joined = await late.join(world.lesson_id)
    assert joined["lesson"]["state"] == "ended" and joined["stage"]["guests"] == []
    assert await teacher.refused("floor.grant", person_id=world.people["l1"]) == ErrorCode.WRONG_STATE
