"""Consent and enrolment over HTTP, as far as a web node goes by itself; the judge is tested with the worker."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from web import enrolment
from web.throttle import ENROLMENTS_ALLOWED

JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(64)).decode()
SHOTS = {"shots": [JPEG, f"data:image/jpeg;base64,{JPEG}", JPEG]}


async def consent(town: Any, login: str) -> None:
    version = (await (await town.ask(None, "GET", "/api/consents/text")).get_json())["version"]
    given = await town.ask(login, "POST", "/api/consents", {"purpose": "face", "version": version})
    assert given.status_code == 200


async def test_no_picture_is_taken_without_consent(town: Any) -> None:
    login, _ = town.ours.people["learner"]
    refused = await town.ask(login, "POST", "/api/me/face", SHOTS)
    assert refused.status_code == 409
    assert (await refused.get_json())["error"]["code"] == "consent_required"


async def test_consent_is_given_to_the_current_text_only_and_can_be_withdrawn(town: Any) -> None:
    login, _ = town.ours.people["learner"]
    old = await town.ask(login, "POST", "/api/consents", {"purpose": "face", "version": "face-1999"})
    assert old.status_code == 409
    await consent(town, login)
    assert (await (await town.ask(login, "GET", "/api/me")).get_json())["consents"] == ["face"]
    assert (await town.ask(login, "DELETE", "/api/consents/face")).status_code == 200
    assert (await (await town.ask(login, "GET", "/api/me")).get_json())["consents"] == []
    assert (await town.ask(login, "DELETE", "/api/consents/anything")).status_code == 404


@pytest.mark.parametrize(
    ("shots", "status"),
    [
        ([JPEG], 400),
        ([JPEG] * 4, 400),
        (["", JPEG, JPEG], 400),
        (["%%%", JPEG, JPEG], 400),
        ([base64.b64encode(b"\x89PNG....").decode(), JPEG, JPEG], 400),
        (["A" * 1_500_000, JPEG, JPEG], 413),
    ],
)
async def test_what_is_no_jpeg_is_refused(town: Any, shots: list[str], status: int) -> None:
    login, _ = town.ours.people["learner"]
    await consent(town, login)
    assert (await town.ask(login, "POST", "/api/me/face", {"shots": shots})).status_code == status


async def test_without_a_worker_the_answer_says_to_try_again(town: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrolment, "PATIENCE_S", 0.4)
    login, _ = town.ours.people["learner"]
    await consent(town, login)
    busy = await town.ask(login, "POST", "/api/me/face", SHOTS)
    assert (busy.status_code, (await busy.get_json())["error"]["code"]) == (503, "judge_busy")
    assert int(busy.headers["Retry-After"]) > 0
    assert (await (await town.ask(login, "GET", "/api/me")).get_json())["face"]["enrolled"] is False


async def test_enrolments_of_one_person_are_bounded(town: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """R-057: who keeps enrolling may not keep the judge from the face checks of running classes."""
    monkeypatch.setattr(enrolment, "PATIENCE_S", 0.05)
    login, _ = town.ours.people["learner"]
    await consent(town, login)
    for _ in range(ENROLMENTS_ALLOWED):
        assert (await town.ask(login, "POST", "/api/me/face", SHOTS)).status_code == 503
    refused = await town.ask(login, "POST", "/api/me/face", SHOTS)
    assert refused.status_code == 429
    assert (await refused.get_json())["error"]["code"] == "enrolled_too_often"
    assert 0 < int(refused.headers["Retry-After"]) <= 600
    other, _ = town.theirs.people["learner"]
    await consent(town, other)
    assert (await town.ask(other, "POST", "/api/me/face", SHOTS)).status_code == 503
