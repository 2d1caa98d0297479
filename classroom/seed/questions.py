"""A first question bank on work safety, for every course to begin with."""

from __future__ import annotations

from classroom.views import QuestionDraft


def seed_questions() -> list[QuestionDraft]:
    """The shipped questions, with answers and explanations."""
    raise NotImplementedError
