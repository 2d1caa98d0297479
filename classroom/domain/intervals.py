"""Arithmetic of half-open intervals [from_ms, to_ms): union, cut, gaps. Integers only, so that sums are exact."""

from __future__ import annotations

from collections.abc import Iterable

Span = tuple[int, int]


def union(spans: Iterable[Span]) -> list[Span]:
    """The same time covered once, in order; spans that touch become one; empty and backward ones vanish."""
    merged: list[Span] = []
    for start, end in sorted(span for span in spans if span[1] > span[0]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def clip(spans: Iterable[Span], start: int, end: int) -> list[Span]:
    """The parts of the spans inside [start, end)."""
    return [(max(a, start), min(b, end)) for a, b in spans if min(b, end) > max(a, start)]


def cut(span: Span, holes: list[Span]) -> list[tuple[int, int, bool]]:
    """`span` in order as (from, to, inside a hole); `holes` is a union."""
    parts: list[tuple[int, int, bool]] = []
    cursor = span[0]
    for a, b in clip(holes, *span):
        if a > cursor:
            parts.append((cursor, a, False))
        parts.append((a, b, True))
        cursor = b
    if cursor < span[1]:
        parts.append((cursor, span[1], False))
    return parts


def overlaps(span: Span, spans: Iterable[Span]) -> bool:
    """Whether `span` (its ends included) touches any of the spans."""
    return any(a <= span[1] and b >= span[0] for a, b in spans)


def length(spans: Iterable[Span]) -> int:
    return sum(b - a for a, b in spans)
