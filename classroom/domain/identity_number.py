"""Resident identity numbers, GB 11643-1999: 6 area + 8 birth date + 3 sequence + check character."""

from __future__ import annotations

import re
from datetime import date

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECKS = "10X98765432"
_SHAPE = re.compile(r"[1-9]\d{16}[\dX]")


def normalised(number: str, today: date) -> str | None:
    """The number with a capital X, or None when it cannot exist: shape, check character, birth date up to `today`."""
    text = number.strip().upper()
    if not _SHAPE.fullmatch(text) or not text.isascii():
        return None
    if _CHECKS[sum(int(digit) * weight for digit, weight in zip(text, _WEIGHTS, strict=False)) % 11] != text[17]:
        return None
    try:
        born = date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    except ValueError:
        return None
    return text if born <= today else None


def masked(number: str) -> str:
    """What may be shown: the first three digits and the last four characters."""
    return number[:3] + "*" * (len(number) - 7) + number[-4:]
