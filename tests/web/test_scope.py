"""R-012: what a person may not see answers exactly as what does not exist, for every role and every endpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

ROLES = ("learner", "instructor", "proctor", "organiser")
STAFF = frozenset({"instructor", "proctor", "organiser"})
EVERYONE = frozenset(ROLES)
ORGANISER = frozenset({"organiser"})

PEOPLE = {"people": [{"login": "new.learner", "name": "新学员"}]}
LESSON = {"title": "第二课", "instructor_id": "p_x", "starts_at_ms": 1_000, "hours": 1}

Path = Callable[[Any], str]

# name: (method, path of an organisation's object, body, roles that may)
ENDPOINTS: dict[str, tuple[str, Path, Any, frozenset[str]]] = {
    "lesson": ("GET", lambda o: f"/api/lessons/{o.lesson_id}", None, EVERYONE),
    "score board": ("GET", lambda o: f"/api/lessons/{o.lesson_id}/score-board", None, STAFF),
    "export": ("GET", lambda o: f"/api/lessons/{o.lesson_id}/export.xlsx", None, STAFF),
    "verify": ("GET", lambda o: f"/api/lessons/{o.lesson_id}/verify", None, STAFF),
    "credit": ("GET", lambda o: f"/api/lessons/{o.lesson_id}/credit/{o.people['learner'][1]}", None, EVERYONE),
    "class": ("GET", lambda o: f"/api/classes/{o.class_id}", None, STAFF),
    "enrol": ("POST", lambda o: f"/api/classes/{o.class_id}/learners", PEOPLE, ORGANISER),
    "new lesson": ("POST", lambda o: f"/api/classes/{o.class_id}/lessons", LESSON, ORGANISER),
}


class Absent:
    """An organisation whose things were never made."""

    lesson_id = "l_0000000000000000"
    class_id = "c_0000000000000000"

    def __init__(self, people: Any) -> None:
        self.people = people


@pytest.mark.parametrize("role", ROLES)
async def test_r012_out_of_scope_is_as_absent_for_every_endpoint(town: Any, role: str) -> None:
    login, _ = town.ours.people[role]
    for name, (method, path, body, _) in ENDPOINTS.items():
        theirs = await town.ask(login, method, path(town.theirs), body)
        absent = await town.ask(login, method, path(Absent(town.theirs.people)), body)
        assert theirs.status_code == absent.status_code == 404, name
        assert await theirs.get_data() == await absent.get_data(), name


@pytest.mark.parametrize("role", ROLES)
async def test_r012_in_scope_only_the_roles_that_may(town: Any, role: str) -> None:
    login, _ = town.ours.people[role]
    lesson = {**LESSON, "instructor_id": town.ours.people["instructor"][1]}
    for name, (method, path, body, roles) in ENDPOINTS.items():
        sent = lesson if body is LESSON else body
        response = await town.ask(login, method, path(town.ours), sent)
        if role in roles:
            assert response.status_code in (200, 201), (name, await response.get_data())
        else:
            absent = await town.ask(login, method, path(Absent(town.ours.people)), sent)
            assert response.status_code == 404, name
            assert await response.get_data() == await absent.get_data(), name


async def test_r012_nobody_sees_anything(town: Any) -> None:
    for name, (method, path, body, _) in ENDPOINTS.items():
        assert (await town.ask(None, method, path(town.ours), body)).status_code == 401, name


@pytest.mark.parametrize("role", ROLES)
async def test_r012_lists_name_only_what_is_in_scope(town: Any, role: str) -> None:
    login, _ = town.ours.people[role]
    lessons = await (await town.ask(login, "GET", "/api/lessons")).get_json()
    assert [lesson["lesson_id"] for lesson in lessons] == [town.ours.lesson_id]
    assert lessons[0]["roles_here"] == [role]
    classes = await (await town.ask(login, "GET", "/api/classes")).get_json()
    assert [row["class_id"] for row in classes] == [town.ours.class_id]


async def test_a_learner_sees_the_own_credit_and_no_other_learners(town: Any) -> None:
    login, _ = town.ours.people["learner"]
    organiser, _ = town.ours.people["organiser"]
    made = await town.ask(organiser, "POST", f"/api/classes/{town.ours.class_id}/learners", PEOPLE)
    other_id = (await made.get_json())[0]["person_id"]
    refused = await town.ask(login, "GET", f"/api/lessons/{town.ours.lesson_id}/credit/{other_id}")
    absent = await town.ask(login, "GET", f"/api/lessons/{town.ours.lesson_id}/credit/p_0000000000000000")
    assert refused.status_code == 404
    assert await refused.get_data() == await absent.get_data()
