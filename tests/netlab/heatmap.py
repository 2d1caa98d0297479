"""The impairment matrix as a Markdown table and as a picture (SVG by hand: two files, no library)."""

from __future__ import annotations

from typing import Any

CellRow = dict[str, Any]
WIDTH, HEIGHT, LEFT, TOP = 132, 46, 176, 96
# Freeze ratio → colour, from good to bad; between them the colours are mixed.
STOPS = ((0.0, (201, 236, 217)), (0.1, (255, 243, 205)), (0.3, (250, 199, 160)), (1.0, (226, 106, 96)))
PAUSED = (214, 222, 233)


def rate_text(rate_bps: int | None) -> str:
    if rate_bps is None:
        return "unlimited"
    return f"{rate_bps // 1_000_000} Mbit/s" if rate_bps >= 1_000_000 else f"{rate_bps // 1000} kbit/s"


def _rates(cells: list[CellRow]) -> list[int | None]:
    known = sorted({cell["rate_bps"] for cell in cells if cell["rate_bps"] is not None})
    return [*known, *([None] if any(cell["rate_bps"] is None for cell in cells) else [])]


def _lines(cells: list[CellRow]) -> list[tuple[float, int]]:
    return sorted({(cell["loss"], cell["rtt_ms"]) for cell in cells})


def is_paused(cell: CellRow) -> bool:
    """The router sends no picture on purpose, so that the sound has the line."""
    return "paused_bandwidth" in cell["why"]


def picture_text(cell: CellRow) -> str:
    if cell["height_px"] == 0:
        return "sound only" if is_paused(cell) else "no picture"
    return f"{cell['height_px']}p"


def markdown(cells: list[CellRow]) -> str:
    """One row a line, one column a rate: `picture, frozen share, sound gaps`."""
    rates = _rates(cells)
    by_key = {(cell["loss"], cell["rtt_ms"], cell["rate_bps"]): cell for cell in cells}
    rows = ["| loss, RTT | " + " | ".join(rate_text(rate) for rate in rates) + " |", "| --- |" + " --- |" * len(rates)]
    for loss, rtt_ms in _lines(cells):
        texts = []
        for rate in rates:
            cell = by_key.get((loss, rtt_ms, rate))
            texts.append("—" if cell is None else _text(cell))
        rows.append(f"| {loss:.0%}, {rtt_ms} ms | " + " | ".join(texts) + " |")
    return "\n".join(rows) + "\n\nIn each cell: picture, share of time frozen, share of sound made up.\n"


def _text(cell: CellRow) -> str:
    sound = f"{cell['audio_gap']:.1%}" if cell["audio_there"] else "**no sound**"
    frozen = "" if cell["height_px"] == 0 else f", {cell['freeze_ratio']:.0%}"
    return f"{picture_text(cell)}{frozen}, {sound}"


def colour_of(freeze_ratio: float) -> tuple[int, int, int]:
    for (low, left), (high, right) in zip(STOPS, STOPS[1:], strict=False):
        if freeze_ratio <= high:
            share = (freeze_ratio - low) / (high - low)
            mixed = [round(a + (b - a) * share) for a, b in zip(left, right, strict=True)]
            return mixed[0], mixed[1], mixed[2]
    return STOPS[-1][1]


def heat_map(cells: list[CellRow]) -> str:
    """SVG: colour is the share of time frozen, the text is the picture and the share of sound made up."""
    rates, lines = _rates(cells), _lines(cells)
    by_key = {(cell["loss"], cell["rtt_ms"], cell["rate_bps"]): cell for cell in cells}
    width, height = LEFT + WIDTH * len(rates) + 20, TOP + HEIGHT * len(lines) + 58
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        '<text x="20" y="28" font-size="17" font-weight="600">A class through bad lines</text>',
        '<text x="20" y="50" fill="#45566a">Chromium; loss and delay in both directions; colour: share of time frozen; '
        "% : sound made up</text>",
    ]
    for column, rate in enumerate(rates):
        x = LEFT + column * WIDTH + WIDTH / 2
        out.append(f'<text x="{x}" y="{TOP - 10}" text-anchor="middle" font-weight="600">{rate_text(rate)}</text>')
    for row, (loss, rtt_ms) in enumerate(lines):
        y = TOP + row * HEIGHT
        middle = y + HEIGHT / 2 + 4
        out.append(f'<text x="{LEFT - 12}" y="{middle}" text-anchor="end">loss {loss:.0%}, RTT {rtt_ms} ms</text>')
        for column, rate in enumerate(rates):
            cell = by_key.get((loss, rtt_ms, rate))
            if cell is not None:
                out += _box(cell, LEFT + column * WIDTH, y)
    legend_y = TOP + HEIGHT * len(lines) + 22
    shown = (("0 %", colour_of(0)), ("10 %", colour_of(0.1)), ("30 %", colour_of(0.3)), ("100 %", colour_of(1)))
    for place, (text, colour) in enumerate((*shown, ("paused for the sound", PAUSED))):
        x = LEFT + place * 92
        out.append(f'<rect x="{x}" y="{legend_y}" width="16" height="16" rx="3" fill="rgb{colour}"/>')
        out.append(f'<text x="{x + 22}" y="{legend_y + 13}" fill="#45566a">{text}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def _box(cell: CellRow, x: int, y: int) -> list[str]:
    colour = PAUSED if cell["height_px"] == 0 and is_paused(cell) else colour_of(cell["freeze_ratio"])
    middle = x + WIDTH / 2
    sound = f"♪ {cell['audio_gap']:.1%}" if cell["audio_there"] else "no sound"
    frozen = "" if cell["height_px"] == 0 else f" · {cell['freeze_ratio']:.0%}"
    tone = "#14212e" if cell["audio_there"] else "#b3261e"
    return [
        f'<rect x="{x + 2}" y="{y + 2}" width="{WIDTH - 4}" height="{HEIGHT - 4}" rx="5" fill="rgb{colour}"/>',
        f'<text x="{middle}" y="{y + 20}" text-anchor="middle" font-weight="600">{picture_text(cell)}{frozen}</text>',
        f'<text x="{middle}" y="{y + 36}" text-anchor="middle" fill="{tone}" font-size="12">{sound}</text>',
    ]
