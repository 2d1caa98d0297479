"""What a headless demo found: everybody's credit against what they did, the audit, and the router's own counters."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from media import MediaControl
from signaling.context import connect_redis
from web.demo.cast import ORGANISER
from web.demo.client import Api
from web.demo.faults import FaultPlan, lost_ms

if TYPE_CHECKING:
    from classroom import Record
    from web.demo.class_run import DemoClass, PlayedLearner
    from web.settings import Settings

VERIFY_PATIENCE_S = 120.0
MATCH = "MATCH"
ANSWERED = "answered"
LEDGER_TABLE = "ledger_entries"


@dataclass
class Report:
    """The JSON of `--report`. `problems` is empty exactly when `ok`."""

    ok: bool
    minutes: float
    prepared_s: float = 0.0
    verify: str = "not reached"
    tampering: dict[str, Any] = field(default_factory=dict)
    lesson: dict[str, Any] = field(default_factory=dict)
    learners: list[dict[str, Any]] = field(default_factory=list)
    router: dict[str, Any] = field(default_factory=dict)
    faults: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    async def gather(self, settings: Settings, record: Record, demo: DemoClass, faults: FaultPlan | None) -> None:
        """Asks the platform over its API, audits the record with the command line, and judges."""
        api = Api(settings.own_url)
        try:
            await api.sign_in(ORGANISER.login, ORGANISER.password)
            self.lesson = await api.call("GET", f"/api/lessons/{demo.lesson_id}")
            rows = {row["name"]: row for row in await api.call("GET", f"/api/lessons/{demo.lesson_id}/score-board")}
            for learner in demo.learners:
                row = rows[learner.player.name]
                path = f"/api/lessons/{demo.lesson_id}/credit/{row['person_id']}"
                await self._add_learner(learner, row, await api.call("GET", path), faults)
        finally:
            await api.close()
        self.faults = faults.to_list() if faults is not None else []
        self.router = await router_counters(settings)
        await self._audit(settings, demo.lesson_id)

    async def _add_learner(
        self, learner: PlayedLearner, row: dict[str, Any], answer: dict[str, Any], faults: FaultPlan | None
    ) -> None:
        credit, name, behaviour = answer["credit"], learner.player.name, learner.player.behaviour
        stretches = [(part["from_ms"], part["to_ms"]) for part in credit["intervals"] if part["credited"]]
        last_positive_ms = last_positive(answer["evidence"])
        # How long the class really was: the planned hour and the closing evidence after it.
        full_s = (self.lesson["ended_at_ms"] - self.lesson["started_at_ms"]) / 1000
        max_gap_s = float(self.lesson["max_gap_s"])
        self.learners.append(
            {
                "name": name,
                "behaviour": behaviour,
                "full_s": round(full_s, 1),
                "credited_s": round(row["credited_s"], 1),
                "attended_s": round(row["attended_s"], 1),
                "verdicts": row["verdicts"],
                "pings": {"sent": row["pings"]["sent"], "answered": row["pings"]["answered"]},
                "quiz": row["quiz_score"],
                "reasons": row["reasons"],
                "joins": learner.tally.get("joins"),
                "camera_connections": learner.tally.get("camera_connections"),
                "lecture_frames": learner.tally.get("frames"),
            }
        )
        frames = sum(count for codec, count in learner.tally.get("frames", {}).items() if codec.lower() != "opus")
        if frames < full_s:
            self.problems.append(f"{name} received {frames} pictures of the lecture in {full_s:.0f} s")
        if behaviour == "honest" and row["credited_s"] < full_s - max_gap_s:
            self.problems.append(
                f"{name} (honest) is credited {row['credited_s']:.0f} s of {full_s:.0f} s, more than one evidence "
                f"interval ({max_gap_s:.0f} s) short: {row['reasons']}"
            )
        if behaviour == "impostor" and row["credited_s"] > 0:
            self.problems.append(f"{name} (impostor) is credited {row['credited_s']:.0f} s")
        if behaviour == "impostor" and not row["verdicts"].get("MISMATCH"):
            self.problems.append(f"{name} (impostor) was never seen to be someone else: {row['verdicts']}")
        if behaviour == "absentee":
            if not learner.tally.get("walked_away"):
                self.problems.append(f"{name} (absentee) never walked away")
            if not 0 < row["credited_s"] < full_s / 2:
                self.problems.append(f"{name} (absentee) is credited {row['credited_s']:.0f} s of {full_s:.0f} s")
        after = [end for _, end in stretches if last_positive_ms is None or end > last_positive_ms]
        if after:
            self.problems.append(f"{name} ({behaviour}) is credited beyond the last positive evidence")
        for death in faults.deaths if faults is not None else []:
            lost = lost_ms(death.credited_ms_before.get(row["person_id"], []), stretches)
            if lost > 0:
                self.problems.append(f"{name} lost {lost} ms of credit that existed before {death.part} was killed")

    async def _audit(self, settings: Settings, lesson_id: str) -> None:
        """`anke verify` must find the record whole, and must name the row when one byte of a copy is flipped."""
        code, text = await run_verify(settings.environment(), lesson_id)
        self.verify = "identical" if code == 0 and "identical" in text else text[-400:]
        if self.verify != "identical":
            self.problems.append(f"verify: {self.verify}")
        copy = settings.data_dir / "tampered.sqlite3"
        chain, idx = await asyncio.to_thread(tamper, settings.data_dir / "anke.sqlite3", copy, lesson_id)
        environment = {**settings.environment(), "ANKE_DATABASE_URL": f"sqlite+aiosqlite:///{copy}"}
        code, text = await run_verify(environment, lesson_id)
        named = chain in text and str(idx) in text
        self.tampering = {"chain": chain, "idx": idx, "exit_code": code, "named": named}
        if code == 0 or not named:
            self.problems.append(f"verify did not name the tampered row {chain} {idx}: exit {code}, {text[-400:]}")


def last_positive(evidence: list[dict[str, Any]]) -> int | None:
    """When the learner last showed to be there: a matching face, a ping answered, a quiz answered. Epoch ms."""
    positive = [
        item["body"]["at_ms"]
        for item in evidence
        if item["kind"] == "QUIZ_ANSWER"
        or (item["kind"] == "FACE" and item["body"]["outcome"] == MATCH)
        or (item["kind"] == "PING" and item["body"]["outcome"] == ANSWERED)
    ]
    return max(positive, default=None)


async def run_verify(environment: dict[str, str], lesson_id: str) -> tuple[int, str]:
    """Exit code and output of the very command an auditor would type."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "web.cli",
        "verify",
        lesson_id,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), VERIFY_PATIENCE_S)
    return process.returncode or 0, output.decode(errors="replace")


