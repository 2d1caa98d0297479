"""Measures how soon the picture comes behind each obstacle: `make reach` writes build/reach.json.

Each scenario runs `--runs` times; a row has the median and the worst, against the five seconds that are promised.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from pathlib import Path

from tests.netlab.network import Network, unavailable
from tests.netlab.reach import SCENARIOS, Outcome

PROMISED_S = 5.0


def run(name: str) -> Outcome:
    with Network() as network, tempfile.TemporaryDirectory() as folder:
        return asyncio.run(SCENARIOS[name](network, Path(folder)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    if (reason := unavailable()) is not None:
        print(f"reach: {reason}", file=sys.stderr)
        return 2
    rows = []
    for name, scenario in SCENARIOS.items():
        outcomes = [run(name) for _ in range(options.runs)]
        seconds = sorted(outcome.seconds for outcome in outcomes)
        last = outcomes[-1]
        way = "/".join(filter(None, (last.way["type"], last.way["protocol"], last.way["relay"])))
        rows.append(
            {
                "scenario": name,
                "what": (scenario.__doc__ or "").split("\n")[0],
                "median_s": round(statistics.median(seconds), 3),
                "worst_s": seconds[-1],
                "way": way,
                "peers": max(outcome.peers for outcome in outcomes),
                "kept": statistics.median(seconds) <= PROMISED_S,
            }
        )
        print(f"{name:<24} median {rows[-1]['median_s']:6.2f} s  worst {seconds[-1]:6.2f} s  by {way}", flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"promised_s": PROMISED_S, "runs": options.runs, "rows": rows}, indent=1) + "\n")
    return 0 if all(row["kept"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
