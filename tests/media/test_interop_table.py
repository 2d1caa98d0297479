"""Publish × play: every stack that can publish to every stack that can play, each cell a test.

One publication per publisher, all players on it at once, publishers one after the other. What was seen is written to
`build/interop.json` and `build/interop.md`.
"""

from __future__ import annotations

import importlib.util
import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from media.tokens import SlotClaim

ROOT = Path(__file__).parent.parent.parent
PUBLISHERS = ("chromium", "firefox", "aiortc", "wrtc", "gstreamer", "ffmpeg")
PLAYERS = ("chromium", "firefox", "aiortc", "wrtc", "gstreamer")
# Publisher and player without a video codec in common: sound goes on, and the table says why there is no picture.
SOUND_ONLY = {
    ("ffmpeg", "firefox"): "Debian's Firefox has H.264 only with Cisco's plug-in, which it would download",
    ("ffmpeg", "wrtc"): "its libwebrtc is built without H.264",
}
ENOUGH_PICTURES = 15
PATIENCE_S = 40.0
SECONDS = 150.0

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def drive() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("drive", Path(__file__).parent / "peers" / "drive.py")
    assert spec is not None and spec.loader is not None, "the file is there"
    module = importlib.util.module_from_spec(spec)
    sys.modules["drive"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["drive"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("interop")


@pytest.fixture(scope="module")
def stacks(drive: ModuleType, folder: Path) -> Iterator[dict[str, Any]]:
    """One process a stack, for the whole table."""
    running = {name: drive.PeerProcess(name, folder / f"{name}.log") for name in drive.STACKS}
    yield running
    for peer in running.values():
        peer.end()


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Any], free_port: Callable[[], int]) -> Any:
    """A node on two addresses. Some stacks use loopback only when asked to, Firefox and GStreamer never for playing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # nothing is sent: the kernel says which address it would send from
        own_address = probe.getsockname()[0]
    return start_node(bind=[["127.0.0.1", free_port()], [own_address, free_port()]])


@dataclass
class Table:
    """What the cells saw."""

    names: dict[str, str] = field(default_factory=dict)
    cells: list[dict[str, Any]] = field(default_factory=list)

    def markdown(self) -> str:
        players = [name for name in PLAYERS if any(cell["player"] == name for cell in self.cells)]
        lines = ["| publishes ↓ plays → | " + " | ".join(players) + " |", "| --- |" + " --- |" * len(players)]
        for publisher in PUBLISHERS:
            row = {cell["player"]: cell for cell in self.cells if cell["publisher"] == publisher}
            if row:
                lines.append(f"| {publisher} | " + " | ".join(_words(row.get(player)) for player in players) + " |")
        return "\n".join([*lines, "", *(f"* {name}: {version}" for name, version in self.names.items()), ""])


def _words(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return "not run"
    if cell["pictures"]:
        return f"{cell['video_codec']} {cell['width']} px + {cell['audio_codec']}"
    return f"{cell['audio_codec']} only: {cell['note']}"


@pytest.fixture(scope="module")
def table(stacks: dict[str, Any]) -> Iterator[Table]:
    found = Table()
    yield found
    found.names = {name: peer.name for name, peer in stacks.items()}
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    (build / "interop.json").write_text(json.dumps({"stacks": found.names, "cells": found.cells}, indent=1) + "\n")
    (build / "interop.md").write_text(found.markdown())


@dataclass
class Published:
    """A running publication and a session of every player on it."""

    publisher: str
    id: str
    node: Any
    players: dict[str, Any]

    def control(self, method: str, path: str, **query: Any) -> Any:
        headers = {"Authorization": f"Bearer {'c' * 32}"}
        answer = httpx.request(method, f"{self.node.url}/control/{path}", headers=headers, trust_env=False, **query)
        answer.raise_for_status()
        return answer.json()

    def codecs(self) -> dict[str, str]:
        """The codec of each kind that flows: what the node forwards, it never transcodes."""
        snapshot = self.control("GET", "snapshot")
        mine = [item for item in snapshot["sessions"]["publications"] if item["id"] == self.id]
        encodings = mine[0]["encodings"] if mine else []
        return {item["kind"]: item["codec"] for item in encodings if item["codec"] is not None}


def slots(source: str) -> list[SlotClaim]:
    return [SlotClaim("audio", "audio", source), SlotClaim("camera", "video", source)]


def until(check: Callable[[], Any], what: str) -> Any:
    deadline_s = time.monotonic() + PATIENCE_S
    while not (found := check()):
        assert time.monotonic() < deadline_s, f"not within {PATIENCE_S} s: {what}; last {found!r}"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def published(
    request: pytest.FixtureRequest, node: Any, stacks: dict[str, Any], drive: ModuleType, folder: Path
) -> Iterator[Published]:
    publisher: str = request.param
    name = f"table.{publisher}"
    url, token = f"{node.url}/whip/{name}", node.token("publish", name)
    session, encoder, log = None, None, folder / f"{publisher}.encoder.log"
    if publisher in drive.ENCODERS:
        encoder = drive.encode(publisher, url, token, SECONDS, log)
    else:
        session = stacks[publisher].begin("publish", url=url, token=token)
    found = Published(publisher, name, node, {})
    if session is not None:
        session.result(PATIENCE_S)
    begun = {}
    for player, peer in stacks.items():
        mine = f"{name}.{player}"
        arguments = {"url": f"{node.url}/whep/{mine}", "token": node.token("play", mine, slots(name))}
        begun[player] = peer.begin("play", **arguments)
    found.players = {player: (stacks[player], answer.result(PATIENCE_S)) for player, answer in begun.items()}

    def both_flow() -> bool:
        assert encoder is None or encoder.poll() is None, log.read_text(errors="replace")[-2000:]
        return {"audio", "video"} <= set(found.codecs())

    until(both_flow, f"sound and picture of {publisher}")
    yield found
    for peer, number in found.players.values():
        peer.call("stop", peer=number)
    if session is not None:
        stacks[publisher].call("stop", peer=session.result())
    if encoder is not None:
        encoder.terminate()
        encoder.wait(timeout=10)


CELLS = [(publisher, player) for publisher in PUBLISHERS for player in PLAYERS]


@pytest.mark.parametrize(("published", "player"), CELLS, indirect=["published"], scope="module")
def test_publisher_and_player(published: Published, player: str, table: Table) -> None:
    """Pictures advance and sound that is not silence arrives."""
    peer, session = published.players[player]
    note = SOUND_ONLY.get((published.publisher, player), "")
    first = until(lambda: (seen := peer.call("seen", peer=session))["sound"] > 0 and seen, "sound")
    if not note:
        first = until(lambda: (seen := peer.call("seen", peer=session))["pictures"] > 0 and seen, "a picture")

    def advanced() -> Any:
        seen = peer.call("seen", peer=session)
        pictures = note or seen["pictures"] >= first["pictures"] + ENOUGH_PICTURES
        return seen if pictures and seen["sound"] > first["sound"] else None

    last = until(advanced, f"{published.publisher} advancing in {player}")
    assert not (note and last["pictures"]), f"there is a picture after all: {note}"
    codecs = published.codecs()
    table.cells.append(
        {
            "publisher": published.publisher,
            "player": player,
            "video_codec": codecs["video"],
            "audio_codec": codecs["audio"],
            "pictures": last["pictures"],
            "width": last["width"],
            "note": note,
        }
    )
