"""`anke demo --headless`: a platform of its own, one class, and a verdict on whether all of it held."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from classroom import create_lesson
from signaling.context import epoch_ms
from web.demo.cast import INSTRUCTOR, players
from web.demo.chairs import SignedInChair
from web.demo.class_run import ArrivalFailed, DemoClass, describe, progress
from web.demo.client import CallRefused
from web.demo.faults import FaultPlan
from web.demo.report import Report, write_report
from web.demo.seed import enrol_faces, seed
from web.log import configure_log
from web.parts import open_settings_record
from web.settings import Settings
from web.supervisor import StartRefused, Supervisor, line_printer

PROGRESS_EVERY_S = 10.0
CLOSING_S = 14.0  # the last ping's window and its verdicts, at the demo's clock; only the bar needs it
LOG_TAIL_LINES = 60


def free_ports(count: int) -> list[int]:
    """Ports free on loopback for TCP and UDP at this moment, all different."""
    held: list[socket.socket] = []
    ports: list[int] = []
    try:
        while len(ports) < count:
            tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            held.append(tcp)
            tcp.bind(("127.0.0.1", 0))
            port = tcp.getsockname()[1]
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            held.append(udp)
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
    finally:
        for probe in held:
            probe.close()
    return ports


def own_settings(base: Settings, data_dir: Path, minutes: float, learners: int) -> Settings:
    """A platform beside any other on this machine: its own directory, ports, Redis and database."""
    web, media, media_udp, redis = free_ports(4)
    return Settings(
        data_dir=data_dir,
        web_port=web,
        media_port=media,
        media_udp_port=media_udp,
        redis_port=redis,
        turn=False,  # everyone here is on this machine
        demo=True,
        demo_learners=learners,
        clock_factor=2700 / (minutes * 60),
        worker_concurrency=base.worker_concurrency,
        operator_models=base.operator_models,
        log_level=base.log_level,
    )


def progress_printer() -> Callable[[str], None]:
    """One line that is rewritten on a terminal; elsewhere a line every ten seconds."""
    live, last_s = sys.stderr.isatty(), 0.0

    def show(line: str) -> None:
        nonlocal last_s
        if live:
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
        elif time.monotonic() - last_s >= PROGRESS_EVERY_S:
            last_s = time.monotonic()
            print(line, file=sys.stderr, flush=True)

    return show


async def run_headless(base: Settings, report_path: Path | None, *, minutes: float, learners: int, faults: bool) -> int:
    """The exit code: 0 only if everything held. The report is written either way."""
    data_dir = Path(tempfile.mkdtemp(prefix="anke-demo-"))
    log_path = data_dir / "platform.log"
    configure_log("warning")
    report = Report(ok=False, minutes=minutes)
    settings = own_settings(base, data_dir, minutes, learners)
    try:
        with log_path.open("w") as log_file:
            supervisor = Supervisor(settings, line_printer(log_file))
            try:
                await _hold(settings, supervisor, report, faults)
            except (StartRefused, ArrivalFailed, CallRefused, OSError) as error:
                report.problems.append(f"{type(error).__name__}: {error}")
            except ExceptionGroup as group:
                report.problems += [f"{type(error).__name__}: {error}" for error in group.exceptions]
            finally:
                await supervisor.stop()
        report.ok = not report.problems
        write_report(report, report_path)
        if not report.ok:
            tail = log_path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
            print("\n".join(["", "The platform's last lines:", *tail]), file=sys.stderr)
    finally:
        if base.keep_demo_data:
            print(f"kept: {data_dir}", file=sys.stderr)
        else:
            shutil.rmtree(data_dir, ignore_errors=True)
    print(("\nok" if report.ok else "\nnot ok: " + "; ".join(report.problems)), file=sys.stderr)
    return 0 if report.ok else 1


async def _hold(settings: Settings, supervisor: Supervisor, report: Report, faults: bool) -> None:
    show = progress_printer()
    began_s = time.monotonic()
    show("starting the platform")
    await supervisor.start()
    record = open_settings_record(settings)
    cast = players(settings.demo_learners)
    try:
        show("making accounts and a class")
        ground = await seed(record, settings.data_dir / "demo.json", cast)
        show(f"enrolling {len(cast)} faces")
        report.problems += await enrol_faces(settings.own_url, cast, ground.cohort)
        lesson_id = await create_lesson(
            record,
            ground.classes[str(ground.cohort)],
            "安全生产法与事故案例",
            ground.people[INSTRUCTOR.login],
            epoch_ms(),
            1.0,
            settings.clock_factor,
        )
        chair = SignedInChair(settings.own_url, lesson_id)
        demo = DemoClass(settings.own_url, lesson_id, cast, ground.cohort, chair, start_with=len(cast))
        fault_plan = FaultPlan(settings, demo, supervisor) if faults else None

        def look() -> None:
            bar = progress(demo.elapsed_s, demo.planned_s + CLOSING_S) if demo.began_s else "arriving"
            show(f"{bar} {describe(demo)}")

        try:
            await chair.sit_down()
            report.prepared_s = time.monotonic() - began_s
            killing = asyncio.create_task(fault_plan.run()) if fault_plan else None
            await demo.run(look)
            if killing is not None and fault_plan is not None:
                report.problems += await fault_plan.finish(killing)
        finally:
            await chair.get_up()
        show("verifying")
        await report.gather(settings, record, demo, fault_plan)
    finally:
        await record.close()
