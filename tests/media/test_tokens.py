"""Media tokens: what is minted verifies, and nothing else does."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OctKey

from media.errors import MediaError
from media.tokens import Act, SlotClaim, mint, verify_untrusted

SECRET = "s" * 32
NOW_MS = 1_800_000_000_000


def publish_token(secret: str = SECRET, lifetime_ms: int = 60_000) -> str:
    return mint(
        secret,
        holder="p_1",
        seat="s_1",
        room="l_1",
        act=Act.PUBLISH,
        id="l_1.lecture",
        now_ms=NOW_MS,
        lifetime_ms=lifetime_ms,
    )


def refusal(token: str, now_ms: int = NOW_MS) -> str:
    with pytest.raises(MediaError) as raised:
        verify_untrusted(token, SECRET, now_ms)
    return raised.value.code


def test_what_is_minted_is_read_back() -> None:
    slots = [
        SlotClaim("audio", "audio", "l_1.lecture"),
        {"name": "w0", "kind": "video", "source": None, "height_px": 160},
    ]
    token = mint(
        SECRET,
        holder="p_1",
        seat="s_1",
        room="l_1",
        act="play",
        id="l_1.p_1.s_1",
        now_ms=NOW_MS,
        lifetime_ms=60_000,
        slots=slots,
    )
    claims = verify_untrusted(token, SECRET, NOW_MS)
    assert (claims.holder, claims.seat, claims.room, claims.act, claims.id) == (
        "p_1",
        "s_1",
        "l_1",
        Act.PLAY,
        "l_1.p_1.s_1",
    )
    assert claims.slots == (SlotClaim("audio", "audio", "l_1.lecture"), SlotClaim("w0", "video", None, 160))
    assert (claims.made_at_ms, claims.expires_at_ms) == (NOW_MS, NOW_MS + 60_000)


def test_expiry_is_kept_and_a_session_can_still_be_ended_after_it() -> None:
    token = publish_token()
    assert refusal(token, NOW_MS + 60_000) == "expired_token"
    assert verify_untrusted(token, SECRET, NOW_MS + 10**9, allow_expired=True).id == "l_1.lecture"


def test_another_secret_is_refused() -> None:
    assert refusal(publish_token("t" * 32)) == "bad_token"


def test_unsigned_and_foreign_algorithms_are_refused() -> None:
    header, claims, _ = publish_token().split(".")
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).rstrip(b"=").decode()
    assert refusal(f"{none}.{claims}.") == "bad_token"
    assert refusal(f"{header}.{claims}.") == "bad_token"
    longer = jwt.encode({"alg": "HS512"}, {"iss": "anke"}, OctKey.import_key(SECRET * 2), algorithms=["HS512"])
    assert refusal(longer) == "bad_token"


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "other"},
        {"aud": "other"},
        {"exp": "soon"},
        {"exp": True},
        {"made_at_ms": 1.5},
        {"holder": "a b"},
        {"id": "../../x"},
        {"id": ""},
        {"act": "watch"},
        {"slots": {}},
        {"slots": [{"name": "a", "kind": "text"}]},
        {"slots": [{"name": "a", "kind": "audio", "source": 5}]},
        {"slots": [{"name": "a", "kind": "audio"}, {"name": "a", "kind": "video"}]},
        {"slots": [{"name": f"a{number}", "kind": "audio"} for number in range(65)]},
    ],
)
def test_signed_but_malformed_claims_are_refused(change: dict[str, object]) -> None:
    claims = dict(jwt.decode(publish_token(), OctKey.import_key(SECRET)).claims) | change
    assert refusal(jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(SECRET))) == "bad_token"


def test_short_secrets_and_bad_names_are_bugs_of_ours() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        publish_token("short")
    with pytest.raises(ValueError, match="malformed name"):
        mint(SECRET, holder="", seat="s", room="r", act="publish", id="x", now_ms=0, lifetime_ms=1)


@given(st.one_of(st.text(max_size=300), st.binary(max_size=300).map(lambda data: data.decode("latin-1"))))
def test_any_text_only_raises_media_error(text: str) -> None:
    assert refusal(text) == "bad_token"


def test_truncated_at_every_length() -> None:
    token = publish_token()
    for length in range(len(token)):
        assert refusal(token[:length]) == "bad_token"


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_one_changed_byte_is_noticed(place: int, change: int) -> None:
    token = bytearray(publish_token().encode())
    place %= len(token)
    token[place] = (token[place] + change) % 128
    changed = token.decode()
    if changed == publish_token():
        return
    try:
        # The last character of a base64url part carries unused bits, so a few changes are none.
        assert verify_untrusted(changed, SECRET, NOW_MS) == verify_untrusted(publish_token(), SECRET, NOW_MS)
    except MediaError as error:
        assert error.code == "bad_token"
