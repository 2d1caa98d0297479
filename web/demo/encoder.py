"""The demo's lecture: a real encoder (H.264 and Opus) that publishes real footage by WHIP, in its own process.

Reads one JSON object {"url", "token"} from standard input, publishes in real time until SIGTERM, and ends with exit
code 0, or 3 when the session broke and whoever started it should start it again with a fresh token.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from numpy.typing import NDArray

from web.demo.lecture_footage import LECTURE_FPS, LECTURE_SIZE, SAMPLE_RATE_HZ, lecture_pictures, lecture_sound

VIDEO_BITRATE_BPS = 350_000
AUDIO_BITRATE_BPS = 32_000
OPUS_FRAME = SAMPLE_RATE_HZ // 50  # 20 ms (RFC 7587 3.3: the default)
# The muxer does not hear key-frame requests, so whoever joins waits for the next one.
KEY_FRAME_EVERY = LECTURE_FPS
VIDEO_CLOCK = Fraction(1, 90_000)
HANDSHAKE_TIMEOUT_MS = 8000
SESSION_BROKEN = 3
DAY = timedelta(days=1)


class Stopped(Exception):
    """SIGTERM arrived: the session is to be closed properly."""


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A fresh self-signed certificate and its key, on P-256 (RFC 8827 6.5 asks every peer to take that curve).

    The muxer's own choice of curve is one that current OpenSSL no longer accepts.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "anke encoder")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    certificate = builder.not_valid_before(now - DAY).not_valid_after(now + 30 * DAY).sign(key, hashes.SHA256())
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate_file, key_file


def publish(url: str, token: str, folder: Path) -> None:
    """Publishes until Stopped is raised; raises av.FFmpegError when the session breaks."""
    certificate_file, key_file = write_certificate(folder)
    options = {
        "authorization": token,
        "handshake_timeout": str(HANDSHAKE_TIMEOUT_MS),
        "cert_file": str(certificate_file),
        "key_file": str(key_file),
    }
    pictures, sound = lecture_pictures(), lecture_sound()
    first = next(pictures)
    with av.open(url, "w", format="whip", options=options) as output:
        video = cast(av.VideoStream, output.add_stream("libx264", rate=LECTURE_FPS))
        video.width, video.height, video.pix_fmt = LECTURE_SIZE[0], LECTURE_SIZE[1], "yuv420p"
        video.bit_rate, video.time_base, video.gop_size = VIDEO_BITRATE_BPS, VIDEO_CLOCK, KEY_FRAME_EVERY
        video.codec_context.time_base, video.codec_context.gop_size = VIDEO_CLOCK, KEY_FRAME_EVERY
        video.codec_context.options = {
            # Constrained baseline without B frames is what every browser decodes (RFC 7742 6.2).
            "profile": "baseline",
            "preset": "ultrafast",
            "tune": "zerolatency",
            "bf": "0",
            "x264-params": f"keyint={KEY_FRAME_EVERY}:scenecut=0:repeat-headers=1:threads=1",
        }
        audio = cast(av.AudioStream, output.add_stream("libopus", rate=SAMPLE_RATE_HZ, layout="stereo"))
        audio.bit_rate = AUDIO_BITRATE_BPS
        output.start_encoding()
        print(json.dumps({"what": "publishing"}), flush=True)
        started_s, frames, pieces = time.monotonic(), 0, 0
        picture: NDArray[Any] | None = first
        while True:
            now_s = time.monotonic() - started_s
            while pieces * OPUS_FRAME / SAMPLE_RATE_HZ <= now_s:
                piece = AudioFrame.from_ndarray(next(sound), format="s16", layout="stereo")
                piece.sample_rate, piece.pts = SAMPLE_RATE_HZ, pieces * OPUS_FRAME
                piece.time_base = Fraction(1, SAMPLE_RATE_HZ)
                output.mux(audio.encode(piece))
                pieces += 1
            if frames / LECTURE_FPS <= now_s:
                shown = VideoFrame.from_ndarray(picture if picture is not None else next(pictures), format="yuv420p")
                picture = None
                shown.pts, shown.time_base = int(frames / LECTURE_FPS * 90_000), VIDEO_CLOCK
                output.mux(video.encode(shown))
                frames += 1
            time.sleep(0.005)


def main() -> int:
    def stop(signum: int, frame: object) -> None:
        raise Stopped

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    grant = json.loads(sys.stdin.readline())
    try:
        with tempfile.TemporaryDirectory(prefix="anke-encoder-") as folder:
            publish(grant["url"], grant["token"], Path(folder))
    except Stopped:
        return 0
    except (av.FFmpegError, OSError) as error:
        print(json.dumps({"what": "broken", "reason": str(error)}), flush=True)
        return SESSION_BROKEN
    return 0


if __name__ == "__main__":
    sys.exit(main())
