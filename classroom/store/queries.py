"""Queries that are more than one table's rows by value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Delete, LargeBinary, Select, String, Text, Update, cast, func, or_, select, update

from classroom.store import tables as t


def advance_fence(lesson_id: str, fence: int) -> Update:
    """Raises the lesson's fence; touches no row when it is already there or beyond."""
    return update(t.lessons).where(t.lessons.c.id == lesson_id, t.lessons.c.fence < fence).values(fence=fence)


def lesson_rows(
    *, lesson_id: str | None = None, class_ids: Sequence[str] | None = None, person_id: str | None = None
) -> Select[Any]:
    """Lessons with course, class, organisation and instructor names, by start.

    `person_id` keeps those the person teaches or is enrolled for, or that belong to one of `class_ids`.
    """
    query = (
        select(
            t.lessons,
            t.classes.c.title.label("class_name"),
            t.classes.c.organisation_id,
            t.classes.c.course_id,
            t.classes.c.term,
            t.courses.c.title.label("course"),
            t.courses.c.hours.label("course_hours"),
            t.people.c.name.label("instructor"),
        )
        .join(t.classes, t.classes.c.id == t.lessons.c.class_id)
        .join(t.courses, t.courses.c.id == t.classes.c.course_id)
        .join(t.people, t.people.c.id == t.lessons.c.instructor_id)
        .order_by(t.lessons.c.starts_at_ms, t.lessons.c.id)
    )
    if lesson_id is not None:
        query = query.where(t.lessons.c.id == lesson_id)
    if person_id is not None:
        mine: list[ColumnElement[bool]] = [
            t.lessons.c.instructor_id == person_id,
            t.lessons.c.class_id.in_(select(t.enrolments.c.class_id).where(t.enrolments.c.person_id == person_id)),
        ]
        if class_ids is not None:
            mine.append(t.lessons.c.class_id.in_(list(class_ids)))
        query = query.where(or_(*mine))
    elif class_ids is not None:
        query = query.where(t.lessons.c.class_id.in_(list(class_ids)))
    return query


def lesson_names(lesson_ids: Sequence[str]) -> Select[Any]:
    """Titles of these lessons with the names of their class and organisation."""
    return (
        select(
            t.lessons.c.id,
            t.lessons.c.title,
            t.lessons.c.state,
            t.classes.c.title.label("class_name"),
            t.organisations.c.name.label("organisation"),
        )
        .join(t.classes, t.classes.c.id == t.lessons.c.class_id)
        .join(t.organisations, t.organisations.c.id == t.classes.c.organisation_id)
        .where(t.lessons.c.id.in_(list(lesson_ids)))
    )


def person_names(person_ids: Sequence[str]) -> Select[Any]:
    return select(t.people.c.id, t.people.c.name).where(t.people.c.id.in_(list(person_ids)))


def class_rows() -> Select[Any]:
    """Training classes with names and counts."""
    learners = select(func.count()).where(t.enrolments.c.class_id == t.classes.c.id).scalar_subquery()
    lessons = select(func.count()).where(t.lessons.c.class_id == t.classes.c.id).scalar_subquery()
    return (
        select(
            t.classes,
            t.courses.c.title.label("course"),
            t.courses.c.hours,
            t.organisations.c.name.label("organisation"),
            learners.label("learners"),
            lessons.label("lessons"),
        )
        .join(t.courses, t.courses.c.id == t.classes.c.course_id)
        .join(t.organisations, t.organisations.c.id == t.classes.c.organisation_id)
        .order_by(t.classes.c.created_at_ms, t.classes.c.id)
    )


def course_rows() -> Select[Any]:
    """Courses with the size of their banks."""
    count = select(func.count()).where(t.questions.c.course_id == t.courses.c.id).scalar_subquery()
    return select(t.courses, count.label("questions")).order_by(t.courses.c.created_at_ms, t.courses.c.id)


def learner_rows(class_id: str) -> Select[Any]:
    """The people enrolled in a class, with their face template when they have one, by name."""
    return (
        select(t.people.c.id, t.people.c.login, t.people.c.name, t.face_templates.c.template_key)
        .join(t.enrolments, t.enrolments.c.person_id == t.people.c.id)
        .outerjoin(t.face_templates, t.face_templates.c.person_id == t.people.c.id)
        .where(t.enrolments.c.class_id == class_id)
        .order_by(t.people.c.name, t.people.c.id)
    )


