"""The stage as a value: places, microphones, who is looked at. No Redis, no clock."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from signaling import stage
from signaling.stage import VOICES, StageState, parse

NOW_MS = 1_800_000_000_000


def with_guests(*people: str) -> StageState:
    state = StageState()
    for place, person in enumerate(people):
        granted = stage.grant(state, person, f"姓名{person}", NOW_MS + place)
        assert granted is not None
        state = granted
    return state


def test_three_have_the_floor_and_a_fourth_waits_for_a_place() -> None:
    state = with_guests("a", "b", "c")
    assert [guest.voice for guest in state.guests] == list(VOICES)
    assert stage.grant(state, "d", "d", NOW_MS) is None
    freed = stage.grant(stage.take(state, "b"), "d", "d", NOW_MS)
    assert freed is not None and {g.person_id: g.voice for g in freed.guests} == {
        "a": "voice0",
        "c": "voice2",
        "d": "voice1",
    }, "the others keep their slots: nobody's sound is cut"


def test_a_muted_guest_keeps_the_place_and_speaks_only_when_granted_again() -> None:
    state = stage.mute(with_guests("a", "b", "c"), ["a", "b", "c"])
    assert [guest.muted for guest in state.guests] == [True] * 3
    assert not state.may_speak("a")
    again = stage.grant(state, "b", "b", NOW_MS)
    assert again is not None and again.may_speak("b") and not again.may_speak("c")
    assert not state.may_speak("stranger")


def test_who_goes_on_speaking_stays_in_sight_when_another_joins_in() -> None:
    state = stage.spoke(with_guests("a", "b"), "teacher", True, NOW_MS)
    assert (state.dominant, state.shown) == ("teacher", "a")
    state = stage.spoke(state, "b", True, NOW_MS + 1)
    assert (state.dominant, state.shown) == ("teacher", "b")
    state = stage.spoke(state, "a", True, NOW_MS + 2)
    assert (state.dominant, state.shown) == ("teacher", "b")
    state = stage.spoke(state, "teacher", False, NOW_MS + 3)
    assert state.dominant == "b"
    state = stage.spoke(state, "b", False, NOW_MS + 4)
    assert (state.dominant, state.shown) == ("a", "a")
    state = stage.spoke(state, "a", False, NOW_MS + 5)
    assert (state.dominant, state.shown) == (None, "a"), "the one who spoke last stays in the picture"


def test_who_loses_the_floor_is_neither_heard_nor_shown() -> None:
    state = stage.spoke(with_guests("a", "b"), "b", True, NOW_MS)
    assert state.shown == "b"
    state = stage.take(state, "b")
    assert (state.speaking, state.dominant, state.shown) == ({}, None, "a")
    assert stage.take(state, "a").shown is None


def test_events_of_the_stream_are_ordered_by_number_not_by_text() -> None:
    assert stage.later("1000-0", "999-5") and stage.later("5-10", "5-9") and not stage.later("5-9", "5-9")


PEOPLE = st.sampled_from(["a", "b", "c", "d", "teacher"])
STEPS = st.one_of(
    st.tuples(st.just("grant"), PEOPLE),
    st.tuples(st.just("take"), PEOPLE),
    st.tuples(st.just("mute"), PEOPLE),
    st.tuples(st.just("began"), PEOPLE),
    st.tuples(st.just("stopped"), PEOPLE),
)


@given(st.lists(STEPS, max_size=60))
def test_whatever_happens_the_stage_stays_consistent(steps: list[tuple[str, str]]) -> None:
    state = StageState()
    acts: dict[str, Callable[[StageState, str, int], StageState | None]] = {
        "grant": lambda state, person, at: stage.grant(state, person, person, at),
        "take": lambda state, person, at: stage.take(state, person),
        "mute": lambda state, person, at: stage.mute(state, [person]),
        "began": lambda state, person, at: stage.spoke(state, person, True, at),
        "stopped": lambda state, person, at: stage.spoke(state, person, False, at),
    }
    for at_ms, (act, person) in enumerate(steps):
        state = acts[act](state, person, at_ms) or state
        guests = [guest.person_id for guest in state.guests]
        assert len(guests) == len(set(guests)) <= len(VOICES)
        assert len({guest.voice for guest in state.guests} & set(VOICES)) == len(guests)
        assert (state.shown in guests) == bool(guests) and (state.shown is None) == (not guests)
        assert (state.dominant in state.speaking) == bool(state.speaking)
        assert parse(state.text()) == parse(state.text().encode()) == state
