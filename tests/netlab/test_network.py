"""The laboratory measured: loss, rate, delay and firewalls are what was asked, and nothing stays behind."""

from __future__ import annotations

import math
import socket
import statistics
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

from media.tokens import SlotClaim
from tests.netlab.network import PREFIX, LabError, Line, Network, sweep
from tests.netlab.probe import connects, measure, reaches
from tests.netlab.running import chromium, start_media_node, start_redis

# socket(7); Python 3.11 has no name for it.
SO_RCVBUFFORCE = 33
ROOT = Path(__file__).parent.parent.parent


def within_binomial(count: int, of: int, probability: float) -> bool:
    """Six standard deviations: a right harness fails this once in half a milliard runs."""
    return abs(count - of * probability) <= 6 * math.sqrt(of * probability * (1 - probability))


def test_a_line_is_perfect_unless_asked(network: Network) -> None:
    one, two = network.host("one"), network.host("two")
    for v6 in (False, True):
        measured = measure(one, two, packets=300, rate_bps=4_000_000, v6=v6)
        assert measured.received == 300
        assert measured.in_order


def test_loss_is_what_was_asked_in_each_direction(network: Network) -> None:
    server = network.host("server")
    learner = network.host("learner", down=Line(loss=0.2), up=Line(loss=0.02))
    sent = 2000
    down = measure(server, learner, packets=sent, rate_bps=8_000_000)
    up = measure(learner, server, packets=sent, rate_bps=8_000_000)
    assert within_binomial(sent - down.received, sent, 0.2)
    assert within_binomial(sent - up.received, sent, 0.02)
    learner.impair(down=Line())
    assert measure(server, learner, packets=500, rate_bps=4_000_000).received == 500


def test_one_loss_is_one_packet_of_a_train(network: Network) -> None:
    """A sender's GSO train is cut before the line, or one lost packet would take sixty with it."""
    server, learner = network.host("server"), network.host("learner", down=Line(loss=0.1))
    script = f"""
        import socket, struct
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for _ in range(50):
            sender.sendmsg([b"x" * 40_000], [(17, 103, struct.pack("H", 1000))], 0, ("{learner.ip}", 9))
    """
    listener = learner.call(_listen, learner.ip)
    server.run([sys.executable, "-c", textwrap.dedent(script)])
    sizes = _drain(listener)
    assert set(sizes) == {1000}
    assert within_binomial(2000 - len(sizes), 2000, 0.1)


@pytest.mark.parametrize("rate_bps", [100_000, 1_000_000])
def test_rate_and_queue_are_what_was_asked(network: Network, rate_bps: int) -> None:
    server = network.host("server")
    learner = network.host("learner", down=Line(rate_bps=rate_bps, queue_ms=200))
    measured = measure(server, learner, packets=int(rate_bps / 8 / 1000 * 4), size=1000, rate_bps=rate_bps * 2)
    assert measured.loss > 0.3
    # UDP payload is 1000 of 1042 bytes of each frame.
    assert measured.rate_bps * 1.042 == pytest.approx(rate_bps, rel=0.12)
    # No packet waits longer than the queue holds and one burst and packet take to leave.
    assert 100 < max(measured.delays_ms) < 200 + 2 * 1700 * 8000 / rate_bps + 100


def test_delay_and_jitter_are_what_was_asked(network: Network) -> None:
    server = network.host("server")
    learner = network.host("learner", down=Line(delay_ms=100), up=Line(delay_ms=50, jitter_ms=20, reorder=True))
    down = measure(server, learner, packets=300, rate_bps=1_000_000)
    assert down.received == 300 and down.in_order
    assert min(down.delays_ms) >= 100
    assert statistics.median(down.delays_ms) < 160
    up = measure(learner, server, packets=400, rate_bps=1_000_000)
    assert up.received == 400 and not up.in_order
    assert min(up.delays_ms) >= 30
    assert 40 < statistics.median(up.delays_ms) < 80
    spread = statistics.quantiles(up.delays_ms, n=10)
    assert spread[-1] - spread[0] > 20
    learner.impair(down=Line(delay_ms=5))
    assert statistics.median(measure(server, learner, packets=100, rate_bps=1_000_000).delays_ms) < 50


