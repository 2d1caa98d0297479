"""What a second costs, case by case."""

from __future__ import annotations

import pytest

from classroom.domain import evidence as ev
from classroom.domain.credit import CreditReport, Stretch, credit
from classroom.domain.evidence import ANSWERED, MISSED, VOID, Evidence
from classroom.seed.profiles import AQ8011, SHANXI

END_S = 2700


def s(seconds: float) -> int:
    return round(seconds * 1000)


def face(at_s: float, outcome: str = "MATCH") -> Evidence:
    return ev.face(s(at_s), outcome, f"f{at_s}{outcome}")


def ping(at_s: float, outcome: str = ANSWERED, window_s: float = 90) -> Evidence:
    """Answered at at_s; missed or void: opened at at_s."""
    end_s = at_s if outcome == ANSWERED else at_s + window_s
    return ev.ping(s(at_s), s(end_s), outcome, f"g{at_s}")


def media(from_s: float = 0, to_s: float = END_S) -> Evidence:
    return ev.media(s(from_s), s(to_s))


HERE = ev.connected(0, "seat")


def judged(*evidence: Evidence, end_s: float = END_S) -> CreditReport:
    return credit(SHANXI, [HERE, *evidence], 0, s(end_s), s(end_s))


def live(*evidence: Evidence, now_s: float) -> CreditReport:
    return credit(SHANXI, [HERE, *evidence], 0, None, s(now_s))


def credited_s(report: CreditReport) -> list[tuple[float, float]]:
    return [(part.from_ms / 1000, part.to_ms / 1000) for part in report.intervals if part.credited]


def reasons(report: CreditReport) -> dict[str, float]:
    return {reason: ms / 1000 for reason, ms in report.weights_ms().items()}


def test_time_between_positive_evidences_is_credited() -> None:
    """R-063: from the first MATCH to the last positive evidence, nothing before and nothing after."""
    report = judged(media(), face(10), ping(200), ping(400))
    assert credited_s(report) == [(10, 400)]
    assert report.last_positive_ms == s(400)
    assert reasons(report) == {"gap_too_long": END_S - 400, "not_confirmed": 10}


def test_intervals_cover_the_lesson_without_gaps() -> None:
    report = judged(media(), face(10), ping(200), face(800, "MISMATCH"), face(900), ping(1000))
    assert report.intervals[0].from_ms == 0 and report.intervals[-1].to_ms == s(END_S)
    assert all(a.to_ms == b.from_ms for a, b in zip(report.intervals, report.intervals[1:], strict=False))


def test_pings_alone_earn_nothing_R065() -> None:
    """A script that answers every ping without media and without a face earns 0."""
    report = judged(*(ping(t) for t in range(0, END_S, 60)))
    assert report.credited_ms == 0
    assert (report.state, report.asked_of_you) == ("unconfirmed", "turn_on_camera")


def test_pings_and_media_without_a_face_earn_nothing_R065() -> None:
    assert judged(media(), *(ping(t) for t in range(0, END_S, 60))).credited_ms == 0


def test_pings_after_one_face_without_media_earn_nothing_R065() -> None:
    """One MATCH at entry, then a black camera: the media stop ends the confirmation before the first ping counts."""
    report = judged(face(5), *(ping(t) for t in range(60, END_S, 60)))
    assert report.credited_ms == 0
    assert report.alarm == "media_stopped"


@pytest.mark.parametrize(("gap_s", "credited"), [(420, True), (420.001, False)])
def test_gap_between_evidences_is_bounded(gap_s: float, credited: bool) -> None:
    report = judged(media(), face(10), ping(10 + gap_s))
    assert (report.credited_ms > 0) is credited
    if not credited:
        assert "gap_too_long" in reasons(report)


@pytest.mark.parametrize("outcome", ["MISMATCH", "SPOOF_SUSPECTED"])
def test_another_face_ends_the_credit_at_the_last_positive_R064(outcome: str) -> None:
    report = judged(media(), face(10), ping(200), face(300, outcome), ping(380), ping(560))
    assert credited_s(report) == [(10, 200)]
    assert reasons(report)["face_mismatch"] == END_S - 200
    assert (report.state, report.alarm, report.asked_of_you) == ("away", "face_mismatch", "wait_for_proctor")


def test_credit_resumes_at_a_fresh_match_R063() -> None:
    report = judged(media(), face(10), ping(200), face(300, "MISMATCH"), ping(380), face(500), ping(700))
    assert credited_s(report) == [(10, 200), (500, 700)]


