"""The organiser's side: classes, who is enrolled, their lessons. Others' classes do not exist (R-012, R-047)."""

from __future__ import annotations

import secrets

from pydantic import BaseModel, ConfigDict, Field
from quart import Blueprint
from quart_schema import validate_request, validate_response

from classroom import (
    PROFILES,
    ClassroomError,
    ClassView,
    class_detail,
    classes_of,
    courses,
    create_class,
    create_lesson,
    create_person,
    enrol,
    instructors_of,
)
from web.api.lessons import LessonRow, lesson_row
from web.auth import current_actor
from web.parts import current_parts
from web.refusals import Refusal

blueprint = Blueprint("classes", __name__)

PEOPLE_AT_ONCE = 500
PASSWORD_BYTES = 9  # 72 random bits, 12 characters to type once


class ClassRow(BaseModel):
    class_id: str
    title: str
    course_id: str
    course: str
    hours: float
    organisation: str
    profile_id: str
    term: str
    learners: int
    lessons: int


class ProgressRow(BaseModel):
    person_id: str
    login: str
    name: str
    credited_s: float
    hours: float
    needed_hours: float
    face_enrolled: bool


class ClassAnswer(BaseModel):
    row: ClassRow
    learners: list[ProgressRow]
    lessons: list[LessonRow]


class CourseRow(BaseModel):
    course_id: str
    title: str
    hours: float
    industry: str
    category: str
    stage: str
    questions: int


class InstructorRow(BaseModel):
    person_id: str
    name: str


class ClassForm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    course_id: str = Field(max_length=80)
    title: str = Field(min_length=1, max_length=120)
    profile_id: str = "shanxi-2021"
    term: str = Field("", max_length=40)


class PersonForm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    login: str = Field(min_length=3, max_length=60, pattern=r"^[A-Za-z0-9._@-]+$")
    name: str = Field(min_length=1, max_length=60)
    password: str | None = Field(None, min_length=8, max_length=200)


class PeopleForm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    people: list[PersonForm] = Field(min_length=1, max_length=PEOPLE_AT_ONCE)


class EnrolledPerson(BaseModel):
    """`password` only where the platform made one; it is shown this once."""

    login: str
    person_id: str | None = None
    password: str | None = None
    problem: str | None = None


class LessonForm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: str = Field(min_length=1, max_length=120)
    instructor_id: str = Field(max_length=80)
    starts_at_ms: int = Field(gt=0)
    hours: float = Field(gt=0, le=6)  # no online day is longer than six


class Made(BaseModel):
    id: str


def class_row(view: ClassView) -> ClassRow:
    return ClassRow(**{name: getattr(view, name) for name in ClassRow.model_fields})


async def require_organiser(class_id: str) -> ClassView:
    """The class, for an organiser of its own organisation only; else not_found as for an absent one."""
    actor = current_actor()
    view = (await class_detail(current_parts().record, actor, class_id)).view
    if "organiser" not in actor.roles or view.organisation_id != actor.organisation_id:
        raise Refusal("not_found")
    return view


@blueprint.get("/api/courses")
@validate_response(list[CourseRow])
async def get_courses() -> list[CourseRow]:
    if "organiser" not in current_actor().roles:
        raise Refusal("not_found")
    return [
        CourseRow(**{name: getattr(view, name) for name in CourseRow.model_fields})
        for view in await courses(current_parts().record)
    ]


@blueprint.get("/api/instructors")
@validate_response(list[InstructorRow])
async def get_instructors() -> list[InstructorRow]:
    """Whom an organiser may name as a lesson's instructor."""
    found = await instructors_of(current_parts().record, current_actor())
    return [InstructorRow(person_id=each.person_id, name=each.name) for each in found]


@blueprint.get("/api/classes")
@validate_response(list[ClassRow])
async def get_classes() -> list[ClassRow]:
    return [class_row(view) for view in await classes_of(current_parts().record, current_actor())]


@blueprint.get("/api/classes/<class_id>")
@validate_response(ClassAnswer)
async def get_class(class_id: str) -> ClassAnswer:
    """Learners with their progress, and the lessons; for staff of the class."""
    detail = await class_detail(current_parts().record, current_actor(), class_id)
    return ClassAnswer(
        row=class_row(detail.view),
        learners=[
            ProgressRow(**{name: getattr(learner, name) for name in ProgressRow.model_fields})
            for learner in detail.learners
        ],
        lessons=[lesson_row(view) for view in detail.lessons],
    )


@blueprint.post("/api/classes")
@validate_request(ClassForm)
@validate_response(Made, 201)
async def post_class(data: ClassForm) -> tuple[Made, int]:
    actor, record = current_actor(), current_parts().record
    if "organiser" not in actor.roles:
        raise Refusal("not_found")
    known = {view.course_id for view in await courses(record)}
    if data.course_id not in known or data.profile_id not in PROFILES:
        raise Refusal("not_found")
    class_id = await create_class(record, data.course_id, actor.organisation_id, data.title, data.profile_id, data.term)
    return Made(id=class_id), 201


@blueprint.post("/api/classes/<class_id>/learners")
@validate_request(PeopleForm)
@validate_response(list[EnrolledPerson], 201)
async def post_learners(class_id: str, data: PeopleForm) -> tuple[list[EnrolledPerson], int]:
    """Makes accounts and enrols them. A person that cannot be made is named in the answer and hinders no other."""
    view = await require_organiser(class_id)
    record = current_parts().record
    answer: list[EnrolledPerson] = []
    for person in data.people:
        made = None if person.password else secrets.token_urlsafe(PASSWORD_BYTES)
        try:
            person_id = await create_person(
                record, person.login, person.password or made or "", person.name, {"learner"}, view.organisation_id
            )
        except ClassroomError as error:
            answer.append(EnrolledPerson(login=person.login, problem=error.code))
            continue
        answer.append(EnrolledPerson(login=person.login, person_id=person_id, password=made))
    enrolled = [row.person_id for row in answer if row.person_id is not None]
    if enrolled:
        await enrol(record, class_id, enrolled)
    return answer, 201


@blueprint.post("/api/classes/<class_id>/lessons")
@validate_request(LessonForm)
@validate_response(Made, 201)
async def post_lesson(class_id: str, data: LessonForm) -> tuple[Made, int]:
    await require_organiser(class_id)
    lesson_id = await create_lesson(
        current_parts().record, class_id, data.title, data.instructor_id, data.starts_at_ms, data.hours
    )
    return Made(id=lesson_id), 201
