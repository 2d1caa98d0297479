"""Bytes from strangers: one kind of error, whatever they hold."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.decode import BadFrame, decode_key_frame_untrusted


@pytest.fixture(scope="module")
def patch(carphone):
    """64x64 around the face: few bytes, so that every length can be tried."""
    return np.ascontiguousarray(carphone[0][100:164, 120:184])


@pytest.mark.parametrize("codec", ["vp8", "vp9", "h264", "jpeg"])
def test_the_picture_comes_back(carphone, encode, codec):
    image = decode_key_frame_untrusted(codec, encode(carphone[0], codec, bit_rate=2_000_000))
    assert image.shape == (288, 352, 3) and image.dtype == np.uint8
    assert np.abs(image.astype(int) - carphone[0]).mean() < 8


@pytest.mark.parametrize("codec", ["vp8", "vp9", "h264", "jpeg"])
def test_truncation_at_every_length_is_a_bad_frame_or_a_whole_picture(patch, encode, codec):
    data = encode(patch, codec)
    refused = 0
    for length in range(len(data)):
        try:
            image = decode_key_frame_untrusted(codec, data[:length])
        except BadFrame:
            refused += 1
        else:
            assert image.shape == (64, 64, 3)
    # VP8's arithmetic coder reads zeros past its end (RFC 6386 7.3), so a cut tail may still be a picture.
    assert refused > 20


@pytest.mark.parametrize("codec", ["vp8", "vp9", "h264", "av1", "jpeg"])
@given(data=st.binary(max_size=300))
def test_random_bytes_are_a_bad_frame(codec, data):
    with pytest.raises(BadFrame):
        decode_key_frame_untrusted(codec, data)


@pytest.mark.parametrize("codec", ["vp8", "vp9", "h264", "jpeg"])
@given(draw=st.data())
def test_flipped_bytes_are_a_bad_frame_or_a_picture(patch_bytes, codec, draw):
    data = bytearray(patch_bytes[codec])
    for _ in range(3):
        at = draw.draw(st.integers(0, len(data) - 1))
        data[at] ^= draw.draw(st.integers(1, 255))
    try:
        image = decode_key_frame_untrusted(codec, bytes(data))
    except BadFrame:
        return
    assert image.ndim == 3 and image.shape[2] == 3


@pytest.fixture(scope="module")
def patch_bytes(patch, encode):
    return {codec: encode(patch, codec) for codec in ("vp8", "vp9", "h264", "jpeg")}


@pytest.mark.parametrize("codec", ["vp8", "h264"])
def test_a_delta_frame_is_no_key_frame(carphone, encode, codec):
    with pytest.raises(BadFrame):
        decode_key_frame_untrusted(codec, encode(carphone[0], codec, nth=1))


def test_an_enormous_announced_size_is_refused_quickly(carphone, encode):
    data = bytearray(encode(carphone[0], "vp8"))
    data[6:10] = b"\xff\x3f\xff\x3f"  # RFC 6386 9.1: 14 bits each of width and height → 16383 x 16383
    began = time.perf_counter()
    with pytest.raises(BadFrame) as caught:
        decode_key_frame_untrusted("vp8", bytes(data))
    assert caught.value.code == "broken"
    assert time.perf_counter() - began < 0.5


def test_unknown_codecs_and_sizes_have_codes():
    with pytest.raises(BadFrame) as caught:
        decode_key_frame_untrusted("h266", b"x")
    assert caught.value.code == "codec"
    with pytest.raises(BadFrame) as caught:
        decode_key_frame_untrusted("vp8", bytes(5_000_000))
    assert caught.value.code == "size"


def test_a_photo_taken_on_its_side_is_turned_upright(press_photos):
    data = (press_photos / "live_sample_1.jpg").read_bytes()  # EXIF orientation 6
    assert decode_key_frame_untrusted("jpeg", data).shape == (640, 480, 3)
