"""One supervised process: started, its output prefixed, restarted when it dies, stopped when asked.

A part that must be back within seconds has a standby: a second process that has imported everything and waits for a
line on its standard input. Importing is most of a start, and on a busy machine it takes far longer than the class can
wait; when the part dies its standby goes to work at once and another one is made ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from web.parent_death import die_with_parent

BACKOFF_FIRST_S = 0.3
BACKOFF_LAST_S = 5.0
STEADY_S = 20.0  # having lived this long, a death counts as the first again
STOP_PATIENCE_S = 8.0
LINE_LIMIT_BYTES = 1 << 20
GO = b"go\n"
# A standby is made ready when the machine is not busy with a start.
STANDBY_AFTER_S = 12.0


@dataclass(frozen=True)
class ChildPlan:
    """What to run. `prepare` runs before every start, so that a restart finds the same ground as the first one."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    restart: bool = True
    standby: Sequence[str] = ()  # command of a process that waits for GO before it works
    stop_signal: signal.Signals = signal.SIGTERM


class Child:
    """Keeps one process alive. `pid` changes with every restart and is written to `{run_dir}/{name}.pid`."""

    def __init__(self, plan: ChildPlan, run_dir: Path, say: Callable[[str, str], None]) -> None:
        self.plan = plan
        self.pid: int | None = None
        self.restarts = 0
        self.exit_code: int | None = None
        self._say = say
        self._pid_file = run_dir / f"{plan.name}.pid"
        self._process: Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._standby: Process | None = None
        self._preparing: asyncio.Task[None] | None = None
        self._no_standby = asyncio.Event()  # ends the wait before a standby is started, never its start
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Returns when the process runs (not when it is ready). Raises OSError when the program cannot be run."""
        await self._work(await self._spawn(self.plan.command))
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {self.plan.name}")

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def ended(self) -> int:
        """Waits for a child that is not restarted; its exit code."""
        assert self._keeper is not None, "ended() before start()"
        await asyncio.shield(self._keeper)
        return self.exit_code if self.exit_code is not None else 1

    async def stop(self) -> None:
        """Asks politely, then kills; never raises because the process is gone already."""
        self._stopping.set()
        await self._dismiss_standby()
        # The keeper may be starting a successor just now; it is not cancelled but outlived, so that no process is lost.
        while self._keeper is not None and not self._keeper.done():
            if self._process is not None and self._process.returncode is None:
                await self._end(self._process)
            await asyncio.wait({self._keeper}, timeout=0.1)
        self._pid_file.unlink(missing_ok=True)

    async def _end(self, process: Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(self.plan.stop_signal)
        try:
            await asyncio.wait_for(process.wait(), STOP_PATIENCE_S)
        except TimeoutError:
            self._say(self.plan.name, f"did not stop within {STOP_PATIENCE_S:.0f} s; killed")
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _spawn(self, command: Sequence[str], stdin: int = asyncio.subprocess.DEVNULL) -> Process:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **self.plan.environment},
            # Its own session: Ctrl-C in the terminal reaches the supervisor only, which stops all in order.
            start_new_session=True,
            preexec_fn=die_with_parent,
            limit=LINE_LIMIT_BYTES,
        )

    async def _work(self, process: Process) -> None:
        """From now on this is the part."""
        self._process, self.pid = process, process.pid
        # Written under another name first: whoever reads it sees a whole number or the old one.
        fresh = self._pid_file.with_suffix(".new")
        fresh.write_text(f"{self.pid}\n")
        fresh.replace(self._pid_file)
        if self.plan.standby and self.plan.restart and not self._stopping.is_set():
            self._no_standby = asyncio.Event()
            self._preparing = asyncio.create_task(self._prepare_standby(self._no_standby))

    async def _prepare_standby(self, no_standby: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(no_standby.wait(), STANDBY_AFTER_S)
            return
        self._standby = await self._spawn(self.plan.standby, asyncio.subprocess.PIPE)

    async def _end_preparing(self) -> None:
        """Cancelling a start half-way could leave a process that nobody knows: it is let finish instead."""
        self._no_standby.set()
        if self._preparing is not None:
            await asyncio.gather(self._preparing, return_exceptions=True)
            self._preparing = None

    async def _dismiss_standby(self) -> None:
        await self._end_preparing()
        if self._standby is not None:
            with contextlib.suppress(ProcessLookupError):
                self._standby.kill()
            await self._standby.wait()
            self._standby = None

    async def _successor(self) -> Process:
        """The standby, told to go, or a new process where none is ready."""
        await self._end_preparing()
        standby, self._standby = self._standby, None
        if standby is not None and standby.returncode is None and standby.stdin is not None:
            try:
                standby.stdin.write(GO)
                await standby.stdin.drain()
            except ConnectionError:
                self._say(self.plan.name, "the standby was gone; a new process starts")
            else:
                standby.stdin.close()
                return standby
        return await self._spawn(self.plan.command)

    async def _relay(self, process: Process) -> None:
        assert process.stdout is not None, "stdout was asked for as a pipe"
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                # A line longer than the limit: readline() dropped it.
                continue
            if not line:
                return
            self._say(self.plan.name, line.decode(errors="replace").rstrip())

    async def _start_again(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._work(await self._successor())
                return
            except OSError as error:
                # No memory or no process left just now: the part is not given up for that.
                self._say(self.plan.name, f"cannot start: {error}; tried again in {BACKOFF_LAST_S:.0f} s")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), BACKOFF_LAST_S)

    async def _keep(self) -> None:
        backoff_s = BACKOFF_FIRST_S
        while True:
            process, started_s = self._process, time.monotonic()
            assert process is not None, "_keep() follows _spawn()"
            relay = asyncio.create_task(self._relay(process))
            try:
                code = await process.wait()
            finally:
                # A grandchild may hold the pipe open after its parent died: do not wait for the end of the stream.
                done, _ = await asyncio.wait({relay}, timeout=0.2)
                if not done:
                    relay.cancel()
            self.exit_code = code
            if self._stopping.is_set() or not self.plan.restart:
                return
            if time.monotonic() - started_s > STEADY_S:
                backoff_s = BACKOFF_FIRST_S
            self._say(self.plan.name, f"ended ({_describe_exit(code)}); starts again in {backoff_s:.1f} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), backoff_s)
                return
            backoff_s = min(backoff_s * 2, BACKOFF_LAST_S)
            self.restarts += 1
            await self._start_again()


def _describe_exit(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
