"""What must hold of credit whatever the evidence is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from classroom.domain import evidence as ev
from classroom.domain.caps import LessonCredit, capped, shanghai_day
from classroom.domain.credit import CreditReport, Stretch, credit
from classroom.domain.evidence import ANSWERED, MISSED, Evidence, Kind, Outcome
from classroom.seed.profiles import SHANXI

END_MS = 2_700_000
moments = st.integers(-300, 3000).map(lambda seconds: seconds * 1000)
spans = st.tuples(moments, st.integers(1, 900)).map(lambda pair: (pair[0], pair[0] + pair[1] * 1000))
ids = st.sampled_from(["a", "b", "c", "d"])

faces = st.builds(ev.face, moments, st.sampled_from(Outcome), ids)
matches = st.builds(ev.face, moments, st.just(Outcome.MATCH), ids)
pings = st.builds(
    lambda span, outcome, ref: ev.ping(*span, outcome, ref), spans, st.sampled_from([ANSWERED, MISSED]), ids
)
others = st.one_of(
    st.builds(ev.quiz_answer, moments, ids),
    st.builds(lambda span: ev.media(*span), spans),
    st.builds(lambda span: ev.fault(*span), spans),
    st.builds(ev.connected, moments, ids),
    st.builds(ev.disconnected, moments, ids),
    st.builds(lambda ref, span: ev.withheld(ref, *span), ids, spans),
    st.builds(ev.released, ids, moments),
)
anything = st.lists(st.one_of(faces, matches, pings, others), max_size=25)
#: Mostly good lives, so that there is credit to lose: media all along, matches and answers in plenty.
good_lives = st.lists(
    st.one_of(matches, st.builds(lambda at: ev.ping(at, at, ANSWERED, "g"), moments)), min_size=5, max_size=25
).map(lambda facts: [ev.media(-300_000, 3_000_000), ev.connected(-300_000, "a"), *facts])
lives = st.one_of(anything, st.tuples(good_lives, anything).map(lambda pair: pair[0] + pair[1]), good_lives)

negatives = st.one_of(
    st.builds(
        ev.face,
        moments,
        st.sampled_from([Outcome.MISMATCH, Outcome.SPOOF_SUSPECTED, Outcome.NO_FACE, Outcome.MANY_FACES]),
        ids,
    ),
    st.builds(lambda span: ev.ping(*span, MISSED, "n"), spans),
    st.builds(lambda span: ev.withheld("n", *span), spans),
)


def judged(evidence: list[Evidence]) -> CreditReport:
    return credit(SHANXI, evidence, 0, END_MS, END_MS)


@given(lives)
def test_credit_never_exceeds_wall_time_R060(evidence: list[Evidence]) -> None:
    report = judged(evidence)
    assert 0 <= report.credited_ms <= END_MS
    assert sum(part.to_ms - part.from_ms for part in report.intervals) == END_MS
    assert all(a.to_ms == b.from_ms for a, b in zip(report.intervals, report.intervals[1:], strict=False))
    assert all(part.credited == (part.reason is None) for part in report.intervals)


@given(lives, st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter_R069(evidence: list[Evidence], random) -> None:
    shuffled = [*evidence, *evidence[: len(evidence) // 2]]
    random.shuffle(shuffled)
    assert judged(shuffled) == judged(evidence)


@given(lives, negatives)
def test_a_negative_evidence_never_adds_credit(evidence: list[Evidence], negative: Evidence) -> None:
    before, after = judged(evidence), judged([*evidence, negative])
    assert after.credited_ms <= before.credited_ms
    kept = [(part.from_ms, part.to_ms) for part in before.intervals if part.credited]
    for part in after.intervals:
        if part.credited:
            assert any(a <= part.from_ms and part.to_ms <= b for a, b in kept), "credit moved to another place"


@given(lives)
def test_nothing_before_the_first_match_and_nothing_after_the_last_positive(evidence: list[Evidence]) -> None:
    matched = [e.at_ms for e in evidence if e.kind is Kind.FACE and e.outcome == Outcome.MATCH]
    positive = matched + [
        e.at_ms for e in evidence if e.kind is Kind.QUIZ_ANSWER or (e.kind is Kind.PING and e.outcome == ANSWERED)
    ]
    for part in judged(evidence).intervals:
        if part.credited:
            assert matched and part.from_ms >= min(matched) and part.to_ms <= max(positive)


@given(lives, st.sampled_from([2, 5, 10, 20]))
def test_scaled_rules_give_the_scaled_result(evidence: list[Evidence], factor: int) -> None:
    """A demonstration on a faster clock is the same lesson: every number of the result is divided by the factor."""
    quick = [
        Evidence(e.at_ms // factor, e.kind, e.ref, e.outcome, e.from_ms // factor, e.to_ms // factor) for e in evidence
    ]
    slow, fast = judged(evidence), credit(SHANXI.scaled(factor), quick, 0, END_MS // factor, END_MS // factor)
    assert fast.credited_ms * factor == slow.credited_ms
    assert [(p.from_ms * factor, p.to_ms * factor, p.reason) for p in fast.intervals] == [
        (p.from_ms, p.to_ms, p.reason) for p in slow.intervals
    ]
    assert (fast.state, fast.asked_of_you, fast.alarm) == (slow.state, slow.asked_of_you, slow.alarm)


@given(st.lists(st.one_of(pings, others), max_size=25))
def test_whatever_is_answered_without_a_face_earns_nothing_R065(evidence: list[Evidence]) -> None:
    assert judged(evidence).credited_ms == 0


@given(lives)
def test_live_credit_at_the_end_is_the_final_credit(evidence: list[Evidence]) -> None:
    """Ending a lesson changes nothing about what was already earned."""
    known = [e for e in evidence if max(e.at_ms, e.to_ms) <= END_MS]
    assert credit(SHANXI, known, 0, None, END_MS).credited_ms == judged(known).credited_ms


# --- limits over lessons -------------------------------------------------------------------------------------------

DAY_MS = 86_400_000


@st.composite
def histories(draw: st.DrawFn) -> list[LessonCredit]:
    lessons = []
    for k in range(draw(st.integers(1, 8))):
        start = draw(st.integers(0, 3 * 24 * 60)) * 60_000
        parts = []
        for _ in range(draw(st.integers(1, 4))):
            end = start + draw(st.integers(1, 240)) * 60_000
            parts.append(Stretch(start, end, True))
            start = end + draw(st.integers(0, 30)) * 60_000
        factor = draw(st.sampled_from([1, 1, 9]))
        lessons.append(LessonCredit(f"l{k}", draw(st.sampled_from("xyz")), 8.0, 2_700_000 // factor, 6, tuple(parts)))
    return lessons


def credited(parts: tuple[Stretch, ...]) -> list[Stretch]:
    return [part for part in parts if part.credited]


@given(histories())
def test_no_day_has_more_than_six_hours_and_no_course_more_than_its_own(lessons: list[LessonCredit]) -> None:
    """R-069, R-071 over courses, lessons and clocks; R-060: no second is credited twice."""
    hours: dict[tuple[str, object], float] = {}
    lived: list[tuple[int, int]] = []
    outcome = capped(lessons)
    for lesson in lessons:
        for part in credited(outcome[lesson.lesson_id]):
            assert shanghai_day(part.from_ms) in (shanghai_day(part.to_ms - 1), shanghai_day(part.to_ms - 1) - 1)
            cursor = part.from_ms
            while cursor < part.to_ms:
                edge = min(part.to_ms, (shanghai_day(cursor) + 1) * DAY_MS - 8 * 3_600_000)
                share = (edge - cursor) / lesson.hour_ms
                for key in (("day", shanghai_day(cursor)), ("course", lesson.course)):
                    hours[key] = hours.get(key, 0) + share
                cursor = edge
            lived.append((part.from_ms, part.to_ms))
    assert all(total <= (6 if kind == "day" else 8) + 1e-9 for (kind, _), total in hours.items())
    lived.sort()
    assert all(a[1] <= b[0] for a, b in zip(lived, lived[1:], strict=False))


@given(histories())
def test_limits_only_take_away_and_say_why(lessons: list[LessonCredit]) -> None:
    outcome = capped(lessons)
    for lesson in lessons:
        parts = outcome[lesson.lesson_id]
        assert sum(p.to_ms - p.from_ms for p in parts) == sum(p.to_ms - p.from_ms for p in lesson.intervals)
        assert {p.reason for p in parts if not p.credited} <= {"daily_cap", "course_complete", "other_lesson"}


@given(histories())
def test_limits_applied_twice_are_the_limits_applied_once(lessons: list[LessonCredit]) -> None:
    once = capped(lessons)
    again = capped(
        LessonCredit(x.lesson_id, x.course, x.course_hours, x.hour_ms, x.daily_cap_hours, once[x.lesson_id])
        for x in lessons
    )
    assert {k: credited(v) for k, v in again.items()} == {k: credited(v) for k, v in once.items()}
