"""Debian's `simple-whip-client` (GStreamer's `webrtcbin`): `whip_client.py URL TOKEN` becomes it, and publishes.

Debian 12 links this program with libsoup 2, and its libnice, by way of the router port mapping library gupnp-igd, with
libsoup 3; each of the two refuses a process that has the other, so as shipped the program ends before it says anything.
It maps no ports: an empty library in the place of gupnp-igd keeps libsoup 3 out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = "whip-client"
IN_PLACE_OF = "libgupnp-igd-1.0.so.4"
NOTHING = """
unsigned long gupnp_simple_igd_get_type(void) { return 0; }
void *gupnp_simple_igd_thread_new(void) { return 0; }
void gupnp_simple_igd_add_port(void) {}
void gupnp_simple_igd_remove_port_local(void) {}
"""
AUDIO = (
    "audiotestsrc is-live=true wave=sine ! audioconvert ! audioresample ! queue ! opusenc ! rtpopuspay pt=100 ! queue"
    " ! application/x-rtp,media=audio,encoding-name=OPUS,payload=100"
)
VIDEO = (
    "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=15/1 ! videoconvert ! queue"
    " ! vp8enc deadline=1 keyframe-max-dist=600 ! rtpvp8pay pt=96 picture-id-mode=15-bit ! queue"
    " ! application/x-rtp,media=video,encoding-name=VP8,payload=96"
)


def main(url: str, token: str) -> None:
    folder = Path(tempfile.gettempdir()) / f"anke-whip-client-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    library = folder / IN_PLACE_OF
    compile_it = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{IN_PLACE_OF}", "-o", str(library), "-x", "c", "-"]
    subprocess.run(compile_it, input=NOTHING, text=True, check=True)
    environment = os.environ | {"LD_LIBRARY_PATH": str(folder), "GST_REGISTRY": str(folder / "registry.bin")}
    arguments = [PROGRAM, "-u", url, "-t", token, "-n", "-o", "-A", AUDIO, "-V", VIDEO]
    os.execvpe(PROGRAM, arguments, environment)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
