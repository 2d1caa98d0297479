"""Kill -9 each process of a platform with a class in progress: the class goes on and no credit is lost."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

RESUME_WITHIN_S = 15.0


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_r110_kill_9_of_each_process_in_turn(tmp_path: Path) -> None:
    """Learners are connected again with camera and lecture within 15 s of each kill; every second that was credited
    before a kill is credited at the end; honest learners earn their time; the audit finds the record identical."""
    path = tmp_path / "report.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "web.cli", "demo", "--headless", "--faults", "--report", str(path)),
        *("--learners", "4", "--minutes", "2"),
        env={**os.environ, "ANKE_LOG_LEVEL": "info"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert path.exists(), output.decode(errors="replace")[-3000:]
    report = json.loads(path.read_text())
    assert report["problems"] == [], output.decode(errors="replace")[-3000:]
    assert process.returncode == 0 and report["ok"]
    assert [death["part"] for death in report["faults"]] == ["web", "worker", "redis", "media"]
    for death in report["faults"]:
        assert death["new_pid"] not in (None, death["old_pid"])
        assert death["resumed_s"] <= RESUME_WITHIN_S
    assert report["verify"] == "identical"
    for learner in report["learners"]:
        if learner["behaviour"] == "honest":
            assert learner["joins"] >= 2 and learner["camera_connections"] >= 2, "web and media went away once each"
