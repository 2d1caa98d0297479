"""The command line `anke`. Every command reads the same settings (`ANKE_*`); a mistake is told in one line."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from web.key_files import KeyFileError
from web.settings import Settings

app = typer.Typer(
    help="安课 Anke: live work-safety classes whose credit hours can be proved.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
database = typer.Typer(help="The record's database.", no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(database, name="db")


class CommandFailed(RuntimeError):
    """Ends the command with its text on stderr and exit code 1 (2 for wrong settings)."""

    def __init__(self, sentence: str, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code


def read_settings(**changes: object) -> Settings:
    """Settings from the environment, with what the command line says on top; None changes nothing."""
    try:
        said: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
        return Settings(**said)
    except ValidationError as error:
        first = error.errors()[0]
        name = "ANKE_" + "_".join(str(part) for part in first["loc"]).upper()
        raise CommandFailed(f"setting {name}: {first['msg']}", 2) from error


@app.command()
def version() -> None:
    """Prints the version."""
    from importlib.metadata import version as installed

    print(installed("anke"))


@app.command()
def up(
    demo: Annotated[bool, typer.Option("--demo", help="With a demo class in progress.")] = False,
    data_dir: Annotated[Path | None, typer.Option(help="Where everything is kept.")] = None,
    port: Annotated[int | None, typer.Option(help="Of the page.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show routine lines too.")] = False,
) -> None:
    """Starts and supervises the whole platform on this machine."""
    from web.up import run_up

    settings = read_settings(demo=demo or None, data_dir=data_dir, web_port=port)
    asyncio.run(run_up(settings, verbose=verbose))


Standby = Annotated[bool, typer.Option("--standby", hidden=True, help="Get ready, then wait for a line of input.")]


@app.command()
def web(standby: Standby = False) -> None:
    """Runs one web node: page, HTTP API, live signaling."""
    from web.processes import run_web

    run_web(read_settings(), wait_for_go if standby else None)


@app.command()
def media(
    standby: Standby = False,
    join: Annotated[bool, typer.Option("--join", help="As a further node of an installation elsewhere.")] = False,
    drain: Annotated[str | None, typer.Option(metavar="NODE", help="Only tell that node to be emptied.")] = None,
    redis_url: Annotated[str | None, typer.Option(help="The installation's Redis.")] = None,
    web_url: Annotated[str | None, typer.Option(help="What people type to open its page.")] = None,
    address: Annotated[str | None, typer.Option(help="Where browsers and other nodes reach this machine.")] = None,
    http_port: Annotated[int | None, typer.Option(help="WHIP, WHEP and control.")] = None,
    udp_port: Annotated[int | None, typer.Option(help="Media.")] = None,
    node_id: Annotated[str | None, typer.Option(help="Its name among the nodes.")] = None,
) -> None:
    """Runs one media node: WHIP, WHEP and the packet router."""
    from web.processes import run_media

    settings = read_settings(
        redis_url=redis_url, web_url=web_url, media_port=http_port, media_udp_port=udp_port, media_node_id=node_id
    )
    if drain is not None:
        from web.join import run_drain

        print(asyncio.run(run_drain(settings, drain)))
        return
    if join:
        from web.join import joined

        settings = joined(settings, address)
    run_media(settings, wait_for_go if standby else None)


@app.command()
def worker(standby: Standby = False) -> None:
    """Runs the jobs: face checks and what follows from them."""
    from web.worker import run_worker

    run_worker(read_settings(), wait_for_go if standby else None)


@app.command()
def recorder(standby: Standby = False) -> None:
    """Runs one recorder: every live lesson's lecture and screen into segments on disk."""
    from web.recorder import run_recorder_role

    run_recorder_role(read_settings(), wait_for_go if standby else None)


def wait_for_go() -> None:
    """Returns when the supervisor says so; ends the process when the supervisor is gone or needs no standby."""
    if not sys.stdin.readline():
        sys.exit(0)


@app.command()
def demo(
    headless: Annotated[bool, typer.Option("--headless", help="A platform of its own, one class, a report.")] = False,
    report: Annotated[Path | None, typer.Option(help="Where to write the JSON report.")] = None,
    minutes: Annotated[float, typer.Option(min=0.5, max=45, help="How long one credit hour takes.")] = 4.0,
    learners: Annotated[int, typer.Option(min=3, max=12, help="Learners in the class.")] = 12,
    faults: Annotated[bool, typer.Option("--faults", help="Kill each process in turn while the class runs.")] = False,
) -> None:
    """Plays a class: on the running platform for ever, or headless once with a verdict."""
    settings = read_settings()
    if headless:
        from web.demo.headless import run_headless

        sys.exit(asyncio.run(run_headless(settings, report, minutes=minutes, learners=learners, faults=faults)))
    from web.demo.continuous import run_continuous

    asyncio.run(run_continuous(settings))


@database.command("upgrade")
def database_upgrade() -> None:
    """Brings the database to the newest migration; nothing happens when it is there."""
    from web.processes import upgrade_record

    upgrade_record(read_settings())


@app.command()
def verify(lesson: Annotated[str, typer.Argument(help="A lesson's id, or `last`.")]) -> None:
    """Recomputes every credited second of a lesson from the raw ledger rows and compares."""
    from web.audit import run_verify

    sys.exit(asyncio.run(run_verify(read_settings(), lesson)))


@app.command("create-admin")
def create_admin(
    login: Annotated[str, typer.Argument()],
    name: Annotated[str, typer.Option(help="As people know them.")] = "管理员",
    organisation: Annotated[str, typer.Option(help="Created with the first administrator.")] = "平台运营单位",
    password: Annotated[str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True)] = "",
) -> None:
    """Creates the first organiser, who then sets up classes and people."""
    from web.audit import run_create_admin

    asyncio.run(run_create_admin(read_settings(), login, password, name, organisation))


def main() -> None:
    """Entry point of `anke`: expected failures in one clear line, everything else with its trace."""
    from web.failures import expected_failure

    try:
        app()
    except (CommandFailed, KeyFileError) as error:
        _end(str(error), getattr(error, "code", 1))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        sentence = expected_failure(error)
        if sentence is None:
            raise
        _end(sentence, 1)


def _end(sentence: str, code: int) -> None:
    print(f"anke: {sentence}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
