"""A lesson from its start to its settled credit, on both databases."""

from __future__ import annotations

import classroom


async def test_honest_learner_is_credited_the_hour_and_verify_agrees(world) -> None:
    """R-021, R-070: credit follows from the ledger, and the audit recomputes the same."""
    await world.start()
    for person in world.learners:
        await world.sit(person)
    await world.honest_hour()
    await world.end()
    for row in await classroom.score_board(world.record, world.lesson):
        assert row.needed_s == 2700
        # From the first MATCH, 5 s in, to the last positive evidence, 5 s before the end at 2705 s.
        assert row.credited_s == 2695
        assert row.hours == 0  # 2695 < 2700: 约45 is never rounded up
    report = await classroom.verify_lesson(world.record, world.lesson)
    assert report.result == "identical", report.lines
