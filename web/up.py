"""`anke up`: the supervisor with a terminal around it, and the demo class as one more child."""

from __future__ import annotations

import sys

from web.child import ChildPlan
from web.settings import Settings
from web.supervisor import Say, Supervisor, line_printer, routine, run_until_signalled

LOG_NAME = "platform.log"
LOG_MAX_BYTES = 50_000_000  # above this a start keeps it as the one before


async def run_up(settings: Settings, *, verbose: bool) -> None:
    """Runs until SIGINT or SIGTERM. Raises StartRefused when the platform cannot start.

    Everything goes to `platform.log` of the data directory; what is routine stays off the terminal unless `verbose`.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = settings.data_dir / LOG_NAME
    if path.exists() and path.stat().st_size > LOG_MAX_BYTES:
        path.replace(path.with_suffix(".log.1"))
    with path.open("a") as log_file:
        to_terminal, to_file = line_printer(sys.stdout), line_printer(log_file)

        def say(name: str, line: str) -> None:
            to_file(name, line)
            if verbose or not routine(name, line):
                to_terminal(name, line)

        await _run(settings, Supervisor(settings, say), say)


async def _run(settings: Settings, supervisor: Supervisor, say: Say) -> None:
    async def started() -> None:
        if settings.demo:
            command = [sys.executable, "-m", "web.cli", "demo"]
            await supervisor.add(ChildPlan("demo", command, settings.environment()))
        for line in welcome(settings):
            say("anke", line)

    await run_until_signalled(supervisor, started)


def welcome(settings: Settings) -> list[str]:
    lines = ["", f"安课 Anke 已就绪，请打开 / is ready, open:  {settings.own_url}", ""]
    if settings.demo:
        from web.demo.cast import ACCOUNTS

        lines.append(f"演示账号 / sign in as (password {ACCOUNTS[0].password}):")
        lines += [f"  {account.login:<10} {account.name}  {account.say} / {account.say_en}" for account in ACCOUNTS]
        lines.append(
            "演示课堂每轮约 4 分钟一个学时，循环进行。/ One credit hour takes about 4 minutes; a new class follows."
        )
    lines.append(f"日志 / log: {settings.data_dir / LOG_NAME}")
    lines += ["Ctrl-C 结束 / ends everything.", ""]
    return lines
