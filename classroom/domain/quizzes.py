"""Drawing and scoring the questions of a credit hour."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence


def draw(secret: bytes, hour_index: int, question_ids: Iterable[str], count: int) -> list[str]:
    """The questions of one hour, `count` distinct ones: the bank in an order that HMAC of the lesson's secret gives,
    one slice per hour, so that hours repeat nothing while the bank lasts. Raises ValueError when the bank is smaller.
    """
    order = sorted(
        set(question_ids), key=lambda qid: (hmac.new(secret, f"quiz|{qid}".encode(), hashlib.sha256).digest(), qid)
    )
    if len(order) < count:
        raise ValueError(f"the bank holds {len(order)} questions, {count} are needed")
    start = hour_index * count
    return [order[(start + k) % len(order)] for k in range(count)]


def is_right(correct: Sequence[int], chosen: Sequence[int]) -> bool:
    """All of the correct options and none else."""
    return set(correct) == set(chosen)


def score(correct: Mapping[str, Sequence[int]], answers: Mapping[str, Sequence[int]]) -> float:
    """On 100: a missing answer is worth nothing (R-081). `correct` is question id → right options."""
    if not correct:
        return 0.0
    right = sum(1 for qid, options in correct.items() if qid in answers and is_right(options, answers[qid]))
    return 100.0 * right / len(correct)


def mean_score(scores: Sequence[float], hours: int) -> float:
    """The mean over all hours of a lesson; an hour without a score counts 0 (R-090)."""
    return sum(scores) / hours if hours else 0.0


def passed(mean: float, pass_score: int) -> bool:
    """80 and above includes 80; 79.99 fails (R-090)."""
    return mean >= pass_score
