"""A process of the demo: one JSON object goes in when it starts, JSON lines come out while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Callable
from typing import Any

from web.parent_death import die_with_parent

STOP_PATIENCE_S = 6.0
LINE_LIMIT_BYTES = 1 << 20

Line = dict[str, Any]


class DemoProcess:
    """`python -m MODULE`, speaking JSON lines. Whatever else it prints is kept as its last words."""

    def __init__(self, module: str, part: Line, heard: Callable[[Line], None]) -> None:
        self.exit_code: int | None = None
        self.last_words: list[str] = []
        self._module, self._part, self._heard = module, part, heard
        self._process: asyncio.subprocess.Process | None = None
        self._listener: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
            limit=LINE_LIMIT_BYTES,
        )
        assert self._process.stdin is not None, "stdin was asked for as a pipe"
        self._process.stdin.write((json.dumps(self._part, ensure_ascii=False) + "\n").encode())
        # A child that died at once has closed its end; its exit code tells more than this error would.
        with contextlib.suppress(ConnectionError):
            await self._process.stdin.drain()
        self._listener = asyncio.create_task(self._listen(self._process))

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    async def ended(self, patience_s: float) -> bool:
        """Whether it ended by itself within that time."""
        if self._listener is None:
            return True
        done, _ = await asyncio.wait({self._listener}, timeout=patience_s)
        return bool(done)

    async def stop(self) -> None:
        if self._process is None or self._listener is None:
            return
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            if not await self.ended(STOP_PATIENCE_S):
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
        await asyncio.wait({self._listener})

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None, "stdout was asked for as a pipe"
        async for raw in process.stdout:
            text = raw.decode(errors="replace").rstrip()
            try:
                line = json.loads(text)
            except ValueError:
                line = None
            if isinstance(line, dict) and "what" in line:
                self._heard(line)
            elif text:
                self.last_words = [*self.last_words, text][-20:]
        self.exit_code = await process.wait()
