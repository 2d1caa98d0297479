"""The whole platform as `anke up` starts it: what needs a worker, a media node and real WebRTC at the same time."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import cv2
import hypothesis
import numpy as np
import pytest
import schemathesis
from redis.asyncio import Redis

import classroom
from classroom import Record
from media import MediaControl
from web.demo.client import Api, CallRefused
from web.demo.footage import empty_room, enrolment_shots
from web.demo.headless import free_ports
from web.demo.process import DemoProcess
from web.parts import open_settings_record
from web.settings import Settings
from web.supervisor import read_health
from web.turn import turn_binary

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PASSWORD = "a-long-password"
START_PATIENCE_S = 120.0
# the earlier session ends on every channel within five seconds.
ENDED_WITHIN_S = 5.0


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A running platform's settings."""
    web, media, media_udp, redis, turn, turn_tls = free_ports(6)
    turn_relays = 45_000 + web % 10_000 // 50 * 50
    folder = tmp_path_factory.mktemp("platform")
    settings = Settings(
        data_dir=folder / "data",
        web_port=web,
        media_port=media,
        media_udp_port=media_udp,
        redis_port=redis,
        turn_port=turn,
        turn_tls_port=turn_tls,
        turn_first_relay_port=turn_relays,
        turn_last_relay_port=turn_relays + 49,
    )
    log_path = folder / "up.log"
    with log_path.open("w") as log:
        up = subprocess.Popen(
            [sys.executable, "-m", "web.cli", "up"],
            env={**os.environ, **settings.environment()},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline_s = time.monotonic() + START_PATIENCE_S
            while read_health(settings) is None:
                assert up.poll() is None and time.monotonic() < deadline_s, log_path.read_text()[-3000:]
                time.sleep(0.3)
            yield settings
        finally:
            up.send_signal(signal.SIGINT)
            assert up.wait(60) == 0, log_path.read_text()[-3000:]


@pytest.fixture
async def record(platform: Settings) -> AsyncIterator[Record]:
    record = open_settings_record(platform)
    yield record
    await record.close()


@pytest.fixture
async def api(platform: Settings) -> AsyncIterator[Api]:
    api = Api(platform.own_url)
    yield api
    await api.close()


async def new_lesson(record: Record, name: str) -> tuple[str, str, str]:
    """A scheduled lesson with one learner: (lesson id, login, person id)."""
    organisation = await classroom.create_organisation(record, name, "enterprise")
    login = f"{name}.learner"
    teacher = await classroom.create_person(record, f"{name}.t", PASSWORD, "师", {"instructor"}, organisation)
    learner = await classroom.create_person(record, login, PASSWORD, "学员", {"learner"}, organisation)
    course = await classroom.create_course(record, name, 4.0)
    class_id = await classroom.create_class(record, course, organisation, name, "shanxi-2021")
    await classroom.enrol(record, class_id, [learner])
    return await classroom.create_lesson(record, class_id, name, teacher, 1_000, 1.0), login, learner


def jpeg(picture: np.ndarray) -> str:
    return base64.b64encode(cv2.imencode(".jpg", picture)[1].tobytes()).decode()


async def until(condition: Callable[[], Any], within_s: float, what: str) -> float:
    """Seconds until an asynchronous or plain condition holds."""
    began_s = time.monotonic()
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return time.monotonic() - began_s
        assert time.monotonic() - began_s < within_s, f"{what}: not within {within_s} s"
        await asyncio.sleep(0.1)


async def test_three_pictures_of_one_person_make_a_template_and_nothing_else_does(
    platform: Settings, record: Record, api: Api
) -> None:
    _, login, person_id = await new_lesson(record, "enrol")
    await api.sign_in(login, PASSWORD)
    version = (await api.call("GET", "/api/consents/text"))["version"]
    await api.call("POST", "/api/consents", {"purpose": "face", "version": version})
    nobody = jpeg(empty_room((640, 480)))
    with pytest.raises(CallRefused, match="face_unclear"):
        await api.call("POST", "/api/me/face", {"shots": [nobody] * 3})
    man = [base64.b64encode(shot).decode() for shot in enrolment_shots("honest", 0)]
    woman = [base64.b64encode(shot).decode() for shot in enrolment_shots("honest", 1)]
    with pytest.raises(CallRefused, match="face_unclear"):
        await api.call("POST", "/api/me/face", {"shots": [man[0], man[1], woman[0]]})
    assert not (await api.call("GET", "/api/me"))["face"]["enrolled"]
    answer = await api.call("POST", "/api/me/face", {"shots": man})
    assert answer == {"enrolled": True, "shots": [{"ok": True, "problem": None}] * 3}
    assert (await api.call("GET", "/api/me"))["face"]["enrolled"]
    key = await classroom.template_of(record, person_id)
    sealed = list(platform.templates_dir.glob(f"{key}*"))
    assert len(sealed) == 1 and person_id not in sealed[0].name
    await api.call("DELETE", "/api/consents/face")
    assert not sealed[0].exists(), "withdrawing consent deletes the template"


async def test_r061_a_second_sign_in_ends_socket_and_media_within_five_seconds(
    platform: Settings, record: Record, api: Api
) -> None:
    lesson_id, login, person_id = await new_lesson(record, "second")
    publication = f"{lesson_id}.learner.{person_id}"
    lines: list[dict[str, Any]] = []
    part = {
        "base_url": platform.own_url,
        "login": login,
        "password": PASSWORD,
        "lesson_id": lesson_id,
        "index": 0,
        "behaviour": "honest",
    }
    learner = DemoProcess("web.demo.learner", part, lines.append)
    redis = Redis.from_url(platform.redis)
    control = MediaControl(redis, platform.keys.control)

    async def publishing() -> bool:
        flows = await control.flows()
        return any(flow.publication_id == publication and flow.packets > 0 for flow in flows)

    try:
        await learner.start()
        await until(publishing, 60.0, "the camera's packets")
        await api.sign_in(login, PASSWORD)
        signed_in_s = time.monotonic()

        async def gone() -> bool:
            return not any(flow.publication_id == publication for flow in await control.flows())

        await until(gone, ENDED_WITHIN_S, "the end of the camera's publication")
        await until(lambda: lines[-1]["what"] == "left", ENDED_WITHIN_S, "the end of the first window")
        assert time.monotonic() - signed_in_s < ENDED_WITHIN_S
        assert lines[-1]["why"] == "second_sign_in"
    finally:
        await learner.stop()
        await control.close()
        await redis.aclose()


async def test_device_check_hands_out_a_grant_of_the_node_that_is_up(
    platform: Settings, record: Record, api: Api
) -> None:
    _, login, _ = await new_lesson(record, "probe")
    await api.sign_in(login, PASSWORD)
    grant = (await api.call("GET", "/api/probe"))["ways"]["udp"]
    assert grant["url"] == f"{platform.media_url}/whip/{grant['id']}"
    nodes = (await api.call("GET", "/api/media-health"))["nodes"]
    assert [node["public_url"] for node in nodes] == [platform.media_url]


async def test_no_request_makes_the_api_fail(platform: Settings, record: Record, api: Api) -> None:
    """Whatever the API's own description allows, and much that it does not, is answered with a coded refusal."""
    organisation = await classroom.create_organisation(record, "fuzz", "enterprise")
    await classroom.create_person(record, "fuzz.o", PASSWORD, "组织", {"organiser", "learner"}, organisation)
    await api.sign_in("fuzz.o", PASSWORD)
    await asyncio.to_thread(_fuzz, platform.own_url, api.token)
    assert (await api.call("GET", "/api/me"))["person"]["name"] == "组织"


def _fuzz(base_url: str, token: str) -> None:
    schema = schemathesis.openapi.from_url(f"{base_url}/api/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    for operation in operations:
        if operation.path == "/api/sign-out":
            continue

        @hypothesis.given(case=operation.as_strategy())
        @hypothesis.settings(max_examples=12, deadline=None, database=None)
        def ask(case: Any) -> None:
            response = case.call(headers={"Authorization": f"Bearer {token}"})
            if response.status_code >= 500:
                assert response.json()["error"]["code"] in ("judge_busy", "media_unavailable"), case.as_curl_command()

        ask()
    assert len(operations) > 20


@pytest.mark.skipif(turn_binary() is None, reason="coturn's turnserver is not installed")
async def test_the_platforms_own_turn_relays_and_people_are_told_of_it(
    platform: Settings, record: Record, api: Api
) -> None:
    _, login, person = await new_lesson(record, "relay")
    await api.sign_in(login, PASSWORD)

    async def relays() -> bool:
        (node,) = (await api.call("GET", "/api/media-health"))["nodes"]
        return bool(node["relay_problems"] == {})

    await until(relays, 60, "the self-test of the relay")
    (server,) = (await api.call("GET", "/api/probe"))["ways"]["relay"]["ice_servers"]
    assert server["urls"] == [f"turn:127.0.0.1:{platform.turn_port}?transport={way}" for way in ("udp", "tcp")]
    assert person not in server["username"]
    health = read_health(platform)
    assert health is not None and health["warnings"] == []
