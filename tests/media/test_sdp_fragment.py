"""Fragments in: credentials or MediaError, whatever the bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.errors import MediaError
from media.rtp_parameters import LocalTransport, Setup
from media.sdp_fragment import MAX_FRAGMENT_BYTES, Fragment, parse_fragment_untrusted, write_fragment

# RFC 9725 figure 6 has this shape: session level first, then the tagged m-line of the bundle.
GOOD = (
    b"a=ice-options:trickle ice2\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n"
    b"a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n"
    b"a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0\r\n"
)


def refusal(data: bytes) -> str:
    with pytest.raises(MediaError) as raised:
        parse_fragment_untrusted(data)
    return raised.value.code


def test_the_credentials_are_found_on_either_level() -> None:
    assert parse_fragment_untrusted(GOOD) == Fragment("ysXw", "vw5LmwG4y/e6dPP/zAP9Gp5k")
    session = b"a=ice-ufrag:ysXw\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\n"
    assert parse_fragment_untrusted(session) == parse_fragment_untrusted(GOOD)
    assert parse_fragment_untrusted(b"a=end-of-candidates\r\n") == Fragment(None, None)


def test_what_names_no_single_pair_is_refused() -> None:
    assert refusal(GOOD + b"a=ice-ufrag:other\r\n") == "bad_fragment"
    assert refusal(b"a=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n") == "bad_fragment"
    assert refusal(GOOD.replace(b"ysXw", b"y w")) == "bad_fragment"
    assert refusal(GOOD.replace(b"vw5Lm", b"")) == "bad_fragment"
    assert refusal(GOOD + b"\xff") == "bad_fragment"
    assert refusal(b"a" * (MAX_FRAGMENT_BYTES + 1)) == "too_large"


def test_cut_off_anywhere_it_is_read_or_refused() -> None:
    for length in range(len(GOOD)):
        try:
            found = parse_fragment_untrusted(GOOD[:length])
        except MediaError as error:
            assert error.code == "bad_fragment"
        else:
            assert (found.ice_ufrag is None) == (found.ice_pwd is None)


@given(st.binary(max_size=300))
def test_noise_is_read_or_refused(noise: bytes) -> None:
    for data in (noise, GOOD + noise):
        try:
            parse_fragment_untrusted(data)
        except MediaError as error:
            assert error.code == "bad_fragment"


def test_our_own_fragment_reads_back() -> None:
    local = LocalTransport("abcdefgh", "c" * 24, ("sha-256", "AB"), Setup.PASSIVE, (("192.0.2.10", 8082),))
    text = write_fragment(local, "video", "7")
    assert parse_fragment_untrusted(text.encode()) == Fragment("abcdefgh", "c" * 24)
    assert "a=mid:7\r\n" in text and " 192.0.2.10 8082 typ host\r\n" in text
