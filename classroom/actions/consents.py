"""Consents: separate, dated, withdrawable (P-030, P-032)."""

from __future__ import annotations

from sqlalchemy.engine import RowMapping

from classroom.store import tables
from classroom.store.record import Record
from classroom.store.unit_of_work import UnitOfWork, new_id

FACE = "face"


async def consent_in_force(work: UnitOfWork, person_id: str, purpose: str) -> RowMapping | None:
    """The consent that holds now, or None."""
    rows = await work.many(tables.consents, "given_at_ms", person_id=person_id, purpose=purpose, withdrawn_at_ms=None)
    return rows[-1] if rows else None


async def give_consent(record: Record, person_id: str, purpose: str, text_version: str) -> None:
    """Consent to a purpose ("face") as worded in that version of the text. Given again: nothing changes."""

    async def change(work: UnitOfWork) -> None:
        await work.one(tables.people, id=person_id)
        held = await consent_in_force(work, person_id, purpose)
        if held is not None and held["text_version"] == text_version:
            return
        await work.insert(
            tables.consents,
            id=new_id("k"),
            person_id=person_id,
            purpose=purpose,
            text_version=text_version,
            given_at_ms=work.now_ms,
        )

    await record.change(change)


async def withdraw_consent(record: Record, person_id: str, purpose: str) -> None:
    """Ends the consent from now on."""

    async def change(work: UnitOfWork) -> None:
        await work.update(
            tables.consents,
            {"person_id": person_id, "purpose": purpose, "withdrawn_at_ms": None},
            withdrawn_at_ms=work.now_ms,
        )

    await record.change(change)


async def has_consent(record: Record, person_id: str, purpose: str) -> bool:
    """Whether a consent to this purpose is in force."""

    async def look(work: UnitOfWork) -> bool:
        return await consent_in_force(work, person_id, purpose) is not None

    return await record.read(look)


async def consents_of(record: Record, person_id: str) -> list[dict[str, str | int]]:
    """The consents in force: purpose, text_version, given_at_ms."""

    async def look(work: UnitOfWork) -> list[dict[str, str | int]]:
        rows = await work.many(tables.consents, "given_at_ms", person_id=person_id, withdrawn_at_ms=None)
        return [{name: row[name] for name in ("purpose", "text_version", "given_at_ms")} for row in rows]

    return await record.read(look)
