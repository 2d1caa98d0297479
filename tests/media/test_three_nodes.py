"""Three nodes in network namespaces: one copy per node and stream, a drained node, a killed one. Times are measured by
`python -m tests.media.three_nodes`; here it only has to happen."""

from __future__ import annotations

import pytest

from tests.media.three_nodes import play
from tests.netlab.network import Network


@pytest.mark.timeout(300)
async def test_a_lecture_over_three_nodes_survives_a_drain_and_a_kill(network: Network) -> None:
    report = await play(network, patience_s=90)
    for crossing, viewers in ((report["a_to_b"], 2), (report["a_to_c"], 1)):
        assert crossing["streams"] == ["audio", "video"], "each stream once"
        assert crossing["viewers"] == viewers
    # Two viewers on B: what came from A is half of what went to them, but for the moment before they joined.
    sent, shown = report["a_to_b"]["video_bytes_sent"], report["a_to_b"]["video_bytes_to_viewers"]
    assert 0 < 1.5 * sent < shown, report
    assert report["drain"]["moved"] == ["b1", "b2"]
    assert all(report["kill"]["off_it"].values()), "publisher and viewers are on the one node that is left"
