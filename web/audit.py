"""The commands that open the record alone: `anke verify` and `anke create-admin`."""

from __future__ import annotations

import classroom
from classroom import create_organisation, create_person, verify_lesson
from web.parts import open_settings_record
from web.settings import Settings

IDENTICAL = "identical"


async def run_verify(settings: Settings, lesson: str) -> int:
    """Prints what the audit found; 0 when every recomputed second is the stored one, else 1."""
    record = open_settings_record(settings)
    try:
        lesson_id = await classroom.newest_lesson(record) if lesson == "last" else lesson
        if lesson_id is None:
            print("no lesson has been held yet")
            return 1
        report = await verify_lesson(record, lesson_id)
    finally:
        await record.close()
    for line in report.lines:
        print(line)
    if report.broken_row is not None:
        chain, idx = report.broken_row
        print(f"broken row: chain {chain}, entry {idx}")
    print(f"{lesson_id}: {report.result}")
    return 0 if report.result == IDENTICAL else 1


async def run_create_admin(settings: Settings, login: str, password: str, name: str, organisation: str) -> None:
    """The first account organises its organisation and, as whoever installs the platform, operates it."""
    record = open_settings_record(settings)
    try:
        organisation_id = await create_organisation(record, organisation, "enterprise")
        person_id = await create_person(record, login, password, name, {"organiser", "operator"}, organisation_id)
    finally:
        await record.close()
    print(f"created {login} ({person_id}) of {organisation}")
