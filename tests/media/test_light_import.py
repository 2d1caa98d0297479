"""Who only asks things of media nodes does not pay for codecs, sockets and DTLS."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("av", "aiortc", "cv2", "dlib", "deepface", "quart", "media._router")


def test_the_public_names_are_light_to_import() -> None:
    code = f"""
import sys, media
from media import MediaControl, MediaError, MediaNodeConfig, mint
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
