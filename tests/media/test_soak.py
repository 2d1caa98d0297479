"""Joins and leaves by the hundred: what a session took is given back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parent.parent / "bench" / "soak.py"
WARM_UP, JOINS = 200, 120
# After a short warm-up the heap still grows a little; a leaked TLS connection alone is more than 100 kB.
MAX_LEFT_BYTES = 4096


@pytest.mark.slow
def test_joins_and_leaves_leave_no_memory_behind(tmp_path: Path) -> None:
    out = tmp_path / "soak.json"
    command = [sys.executable, str(SOAK), "--no-core", "--warm-up", str(WARM_UP), "--joins", str(JOINS)]
    command += ["--max-left-bytes", str(MAX_LEFT_BYTES)]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, timeout=150)
    assert out.exists(), done.stderr
    found = json.loads(out.read_text())["node"]
    assert (done.returncode, found["faults"]) == (0, []), found
    assert found["published"] > 0, "a class was in progress"
