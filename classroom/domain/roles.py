"""Who may do what. Asked by `classroom.access` and by actions; knows people only by their roles."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    LEARNER = "learner"
    INSTRUCTOR = "instructor"
    PROCTOR = "proctor"
    ORGANISER = "organiser"
    OPERATOR = "operator"


#: Strongest first: the role a person with several takes when they do not say.
STRENGTH = (Role.INSTRUCTOR, Role.PROCTOR, Role.ORGANISER, Role.LEARNER)
#: Who hears what is addressed to "staff".
STAFF = frozenset({Role.INSTRUCTOR, Role.PROCTOR, Role.ORGANISER})
MAY_CONDUCT = frozenset({Role.INSTRUCTOR})  # start, end, push a quiz
MAY_DEMAND_CHECKS = frozenset({Role.PROCTOR, Role.INSTRUCTOR})
MAY_SEE_BOARD = STAFF
MAY_ENROL = frozenset({Role.ORGANISER})  # no self-enrolment into credit classes


def roles_in_lesson(
    *,
    person_id: str,
    person_roles: frozenset[str],
    organisation_id: str,
    organisation_kind: str,
    instructor_id: str,
    class_organisation_id: str,
    enrolled: bool,
) -> frozenset[Role]:
    """The roles a person has in one lesson; empty means the lesson does not exist for them.

    Proctors and organisers act inside their own organisation; proctors of the platform act everywhere on it.
    """
    roles: set[Role] = set()
    if enrolled:
        roles.add(Role.LEARNER)
    if person_id == instructor_id:
        roles.add(Role.INSTRUCTOR)
    home = organisation_id == class_organisation_id
    if Role.PROCTOR in person_roles and (home or organisation_kind == "platform"):
        roles.add(Role.PROCTOR)
    if Role.ORGANISER in person_roles and home:
        roles.add(Role.ORGANISER)
    return frozenset(roles)


def may_operate(person_roles: frozenset[str], organisation_kind: str) -> bool:
    """Whether someone runs the platform itself: its operators, and organisers of the organisation that operates it."""
    return Role.OPERATOR in person_roles or (Role.ORGANISER in person_roles and organisation_kind == "platform")


def strongest(roles: frozenset[Role] | set[Role]) -> Role:
    """The role to take when none is named. `roles` is not empty."""
    return next(role for role in STRENGTH if role in roles)
