"""The demo's own judgement: it must not let a lost second, a short credit or an unnamed row pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.demo.cast import ACCOUNTS, players
from web.demo.class_run import PlayedLearner, progress
from web.demo.faults import lost_ms, merged
from web.demo.report import Report, last_positive, write_report
from web.demo.seed import LESSONS_PER_COHORT, Ground, player_login, read_ground, write_ground

STRETCHES = st.lists(
    st.tuples(st.integers(0, 200), st.integers(1, 50)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=6
)


def seconds(stretches: list[tuple[int, int]]) -> set[int]:
    return {at for since, to in stretches for at in range(since, to)}


@given(STRETCHES, STRETCHES)
def test_lost_credit_is_what_was_credited_and_no_longer_is(
    before: list[tuple[int, int]], after: list[tuple[int, int]]
) -> None:
    disjoint = merged(before)
    assert lost_ms(disjoint, after) == len(seconds(before) - seconds(after))
    assert seconds(merged(after)) == seconds(after)


def entry(kind: str, at_ms: int, outcome: str = "") -> dict[str, Any]:
    return {"kind": kind, "body": {"at_ms": at_ms, "outcome": outcome}}


def test_only_presence_that_was_shown_is_positive() -> None:
    shown = [entry("FACE", 10, "MATCH"), entry("PING", 30, "answered"), entry("QUIZ_ANSWER", 20)]
    not_shown = [entry("FACE", 90, "NO_FACE"), entry("PING", 91, "missed"), entry("FACE", 93, "UNSURE")]
    not_shown.append(entry("MEDIA", 92))
    assert last_positive([*shown, *not_shown]) == 30
    assert last_positive(not_shown) is None


async def judge(behaviour: str, credited: list[tuple[int, int]], **changes: Any) -> list[str]:
    """What the report complains of for one learner of a class of 240 s with gaps of at most 37 s."""
    lesson = {"started_at_ms": 0, "ended_at_ms": 240_000, "max_gap_s": 37.0}
    report = Report(ok=False, minutes=4.0, lesson=lesson)
    player = next(player for player in players() if player.behaviour == behaviour)
    learner = PlayedLearner(player)
    learner.tally = {"frames": {"H264": 2800, "opus": 12000}, "walked_away": True, **changes.pop("tally", {})}
    credited_s = sum(to - since for since, to in credited) / 1000
    row = {
        "person_id": "p",
        "credited_s": credited_s,
        "attended_s": 250.0,
        "verdicts": {"MISMATCH": 9} if behaviour == "impostor" else {"MATCH": 9},
        "pings": {"sent": 14, "answered": 14, "missed": 0},
        "quiz_score": 80.0,
        "reasons": [],
        **changes,
    }
    intervals = [{"from_ms": since, "to_ms": to, "credited": True} for since, to in credited]
    answer = {"credit": {"intervals": intervals}, "evidence": [entry("FACE", 238_000, "MATCH")]}
    await report._add_learner(learner, row, answer, None)
    return report.problems


@pytest.mark.parametrize(
    ("behaviour", "credited", "changes", "complaint"),
    [
        ("honest", [(2_000, 238_000)], {}, None),
        ("honest", [(2_000, 198_000)], {}, "short"),
        ("honest", [(2_000, 239_000)], {}, "beyond the last positive"),
        ("honest", [(2_000, 238_000)], {"tally": {"frames": {"opus": 12000}}}, "received 0 pictures"),
        ("impostor", [], {}, None),
        ("impostor", [(2_000, 3_000)], {}, "impostor"),
        ("impostor", [], {"verdicts": {"NO_FRAME": 3}}, "never seen to be someone else"),
        ("absentee", [(2_000, 78_000)], {}, None),
        ("absentee", [(2_000, 200_000)], {}, "absentee"),
        ("absentee", [], {}, "absentee"),
        ("absentee", [(2_000, 78_000)], {"tally": {"walked_away": False}}, "never walked away"),
    ],
)
async def test_each_behaviour_is_judged(
    behaviour: str, credited: list[tuple[int, int]], changes: dict[str, Any], complaint: str | None
) -> None:
    problems = await judge(behaviour, credited, **changes)
    if complaint is None:
        assert problems == []
    else:
        assert any(complaint in problem for problem in problems), problems


def test_the_cast_is_ten_honest_one_impostor_one_absentee() -> None:
    behaviours = [player.behaviour for player in players()]
    assert (len(behaviours), behaviours.count("honest")) == (12, 10)
    assert {"impostor", "absentee"} < set(behaviours)
    assert {account.role for account in ACCOUNTS} == {"learner", "instructor", "proctor", "organiser", "operator"}
    assert len({player.login for player in players()} | {account.login for account in ACCOUNTS}) == 17


def test_r071_a_cohort_stays_below_the_daily_cap(tmp_path: Path) -> None:
    assert LESSONS_PER_COHORT < 6
    ground = Ground(lessons_held=LESSONS_PER_COHORT, people={"a": "p"})
    write_ground(tmp_path / "demo.json", ground)
    again = read_ground(tmp_path / "demo.json")
    assert again == ground and again.cohort == 1
    first = players()[0]
    assert player_login(first, 0) != player_login(first, 1)


def test_progress_shows_elapsed_and_total() -> None:
    assert progress(62, 250) == "[######------------------] 01:02/04:10"
    assert progress(300, 250).startswith("[########################]")


def test_the_report_is_written_as_readable_json(tmp_path: Path) -> None:
    path = tmp_path / "build" / "demo.json"
    write_report(Report(ok=True, minutes=4.0, learners=[{"name": "陈立新"}]), path)
    assert "陈立新" in path.read_text()
    assert json.loads(path.read_text())["ok"] is True
