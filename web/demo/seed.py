"""Makes the demo's people and classes once, and finds them again on every later start.

A learner may be credited six hours a day and each course once (R-069, R-071), demo or not. So that a visitor always
meets learners who still earn, each cohort of twelve attends a few lessons and the next ones have a new cohort.
"""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from classroom import (
    Duplicate,
    Record,
    add_questions,
    create_class,
    create_course,
    create_organisation,
    create_person,
    enrol,
    seed_questions,
    sign_in,
)
from web.demo.cast import (
    CLASS_TITLE,
    COURSE,
    INSTRUCTOR,
    OPERATOR,
    ORGANISATION,
    ORGANISER,
    PASSWORD,
    PROCTOR,
    PROFILE_ID,
    VISITOR,
    Account,
    Player,
)
from web.demo.client import Api

COURSE_HOURS = 24.0
LESSONS_PER_COHORT = 5  # one below the daily cap


@dataclass
class Ground:
    """Ids of what was made; kept as JSON beside the data, so that a second start makes nothing twice."""

    organisation_id: str = ""
    course_id: str = ""
    people: dict[str, str] = field(default_factory=dict)  # login → person id
    classes: dict[str, str] = field(default_factory=dict)  # cohort → class id
    lessons_held: int = 0

    @property
    def cohort(self) -> int:
        return self.lessons_held // LESSONS_PER_COHORT


def read_ground(path: Path) -> Ground:
    return Ground(**json.loads(path.read_text())) if path.exists() else Ground()


def write_ground(path: Path, ground: Ground) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(ground), ensure_ascii=False, indent=1))
    fresh.replace(path)


def player_login(player: Player, cohort: int) -> str:
    return player.login if cohort == 0 else f"c{cohort}.{player.login}"


async def seed(record: Record, path: Path, players: list[Player]) -> Ground:
    """The ground for the next lesson: staff, course, and the cohort's class with everyone enrolled."""
    ground = read_ground(path)
    if not ground.organisation_id:
        ground.organisation_id = await create_organisation(record, ORGANISATION, "enterprise")
        write_ground(path, ground)
    for account in (INSTRUCTOR, PROCTOR, ORGANISER, OPERATOR, VISITOR):
        await _person(record, ground, account)
    if not ground.course_id:
        ground.course_id = await create_course(record, COURSE, COURSE_HOURS)
        await add_questions(record, ground.course_id, seed_questions())
        write_ground(path, ground)
    for player in players:
        login = player_login(player, ground.cohort)
        await _person(record, ground, Account("learner", login, player.name, "", ""))
    cohort = str(ground.cohort)
    if cohort not in ground.classes:
        title = CLASS_TITLE if cohort == "0" else f"{CLASS_TITLE} {ground.cohort + 1} 组"
        ground.classes[cohort] = await create_class(
            record, ground.course_id, ground.organisation_id, title, PROFILE_ID, f"2026-{ground.cohort + 1}"
        )
    learners = [ground.people[player_login(player, ground.cohort)] for player in players]
    await enrol(record, ground.classes[cohort], [*learners, ground.people[VISITOR.login]])
    write_ground(path, ground)
    return ground


async def _person(record: Record, ground: Ground, account: Account) -> None:
    if account.login in ground.people:
        return
    try:
        ground.people[account.login] = await create_person(
            record, account.login, account.password, account.name, {account.role}, ground.organisation_id
        )
    except Duplicate:
        # An earlier start made the account and died before it could write that down.
        ground.people[account.login] = (await sign_in(record, account.login, account.password)).actor.person_id


async def enrol_faces(base_url: str, players: list[Player], cohort: int) -> list[str]:
    """Consent and three pictures for every learner without a template, through the public API. Complaints, if any."""
    complaints: list[str] = []
    for player in players:
        api = Api(base_url)
        try:
            await api.sign_in(player_login(player, cohort), PASSWORD)
            complaint = await _enrol_face(api, player)
        finally:
            await api.close()
        if complaint:
            complaints.append(f"{player.name}: {complaint}")
    return complaints


async def _enrol_face(api: Api, player: Player) -> str | None:
    from web.demo.footage import enrolment_shots

    if (await api.call("GET", "/api/me"))["face"]["enrolled"]:
        return None
    version = (await api.call("GET", "/api/consents/text"))["version"]
    await api.call("POST", "/api/consents", {"purpose": "face", "version": version})
    shots = await asyncio.to_thread(enrolment_shots, player.behaviour, player.index)
    body = {"shots": [base64.b64encode(shot).decode() for shot in shots]}
    answer = await api.call("POST", "/api/me/face", body)
    return None if answer["enrolled"] else f"not enrolled: {answer['shots']}"
