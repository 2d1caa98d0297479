"""`anke up`: starts whole, brings back what dies, refuses clearly, leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from web.child import Child, ChildPlan
from web.demo.headless import free_ports
from web.settings import Settings
from web.supervisor import StartRefused, Supervisor, read_health, refuse_taken_ports, routine

COUNTER = "import time; print('at work', flush=True); time.sleep(60)"
STANDBY = "import sys, time; sys.stdin.readline(); print('took over', flush=True); time.sleep(60)"


def platform_settings(folder: Path) -> Settings:
    web, media, media_udp, redis = free_ports(4)
    return Settings(
        data_dir=folder, web_port=web, media_port=media, media_udp_port=media_udp, redis_port=redis, turn=False
    )


async def until(condition: Callable[[], bool], within_s: float) -> float:
    """Seconds it took."""
    began_s = time.monotonic()
    while not await asyncio.to_thread(condition):
        assert time.monotonic() - began_s < within_s, f"not within {within_s} s"
        await asyncio.sleep(0.05)
    return time.monotonic() - began_s


def is_alive(process: psutil.Process) -> bool:
    """A process that ended and that nobody has waited for yet does nothing any more."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_every_part_comes_back_after_kill_9_and_nothing_stays_behind(tmp_path: Path) -> None:
    settings = platform_settings(tmp_path / "data")
    supervisor = Supervisor(settings, lambda name, line: None)
    others = psutil.Process().children(recursive=True)  # servers of the test session
    await supervisor.start()
    try:
        first = Supervisor(settings, lambda name, line: None)
        with pytest.raises(StartRefused, match="already runs"):
            await first.start()
        for name in ("web", "worker", "redis", "media"):
            before = int((settings.run_dir / f"{name}.pid").read_text())
            os.kill(before, signal.SIGKILL)

            def back(name: str = name, before: int = before) -> bool:
                now = int((settings.run_dir / f"{name}.pid").read_text())
                return now != before and psutil.pid_exists(now) and read_health(settings) is not None

            await until(back, 60.0)
            assert supervisor.children[name].restarts == 1
        assert stat.S_IMODE((settings.data_dir / "redis" / "redis.conf").stat().st_mode) == 0o600
        family = [kin for kin in psutil.Process().children(recursive=True) if kin not in others]
    finally:
        await supervisor.stop()
    assert len(family) >= 4
    await until(lambda: not [kin for kin in family if is_alive(kin)], 15.0)
    assert not list(settings.run_dir.glob("*.pid"))
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", settings.redis_port), 1.0)


async def test_a_taken_port_is_named_with_the_setting_that_moves_it(tmp_path: Path) -> None:
    settings = platform_settings(tmp_path)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", settings.media_udp_port))
        with pytest.raises(StartRefused, match=f"{settings.media_udp_port}.*ANKE_MEDIA_UDP_PORT"):
            refuse_taken_ports(settings)
    refuse_taken_ports(settings)


async def test_a_standby_takes_over_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.child.STANDBY_AFTER_S", 0.0)
    lines: list[str] = []
    plan = ChildPlan("part", [sys.executable, "-c", COUNTER], standby=[sys.executable, "-c", STANDBY])
    child = Child(plan, tmp_path, lambda name, line: lines.append(line))
    await child.start()
    try:
        await until(lambda: "at work" in lines, 20.0)
        await until(lambda: len(psutil.Process().children()) >= 2, 20.0)
        standby = next(
            kin.pid for kin in psutil.Process().children() if kin.pid != child.pid and STANDBY in kin.cmdline()
        )
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        await until(lambda: "took over" in lines, 10.0)
        assert child.pid == standby
    finally:
        await child.stop()
    assert STANDBY not in [word for kin in psutil.Process().children() for word in kin.cmdline()]


async def test_a_part_that_keeps_dying_is_tried_less_and_less_often(tmp_path: Path) -> None:
    said: list[str] = []
    child = Child(
        ChildPlan("part", [sys.executable, "-c", "raise SystemExit(7)"]), tmp_path, lambda name, line: said.append(line)
    )
    await child.start()
    try:
        await until(lambda: sum("exit code 7" in line for line in said) >= 3, 30.0)
    finally:
        await child.stop()
    waits = [line.rsplit(" in ", 1)[1] for line in said if "exit code 7" in line]
    assert waits[:3] == ["0.3 s", "0.6 s", "1.2 s"]


@pytest.mark.parametrize(
    ("name", "line", "hidden"),
    [
        ("web", "timestamp=2026-11-23T03:14:53Z level=info event=x", True),
        ("web", "timestamp=2026-11-23T03:14:53Z level=warning event=x", False),
        ("web", "Traceback (most recent call last):", False),
        ("web", "ended (killed by SIGKILL); starts again in 0.3 s", False),
        ("redis", "4712:M 23 Nov 2026 03:53:39.190 # User requested shutdown...", True),
        ("redis", "ended (killed by SIGKILL); starts again in 0.3 s", False),
        ("redis", "*** FATAL CONFIG FILE ERROR (Redis 6.2.14) ***", False),
        ("anke", "", False),
    ],
)
def test_the_terminal_shows_what_is_not_routine(name: str, line: str, hidden: bool) -> None:
    assert routine(name, line) is hidden
