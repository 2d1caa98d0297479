"""What the HTTP API gives away."""

from __future__ import annotations

import classroom
from web.api.credit import without_measures


async def test_a_learner_s_own_evidence_does_not_say_how_close_the_picture_came_R064(small_world) -> None:
    world = small_world
    me = world.learners[0]
    await world.start()
    await world.sit(me)
    await world.check(me, "MISMATCH", distance=0.61, match_up_to=0.4, liveness_score=0.2, reason=None)
    entries = [without_measures(entry) for entry in await classroom.evidence_of(world.record, world.lesson, me)]
    [face] = [entry for entry in entries if entry["kind"] == "FACE"]
    assert face["body"]["outcome"] == "MISMATCH" and face["body"]["verdict"]["outcome"] == "MISMATCH"
    assert not {"distance", "match_up_to", "liveness_score"} & face["body"]["verdict"].keys()
    assert "0.61" not in str(entries)
