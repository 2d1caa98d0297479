"""What an organiser does over HTTP: classes, people, lessons, the score board and its export."""

from __future__ import annotations

import io
from typing import Any

import openpyxl


async def test_r047_an_organiser_makes_a_class_enrols_people_and_plans_a_lesson(town: Any) -> None:
    login, _ = town.ours.people["organiser"]
    _, instructor_id = town.ours.people["instructor"]
    known = await (await town.ask(login, "GET", "/api/courses")).get_json()
    course_id = next(row["course_id"] for row in known if row["title"] == "甲矿课程")
    made = await town.ask(login, "POST", "/api/classes", {"course_id": course_id, "title": "二班", "term": "2026-2"})
    assert made.status_code == 201
    class_id = (await made.get_json())["id"]
    people = {
        "people": [{"login": "li.si", "name": "李四"}, {"login": "w.wu", "name": "王五", "password": "long-enough"}]
    }
    enrolled = await (await town.ask(login, "POST", f"/api/classes/{class_id}/learners", people)).get_json()
    assert [row["problem"] for row in enrolled] == [None, None]
    assert len(enrolled[0]["password"]) >= 12, "a password nobody gave is made and shown this once"
    assert enrolled[1]["password"] is None
    again = await (await town.ask(login, "POST", f"/api/classes/{class_id}/learners", people)).get_json()
    assert [row["problem"] for row in again] == ["duplicate", "duplicate"]
    lesson = {"title": "第一课", "instructor_id": instructor_id, "starts_at_ms": 5_000, "hours": 2}
    assert (await town.ask(login, "POST", f"/api/classes/{class_id}/lessons", lesson)).status_code == 201
    detail = await (await town.ask(login, "GET", f"/api/classes/{class_id}")).get_json()
    assert sorted(row["name"] for row in detail["learners"]) == ["李四", "王五"]
    assert [row["hours"] for row in detail["lessons"]] == [2.0]
    signed_in = await town.ask(None, "POST", "/api/sign-in", {"login": "li.si", "password": enrolled[0]["password"]})
    assert signed_in.status_code == 200


async def test_r012_an_organiser_may_name_instructors_of_its_own_organisation_only(town: Any) -> None:
    login, _ = town.ours.people["organiser"]
    _, instructor_id = town.ours.people["instructor"]
    rows = await (await town.ask(login, "GET", "/api/instructors")).get_json()
    assert [row["person_id"] for row in rows] == [instructor_id]
    learner, _ = town.ours.people["learner"]
    assert (await town.ask(learner, "GET", "/api/instructors")).status_code == 404


async def test_r071_a_lesson_longer_than_six_hours_is_refused(town: Any) -> None:
    login, _ = town.ours.people["organiser"]
    _, instructor_id = town.ours.people["instructor"]
    lesson = {"title": "太长", "instructor_id": instructor_id, "starts_at_ms": 5_000, "hours": 6.5}
    refused = await town.ask(login, "POST", f"/api/classes/{town.ours.class_id}/lessons", lesson)
    assert refused.status_code == 400


async def test_a_lesson_needs_somebody_who_is_an_instructor(town: Any) -> None:
    login, _ = town.ours.people["organiser"]
    lesson = {"title": "第二课", "starts_at_ms": 5_000, "hours": 1}
    for stranger in ("p_nobody", town.ours.people["proctor"][1], town.ours.people["learner"][1]):
        refused = await town.ask(
            login, "POST", f"/api/classes/{town.ours.class_id}/lessons", {**lesson, "instructor_id": stranger}
        )
        assert refused.status_code in (404, 422), stranger
    rows = await (await town.ask(login, "GET", "/api/lessons")).get_json()
    assert [row["lesson_id"] for row in rows] == [town.ours.lesson_id]


async def test_a_class_needs_a_known_course_and_profile(town: Any) -> None:
    login, _ = town.ours.people["organiser"]
    for body in (
        {"course_id": "c_nothing", "title": "班"},
        {"course_id": town.ours.course_id, "title": "班", "profile_id": "atlantis"},
    ):
        assert (await town.ask(login, "POST", "/api/classes", body)).status_code == 404


async def test_score_board_and_export_name_every_enrolled_learner(town: Any) -> None:
    login, _ = town.ours.people["organiser"]
    rows = await (await town.ask(login, "GET", f"/api/lessons/{town.ours.lesson_id}/score-board")).get_json()
    assert [row["name"] for row in rows] == ["甲矿learner"]
    assert rows[0]["credited_s"] == 0
    export = await town.ask(login, "GET", f"/api/lessons/{town.ours.lesson_id}/export.xlsx")
    book = openpyxl.load_workbook(io.BytesIO(await export.get_data()))
    cells = [str(cell.value) for row in book.active.iter_rows() for cell in row]
    assert any("甲矿learner" in cell for cell in cells)
