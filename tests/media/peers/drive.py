"""The peers of the interop tests as a test sees them: processes that take the commands of `commands.py`, and two
encoders that take none and publish until they are ended."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
READY_TIMEOUT_S = 90.0
ANSWER_TIMEOUT_S = 40.0

STACKS: dict[str, list[str]] = {
    "chromium": [sys.executable, str(HERE / "chromium.py")],
    "firefox": [sys.executable, str(HERE / "firefox.py")],
    "aiortc": [sys.executable, str(HERE / "aiortc_stack.py")],
    "wrtc": ["node", str(HERE.parent / "node_peer" / "peer.js")],
    "gstreamer": ["/usr/bin/python3", str(HERE / "gstreamer.py")],
}
ENCODERS: dict[str, list[str]] = {
    "gstreamer": [sys.executable, str(HERE / "whip_client.py")],
    "ffmpeg": [sys.executable, str(HERE.parent / "whip_encoder.py")],
}


class PeerProcess:
    """One stack. `begin` asks and does not wait, so that several stacks can be busy at once."""

    def __init__(self, stack: str, log: Path) -> None:
        self.stack = stack
        self.log = log
        self._waiting: dict[int, Future[Any]] = {}
        self._number = 0
        self._ready: Future[str] = Future()
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                STACKS[stack], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def name(self) -> str:
        return self._ready.result(READY_TIMEOUT_S)

    def begin(self, verb: str, **arguments: Any) -> Future[Any]:
        self._number += 1
        answer: Future[Any] = Future()
        self._waiting[self._number] = answer
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"id": self._number, "do": verb} | arguments) + "\n")
        self.process.stdin.flush()
        return answer

    def call(self, verb: str, **arguments: Any) -> Any:
        return self.begin(verb, **arguments).result(ANSWER_TIMEOUT_S)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = json.loads(line)
            if "ready" in message:
                self._ready.set_result(message["ready"])
            elif "error" in message:
                self._waiting.pop(message["id"]).set_exception(RuntimeError(f"{self.stack}: {message['error']}"))
            else:
                self._waiting.pop(message["id"]).set_result(message["result"])
        for answer in [self._ready, *self._waiting.values()]:
            if not answer.done():
                answer.set_exception(
                    RuntimeError(f"{self.stack} ended:\n{self.log.read_text(errors='replace')[-2000:]}")
                )

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=10)
        self._reader.join(timeout=10)


def encode(encoder: str, url: str, token: str, seconds: float, log: Path) -> subprocess.Popen[bytes]:
    """An encoder that publishes by itself; the caller ends it."""
    arguments = [url, token, *([str(seconds)] if encoder == "ffmpeg" else [])]
    with log.open("ab") as output:
        return subprocess.Popen([*ENCODERS[encoder], *arguments], stdout=output, stderr=output)
