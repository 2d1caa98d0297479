"""Which sealed face template belongs to whom: classroom knows only its opaque key."""

from __future__ import annotations

from classroom.store.record import Record


async def record_template(record: Record, person_id: str, template_key: str, model: str, shots: int) -> str | None:
    """Binds a sealed template to the person. Returns the key of the template it replaces, for deletion. Raises ConsentRequired."""
    raise NotImplementedError


async def template_of(record: Record, person_id: str) -> str | None:
    """The key of the person's template."""
    raise NotImplementedError


async def forget_template(record: Record, person_id: str) -> str | None:
    """Unbinds it; returns the key whose file must be deleted."""
    raise NotImplementedError
