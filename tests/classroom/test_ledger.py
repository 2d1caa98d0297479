"""The ledger's own arithmetic: canonical bodies, chains, Merkle roots, checkpoints."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classroom.ledger.chain import Break, RawRow, checked
from classroom.ledger.checkpoint import Checkpoint, problem, public_key_of, signed
from classroom.ledger.entries import GENESIS, Draft, Entry, canonical, chained, entry_hash
from classroom.ledger.merkle import leaf, root

KEY = bytes(range(32))


def raw(entry: Entry) -> RawRow:
    return RawRow(*(str(value).encode() for value in entry.row().values()))


def test_a_body_has_one_text() -> None:
    assert canonical({"b": 1, "a": [True, None, "学时"]}) == '{"a":[true,null,"\\u5b66\\u65f6"],"b":1}'
    assert canonical({"x": float("inf"), "y": {"z": float("nan")}}) == '{"x":null,"y":{"z":null}}'


def test_entries_link_per_chain() -> None:
    entries = chained([Draft("a", 1, "K", {}), Draft("b", 2, "K", {}), Draft("a", 3, "K", {})], {})
    assert [(e.chain, e.idx) for e in entries] == [("a", 0), ("b", 0), ("a", 1)]
    assert entries[0].prev_hash == entries[1].prev_hash == GENESIS and entries[2].prev_hash == entries[0].hash
    (more,) = chained([Draft("a", 4, "K", {})], {"a": entries[2]})
    assert (more.idx, more.prev_hash) == (2, entries[2].hash)


def test_the_hash_is_what_its_docstring_says() -> None:
    """An auditor with any language can recompute it."""
    text = '["' + GENESIS + '","c/p",0,5,"FACE","{}"]'
    assert entry_hash(GENESIS, "c/p", 0, 5, "FACE", "{}") == hashlib.sha256(text.encode()).hexdigest()


entries_of_a_chain = st.lists(
    st.tuples(
        st.integers(0, 2**45),
        st.sampled_from(["FACE", "PING"]),
        st.dictionaries(st.text(max_size=4), st.one_of(st.integers(), st.text(max_size=6), st.booleans()), max_size=3),
    ),
    min_size=1,
    max_size=8,
).map(lambda facts: chained([Draft("c_1/p_1", at, kind, body) for at, kind, body in facts], {}))


@given(entries_of_a_chain)
def test_a_chain_as_written_checks(entries: list[Entry]) -> None:
    assert checked("c_1/p_1", map(raw, entries)) == (entries, None)


@given(entries_of_a_chain, st.data())
def test_any_byte_of_any_column_of_any_row_breaks_that_row_P047(entries: list[Entry], data) -> None:
    rows = [raw(entry) for entry in entries]
    place = data.draw(st.integers(0, len(rows) - 1))
    values = list(vars(rows[place]).values())
    column = data.draw(st.integers(0, 6))
    position = data.draw(st.integers(0, len(values[column]) - 1))
    mask = data.draw(st.integers(1, 255))
    changed = bytearray(values[column])
    changed[position] ^= mask
    values[column] = bytes(changed)
    rows[place] = RawRow(*values)
    good, broken = checked("c_1/p_1", rows)
    assert broken is not None and (broken.idx, len(good)) == (place, place)


@given(entries_of_a_chain, st.data())
def test_a_row_taken_out_or_put_in_is_named(entries: list[Entry], data) -> None:
    place = data.draw(st.integers(0, len(entries) - 1))
    rows = [raw(entry) for entry in entries]
    _, broken = checked("c_1/p_1", rows[:place] + rows[place + 1 :])
    # A missing last row leaves a shorter chain that fits: the recorded end and the checkpoint tell.
    assert broken == (None if place == len(rows) - 1 else Break("c_1/p_1", place, "a row is missing"))
    _, broken = checked("c_1/p_1", [*rows[: place + 1], rows[place], *rows[place + 1 :]])
    assert broken == Break("c_1/p_1", place + 1, "a row was added")


def test_merkle_root_has_the_shape_of_rfc_6962_2_1() -> None:
    heads = [("a", 0, "x"), ("b", 1, "y"), ("c", 2, "z")]
    a, b, c = map(leaf, heads)

    def node(left: bytes, right: bytes) -> bytes:
        return hashlib.sha256(b"\x01" + left + right).digest()

    assert root([]) == hashlib.sha256(b"").hexdigest()
    assert root(heads[:1]) == a.hex()
    assert root(heads[::-1]) == node(node(a, b), c).hex()


def test_a_checkpoint_is_believed_only_whole() -> None:
    good = signed("l_1", 0, 5, [("a", 0, "x"), ("b", 1, "y")], KEY)
    trusted = public_key_of(KEY)
    assert problem(good, trusted) is None and problem(good, None) is None
    fields = vars(good)
    for change in (
        {"lesson_id": "l_2"},
        {"seq": 1},
        {"at_ms": 6},
        {"heads": (("a", 0, "x"), ("b", 2, "y"))},
        {"root": "00" * 32},
        {"public_key": public_key_of(bytes(32))},
        {"signature": "00" * 64},
        {"signature": "not hex"},
        {"signature": None},
    ):
        assert problem(Checkpoint(**{**fields, **change}), trusted), change
    unsigned = signed("l_1", 0, 5, [("a", 0, "x")], None)
    assert problem(unsigned, None) is None and problem(unsigned, trusted) == "it is not signed"


@pytest.mark.parametrize("text", ["+5", " 5", "5.0", "05", "", "five"])
def test_an_integer_has_one_writing(text: str) -> None:
    (entry,) = chained([Draft("a", 5, "K", {})], {})
    row = RawRow(**{**vars(raw(entry)), "at_ms": text.encode()})
    assert checked("a", [row])[1] is not None
