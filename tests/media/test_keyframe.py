"""RTP payloads of one intra frame → a frame that a decoder takes, for both codecs; broken payloads are refused."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from aiortc.codecs.h264 import H264Encoder
from aiortc.codecs.vpx import Vp8Encoder
from hypothesis import given
from hypothesis import strategies as st

from media.errors import MediaError
from media.keyframe import assemble_untrusted


def picture() -> av.VideoFrame:
    image = np.random.default_rng(5).integers(0, 255, (240, 320, 3), np.uint8)
    image[:, :160] = (200, 40, 40)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    frame.pts, frame.time_base = 0, Fraction(1, 90_000)
    return frame


@pytest.mark.parametrize(("codec", "encoder", "decoder"), [("vp8", Vp8Encoder, "vp8"), ("h264", H264Encoder, "h264")])
def test_a_frame_in_many_packets_is_put_together(codec: str, encoder: type, decoder: str) -> None:
    payloads, _ = encoder().encode(picture(), force_keyframe=True)
    assert len(payloads) > 3
    context = av.CodecContext.create(decoder, "r")
    frames = context.decode(av.Packet(assemble_untrusted(codec, payloads))) + context.decode(None)
    image = frames[0].to_ndarray(format="rgb24")
    assert image.shape == (240, 320, 3)
    assert abs(image[100:140, 40:120].mean(axis=(0, 1)) - (200, 40, 40)).max() < 12


@pytest.mark.parametrize("codec", ["vp9", "av1", "opus", ""])
def test_other_codecs_are_refused(codec: str) -> None:
    with pytest.raises(MediaError, match="unknown_payload"):
        assemble_untrusted(codec, [b"\x00"])


@given(st.sampled_from(["vp8", "h264"]), st.lists(st.binary(max_size=40), max_size=4))
def test_any_payload_only_raises_media_error(codec: str, payloads: list[bytes]) -> None:
    try:
        assert isinstance(assemble_untrusted(codec, payloads), bytes)
    except MediaError as error:
        assert error.code == "unknown_payload"
