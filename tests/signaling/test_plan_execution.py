"""When pings and looks are due: by the secret's plan, repeated where a face was not confirmed, never in a burst."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from classroom import FACE, PING, PROFILES, LessonPlan
from signaling.face_checks import Asked
from signaling.plan_execution import Watch, due, first_index, look_due, ping_due, relook_ms

PROFILE = PROFILES["shanxi-2021"]
START_MS = 1_800_000_000_000
PLAN = LessonPlan("l_1", b"s" * 32, START_MS, 2_700_000, PROFILE)


def _pings(plan: LessonPlan, person_id: str, step_ms: int = 250) -> list[tuple[int, int]]:
    watch = Watch(person_id, here=True)
    opened = []
    for now_ms in range(START_MS, plan.planned_end_ms, step_ms):
        index = ping_due(plan, watch, now_ms)
        if index is not None:
            opened.append((index, now_ms))
    return opened


def test_pings_open_once_each_at_their_planned_moment() -> None:
    opened = _pings(PLAN, "p_1")
    planned = PLAN.moments("p_1", PING)
    assert [index for index, _ in opened] == [moment.index for moment in planned]
    assert all(0 <= at_ms - moment.at_ms < 250 for (_, at_ms), moment in zip(opened, planned, strict=True))


def test_the_plan_is_reproducible_and_unpredictable() -> None:
    assert _pings(PLAN, "p_1") == _pings(replace(PLAN), "p_1")
    assert _pings(PLAN, "p_1") != _pings(PLAN, "p_2")
    assert _pings(PLAN, "p_1") != _pings(replace(PLAN, secret=b"t" * 32), "p_1")
    # Knowing when others are pinged, or one's own earlier pings, says nothing: the offsets are spread over the range.
    half_ms = PROFILE.ms("ping_interval_s") // 2
    offsets = [
        PLAN.moment(f"p_{n}", PING, k).at_ms - START_MS - k * PROFILE.ms("ping_interval_s")
        for n in range(40)
        for k in range(10)
    ]
    assert all(0 <= offset <= half_ms for offset in offsets)
    tenths = {offset * 10 // (half_ms + 1) for offset in offsets}
    assert tenths == set(range(10))


@given(st.integers(0, 2_600_000), st.integers(0, 900_000))
def test_a_conductor_that_overslept_serves_only_the_newest_moment(until_ms: int, slept_ms: int) -> None:
    _, following = due(PLAN, "p_1", PING, 0, START_MS + until_ms)
    served, after = due(PLAN, "p_1", PING, following, START_MS + until_ms + slept_ms)
    moments = PLAN.moments("p_1", PING)
    late = [m for m in moments if START_MS + until_ms < m.at_ms <= START_MS + until_ms + slept_ms]
    assert served == (late[-1].index if late else None)
    assert after == following + len(late)


@given(st.integers(0, 2_699_000))
def test_a_successor_begins_where_no_moment_is_older_than_half_an_interval(at_ms: int) -> None:
    index = first_index(PLAN, "p_1", FACE, START_MS + at_ms)
    half_ms = PROFILE.ms("face_interval_s") // 2
    assert PLAN.moment("p_1", FACE, index).at_ms > START_MS + at_ms - half_ms
    assert index == 0 or PLAN.moment("p_1", FACE, index - 1).at_ms <= START_MS + at_ms - half_ms


def _watch(**values: object) -> Watch:
    return Watch("p_1", may_be_looked_at=True, publishing=True, **values)  # type: ignore[arg-type]


def test_the_camera_that_begins_is_looked_at_at_once_under_the_first_index() -> None:
    watch = Watch("p_1", may_be_looked_at=True)
    now_ms = PLAN.moment("p_1", FACE, 0).at_ms
    assert look_due(PLAN, watch, now_ms) == (False, None)
    watch.camera(True)
    watch.next_look = 0
    assert look_due(PLAN, watch, now_ms) == (True, 0)


def test_nobody_is_looked_at_without_consent_camera_or_while_a_look_is_on_its_way() -> None:
    late_ms = PLAN.planned_end_ms - 1
    assert look_due(PLAN, Watch("p_1", publishing=True), late_ms) == (False, None)
    assert look_due(PLAN, Watch("p_1", may_be_looked_at=True), late_ms) == (False, None)
    assert look_due(PLAN, _watch(asked=Asked("l_1", "p_1")), late_ms) == (False, None)


def test_looks_without_match_are_repeated_at_growing_bounded_intervals() -> None:
    watch = _watch(next_look=10_000)
    now_ms, looks = START_MS, []
    while len(looks) < 12:
        look, _ = look_due(PLAN, watch, now_ms)
        if look:
            looks.append(now_ms)
            watch.verdict("MISMATCH", now_ms)
        now_ms += 1000
    gaps = [b - a for a, b in zip(looks, looks[1:], strict=False)]
    assert gaps[0] >= PROFILE.ms("relook_s")
    assert all(a <= b for a, b in zip(gaps, gaps[1:], strict=False))
    assert gaps[-1] == relook_ms(PROFILE, 50) == 4 * PROFILE.ms("relook_s")
    watch.verdict("MATCH", now_ms)
    assert look_due(PLAN, watch, now_ms + 10 * PROFILE.ms("relook_s")) == (False, None)


def test_a_missed_ping_asks_for_a_fresh_look_before_anything_counts_again() -> None:
    """R-063: after an absence the clock resumes only after a fresh positive check."""
    watch = _watch(next_look=10_000)
    watch.verdict("MATCH", START_MS)
    assert look_due(PLAN, watch, START_MS + 1000) == (False, None)
    watch.look_now = True
    assert look_due(PLAN, watch, START_MS + 1000) == (True, None)


def test_a_camera_that_comes_back_is_looked_at_but_not_in_a_burst() -> None:
    watch = _watch(next_look=10_000)
    watch.verdict("NO_FACE", START_MS)
    for second in range(1, 40):
        watch.camera(second % 2 == 0)
        assert look_due(PLAN, watch, START_MS + second * 1000) == (False, None)
