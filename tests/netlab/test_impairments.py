"""Three cells of the impairment matrix in a small class, and how its figures are made of what a browser counted."""

from __future__ import annotations

from typing import Any

import pytest

from tests.netlab.heatmap import heat_map, markdown
from tests.netlab.impairments import Cell, all_cells, measured, run
from tests.netlab.network import unavailable

SEEN: dict[str, Any] = {
    "seconds": 10.0,
    "heights": [360] * 30 + [0] * 10,
    "frames": 90,
    "dropped": 0,
    "freezes": 1,
    "frozen_s": 1.0,
    "video_bytes": 500_000,
    "video_lost": 3,
    "nacks": 2,
    "plis": 1,
    "audio_packets": 500,
    "audio_bytes": 40_000,
    "audio_fec": 0,
    "samples": 480_000,
    "concealed": 9_600,
    "concealed_silent": 100,
    "gaps": 4,
    "state": "connected",
}
VIEWER: dict[str, Any] = {
    "estimate_bps": 700_000,
    "rtt_ms": 104.0,
    "loss": 0.02,
    "slots": [{"kind": "audio"}, {"kind": "video", "why": ["bandwidth"], "layer": 1}],
}


def test_the_matrix_has_every_combination_once() -> None:
    cells = all_cells()
    assert len(cells) == len(set(cells)) == 4 * 3 * 4
    assert {cell.rate_bps for cell in cells} == {100_000, 300_000, 1_000_000, None}
    assert all(cell.line.delay_ms * 2 == cell.rtt_ms for cell in cells)


def test_a_picture_that_stands_still_counts_as_frozen_whoever_says_so() -> None:
    cell = Cell(0.02, 100, 1_000_000)
    one = measured(cell, SEEN, VIEWER)
    assert (one.freeze_ratio, one.height_px, one.fps, one.video_bps) == (0.25, 360, 9.0, 400_000)
    assert (one.audio_gap, one.audio_there, one.why, one.layer) == (0.02, True, ["bandwidth"], 1)
    assert measured(cell, SEEN | {"heights": [360] * 40, "frozen_s": 4.0}, VIEWER).freeze_ratio == 0.4
    nothing = measured(cell, SEEN | {"heights": [0] * 40, "audio_packets": 0, "concealed": 480_000}, None)
    assert (nothing.freeze_ratio, nothing.height_px, nothing.audio_there, nothing.why) == (1.0, 0, False, [])
    assert not measured(cell, SEEN | {"concealed": 300_000}, VIEWER).audio_there


def test_table_and_picture_show_every_cell() -> None:
    from dataclasses import asdict

    found = [asdict(measured(cell, SEEN, VIEWER)) for cell in all_cells()]
    table = markdown(found)
    assert table.count("360p, 25%, 2.0%") == 48 and "| 20%, 300 ms |" in table
    assert heat_map(found).count("360p · 25%") == 48
    silent = [row | {"audio_there": False} for row in found]
    assert markdown(silent).count("**no sound**") == 48 and heat_map(silent).count(">no sound<") == 48
    paused = [row | {"height_px": 0, "why": ["paused_bandwidth"]} for row in found]
    assert heat_map(paused).count(">sound only<") == 48


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_sound_stays_and_the_picture_fits_the_line() -> None:
    reason = unavailable()
    if reason is not None:
        pytest.skip(reason)
    narrow, bad, good = Cell(0.0, 20, 100_000), Cell(0.10, 100, 1_000_000), Cell(0.0, 20, None)
    found = await run([narrow, bad, good], viewers=3, settle_s=8.0, measure_s=5.0)
    by_cell = dict(zip((narrow, bad, good), found, strict=True))
    assert all(one.audio_there for one in found), found
    assert by_cell[narrow].video_bps < 100_000
    assert by_cell[bad].video_bps < 1_000_000
    assert by_cell[good].fps > 0 and by_cell[good].height_px > by_cell[narrow].height_px, found
