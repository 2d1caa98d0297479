"""Accounts and sessions: one person, one living session (R-061)."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from classroom.domain.errors import BadInput, Duplicate, LockedOut, SignInRefused
from classroom.domain.identity_number import masked, normalised
from classroom.domain.roles import Role
from classroom.store import tables
from classroom.store.record import Record
from classroom.store.unit_of_work import UnitOfWork, new_id
from classroom.views import Actor, SignedIn

# OWASP Password Storage Cheat Sheet, argon2id: 19 MiB, two passes, one lane; about 20 ms on a server core.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
#: An unknown login costs as much as a wrong password, so that logins cannot be probed by the clock.
_NOBODY = _HASHER.hash(secrets.token_hex(16))
FAILURES_BEFORE_LOCK = 5  # GB/T 22239 8.1.4.1 b (P-041)
LOCK_MS = 15 * 60_000
ORGANISATION_KINDS = ("enterprise", "platform", "regulator")


async def create_organisation(record: Record, name: str, kind: str) -> str:
    """A new organisation; kind is "enterprise" (使用单位), "platform" or "regulator". Returns its id."""
    if kind not in ORGANISATION_KINDS or not name.strip():
        raise BadInput()

    async def change(work: UnitOfWork) -> str:
        organisation_id = new_id("o")
        await work.insert(tables.organisations, id=organisation_id, name=name, kind=kind)
        return organisation_id

    return await record.change(change)


async def create_person(
    record: Record,
    login: str,
    password: str,
    name: str,
    roles: Iterable[str],
    organisation_id: str,
    id_number: str | None = None,
) -> str:
    """A new person. Raises Duplicate for a taken login or identity, BadInput for a wrong identity number or role.

    Of the identity number only a keyed digest and a masked form are kept (R-140, R-142). Returns the id.
    """
    wanted = sorted(set(roles))
    if any(role not in set(Role) for role in wanted) or not login.strip() or not name.strip() or not password:
        raise BadInput()
    number = None
    if id_number is not None:
        number = normalised(id_number, datetime.fromtimestamp(record.clock_ms() / 1000, UTC).date())
        if number is None:
            raise BadInput("身份证号码不正确。", "The identity number is not right.")
    password_hash = await asyncio.to_thread(_HASHER.hash, password)

    async def change(work: UnitOfWork) -> str:
        await work.one(tables.organisations, id=organisation_id)
        person_id = new_id("p")
        new = await work.insert_new(
            tables.people,
            id=person_id,
            login=login,
            password_hash=password_hash,
            name=name,
            roles=wanted,
            organisation_id=organisation_id,
            identity_digest=None if number is None else _identity_digest(record, number),
            identity_masked=None if number is None else masked(number),
            failed_sign_ins=0,
            created_at_ms=work.now_ms,
        )
        if not new:
            raise Duplicate("账号或身份证号码已存在。", "The login or the identity number is already taken.")
        return person_id

    return await record.change(change)


def _identity_digest(record: Record, number: str) -> str:
    key = hashlib.sha256(b"anke identity digest" + (record.signing_key or b"")).digest()
    return hmac.new(key, number.encode(), hashlib.sha256).hexdigest()


async def sign_in(record: Record, login: str, password: str, user_agent: str = "", ip: str = "") -> SignedIn:
    """Opens a session and ends every earlier one of the person. Raises SignInRefused or LockedOut."""

    async def look(work: UnitOfWork) -> tuple[str, int]:
        person = await work.find(tables.people, login=login)
        if person is None:
            return _NOBODY, 0
        return person["password_hash"], person["locked_until_ms"] or 0

    stored, locked_until_ms = await record.read(look)
    if locked_until_ms > record.clock_ms():
        raise LockedOut()
    right = await asyncio.to_thread(_fits, stored, password)
    token = secrets.token_urlsafe(32)

    async def change(work: UnitOfWork) -> SignedIn | None:
        person = await work.find(tables.people, login=login)
        if person is None:
            return None
        if not right:
            failed = person["failed_sign_ins"] + 1
            locked = failed >= FAILURES_BEFORE_LOCK
            await work.update(
                tables.people,
                {"id": person["id"]},
                failed_sign_ins=0 if locked else failed,
                locked_until_ms=work.now_ms + LOCK_MS if locked else None,
            )
            return None
        await work.lock_row(tables.people, person["id"], shared=False)  # of two sign-ins at once the later one wins
        living = [row["id"] for row in await work.many(tables.sessions, person_id=person["id"], ended_at_ms=None)]
        if living:
            await work.update(tables.sessions, {"id": living}, ended_at_ms=work.now_ms, ended_why="second_sign_in")
        session_id = new_id("s")
        await work.insert(
            tables.sessions,
            id=session_id,
            token_hash=_token_hash(token),
            person_id=person["id"],
            user_agent=user_agent[:400],
            ip=ip[:64],
            created_at_ms=work.now_ms,
        )
        await work.update(tables.people, {"id": person["id"]}, failed_sign_ins=0, locked_until_ms=None)
        actor = Actor(person["id"], person["name"], frozenset(person["roles"]), person["organisation_id"], session_id)
        return SignedIn(token, session_id, actor, living)

    signed_in = await record.change(change)
    if signed_in is None:
        raise SignInRefused()
    return signed_in


def _fits(stored: str, password: str) -> bool:
    try:
        return _HASHER.verify(stored, password)
    except (Argon2Error, InvalidHashError):
        return False


def _token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


async def find_actor(record: Record, token: str) -> Actor | None:
    """Who holds this token; None when the session has ended or never was."""

    async def look(work: UnitOfWork) -> Actor | None:
        session = await work.find(tables.sessions, token_hash=_token_hash(token), ended_at_ms=None)
        if session is None:
            return None
        person = await work.one(tables.people, id=session["person_id"])
        return Actor(person["id"], person["name"], frozenset(person["roles"]), person["organisation_id"], session["id"])

    return await record.read(look)


async def sign_out(record: Record, session_id: str) -> None:
    """Ends the session; ending it again changes nothing."""

    async def change(work: UnitOfWork) -> None:
        await work.update(
            tables.sessions, {"id": session_id, "ended_at_ms": None}, ended_at_ms=work.now_ms, ended_why="signed_out"
        )

    await record.change(change)


async def organisation_of(record: Record, organisation_id: str) -> str:
    """The name of an organisation. Raises NotFound."""

    async def look(work: UnitOfWork) -> str:
        return str((await work.one(tables.organisations, id=organisation_id))["name"])

    return await record.read(look)
