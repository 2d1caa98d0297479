"""One encoded key frame in, one picture out."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import av
import av.codec
import av.error
import numpy as np

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]
    """Height x width x 3, BGR, 0..255."""

DECODERS = {"vp8": "vp8", "vp9": "vp9", "h264": "h264", "av1": "libdav1d", "jpeg": "mjpeg"}
"""Codec names as the media house says them (and JPEG, which enrolment shots are) → FFmpeg decoder."""

MAX_BYTES = 4_000_000
MAX_PIXELS = 2560 * 1440
"""A header of a few bytes may announce 16383 x 16383 pixels; FFmpeg refuses above this before it allocates."""


class BadFrame(Exception):
    """These bytes are not one intra picture of that codec. `code` says how: codec, size, broken, not_key."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def decode_key_frame_untrusted(codec: str, data: bytes) -> Image:
    """The BGR picture of exactly one encoded intra frame.

    H.264 is Annex B with its parameter sets in front (RFC 6184 tells senders to repeat them before an IDR picture).
    Raises only BadFrame. A fresh decoder each time: no state of one learner's stream can leak into another's check.
    """
    decoder = DECODERS.get(codec.lower())
    if decoder is None:
        raise BadFrame("codec", f"cannot decode {codec[:20]!r}")
    if not 0 < len(data) <= MAX_BYTES:
        raise BadFrame("size", f"{len(data)} bytes are no key frame")
    try:
        context = cast("VideoCodecContext", av.codec.CodecContext.create(decoder, "r"))
        context.thread_count = 1
        # Without "explode" FFmpeg paints over what is missing and a torn frame would be judged as a face.
        context.options = {"max_pixels": str(MAX_PIXELS), "err_detect": "explode"}
        frames = context.decode(av.Packet(data))
        frames += context.decode(None)
    except (av.error.FFmpegError, ValueError, MemoryError) as error:
        raise BadFrame("broken", f"{codec} frame of {len(data)} bytes: {error}") from error
    if not frames:
        raise BadFrame("broken", f"{codec} frame of {len(data)} bytes holds no picture")
    frame = frames[0]
    if not isinstance(frame, av.VideoFrame) or frame.is_corrupt:
        raise BadFrame("broken", f"{codec} frame of {len(data)} bytes is damaged")
    if not frame.key_frame:
        raise BadFrame("not_key", f"{codec} frame is not intra coded")
    image = frame.to_ndarray(format="bgr24")
    # Phones store photos as the sensor lies and say in EXIF how to hold them; a face on its side is not found.
    return np.ascontiguousarray(np.rot90(image, frame.rotation // 90))
