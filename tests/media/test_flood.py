"""Garbage at the media port of a running class: it is counted, and the viewers go on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FLOOD = Path(__file__).parent.parent / "bench" / "flood.py"
RATE_PER_S = 5_000


@pytest.mark.slow
def test_a_flood_is_counted_and_the_class_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "flood.json"
    command = [sys.executable, str(FLOOD), "--rate", str(RATE_PER_S), "--seconds", "2", "--passes", "1"]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    quiet, flooded = found["rows"]
    assert flooded["garbage"] > RATE_PER_S
    assert quiet["got"] > 0
    assert flooded["got"] >= 0.99 * flooded["expected"], found
    # Each kind was refused where it should be, and nothing of it was taken for media.
    refusals = ("strangers", "bad_unknown", "bad_integrity", "stun_unknown_ufrag", "stun_rejected")
    assert {name for name in refusals if not found["counters"].get(name)} == set()
