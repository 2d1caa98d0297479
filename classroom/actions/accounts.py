"""Accounts and sessions: one person, one living session (R-061)."""

from __future__ import annotations

from classroom.store.record import Record
from classroom.views import Actor, SignedIn


async def create_organisation(record: Record, name: str, kind: str) -> str:
    """A new organisation; kind is "enterprise" (使用单位), "platform" or "regulator". Returns its id."""
    raise NotImplementedError


async def create_person(
    record: Record,
    login: str,
    password: str,
    name: str,
    roles: set[str] | frozenset[str] | list[str],
    organisation_id: str,
    id_number: str | None = None,
) -> str:
    """A new person; raises Duplicate for a taken login or identity, BadInput for a wrong identity number. Returns the id."""
    raise NotImplementedError


async def sign_in(record: Record, login: str, password: str, user_agent: str = "", ip: str = "") -> SignedIn:
    """Opens a session and ends every earlier one of the person. Raises SignInRefused or LockedOut."""
    raise NotImplementedError


async def find_actor(record: Record, token: str) -> Actor | None:
    """Who holds this token; None when the session has ended or never was."""
    raise NotImplementedError


async def sign_out(record: Record, session_id: str) -> None:
    """Ends the session; ending it again changes nothing."""
    raise NotImplementedError
