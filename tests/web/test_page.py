"""The page, its headers, the API's own description, health."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from web.app import make_pages
from web.settings import Settings


async def test_every_address_of_the_page_is_the_page(town: Any) -> None:
    for path in ("/", "/lessons/l_1/classroom", "/sign-in?next=/x"):
        response = await town.ask(None, "GET", path)
        assert response.status_code == 200
        assert b"<title>page</title>" in await response.get_data()
        assert response.headers["Cache-Control"] == "no-cache"


async def test_hashed_assets_stay_for_ever_and_missing_ones_are_not_the_page(town: Any) -> None:
    asset = await town.ask(None, "GET", "/assets/index-B4xQ9_ab.js")
    assert asset.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert asset.headers["Content-Type"].startswith("text/javascript")
    assert (await town.ask(None, "GET", "/assets/index-gone1234.js")).status_code == 404


@pytest.mark.parametrize(
    "path", ["/../data/secrets/control.key", "/%2e%2e/data/secrets/control.key", "/assets/../../x.key"]
)
async def test_nothing_outside_the_page_is_served(town: Any, path: str) -> None:
    assert town.settings.keys.control
    response = await town.ask(None, "GET", path)
    assert town.settings.keys.control.encode() not in await response.get_data()
    assert response.status_code == 404


async def test_headers_keep_third_parties_out_and_let_the_media_node_in(town: Any) -> None:
    for path in ("/", "/api/me", "/assets/index-B4xQ9_ab.js"):
        headers = (await town.ask(None, "GET", path)).headers
        policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
        assert policy["script-src"] == "'self'"
        assert town.settings.media_url in policy["connect-src"].split()
        assert "ws://127.0.0.1:8080" in policy["connect-src"].split()
        assert policy["frame-ancestors"] == "'none'"
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert (await town.ask(None, "GET", "/api/me")).headers["Cache-Control"] == "no-store"


async def test_a_page_that_was_not_built_says_what_to_do(web_settings: Settings, tmp_path: Path) -> None:
    app = make_pages(web_settings.model_copy(update={"ui_dist": tmp_path / "nowhere"}))
    response = await app.test_client().get("/")
    assert response.status_code == 503
    assert b"make setup" in await response.get_data()


async def test_unknown_api_addresses_answer_coded_json(town: Any) -> None:
    response = await town.ask(None, "GET", "/api/nothing/here")
    assert response.status_code == 404
    assert (await response.get_json())["error"]["code"] == "not_found"


async def test_the_api_describes_itself(town: Any) -> None:
    schema = await (await town.ask(None, "GET", "/api/openapi.json")).get_json()
    for path in ("/api/sign-in", "/api/lessons", "/api/me/face", "/api/lessons/{lesson_id}/verify"):
        assert path in schema["paths"]
    row = schema["paths"]["/api/lessons/{lesson_id}"]["get"]["responses"]["200"]["content"]["application/json"]
    assert "roles_here" in str(row)


async def test_health_names_the_part_that_is_away(town: Any) -> None:
    response = await town.ask(None, "GET", "/healthz")
    facts = await response.get_json()
    assert response.status_code == 503
    assert facts["parts"]["record"]["ok"] and facts["parts"]["redis"]["ok"]
    assert not facts["parts"]["media"]["ok"] and facts["parts"]["media"]["reason"]


async def test_device_check_without_a_media_node_is_a_coded_503(town: Any) -> None:
    login, _ = town.ours.people["learner"]
    response = await town.ask(login, "GET", "/api/probe")
    assert (response.status_code, (await response.get_json())["error"]["code"]) == (503, "media_unavailable")


async def test_metrics_count_requests_by_endpoint_and_not_by_address(town: Any) -> None:
    await town.ask(None, "GET", "/api/lessons/l_secret_number")
    text = (await (await town.ask(None, "GET", "/metrics")).get_data()).decode()
    assert 'endpoint="lessons.get_lesson"' in text
    assert "l_secret_number" not in text


async def test_outside_a_demo_nobody_is_named(town: Any) -> None:
    facts = await (await town.ask(None, "GET", "/api/demo")).get_json()
    assert facts == {"active": False, "clock_factor": 1.0, "accounts": [], "lesson_id": None}