def test_no_face_is_a_doubt_that_a_quick_match_lifts() -> None:
    """A learner who bent down for a moment loses nothing."""
    report = judged(media(), face(10), face(200, "NO_FACE"), face(250), ping(400))
    assert credited_s(report) == [(10, 400)]


@pytest.mark.parametrize("outcome", ["NO_FACE", "MANY_FACES"])
def test_no_face_twice_ends_the_credit_R063(outcome: str) -> None:
    report = judged(media(), face(10), ping(100), face(200, outcome), face(250, "NO_FACE"), face(290), ping(400))
    assert credited_s(report) == [(10, 100), (290, 400)]


def test_a_doubt_not_lifted_in_time_stands() -> None:
    late = 200 + SHANXI.relook_window_s + 1
    report = judged(media(), face(10), ping(100), face(200, "NO_FACE"), face(late), ping(400))
    assert credited_s(report) == [(10, 100), (late, 400)]


def test_of_two_verdicts_of_one_moment_the_worse_counts() -> None:
    """A MATCH at the very millisecond of a MISMATCH neither ends a credited stretch nor begins one."""
    report = judged(media(), face(10), ping(100), face(200), face(200, "MISMATCH"), ping(300))
    assert credited_s(report) == [(10, 100)]


def test_neutral_verdicts_change_nothing() -> None:
    quiet = [face(150, "UNSURE"), face(160, "NO_FRAME"), face(170, "NOT_JUDGED")]
    assert judged(media(), face(10), ping(300), *quiet) == judged(media(), face(10), ping(300))


def test_a_missed_ping_ends_the_credit_R065() -> None:
    report = judged(media(), face(10), ping(100), ping(200, MISSED), ping(350), face(500), ping(600))
    assert credited_s(report) == [(10, 100), (500, 600)]
    assert reasons(report)["ping_missed"] == 400


def test_a_void_ping_costs_nothing() -> None:
    report = judged(media(), face(10), ping(100), ping(200, VOID), ping(350))
    assert credited_s(report) == [(10, 350)]


def test_answers_count_only_while_the_face_is_fresh() -> None:
    """After max_face_age without a MATCH, answered pings prove nothing."""
    pings = [ping(t) for t in range(100, 1500, 100)]
    assert credited_s(judged(media(), face(10), *pings)) == [(10, 900)]


def test_quiz_answers_are_positive_evidence() -> None:
    report = judged(media(), face(10), ev.quiz_answer(s(300), "z"))
    assert credited_s(report) == [(10, 300)]


@pytest.mark.parametrize(("hole_s", "kept"), [(20, True), (20.001, False)])
def test_a_hole_in_the_media_longer_than_the_slack_is_a_stop_R063(hole_s: float, kept: bool) -> None:
    report = judged(media(0, 100), media(100 + hole_s, END_S), face(10), ping(80), ping(200), ping(300))
    assert credited_s(report) == ([(10, 300)] if kept else [(10, 80)])
    if not kept:
        assert (report.alarm, report.asked_of_you) == ("media_stopped", "turn_on_camera")


def test_the_newest_sample_may_still_be_on_its_way() -> None:
    """Live, the tail of the media is judged only after one sampling interval more."""
    assert live(media(0, 100), face(10), ping(140), now_s=149).state == "present"
    assert live(media(0, 100), face(10), ping(140), now_s=151).state == "away"


def test_a_fault_excuses_missing_media_and_missed_pings_but_proves_nothing() -> None:
    """Nobody is marked absent for the server's faults, and nothing is invented either."""
    there = [media(0, 100), media(190, END_S), face(10), ping(90)]
    fault = ev.fault(s(100), s(170), "media node")
    missed = ping(120, MISSED, 60)
    bracketed = judged(*there, missed, fault, ping(300))
    assert credited_s(bracketed) == [(10, 300)]
    # Without a positive evidence soon enough afterwards the stretch is not credited, and says why.
    alone = judged(*there, missed, fault, ping(600))
    assert credited_s(alone) == [(10, 90)]
    assert reasons(alone)["server_fault"] == 510
    # Without the fault the same evidence is a stop.
    assert credited_s(judged(*there, missed, ping(300))) == [(10, 90)]


def test_time_to_reconnect_after_a_fault_is_excused_too_R110() -> None:
    after = 170 + SHANXI.reconnect_grace_s
    fault = ev.fault(s(100), s(170))
    assert credited_s(judged(media(), face(10), ping(after - 1, MISSED), fault, ping(after - 2))) != []
    assert judged(media(), face(10), ping(after + 1, MISSED), fault).alarm == "ping_missed"
    assert judged(media(), face(10), ping(after - 1, MISSED), fault).alarm is None


