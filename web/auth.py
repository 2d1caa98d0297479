"""Who is calling: session cookie or bearer token → `Actor`; writes by cookie only from our own pages.

A token whose session a newer sign-in of the same person ended (R-061) answers 401 `session_ended`, so that the page can
say why; no token at all answers 401 `sign_in_required`.
"""

from __future__ import annotations

from typing import cast
from urllib.parse import urlsplit

from quart import Request, Response, g, request

from classroom import Actor, find_actor
from web.parts import current_parts
from web.refusals import Refusal

SESSION_COOKIE = "anke_session"
SESSION_COOKIE_AGE_S = 12 * 3600  # one teaching day; the session row decides, this only bounds the browser's copy
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def session_token(asked: Request) -> tuple[str | None, bool]:
    """The token of a request and whether it came by cookie (which a foreign page could make a browser send)."""
    scheme, _, credentials = asked.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials:
        return credentials.strip(), False
    return asked.cookies.get(SESSION_COOKIE), True


def refuse_foreign_origin(asked: Request) -> None:
    """Raises Refusal("foreign_origin") when a write comes from a page that is not ours.

    SameSite=Lax already withholds the cookie from cross-site posts; sites of one registrable domain still pass that,
    so the Origin header is compared too (Fetch standard 3.2: browsers send it with every POST, PUT and DELETE).
    """
    origin = asked.headers.get("Origin")
    if origin is None:
        # No browser page: a command-line client shows no Origin, and no foreign page can leave it out.
        if asked.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            raise Refusal("foreign_origin")
        return
    same_host = urlsplit(origin).netloc == asked.host
    if not same_host and origin.rstrip("/") not in current_parts().settings.origins:
        raise Refusal("foreign_origin")


async def require_actor() -> None:
    """Sets `g.actor` or raises Refusal 401; runs before every endpoint of a guarded blueprint."""
    token, by_cookie = session_token(request)
    if not token:
        raise Refusal("sign_in_required")
    if by_cookie and request.method not in SAFE_METHODS:
        refuse_foreign_origin(request)
    actor = await find_actor(current_parts().record, token)
    if actor is None:
        raise Refusal("session_ended")
    g.actor = actor


def current_actor() -> Actor:
    """The person of this request; only behind `require_actor`."""
    return cast(Actor, g.actor)


def set_session_cookie(response: Response, token: str, *, secure: bool) -> None:
    response.set_cookie(
        SESSION_COOKIE, token, max_age=SESSION_COOKIE_AGE_S, httponly=True, samesite="Lax", secure=secure, path="/"
    )


def clear_session_cookie(response: Response) -> None:
    response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="Lax")
