"""Media tokens: what one holder may publish or play, signed by whoever runs the lesson (JWT, HS256).

The node knows holders, seats and rooms only as opaque strings.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from media.errors import MediaError

ISSUER = "anke"
AUDIENCE = "media"
ALGORITHM = "HS256"
# RFC 7518 3.2: a key at least as long as the hash output.
MIN_SECRET_BYTES = 32
MAX_TOKEN_BYTES = 16 * 1024
MAX_SLOTS = 64
MAX_HEIGHT_PX = 16_384

# Ids end up in URLs, Redis keys and msid attributes.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,199}\Z")


class Act(StrEnum):
    PUBLISH = "publish"
    PLAY = "play"


@dataclass(frozen=True, slots=True)
class SlotClaim:
    """One receive slot that a viewer may negotiate; `source` is the publication it shows first, or None.

    `height_px`: how high the page shows the picture, so that no layer much higher is sent there. None is any.
    """

    name: str
    kind: str
    source: str | None = None
    height_px: int | None = None


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says. `id` is the publication or subscription; `made_at_ms` orders it against endings."""

    holder: str
    seat: str
    room: str
    act: Act
    id: str
    slots: tuple[SlotClaim, ...]
    made_at_ms: int
    expires_at_ms: int


def valid_name(text: object) -> bool:
    """True for a publication, subscription, holder, seat or slot name that this house accepts."""
    return isinstance(text, str) and _NAME.match(text) is not None


def valid_height(value: object) -> bool:
    """True for the height of a picture on a page, in px."""
    return type(value) is int and 1 <= value <= MAX_HEIGHT_PX


def mint(
    secret: str,
    *,
    holder: str,
    seat: str,
    room: str,
    act: Act | str,
    id: str,
    now_ms: int,
    lifetime_ms: int,
    slots: Sequence[SlotClaim | dict[str, Any]] = (),
) -> str:
    """A token for one publication or subscription, good for `lifetime_ms`. ValueError for malformed names."""
    listed = [slot if isinstance(slot, SlotClaim) else SlotClaim(**slot) for slot in slots]
    for height_px in (slot.height_px for slot in listed):
        if not (height_px is None or valid_height(height_px)):
            raise ValueError(f"no height of a picture: {height_px!r}")
    for name in (holder, seat, room, id, *(slot.name for slot in listed), *(s.source for s in listed if s.source)):
        if not valid_name(name):
            raise ValueError(f"malformed name {name!r}")
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": (now_ms + lifetime_ms) // 1000,
        "made_at_ms": now_ms,
        "jti": secrets.token_hex(8),
        "holder": holder,
        "seat": seat,
        "room": room,
        "act": Act(act).value,
        "id": id,
    }
    if Act(act) is Act.PLAY:
        claims["slots"] = [
            {"name": slot.name, "kind": slot.kind, "source": slot.source, "height_px": slot.height_px}
            for slot in listed
        ]
    return jwt.encode({"alg": ALGORITHM, "typ": "JWT"}, claims, _key(secret))


def verify_untrusted(token: str, secret: str, now_ms: int, *, allow_expired: bool = False) -> Claims:
    """Checks signature, issuer, audience, expiry and shape.

    `allow_expired` is for ending a session with the token that began it, hours later. Raises MediaError `bad_token`
    or `expired_token`, and nothing else.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise MediaError("bad_token", "too long")
    try:
        # The list of algorithms is ours, never the token's header's (RFC 8725 3.1).
        claims = jwt.decode(token, _key(secret), algorithms=[ALGORITHM]).claims
    except (JoseError, ValueError, TypeError, KeyError, UnicodeError) as error:
        raise MediaError("bad_token", type(error).__name__) from None
    if not isinstance(claims, dict) or claims.get("iss") != ISSUER or claims.get("aud") != AUDIENCE:
        raise MediaError("bad_token", "issuer or audience")
    expires_s, made_at_ms = claims.get("exp"), claims.get("made_at_ms")
    if type(expires_s) is not int or type(made_at_ms) is not int:
        raise MediaError("bad_token", "exp or made_at_ms")
    names = [claims.get(key) for key in ("holder", "seat", "room", "id")]
    if not all(valid_name(name) for name in names) or claims.get("act") not in (Act.PUBLISH, Act.PLAY):
        raise MediaError("bad_token", "holder, seat, room, id or act")
    slots = _slots_untrusted(claims.get("slots", []))
    if expires_s * 1000 <= now_ms and not allow_expired:
        raise MediaError("expired_token", f"expired {now_ms - expires_s * 1000} ms ago")
    return Claims(
        holder=claims["holder"],
        seat=claims["seat"],
        room=claims["room"],
        act=Act(claims["act"]),
        id=claims["id"],
        slots=slots,
        made_at_ms=made_at_ms,
        expires_at_ms=expires_s * 1000,
    )


def _slots_untrusted(value: object) -> tuple[SlotClaim, ...]:
    if not isinstance(value, list) or len(value) > MAX_SLOTS:
        raise MediaError("bad_token", "slots")
    slots: list[SlotClaim] = []
    for item in value:
        if not isinstance(item, dict):
            raise MediaError("bad_token", "slots")
        name, kind, source = item.get("name"), item.get("kind"), item.get("source")
        if not valid_name(name) or kind not in ("audio", "video") or not (source is None or valid_name(source)):
            raise MediaError("bad_token", "slots")
        height_px = item.get("height_px")
        if not (height_px is None or valid_height(height_px)):
            raise MediaError("bad_token", "slots")
        slots.append(SlotClaim(str(name), kind, source, height_px))
    if len({slot.name for slot in slots}) != len(slots):
        raise MediaError("bad_token", "two slots have the same name")
    return tuple(slots)


def _key(secret: str) -> OctKey:
    data = secret.encode()
    if len(data) < MIN_SECRET_BYTES:
        raise ValueError(f"a media secret has at least {MIN_SECRET_BYTES} bytes")
    return OctKey.import_key(data)