def test_a_stretch_withheld_by_an_incident_is_not_credited_until_released_R064() -> None:
    held = ev.withheld("i1", s(50), s(150))
    report = judged(media(), face(10), ping(300), held)
    assert credited_s(report) == [(10, 50), (150, 300)]
    assert reasons(report)["withheld"] == 100
    assert credited_s(judged(media(), face(10), ping(300), held, ev.released("i1", s(2000)))) == [(10, 300)]


def test_evidence_outside_the_lesson_is_clipped() -> None:
    report = credit(SHANXI, [HERE, media(-100, 3000), face(-50), ping(100), ping(400)], 0, s(300), s(300))
    assert credited_s(report) == [(0, 300)]


def test_not_connected_is_told_apart_from_not_confirmed() -> None:
    report = credit(
        SHANXI,
        [ev.connected(s(100), "a"), ev.disconnected(s(400), "a"), face(300), media(100, 400)],
        0,
        s(END_S),
        s(END_S),
    )
    assert report.intervals[0] == Stretch(0, s(100), False, "not_connected")
    assert report.intervals[1] == Stretch(s(100), s(300), False, "not_confirmed")
    assert (report.state, report.asked_of_you, report.attended_ms) == ("absent", "reconnect", s(300))


def test_the_connection_of_an_earlier_seat_does_not_end_the_present_one_R060() -> None:
    report = live(ev.connected(s(10), "b"), ev.disconnected(s(11), "seat"), media(), face(20), ping(100), now_s=110)
    assert report.state == "present"


def test_live_states_follow_the_evidence() -> None:
    assert live(now_s=5).state == "unconfirmed"
    assert live(media(0, 60), now_s=60).asked_of_you == "look_at_camera"
    present = live(media(0, 60), face(30), now_s=60)
    assert (present.state, present.asked_of_you, present.alarm) == ("present", None, None)
    assert present.intervals[-1].reason == "after_last_evidence"
    stale = live(media(0, 600), face(30), now_s=600)
    assert (stale.state, stale.asked_of_you) == ("unconfirmed", "look_at_camera")
    many = live(media(0, 60), face(30), face(50, "MANY_FACES"), now_s=60)
    assert (many.state, many.asked_of_you) == ("away", "alone_please")


@pytest.mark.parametrize(
    ("profile", "credited", "hours"),
    [(SHANXI, 2699, 0), (SHANXI, 2700, 1), (SHANXI, 5399, 1), (AQ8011, 1799, 0), (AQ8011, 1800, 1)],
)
def test_an_hour_is_never_rounded_up_R070(profile, credited: int, hours: int) -> None:
    assert profile.hours(credited * 1000) == hours
    assert profile.scaled(11.25).hours(round(credited * 1000 / 11.25)) == hours


def test_shanxi_numbers_name_their_clauses() -> None:
    """R-070, R-071, R-077, R-081, R-090: every number has a source beside it."""
    assert (SHANXI.seconds_per_hour, SHANXI.daily_cap_hours) == (2700, 6)
    assert (SHANXI.questions_per_hour, SHANXI.pass_score) == (5, 80)
    numbers = {name for name, value in SHANXI.to_dict().items() if isinstance(value, int | float)}
    assert numbers - set(SHANXI.clauses) == {"version", "clock_factor"}


@pytest.mark.parametrize("outcome", ["UNSURE", "NO_FRAME"])
def test_checks_that_never_resolve_end_the_confirmation(outcome: str) -> None:
    """R-058, R-064: who answers key-frame requests only when it suits may not choose which checks succeed."""
    looks = [face(at_s, outcome) for at_s in (250, 300, 350)]
    report = judged(media(), face(10), ping(200), *looks, ping(400), ping(600))
    assert credited_s(report) == [(10, 200)]
    assert reasons(report)["unsure"] == END_S - 350 + 150
    assert judged(media(), face(10), ping(200), *looks[:2], ping(400)).credited_ms == s(390)
    assert credited_s(judged(media(), face(10), ping(200), *looks, face(360), ping(500))) == [(10, 200), (360, 500)]


def test_our_own_failures_to_judge_never_count_against_a_learner() -> None:
    """R-095: NOT_JUDGED is the platform's; and what falls into a recorded fault is excused."""
    looks = [face(at_s, "NOT_JUDGED") for at_s in (250, 270, 290, 310)]
    assert judged(media(), face(10), ping(200), *looks, ping(400)).credited_ms == s(390)
    dark = [face(at_s, "NO_FRAME") for at_s in (250, 270, 290)]
    fault = ev.fault(s(240), s(300), "media_node")
    assert judged(media(), face(10), ping(200), *dark, fault, ping(400)).credited_ms == s(390)
