"""Media evidence is made of bytes that arrived, never of connections that stay open (R-065)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from signaling.flow_book import FlowBook, Sample

SLACK_MS = 2000


def _book(samples: list[tuple[int, int, int | None]], person: str = "p_1") -> FlowBook:
    book = FlowBook(SLACK_MS)
    for now_ms, payload_bytes, age_ms in samples:
        book.sample(now_ms, {person: Sample(payload_bytes, age_ms)})
    return book


def test_steady_flow_is_one_stretch() -> None:
    book = _book([(1000 * n, 500 * n, 20) for n in range(1, 11)])
    assert book.untaken() == [("p_1", 1000, 9980)]
    assert book.flowing(10_000) == {"p_1"}


def test_consecutive_stretches_touch() -> None:
    book = FlowBook(SLACK_MS)
    taken = []
    for n in range(1, 31):
        book.sample(1000 * n, {"p_1": Sample(500 * n, 0)})
        taken += book.take(1000 * n, 5000)
    assert taken[0][1] == 1000
    assert all(a[2] == b[1] for a, b in zip(taken, taken[1:], strict=False))


def test_r065_an_open_connection_without_bytes_proves_nothing() -> None:
    book = _book([(1000 * n, 700, 1000 * n) for n in range(1, 20)])
    assert book.untaken() == []
    assert book.flowing(20_000) == set()


def test_a_hole_longer_than_the_slack_parts_the_stretches() -> None:
    flow = [(1000 * n, 500 * n, 0) for n in range(1, 6)]
    silence = [(1000 * n, 2500, 1000 * (n - 5)) for n in range(6, 12)]
    again = [(1000 * n, 500 * n, 0) for n in range(12, 16)]
    book = _book(flow + silence + again)
    assert book.take(20_000, 60_000) == [("p_1", 1000, 5000), ("p_1", 11_000, 15_000)]


def test_a_new_session_begins_a_new_stretch() -> None:
    book = _book([(1000, 500, 0), (2000, 900, 0), (3000, 10, 0), (4000, 400, 0)])
    assert book.take(10_000, 60_000) == [("p_1", 1000, 2000), ("p_1", 3000, 4000)]


def test_what_could_not_be_recorded_is_handed_out_again() -> None:
    book = _book([(1000, 500, 0), (2000, 900, 0), (3000, 1000, 0)])
    taken = book.take(3000, 1)
    book.put_back(taken)
    assert book.untaken() == taken
    assert book.take(3000, 1) == taken
    assert book.take(3000, 1) == []


@given(st.lists(st.tuples(st.integers(100, 3000), st.integers(0, 400), st.integers(0, 500)), max_size=60))
def test_stretches_never_overlap_and_never_exceed_the_time_observed(steps: list[tuple[int, int, int]]) -> None:
    book = FlowBook(SLACK_MS)
    now_ms, total_bytes, taken = 1_000_000, 1, []
    began_ms = now_ms
    for wait_ms, more_bytes, age_ms in steps:
        now_ms += wait_ms
        total_bytes += more_bytes
        book.sample(now_ms, {"p_1": Sample(total_bytes, min(age_ms, wait_ms))})
        taken += book.take(now_ms, 5000)
    taken += book.take(now_ms + 10 * SLACK_MS, 1)
    for _, from_ms, to_ms in taken:
        assert began_ms - 500 <= from_ms < to_ms <= now_ms
    assert all(a[2] <= b[1] for a, b in zip(taken, taken[1:], strict=False))
