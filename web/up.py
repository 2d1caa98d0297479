"""`anke up`: the supervisor with a terminal around it, and the demo class as one more child."""

from __future__ import annotations

import sys

from web.child import ChildPlan
from web.settings import Settings
from web.supervisor import Supervisor, line_printer, run_until_signalled


async def run_up(settings: Settings) -> None:
    """Runs until SIGINT or SIGTERM. Raises StartRefused when the platform cannot start."""
    say = line_printer(sys.stdout)
    supervisor = Supervisor(settings, say)

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
    lines += ["Ctrl-C 结束 / ends everything.", ""]
    return lines
