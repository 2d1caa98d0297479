"""Where pings, checks and quiz questions fall."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classroom.domain.lesson_plan import FACE, PING, LessonPlan, fraction
from classroom.domain.profile import profile_of
from classroom.domain.quizzes import draw, is_right, mean_score, passed, score
from classroom.seed.profiles import AQ8011, SHANXI

SECRET = bytes(range(32))


def plan(hours: float = 1, factor: float = 1, secret: bytes = SECRET) -> LessonPlan:
    profile = SHANXI.scaled(factor)
    return LessonPlan("l", secret, 1_000_000, round(hours * profile.seconds_per_hour * 1000), profile)


def test_the_plan_is_the_same_for_every_audit_and_another_for_every_learner_R058() -> None:
    assert fraction(SECRET, "p_1", PING, 0) == fraction(SECRET, "p_1", PING, 0) != fraction(SECRET, "p_2", PING, 0)
    moments = plan().moments("p_1", PING)
    assert moments == plan().moments("p_1", PING)
    others = {
        plan().moments("p_2", PING)[3],
        plan().moments("p_1", FACE)[3],
        plan(secret=bytes(32)).moments("p_1", PING)[3],
    }
    assert moments[3] not in others and len(others) == 3


@given(st.binary(min_size=32, max_size=32), st.text(min_size=1, max_size=8), st.sampled_from([1, 11.25]))
def test_honest_learners_can_always_be_credited(secret: bytes, person: str, factor: float) -> None:
    """However the moments fall: no two pings are further apart than max_gap, no two checks than max_face_age."""
    drawn = plan(1, factor, secret)
    for kind, interval_s, limit_ms in (
        (PING, drawn.profile.ping_interval_s, drawn.profile.ms("max_gap_s")),
        (FACE, drawn.profile.face_interval_s, drawn.profile.ms("max_face_age_s")),
    ):
        moments = drawn.moments(person, kind)
        assert len(moments) >= drawn.planned_ms / 1000 // interval_s - 1
        assert all(0 < b.at_ms - a.at_ms <= limit_ms for a, b in pairwise(moments))
        assert moments[0].at_ms - drawn.started_at_ms <= limit_ms
        assert drawn.planned_end_ms - moments[-1].at_ms <= limit_ms


def test_every_hour_has_its_quiz_R081() -> None:
    three = plan(3)
    assert [q.at_ms - three.started_at_ms for q in three.quizzes()] == [2_700_000, 5_400_000, 8_100_000]
    assert [q.index for q in plan(1, 11.25).quizzes()] == [0]


def test_questions_are_drawn_by_the_secret_and_not_repeated_R081() -> None:
    bank = [f"q{k}" for k in range(44)]
    drawn = [draw(SECRET, hour, bank, 5) for hour in range(8)]
    assert drawn == [draw(SECRET, hour, reversed(bank), 5) for hour in range(8)]
    assert len({question for hour in drawn for question in hour}) == 40
    assert draw(bytes(32), 0, bank, 5) != drawn[0]
    assert len(set(draw(SECRET, 8, bank, 5))) == 5  # the bank is used up: it begins anew, still five different ones
    with pytest.raises(ValueError, match="4 questions"):
        draw(SECRET, 0, bank[:4], 5)


def test_scores_R081_R090() -> None:
    correct = {"a": [0], "b": [1, 2], "c": [3]}
    assert is_right([1, 2], [2, 1]) and not is_right([1, 2], [1]) and not is_right([1], [1, 2])
    assert score(correct, {"a": [0], "b": [2, 1], "x": [0]}) == pytest.approx(200 / 3)
    assert score(correct, {}) == 0 == score({}, {})
    assert mean_score([100, 50], 3) == 50  # an hour without a score counts 0
    assert passed(80.0, SHANXI.pass_score) and not passed(79.99, SHANXI.pass_score)


def test_a_profile_survives_being_frozen_and_refuses_rules_it_does_not_know() -> None:
    for profile in (SHANXI, AQ8011, SHANXI.scaled(11.25)):
        assert profile_of(profile.to_dict()) == profile
    with pytest.raises(ValueError, match="unknown rules"):
        profile_of({**SHANXI.to_dict(), "bonus_s": 5})
    assert SHANXI.scaled(11.25).ms("seconds_per_hour") == 240_000
    with pytest.raises(ValueError, match="positive"):
        SHANXI.scaled(0)


def test_shanxi_is_not_below_the_national_floor_P001() -> None:
    """AQ 8011-2023: an online hour of at least 30 minutes, an offline share of at least 30 %."""
    assert SHANXI.seconds_per_hour >= AQ8011.seconds_per_hour == 1800
    shanxi = SHANXI.offline_share_numerator / SHANXI.offline_share_denominator
    assert shanxi >= AQ8011.offline_share_numerator / AQ8011.offline_share_denominator == 0.3
