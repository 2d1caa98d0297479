"""A WHIP encoder that is neither a browser nor aiortc: FFmpeg's `whip` muxer by PyAV, H.264 and Opus in real time.

`whip_encoder.py URL TOKEN SECONDS [FLAGS]`: 320x240 at 15 frames a second, a bar over blue, and a 440 Hz tone.
"""

from __future__ import annotations

import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from aiortc import RTCCertificate
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

WIDTH, HEIGHT, RATE = 320, 240, 15
SAMPLE_RATE_HZ, SAMPLES = 48_000, 960


def picture(number: int) -> av.VideoFrame:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, :, 2] = 200
    left = number * 4 % (WIDTH - 20)
    image[:, left : left + 20] = 255
    return av.VideoFrame.from_ndarray(image, format="rgb24")


def tone(number: int) -> av.AudioFrame:
    at = (np.arange(SAMPLES) + number * SAMPLES) / SAMPLE_RATE_HZ
    wave = (np.sin(2 * np.pi * 440 * at) * 8000).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(np.repeat(wave, 2).reshape(1, -1), format="s16", layout="stereo")
    frame.sample_rate = SAMPLE_RATE_HZ
    frame.pts = number * SAMPLES
    frame.time_base = Fraction(1, SAMPLE_RATE_HZ)
    return frame


def identity(folder: Path) -> dict[str, str]:
    """A P-256 certificate for the muxer: over GnuTLS its own is on secp224r1, which OpenSSL 4 refuses."""
    made = RTCCertificate.generateCertificate()
    paths = {"cert_file": folder / "certificate.pem", "key_file": folder / "key.pem"}
    paths["cert_file"].write_bytes(made._cert.public_bytes(Encoding.PEM))
    paths["key_file"].write_bytes(
        made._key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    return {name: str(path) for name, path in paths.items()}


def main(url: str, token: str, seconds: float, flags: str) -> None:
    folder = tempfile.TemporaryDirectory(prefix="anke-whip-")
    options = {"authorization": token, **identity(Path(folder.name))}
    if flags:
        options["whip_flags"] = flags
    with folder, av.open(url, "w", format="whip", options=options) as container:
        video = container.add_stream("libx264", rate=RATE)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.options = {"profile": "baseline", "preset": "ultrafast", "tune": "zerolatency", "g": str(RATE)}
        audio = container.add_stream("libopus", rate=SAMPLE_RATE_HZ)
        audio.layout = "stereo"
        started_s = time.monotonic()
        pictures = sounds = 0
        while (elapsed_s := time.monotonic() - started_s) < seconds:
            while pictures < elapsed_s * RATE:
                frame = picture(pictures)
                frame.pts, frame.time_base = pictures, Fraction(1, RATE)
                container.mux(video.encode(frame))
                pictures += 1
            while sounds < elapsed_s * SAMPLE_RATE_HZ / SAMPLES:
                container.mux(audio.encode(tone(sounds)))
                sounds += 1
            if pictures == 1:
                print("publishing", flush=True)
            time.sleep(0.005)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else "")