def test_delay_cannot_be_added_to_a_line_made_without(network: Network) -> None:
    host = network.host("learner")
    with pytest.raises(LabError, match="delayable"):
        host.impair(down=Line(delay_ms=5))
    assert host.down == Line()


def test_firewalls_drop_what_they_say(network: Network) -> None:
    server, learner = network.host("server"), network.host("learner")
    assert reaches(learner, server) and connects(learner, server, 80)
    learner.firewall("udp-blocked")
    assert not reaches(learner, server)
    assert connects(learner, server, 80)
    learner.firewall("tcp-443-only")
    assert not reaches(learner, server)
    assert not connects(learner, server, 80)
    assert connects(learner, server, 443)
    learner.firewall("none")
    assert reaches(learner, server)


@pytest.mark.parametrize("delayable", [False, True])
def test_addresses_change_and_links_come_back(network: Network, delayable: bool) -> None:
    server, learner = network.host("server"), network.host("learner", delayable=delayable)
    before = learner.ip, learner.ip6
    for _ in range(6):
        learner.readdress()
        assert reaches(learner, server) and reaches(server, learner, v6=True)
    assert (learner.ip, learner.ip6) != before
    learner.unplug()
    assert not reaches(server, learner)
    learner.plug()
    for v6 in (False, True):
        assert reaches(learner, server, v6=v6) and reaches(server, learner, v6=v6)


def test_a_host_may_have_one_family_only(network: Network) -> None:
    server, phone = network.host("server"), network.host("phone", addressing="ipv6")
    assert phone.ip == "" and reaches(phone, server, v6=True)
    old = network.host("old", addressing="ipv4")
    assert old.ip6 == "" and reaches(old, server)


def test_nothing_stays_after_a_failure_or_a_killed_run() -> None:
    with pytest.raises(ZeroDivisionError), Network() as network:
        host = network.host("learner", delayable=True)
        child = host.start(["sleep", "600"])
        name = host.namespace
        _ = 1 / 0
    assert child.poll() is not None
    assert not Path(f"/run/netns/{name}").exists()

    script = """
        import os, signal
        from tests.netlab.network import Network
        network = Network().__enter__()
        sleeper = network.host("learner", delayable=True).start(["sleep", "600"])
        print(os.getpid(), sleeper.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    owner, sleeper = killed.stdout.split()
    removed = sweep()
    # Another run on this machine may have swept before us: what counts is that it is gone.
    assert all(name.startswith(PREFIX) for name in removed)
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert f"{PREFIX}{owner}-" not in left
    assert not _is_running(int(sleeper))


@pytest.mark.browser
async def test_chromium_inside_plays_a_publication_of_aiortc_outside(network: Network) -> None:
    server = network.host("server")
    learner = network.host("learner", down=Line(loss=0.02, delay_ms=20), up=Line(delay_ms=20))
    node = start_media_node(server, start_redis(server))
    pc = RTCPeerConnection()
    try:
        pc.addTrack(AudioStreamTrack())
        pc.addTrack(VideoStreamTrack())
        await pc.setLocalDescription(await pc.createOffer())
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            answer = await client.post(
                f"{node.url}/whip/lecture",
                content=pc.localDescription.sdp,
                headers={
                    "Content-Type": "application/sdp",
                    "Authorization": f"Bearer {node.token('publish', 'lecture')}",
                },
            )
        assert answer.status_code == 201, answer.text
        await pc.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        slots = [SlotClaim("audio", "audio", "lecture"), SlotClaim("camera", "video", "lecture")]
        async with chromium(learner, f"{node.url}/healthz") as page:
            await page.evaluate(
                "([url, token]) => window.play(url, token, ['audio', 'video'])",
                [f"{node.url}/whep/viewer", node.token("play", "viewer", slots)],
            )
            await page.wait_for_function(
                "async () => (await window.stats(0)).video.some((v) => v.decoded > 20)", timeout=60_000
            )
    finally:
        await pc.close()


def _listen(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16_000_000)
    listener.bind((address, 9))
    listener.settimeout(0.5)
    return listener


def _drain(listener: socket.socket) -> list[int]:
    sizes = []
    with listener:
        while True:
            try:
                sizes.append(len(listener.recv(65_535)))
            except TimeoutError:
                return sizes


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
