"""RTP payloads of one intra frame → the encoded frame, by aiortc's payload descriptors. Nothing is decoded here."""

from __future__ import annotations

from collections.abc import Sequence

from aiortc.codecs.h264 import H264PayloadDescriptor
from aiortc.codecs.vpx import VpxPayloadDescriptor

from media.errors import MediaError


def assemble_untrusted(codec: str, payloads: Sequence[bytes]) -> bytes:
    """The frame that `payloads` (in sequence) carry. MediaError `unknown_payload`: other codecs, broken payloads."""
    try:
        if codec == "vp8":
            return b"".join(VpxPayloadDescriptor.parse(payload)[1] for payload in payloads)  # RFC 7741 4.2
        if codec == "h264":
            return b"".join(H264PayloadDescriptor.parse(payload)[1] for payload in payloads)  # RFC 6184 5.4
    except (ValueError, IndexError) as error:
        raise MediaError("unknown_payload", f"{codec}: {error}") from None
    raise MediaError("unknown_payload", codec)
