"""Which sealed face template belongs to whom: classroom knows only its opaque key."""

from __future__ import annotations

from classroom.actions.consents import FACE, consent_in_force
from classroom.domain.errors import ConsentRequired, WrongState
from classroom.store import queries, tables
from classroom.store.record import Record
from classroom.store.unit_of_work import UnitOfWork


async def record_template(record: Record, person_id: str, template_key: str, model: str, shots: int) -> str | None:
    """Binds a sealed template to the person. Raises ConsentRequired, WrongState.

    A face that was judged in a lesson is that lesson's until it ends: else its owner could pass the first check, enrol
    a substitute and leave (R-064). Returns the key of the template it replaces, whose file must be deleted.
    """

    async def change(work: UnitOfWork) -> str | None:
        if await consent_in_force(work, person_id, FACE) is None:
            raise ConsentRequired()
        if await work.fetch(queries.judged_while_live(person_id)):
            raise WrongState(
                "课程进行中，不能更换人脸。下课后再试。",
                "A face cannot be exchanged while a class that has checked it is running.",
            )
        before = await work.find(tables.face_templates, person_id=person_id)
        values = {"template_key": template_key, "model": model, "shots": shots, "created_at_ms": work.now_ms}
        if before is None:
            await work.insert(tables.face_templates, person_id=person_id, **values)
            return None
        await work.update(tables.face_templates, {"person_id": person_id}, **values)
        return None if before["template_key"] == template_key else str(before["template_key"])

    return await record.change(change)


async def template_of(record: Record, person_id: str) -> str | None:
    """The key of the person's template."""

    async def look(work: UnitOfWork) -> str | None:
        row = await work.find(tables.face_templates, person_id=person_id)
        return None if row is None else str(row["template_key"])

    return await record.read(look)


async def forget_template(record: Record, person_id: str) -> str | None:
    """Unbinds it; returns the key whose file must be deleted."""

    async def change(work: UnitOfWork) -> str | None:
        row = await work.find(tables.face_templates, person_id=person_id)
        await work.delete(tables.face_templates, person_id=person_id)
        return None if row is None else str(row["template_key"])

    return await record.change(change)
