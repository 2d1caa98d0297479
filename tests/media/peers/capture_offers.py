"""Captures what each stack offers into `tests/media/offers/`, as the stack sends it but for this machine's addresses.

`capture_offers.py [STACK…]`. `INDEX.toml` there is written by hand: it says which version an offer is of.
"""

from __future__ import annotations

import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from drive import STACKS, PeerProcess, encode

OFFERS = Path(__file__).parent.parent / "offers"
WAIT_S = 30.0
ADDRESS = re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f]{1,4}(?::[0-9a-f]{0,4}){2,7})(?![\w.:])")


def scrubbed(offer: str) -> str:
    """Addresses become ones that RFC 5737 and RFC 3849 reserve for documents; each keeps being the same everywhere."""
    seen: dict[str, str] = {}

    def put(match: re.Match[str]) -> str:
        try:
            address = ip_address(match[0])
        except ValueError:
            return match[0]
        if address.is_loopback or address.is_unspecified:
            return match[0]
        place = len(seen) + 1
        return seen.setdefault(match[0], f"192.0.2.{place}" if address.version == 4 else f"2001:db8::{place}")

    lines = offer.split("\n")
    # Only these lines carry addresses; a fingerprint looks like one.
    marks = ("o=", "c=", "a=candidate:", "a=rtcp:")
    return "\n".join(ADDRESS.sub(put, line) if line.startswith(marks) else line for line in lines)


class Clerk(BaseHTTPRequestHandler):
    """Writes down each offer under the last part of its path, and refuses it."""

    taken: dict[str, str]

    def do_GET(self) -> None:
        self._answer(200, b"<html></html>")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.taken[self.path.rsplit("/", 1)[-1]] = body.decode()
        self._answer(503, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


def main(stacks: list[str]) -> None:
    Clerk.taken = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Clerk)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}"

    def take(name: str, ask: Callable[[str], Any]) -> Any:
        asked = ask(f"{base}/{name}")
        deadline_s = time.monotonic() + WAIT_S
        while name not in Clerk.taken and time.monotonic() < deadline_s:
            time.sleep(0.05)
        (OFFERS / f"{name}.sdp").write_bytes(scrubbed(Clerk.taken[name]).encode())
        print(name)
        return asked

    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        for stack in stacks:
            peer = PeerProcess(stack, log)
            product, version = peer.name.split()[:2]
            prefix = f"{product.lower()}_{'_'.join(version.split('.')[:2])}"
            take(f"{prefix}_play", lambda url, peer=peer: peer.begin("play", url=url, token="t"))
            if stack == "gstreamer":
                take(f"{prefix}_publish", lambda url: encode("gstreamer", url, "t", 0, log)).wait(timeout=10)
            else:
                take(f"{prefix}_publish", lambda url, peer=peer: peer.begin("publish", url=url, token="t"))
            if stack in ("chromium", "firefox"):
                name = f"{prefix}_publish_simulcast"
                take(name, lambda url, peer=peer: peer.begin("publish", url=url, token="t", simulcast=True))
            peer.end()
    server.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:] or list(STACKS))
