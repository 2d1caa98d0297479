"""Each obstacle of `reach.py` is passed, by the way meant for it and within one session; seconds are `make reach`'s."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.netlab.network import Network
from tests.netlab.reach import (
    address_changed,
    ipv6_only,
    moved_behind_firewall,
    only_tcp_443,
    udp_blocked,
)
from web.turn import turn_binary

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(240)]


async def test_udp_blocked_picture_by_tcp(network: Network, tmp_path: Path) -> None:
    outcome = await udp_blocked(network, tmp_path)
    assert (outcome.way["protocol"], outcome.way["relay"], outcome.peers) == ("tcp", "", 1)


@pytest.mark.skipif(turn_binary() is None, reason="coturn's turnserver is not installed")
async def test_only_tcp_443_picture_by_turn_over_tls(network: Network, tmp_path: Path) -> None:
    outcome = await only_tcp_443(network, tmp_path)
    assert (outcome.way["type"], outcome.way["relay"], outcome.peers) == ("relay", "tls", 1)


async def test_ipv6_only_picture(network: Network, tmp_path: Path) -> None:
    outcome = await ipv6_only(network, tmp_path)
    assert ":" in outcome.way["remote"] and outcome.way["protocol"] == "udp"


async def test_address_changed_mid_class_picture_goes_on_in_the_same_session(network: Network, tmp_path: Path) -> None:
    outcome = await address_changed(network, tmp_path)
    assert (outcome.way["protocol"], outcome.peers) == ("udp", 1)


async def test_moved_behind_a_firewall_picture_goes_on_by_tcp_in_the_same_session(
    network: Network, tmp_path: Path
) -> None:
    outcome = await moved_behind_firewall(network, tmp_path)
    assert (outcome.way["protocol"], outcome.peers) == ("tcp", 1)
