"""Replay rules: no faster than the clock, in order, one allowance a person, and only what a challenge confirmed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from classroom.domain.replay import (
    AHEAD_MS,
    Allowance,
    Challenge,
    Progress,
    Refused,
    answered,
    challenge_due,
    given_up,
    issue,
    moment_ms,
)

SEGMENT_MS = 4000.0


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 40), st.sampled_from(["a", "b", "c"])), max_size=200))
def test_whatever_players_ask_no_more_is_handed_out_than_the_clock_allows(
    asks: list[tuple[int, int, str]],
) -> None:
    """Three players of one person, on three recordings, asking whatever they like whenever they like."""
    now_ms, allowance = 1_000_000, Allowance(AHEAD_MS, 1_000_000)
    progress = {name: Progress() for name in "abc"}
    for wait_ms, number, name in asks:
        now_ms += wait_ms
        done = issue(progress[name], allowance, number, SEGMENT_MS, now_ms)
        if not isinstance(done, Refused):
            progress[name], allowance = done
        handed_ms = sum(item.issued_ms for item in progress.values())
        assert handed_ms <= AHEAD_MS + now_ms - 1_000_000
        assert all(item.issued_ms == item.issued * SEGMENT_MS for item in progress.values())


def test_nothing_is_skipped_and_what_was_seen_may_be_seen_again() -> None:
    progress, allowance = Progress(issued=3, issued_ms=3 * SEGMENT_MS), Allowance(AHEAD_MS, 0)
    assert issue(progress, allowance, 5, SEGMENT_MS, 0) == Refused("not_in_order")
    again = issue(progress, allowance, 1, SEGMENT_MS, 0)
    assert not isinstance(again, Refused)
    assert again[0] == progress and again[1].ms == AHEAD_MS


def test_too_early_says_how_long_to_wait() -> None:
    refused = issue(Progress(), Allowance(1000, 0), 0, SEGMENT_MS, 500)
    assert refused == Refused("too_early", 2501)
    assert not isinstance(issue(Progress(), Allowance(1000, 0), 0, SEGMENT_MS, 3500), Refused)


def test_an_open_challenge_stops_the_replay_until_it_is_answered_in_its_window() -> None:
    watched = Progress(5, 20_000, 2, 8_000, 1, Challenge("c1", 100, 200))
    assert issue(watched, Allowance(AHEAD_MS, 0), 5, SEGMENT_MS, 150) == Refused("challenge_open")
    assert answered(watched, "c2", 150) is None
    assert answered(watched, "c1", 99) is None
    assert answered(watched, "c1", 201) is None
    after = answered(watched, "c1", 200)
    assert after == Progress(5, 20_000, 5, 20_000, 2, None)
    assert given_up(watched) == Progress(2, 8_000, 2, 8_000, 1, None)


def test_challenges_fall_where_only_the_secret_says() -> None:
    moments = [moment_ms(b"s" * 32, "p1", index, 180_000) for index in range(50)]
    for index, at_ms in enumerate(moments):
        assert (index + 0.25) * 180_000 <= at_ms <= (index + 0.75) * 180_000
    assert moments != [moment_ms(b"t" * 32, "p1", index, 180_000) for index in range(50)]
    assert len({at_ms - index * 180_000 for index, at_ms in enumerate(moments)}) > 40
    assert challenge_due(Progress(2, 60_000), 60_000, is_last=False)
    assert not challenge_due(Progress(2, 59_000), 60_000, is_last=False)
    assert challenge_due(Progress(2, 59_000), 60_000, is_last=True), "the end of a recording is confirmed too"
    assert not challenge_due(Progress(2, 59_000, 2, 59_000), 60_000, is_last=True)
