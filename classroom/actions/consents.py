"""Consents: separate, dated, withdrawable (P-030, P-032)."""

from __future__ import annotations

from classroom.store.record import Record


async def give_consent(record: Record, person_id: str, purpose: str, text_version: str) -> None:
    """Consent to a purpose ("face") as worded in that version of the text."""
    raise NotImplementedError


async def withdraw_consent(record: Record, person_id: str, purpose: str) -> None:
    """Ends the consent from now on."""
    raise NotImplementedError


async def has_consent(record: Record, person_id: str, purpose: str) -> bool:
    """Whether a consent to this purpose is in force."""
    raise NotImplementedError
