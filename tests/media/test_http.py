"""WHIP and WHEP over real HTTP: what a stranger, a broken client and a browser's preflight are answered."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from media.tokens import SlotClaim

OFFERS = Path(__file__).parent / "offers"
SDP = {"Content-Type": "application/sdp"}


def offer(name: str) -> bytes:
    return (OFFERS / name).read_bytes()


def headers(token: str) -> dict[str, str]:
    return SDP | {"Authorization": f"Bearer {token}"}


def problem(response: httpx.Response, status: int, code: str) -> None:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == code
    assert error["message_en"].endswith(".") and error["message"].endswith("。"), "a sentence in each language"


async def publish(http: httpx.AsyncClient, node: Any, name: str) -> httpx.Response:
    return await http.post(
        f"{node.url}/whip/{name}",
        content=offer("obs_30_publish_shaped.sdp"),
        headers=headers(node.token("publish", name)),
    )


async def test_whip_answers_201_with_all_it_takes_rfc_9725_4_2(
    media_node: Any, http: httpx.AsyncClient, name: str
) -> None:
    response = await publish(http, media_node, name)
    assert response.status_code == 201
    assert response.headers["Content-Type"].startswith("application/sdp")
    assert response.headers["Location"].startswith(f"{media_node.url}/whip/{name}/")
    assert response.headers["ETag"].startswith('"')
    assert response.headers["Link"] == '<stun:stun.example.org:3478>; rel="ice-server"'
    assert f" 127.0.0.1 {media_node.udp_port} typ host\r\n" in response.text
    assert "a=ice-lite\r\n" in response.text and "a=end-of-candidates\r\n" in response.text
    assert "a=setup:passive\r\n" in response.text


async def test_a_session_is_ended_by_its_token_only(media_node: Any, http: httpx.AsyncClient, name: str) -> None:
    begun = await publish(http, media_node, name)
    location = begun.headers["Location"]
    problem(await http.delete(location), 401, "no_token")
    other = media_node.token("publish", name, holder="p_other")
    problem(await http.delete(location, headers=headers(other)), 404, "no_session")
    expired = media_node.token("publish", name, now_ms=1_000_000, lifetime_ms=1000)
    assert (await http.delete(location, headers=headers(expired))).status_code == 200
    problem(await http.delete(location, headers=headers(expired)), 404, "no_session")


FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}
TRICKLED = "a=ice-ufrag:Qz7f\r\na=ice-pwd:k2bV9cXw0TnYs4LdHq8RmJ\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n"
RESTARTED = "a=ice-ufrag:Wxyz\r\na=ice-pwd:another2password0of22ch\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n"


async def test_trickle_is_taken_rfc_9725_4_3_2(media_node: Any, http: httpx.AsyncClient, name: str) -> None:
    begun = await publish(http, media_node, name)
    location, token = begun.headers["Location"], media_node.token("publish", name)
    fragment = headers(token) | FRAGMENT | {"If-Match": begun.headers["ETag"]}
    taken = await http.patch(location, content=TRICKLED, headers=fragment)
    assert (taken.status_code, taken.content) == (204, b"")
    problem(await http.patch(location, content=TRICKLED, headers=fragment | {"If-Match": '"x"'}), 412, "stale_session")
    problem(await http.patch(location, content=TRICKLED, headers=headers(token) | FRAGMENT), 428, "no_precondition")
    problem(await http.patch(location, content=TRICKLED, headers=headers(token)), 400, "bad_request")
    lonely = "a=ice-ufrag:Wxyz\r\n"
    problem(await http.patch(location, content=lonely, headers=fragment | {"If-Match": "*"}), 400, "bad_fragment")


async def test_restart_gives_new_credentials_and_keeps_the_session_rfc_9725_4_3_3(
    media_node: Any, http: httpx.AsyncClient, control: Any, name: str
) -> None:
    begun = await publish(http, media_node, name)
    location, token = begun.headers["Location"], media_node.token("publish", name)
    fragment = headers(token) | FRAGMENT
    response = await http.patch(location, content=RESTARTED, headers=fragment | {"If-Match": "*"})
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("application/trickle-ice-sdpfrag")
    lines = response.text.split("\r\n")
    (ufrag,) = (line.removeprefix("a=ice-ufrag:") for line in lines if line.startswith("a=ice-ufrag:"))
    assert f"a=ice-ufrag:{ufrag}\r\n" not in begun.text and "a=mid:0" in lines and "a=ice-lite" in lines
    candidates = [line for line in begun.text.split("\r\n") if line.startswith("a=candidate:")]
    assert candidates and [line for line in lines if line.startswith("a=candidate:")] == candidates
    etag = response.headers["ETag"]
    assert etag not in (begun.headers["ETag"], "")
    (snapshot,) = (await control.snapshot()).values()
    (session,) = (item for item in snapshot["sessions"]["publications"] if item["id"] == name)
    assert location.rsplit("/", 1)[1].startswith(session["session_id"])
    # The tag of before is stale for what follows, the new one fits; a tag that fits may restart as well.
    old = fragment | {"If-Match": begun.headers["ETag"]}
    problem(await http.patch(location, content=RESTARTED, headers=old), 412, "stale_session")
    assert (await http.patch(location, content=RESTARTED, headers=fragment | {"If-Match": etag})).status_code == 204
    again = RESTARTED.replace("Wxyz", "Zyxw")
    assert (await http.patch(location, content=again, headers=fragment | {"If-Match": etag})).status_code == 200
    stranger = media_node.token("publish", name, holder="p_other")
    refused = await http.patch(location, content=RESTARTED, headers=headers(stranger) | FRAGMENT | {"If-Match": "*"})
    problem(refused, 404, "no_session")


async def test_preflight_and_exposed_headers(media_node: Any, http: httpx.AsyncClient, name: str) -> None:
    origin = {"Origin": "http://example.org", "Access-Control-Request-Method": "POST"}
    preflight = await http.options(f"{media_node.url}/whip/{name}", headers=origin)
    assert preflight.status_code == 204
    assert preflight.headers["Accept-Post"] == "application/sdp"
    assert preflight.headers["Link"] == '<stun:stun.example.org:3478>; rel="ice-server"'
    assert preflight.headers["Access-Control-Allow-Origin"] == "*"
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    refused = await http.post(f"{media_node.url}/whip/{name}", headers=origin)
    exposed = refused.headers["Access-Control-Expose-Headers"]
    assert {"Location", "ETag", "Link"} <= {item.strip() for item in exposed.split(",")}


async def test_only_configured_origins_are_allowed(start_node: Any, http: httpx.AsyncClient) -> None:
    node = start_node(origins=["https://anke.example"])
    for origin, allowed in (("https://anke.example", "https://anke.example"), ("https://evil.example", None)):
        response = await http.options(f"{node.url}/whep/x", headers={"Origin": origin})
        assert response.headers.get("Access-Control-Allow-Origin") == allowed


@pytest.mark.parametrize("path", ["whip", "whep"])
async def test_tokens_are_asked_for_first(media_node: Any, http: httpx.AsyncClient, name: str, path: str) -> None:
    url = f"{media_node.url}/{path}/{name}"
    act, other_act = ("publish", "play") if path == "whip" else ("play", "publish")
    good = offer("obs_30_publish_shaped.sdp")
    problem(await http.post(url, content=good, headers=SDP), 401, "no_token")
    problem(await http.post(url, content=good, headers=SDP | {"Authorization": "Basic eA=="}), 401, "no_token")
    problem(await http.post(url, content=good, headers=headers("x.y.z")), 401, "bad_token")
    old = media_node.token(act, name, now_ms=1_000_000)
    problem(await http.post(url, content=good, headers=headers(old)), 401, "expired_token")
    problem(await http.post(url, content=good, headers=headers(media_node.token(act, "y"))), 403, "wrong_token")
    problem(await http.post(url, content=good, headers=headers(media_node.token(other_act, name))), 403, "wrong_token")


async def test_bad_bodies(media_node: Any, http: httpx.AsyncClient, name: str) -> None:
    url, token = f"{media_node.url}/whip/{name}", media_node.token("publish", name)
    authorised = headers(token)
    problem(
        await http.post(url, content=b"{}", headers=authorised | {"Content-Type": "application/json"}), 415, "not_sdp"
    )
    problem(await http.post(url, content=b"", headers=authorised), 400, "bad_sdp")
    problem(await http.post(url, content=b"\xff" * 1000, headers=authorised), 400, "bad_sdp")
    problem(await http.post(url, content=b"v=0\r\n" * 40_000, headers=authorised), 413, "too_large")
    problem(await http.post(url, content=offer("chromium_156_play.sdp"), headers=authorised), 422, "no_media")
    no_mux = offer("obs_30_publish_shaped.sdp").replace(b"a=rtcp-mux\n", b"")
    problem(await http.post(url, content=no_mux, headers=authorised), 422, "no_rtcp_mux")
    play = media_node.token("play", name, [SlotClaim("a", "audio")])
    whep = f"{media_node.url}/whep/{name}"
    problem(await http.post(whep, content=offer("obs_30_publish_shaped.sdp"), headers=headers(play)), 422, "no_media")


async def test_nothing_of_a_refused_offer_stays(
    media_node: Any, http: httpx.AsyncClient, control: Any, name: str
) -> None:
    before = (await control.snapshot()).popitem()[1]
    await test_bad_bodies(media_node, http, name)
    after = (await control.snapshot()).popitem()[1]
    assert len(after["router"]["transports"]) == len(before["router"]["transports"])
    assert len(after["sessions"]["publications"]) == len(before["sessions"]["publications"])


async def test_other_methods_and_paths_answer_json(media_node: Any, http: httpx.AsyncClient) -> None:
    assert (await http.get(f"{media_node.url}/whip/x")).json()["error"]["code"] == "method_not_allowed"
    assert (await http.get(f"{media_node.url}/nothing")).json()["error"]["code"] == "not_found"


async def test_control_wants_its_own_secret(media_node: Any, http: httpx.AsyncClient, name: str) -> None:
    url = f"{media_node.url}/control"
    problem(await http.get(f"{url}/flows"), 401, "no_token")
    for token in (media_node.token("publish", name), "c" * 31):
        problem(await http.get(f"{url}/flows", headers={"Authorization": f"Bearer {token}"}), 401, "bad_token")
    secret = {"Authorization": "Bearer " + "c" * 32}
    problem(await http.post(f"{url}/tap", content=b"[]", headers=secret), 400, "bad_request")
    problem(await http.post(f"{url}/tap", json={"publication_id": name}, headers=secret), 404, "no_publication")
    problem(
        await http.post(f"{url}/show", json={"subscription_id": name, "slots": []}, headers=secret), 400, "bad_request"
    )
    problem(
        await http.post(f"{url}/show", json={"subscription_id": name, "slots": {}}, headers=secret),
        404,
        "no_subscription",
    )
    problem(await http.post(f"{url}/end", json={"holder": "p", "at_ms": "now"}, headers=secret), 400, "bad_request")


async def test_r_061_an_ended_seat_cannot_come_back(
    media_node: Any, http: httpx.AsyncClient, control: Any, name: str
) -> None:
    seat = f"s_{name}"
    token = media_node.token("publish", name, seat=seat)
    url = f"{media_node.url}/whip/{name}"
    good = offer("obs_30_publish_shaped.sdp")
    begun = await http.post(url, content=good, headers=headers(token))
    assert begun.status_code == 201
    assert await control.end_seat(seat) == 1
    problem(await http.delete(begun.headers["Location"], headers=headers(token)), 404, "no_session")
    problem(await http.post(url, content=good, headers=headers(token)), 403, "seat_ended")


async def test_r_061_a_new_sign_in_ends_the_holders_other_seats(
    media_node: Any, http: httpx.AsyncClient, control: Any, name: str
) -> None:
    holder, good = f"p_{name}", offer("obs_30_publish_shaped.sdp")
    tokens = {seat: media_node.token("publish", f"{name}.{seat}", holder=holder, seat=seat) for seat in ("old", "new")}
    for seat, token in tokens.items():
        url = f"{media_node.url}/whip/{name}.{seat}"
        assert (await http.post(url, content=good, headers=headers(token))).status_code == 201
    assert await control.end_holder(holder, keep_seat="new") == 1
    old, new = (f"{media_node.url}/whip/{name}.{seat}" for seat in ("old", "new"))
    problem(await http.post(old, content=good, headers=headers(tokens["old"])), 403, "seat_ended")
    assert (await http.post(new, content=good, headers=headers(tokens["new"]))).status_code == 201


async def test_unfinished_handshakes_are_removed_and_told(
    start_node: Any, http: httpx.AsyncClient, media_redis: Any, name: str, eventually: Any
) -> None:
    node = start_node(handshake_timeout_s=1.5, max_sessions=2)
    assert (await publish(http, node, name)).status_code == 201
    assert (await publish(http, node, name + "b")).status_code == 201
    full = await publish(http, node, name + "c")
    problem(full, 503, "node_full")
    assert full.headers["Retry-After"] == "1"
    assert (await publish(http, node, name)).status_code == 201, "whoever comes back gives up the earlier session"

    async def told() -> list[tuple[bytes, bytes, bytes]]:
        events = [fields for _, fields in await media_redis.xrange(f"{node.prefix}media:events")]
        return [(item[b"type"], item[b"id"], item[b"reason"]) for item in events[1:]]

    expected = [(b"publication_ended", name.encode(), b"replaced")]
    expected += [(b"publication_ended", (name + tail).encode(), b"handshake_timeout") for tail in ("b", "")]

    async def both() -> bool:
        return await told() == expected

    await eventually(both)
    assert (await publish(http, node, name + "c")).status_code == 201


async def test_metrics_are_prometheus_text(media_node: Any, http: httpx.AsyncClient) -> None:
    text = (await http.get(f"{media_node.url}/metrics")).text
    assert 'anke_media_sessions{act="publish"}' in text
    assert "anke_media_publications_begun_total" in text


async def test_sigterm_ends_the_node_cleanly(
    start_node: Any, http: httpx.AsyncClient, media_redis: Any, name: str
) -> None:
    node = start_node()
    await publish(http, node, name)
    started_s = time.monotonic()
    assert node.stop() == 0, node.log.read_text()
    assert time.monotonic() - started_s < 5
    events = [fields for _, fields in await media_redis.xrange(f"{node.prefix}media:events")]
    assert [item[b"type"] for item in events] == [b"node_started", b"publication_ended", b"node_gone"]
    assert events[1][b"reason"] == b"node_stopping"
    assert not await media_redis.exists(*await media_redis.zrange(f"{node.prefix}media:nodes", 0, -1), "none")