def tamper(original: Path, copy: Path, lesson_id: str) -> tuple[str, int]:
    """Copies the database and flips one bit of one ledger row's body; which row that was."""
    with sqlite3.connect(original) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    with sqlite3.connect(copy) as database:
        # Whoever holds the file can remove what keeps the ledger append-only; the hashes are what must tell.
        triggers = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            database.execute(f'DROP TRIGGER "{name}"')
        rows = database.execute(
            f"SELECT rowid, chain, idx, body FROM {LEDGER_TABLE} WHERE body LIKE ? ORDER BY chain, idx",
            (f"%{lesson_id}%",),
        ).fetchall()
        rowid, chain, idx, body = rows[len(rows) // 2]
        damaged = bytearray(body if isinstance(body, bytes) else body.encode())
        damaged[len(damaged) // 2] ^= 1
        value = bytes(damaged) if isinstance(body, bytes) else damaged.decode(errors="replace")
        database.execute(f"UPDATE {LEDGER_TABLE} SET body = ? WHERE rowid = ?", (value, rowid))
    database.close()
    return str(chain), int(idx)


async def router_counters(settings: Settings) -> dict[str, Any]:
    """The media node's counters since it started, and the processor time it took."""
    redis = connect_redis(settings.redis)
    control = MediaControl(redis, settings.keys.control)
    try:
        snapshot = next(iter((await control.snapshot()).values()), None)
        if snapshot is None:
            return {}
        return {**snapshot["router"]["counters"], **snapshot["sessions"]["counters"], "cpu_s": snapshot["cpu_s"]}
    finally:
        await control.close()
        await redis.aclose()


def write_report(report: Report, path: Path | None) -> None:
    text = json.dumps(report.to_dict(), ensure_ascii=False, indent=1, default=str)
    if path is None:
        print(text)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")
