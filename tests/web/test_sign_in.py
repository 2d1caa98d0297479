"""Sessions over HTTP: cookies, the newest sign-in, the throttle, foreign pages."""

from __future__ import annotations

from typing import Any

import pytest

PASSWORD = "a-long-password"
OWN_PAGE = {"Origin": "http://127.0.0.1:8080", "Sec-Fetch-Site": "same-origin"}
FOREIGN_PAGE = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}


async def sign_in(town: Any, login: str, password: str = PASSWORD, headers: dict[str, str] | None = None) -> Any:
    return await town.ask(None, "POST", "/api/sign-in", {"login": login, "password": password}, headers)


async def code_of(response: Any) -> tuple[int, str]:
    error = (await response.get_json())["error"]
    assert error["message"] and error["message_en"], "every refusal has a sentence in both languages"
    return response.status_code, error["code"]


async def test_sign_in_sets_a_cookie_that_scripts_and_other_sites_cannot_use(town: Any) -> None:
    login, person_id = town.ours.people["learner"]
    response = await sign_in(town, login)
    assert response.status_code == 200
    facts = await response.get_json()
    assert facts["person"] == {
        "id": person_id,
        "name": "甲矿learner",
        "roles": ["learner"],
        "organisation": town.ours.organisation_id,
    }
    cookie = response.headers["Set-Cookie"]
    assert f"anke_session={facts['token']}" in cookie
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie


async def test_cookie_and_bearer_name_the_same_person(town: Any) -> None:
    login, person_id = town.ours.people["learner"]
    token = (await (await sign_in(town, login)).get_json())["token"]
    for headers in ({"Authorization": f"Bearer {token}"}, {"Cookie": f"anke_session={token}"}):
        me = await town.ask(None, "GET", "/api/me", headers=headers)
        assert (await me.get_json())["person"]["id"] == person_id


async def test_r061_second_sign_in_ends_the_first(town: Any) -> None:
    login, _ = town.ours.people["learner"]
    first = (await (await sign_in(town, login)).get_json())["token"]
    second = (await (await sign_in(town, login)).get_json())["token"]
    ended = await town.ask(None, "GET", "/api/me", headers={"Authorization": f"Bearer {first}"})
    assert await code_of(ended) == (401, "session_ended")
    alive = await town.ask(None, "GET", "/api/me", headers={"Authorization": f"Bearer {second}"})
    assert alive.status_code == 200


async def test_sign_out_ends_the_session(town: Any) -> None:
    login, _ = town.ours.people["learner"]
    token = (await (await sign_in(town, login)).get_json())["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    assert (await town.ask(None, "POST", "/api/sign-out", headers=bearer)).status_code == 200
    assert await code_of(await town.ask(None, "GET", "/api/me", headers=bearer)) == (401, "session_ended")


async def test_p041_five_failures_lock_the_login_even_for_the_right_password(town: Any) -> None:
    login, _ = town.ours.people["learner"]
    for _ in range(5):
        assert await code_of(await sign_in(town, login, "wrong")) in (
            (401, "sign_in_refused"),
            (429, "locked_out"),
        )
    locked = await sign_in(town, login)
    assert await code_of(locked) == (429, "locked_out")
    assert 0 < int(locked.headers["Retry-After"]) <= 15 * 60
    other, _ = town.ours.people["proctor"]
    assert (await sign_in(town, other)).status_code == 200, "one person's failures lock nobody else"


async def test_p041_a_success_forgets_earlier_failures(town: Any) -> None:
    login, _ = town.ours.people["learner"]
    for _ in range(3):
        for _ in range(3):
            assert await code_of(await sign_in(town, login, "wrong")) == (401, "sign_in_refused")
        assert (await sign_in(town, login)).status_code == 200


async def test_an_unknown_login_answers_as_a_wrong_password(town: Any) -> None:
    login, _ = town.ours.people["learner"]
    known, unknown = await sign_in(town, login, "wrong"), await sign_in(town, "nobody", "wrong")
    assert await code_of(known) == await code_of(unknown) == (401, "sign_in_refused")


@pytest.mark.parametrize("headers", [FOREIGN_PAGE, {"Sec-Fetch-Site": "cross-site"}])
async def test_a_foreign_page_cannot_write_with_the_cookie(town: Any, headers: dict[str, str]) -> None:
    login, _ = town.ours.people["learner"]
    token = (await (await sign_in(town, login)).get_json())["token"]
    cookie = {"Cookie": f"anke_session={token}"}
    consent = {"purpose": "face", "version": "face-2026-1"}
    refused = await town.ask(None, "POST", "/api/consents", consent, {**cookie, **headers})
    assert await code_of(refused) == (403, "foreign_origin")
    assert (await (await town.ask(None, "GET", "/api/me", headers=cookie)).get_json())["consents"] == []
    allowed = await town.ask(None, "POST", "/api/consents", consent, {**cookie, **OWN_PAGE})
    assert allowed.status_code == 200


async def test_a_foreign_page_cannot_sign_anybody_in(town: Any) -> None:
    login, _ = town.ours.people["learner"]
    assert await code_of(await sign_in(town, login, headers=FOREIGN_PAGE)) == (403, "foreign_origin")


async def test_nobody_signed_in_is_told_to_sign_in(town: Any) -> None:
    assert await code_of(await town.ask(None, "GET", "/api/me")) == (401, "sign_in_required")


@pytest.mark.parametrize("body", [{}, {"login": "a"}, {"login": "", "password": "x"}, [], {"login": 1, "password": {}}])
async def test_a_malformed_sign_in_is_a_bad_request(town: Any, body: Any) -> None:
    assert await code_of(await town.ask(None, "POST", "/api/sign-in", body)) == (400, "bad_request")