def participant_rows(lesson_id: str) -> Select[Any]:
    return (
        select(t.participants, t.people.c.name)
        .join(t.people, t.people.c.id == t.participants.c.person_id)
        .where(t.participants.c.lesson_id == lesson_id)
        .order_by(t.people.c.name, t.people.c.id)
    )


def lesson_entries(lesson_id: str, person_ids: Sequence[str] | None = None) -> Select[Any]:
    """Ledger entries of participants' chains since they entered this lesson, by person and index."""
    query = (
        select(t.ledger_entries, t.participants.c.person_id)
        .join(
            t.participants,
            (t.participants.c.chain == t.ledger_entries.c.chain)
            & (t.ledger_entries.c.idx >= t.participants.c.first_idx),
        )
        .where(t.participants.c.lesson_id == lesson_id)
        .order_by(t.ledger_entries.c.chain, t.ledger_entries.c.idx)
    )
    return query if person_ids is None else query.where(t.participants.c.person_id.in_(list(person_ids)))


def judged_while_live(person_id: str) -> Select[Any]:
    """A check of the person's face that has a verdict in a lesson which is live; at most one row."""
    c = t.face_checks.c
    return (
        select(c.id)
        .join(t.lessons, t.lessons.c.id == c.lesson_id)
        .where(c.person_id == person_id, c.outcome.is_not(None), t.lessons.c.state == "live")
        .limit(1)
    )


def chat_tail(lesson_id: str, limit: int) -> Select[Any]:
    """The newest messages, newest first."""
    c = t.chat_messages.c
    return select(t.chat_messages).where(c.lesson_id == lesson_id).order_by(c.at_ms.desc(), c.id.desc()).limit(limit)


def oldest_outbox(limit: int) -> Select[Any]:
    return select(t.outbox).order_by(t.outbox.c.id).limit(limit)


def sent(ids: Sequence[int]) -> Delete:
    return t.outbox.delete().where(t.outbox.c.id.in_(list(ids)))


def heads_of(class_id: str) -> Select[Any]:
    """Ends of all chains of a training class."""
    c = t.chain_heads.c
    return (
        select(t.chain_heads).where(c.chain.startswith(f"{class_id}/", autoescape=True), c.idx >= 0).order_by(c.chain)
    )


def raw_entries(dialect: str, class_id: str) -> Select[Any]:
    """Every ledger row of a training class as stored bytes, by chain and index: no driver decodes a damaged row."""
    c = t.ledger_entries.c
    columns: list[ColumnElement[Any]] = []
    for column in (c.chain, c.idx, c.at_ms, c.kind, c.body, c.prev_hash, c.hash):
        if dialect == "sqlite":
            columns.append(cast(column, LargeBinary).label(column.name))
        else:
            columns.append(func.convert_to(cast(column, Text), "UTF8", type_=LargeBinary).label(column.name))
    return (
        select(*columns)
        .where(cast(c.chain, String).startswith(f"{class_id}/", autoescape=True))
        .order_by(c.chain, c.idx)
    )


def results_of_person(person_id: str) -> Select[Any]:
    """All stored credit results of one person."""
    return select(t.credit_results).where(t.credit_results.c.person_id == person_id)


def ended_lessons_of(person_id: str) -> Select[Any]:
    """Every ended lesson the person took part in as a learner, by start."""
    return (
        lesson_rows()
        .join(t.participants, t.participants.c.lesson_id == t.lessons.c.id)
        .where(
            t.participants.c.person_id == person_id, t.participants.c.role == "learner", t.lessons.c.state == "ended"
        )
    )


def results_of_class(class_id: str) -> Select[Any]:
    """Credited milliseconds per person and lesson of a class, with the lesson's profile."""
    return (
        select(t.credit_results.c.person_id, t.credit_results.c.credited_ms, t.lessons.c.profile)
        .join(t.lessons, t.lessons.c.id == t.credit_results.c.lesson_id)
        .where(t.lessons.c.class_id == class_id)
    )
