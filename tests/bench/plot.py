"""The benchmark's figures as one SVG picture: bars of µs per packet, a row for each server and number of viewers."""

from __future__ import annotations

from html import escape
from typing import Any

WIDTH, LABEL, ROW, BAR, TOP = 720, 150, 26, 16, 46
OURS, THEIRS, INK, FAINT = "#1a7f5a", "#9aa4b1", "#1f2933", "#dfe4ea"


def fanout_svg(report: dict[str, Any]) -> str:
    """Rows in the report's order; bars are linear from zero, each with its figure."""
    rows = [row for row in report["fanout"] if row["valid"]]
    longest = max((row["us_per_packet"] for row in rows), default=1.0)
    scale = (WIDTH - LABEL - 80) / longest
    height = TOP + ROW * len(rows) + 14
    machine = escape(str(report["machine"]["cpu"]))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="13" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        '<text x="12" y="22" font-size="15" font-weight="bold">µs of server CPU per packet sent</text>',
        f'<text x="{WIDTH - 12}" y="22" text-anchor="end" font-size="11">{machine}</text>',
    ]
    for place, row in enumerate(rows):
        y = TOP + place * ROW
        width = max(1.0, row["us_per_packet"] * scale)
        colour = OURS if row["server"] == "anke" else THEIRS
        parts += [
            f'<line x1="{LABEL}" y1="{y + ROW - 5}" x2="{WIDTH - 12}" y2="{y + ROW - 5}" stroke="{FAINT}"/>',
            f'<text x="{LABEL - 10}" y="{y + 13}" text-anchor="end">'
            f"{escape(row['server'])} · {row['viewers']} viewers</text>",
            f'<rect x="{LABEL}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>',
            f'<text x="{LABEL + width + 6:.1f}" y="{y + 13}">{row["us_per_packet"]:.2f}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
