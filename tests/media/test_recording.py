"""A lecture through a real node into a recording: what the files hold, and what a crash of the recorder costs."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import pytest
from redis.asyncio import Redis

from media.keys import MediaKeys
from media.recording.index import INDEX_NAME, Index, Rendition
from media.recording.storage import FolderStorage

from .conftest import CONTROL_SECRET, TOKEN_SECRET, NodeHandle

HERE = Path(__file__).parent


@dataclass
class RecorderHandle:
    """A recorder of these tests and the installation that it belongs to."""

    node: NodeHandle
    redis: Redis
    root: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> subprocess.Popen[bytes]:
        fields = {
            "redis_url": self.node.redis_url,
            "redis_prefix": self.node.prefix,
            "control_secret": CONTROL_SECRET,
            "token_secret": TOKEN_SECRET,
            "root": str(self.root),
        }
        command = [sys.executable, str(HERE / "recorder_process.py"), json.dumps(fields)]
        with (self.root / "recorder.log").open("ab") as log:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        return self.processes[-1]

    async def live(self, lesson_id: str, is_live: bool = True) -> None:
        key = f"{self.node.prefix}test:live"
        await (self.redis.sadd(key, lesson_id) if is_live else self.redis.srem(key, lesson_id))

    async def state(self, lesson_id: str) -> dict[str, Any]:
        return dict(json.loads(await self.redis.get(MediaKeys(self.node.prefix).recording(lesson_id)) or "{}"))

    async def told(self) -> list[dict[str, Any]]:
        return [json.loads(item) for item in await self.redis.lrange(f"{self.node.prefix}test:told", 0, -1)]

    def index(self, lesson_id: str) -> Index:
        index = Index()
        try:
            index.feed(FolderStorage(self.root).read(lesson_id, INDEX_NAME))
        except FileNotFoundError:
            return index
        return index

    def whole(self, lesson_id: str, rendition: str = "camera") -> int:
        found = self.index(lesson_id).renditions.get(rendition)
        return 0 if found is None else sum(segment.whole for segment in found.segments)

    def file(self, lesson_id: str, rendition: Rendition, run: int) -> bytes:
        """One run as a player would put it together."""
        begun = next(item for item in rendition.runs if item.number == run)
        storage = FolderStorage(self.root)
        names = [begun.init, *(item.name for item in rendition.segments if item.run.number == run)]
        return b"".join(storage.read(lesson_id, name) for name in names)


@pytest.fixture
async def recorder(media_node: NodeHandle, media_redis: Redis, tmp_path: Path) -> AsyncIterator[RecorderHandle]:
    handle = RecorderHandle(media_node, media_redis, tmp_path)
    await media_redis.delete(f"{media_node.prefix}test:live", f"{media_node.prefix}test:told")
    handle.start()
    yield handle
    for process in handle.processes:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=10)


@pytest.fixture
def lesson() -> str:
    return f"l{secrets.token_hex(5)}"


def frames_of(data: bytes) -> dict[str, list[float]]:
    """Seconds at which each kind's decoded frames are shown; FFmpeg, not we, reads the file."""
    shown: dict[str, list[float]] = {"video": [], "audio": []}
    with av.open(io.BytesIO(data)) as container:
        for frame in container.decode():
            kind = "video" if isinstance(frame, av.VideoFrame) else "audio"
            shown[kind].append(float(frame.pts * frame.time_base))
    return shown


Eventually = Callable[..., Awaitable[Any]]


async def test_a_lecture_in_h264_becomes_segments_that_ffmpeg_plays(
    recorder: RecorderHandle, lesson: str, whip_encoder: Callable[..., Any], eventually: Eventually
) -> None:
    await recorder.live(lesson)
    name = f"{lesson}.lecture"
    whip_encoder(f"{recorder.node.url}/whip/{name}", recorder.node.token("publish", name, room=lesson), 60)
    await eventually(lambda: recorder.whole(lesson) >= 2, 40, "two whole segments")
    assert (await recorder.state(lesson))["state"] == "recording"
    await recorder.live(lesson, False)

    async def closed() -> list[dict[str, Any]]:
        return [told for told in await recorder.told() if told["what"] == "closed" and told["lesson"] == lesson]

    (told,) = await eventually(closed, 20, "closed")
    index = recorder.index(lesson)
    assert index.closed_at_ms is not None and told["seal"] == index.head
    assert (await recorder.state(lesson))["state"] == "ready"
    camera = index.renditions["camera"]
    assert [item.container for item in camera.runs] == ["mp4"]
    assert camera.runs[0].codecs.startswith("avc1.42") and camera.runs[0].codecs.endswith(",opus")
    assert (camera.runs[0].width, camera.runs[0].height) == (320, 240)
    storage = FolderStorage(recorder.root)
    for segment in camera.segments:
        data = storage.read(lesson, segment.name)
        assert hashlib.sha256(data).hexdigest() == segment.sha256 and len(data) == segment.size
        assert sum(part.size for part in segment.parts) == len(data)
        assert segment.parts[0].independent
        assert segment.duration_ms <= 6500
    shown = frames_of(recorder.file(lesson, camera, 1))
    planned_s = sum(segment.duration_ms for segment in camera.segments) / 1000
    for kind, rate_hz in (("video", 15), ("audio", 50)):
        assert abs(len(shown[kind]) / rate_hz - planned_s) < 1.0, (kind, planned_s)
        steps = [b - a for a, b in zip(shown[kind], shown[kind][1:], strict=False)]
        assert max(steps) < 0.5
    assert abs(shown["video"][0] - shown["audio"][0]) < 0.2


async def test_vp8_goes_into_webm_and_a_screen_is_a_rendition_of_its_own(
    recorder: RecorderHandle, lesson: str, aiortc_publish: Callable[..., Any], eventually: Eventually
) -> None:
    await recorder.live(lesson)
    await aiortc_publish(recorder.node, f"{lesson}.lecture", room=lesson)
    await aiortc_publish(recorder.node, f"{lesson}.screen", rgb=(30, 30, 200), audio=False, room=lesson)
    await eventually(lambda: recorder.whole(lesson) >= 1 and recorder.whole(lesson, "screen") >= 1, 40)
    await recorder.live(lesson, False)
    await eventually(lambda: recorder.index(lesson).closed_at_ms is not None, 20)
    renditions = recorder.index(lesson).renditions
    assert renditions["camera"].runs[0].container == renditions["screen"].runs[0].container == "webm"
    assert renditions["camera"].runs[0].codecs == "vp8,opus" and renditions["screen"].runs[0].codecs == "vp8"
    for name, kinds in (("camera", {"video", "audio"}), ("screen", {"video"})):
        shown = frames_of(recorder.file(lesson, renditions[name], 1))
        assert {kind for kind, times in shown.items() if len(times) > 20} == kinds


async def test_a_killed_recorder_resumes_the_recording_and_loses_no_whole_part(
    recorder: RecorderHandle, lesson: str, whip_encoder: Callable[..., Any], eventually: Eventually
) -> None:
    await recorder.live(lesson)
    name = f"{lesson}.lecture"
    whip_encoder(f"{recorder.node.url}/whip/{name}", recorder.node.token("publish", name, room=lesson), 90)

    def growing() -> bool:
        found = recorder.index(lesson).renditions.get("camera")
        return found is not None and len(found.segments) >= 2 and len(found.segments[-1].parts) >= 2

    await eventually(growing, 40, "a second segment under way")
    recorder.processes[0].kill()
    recorder.processes[0].wait(timeout=10)
    before = recorder.index(lesson).renditions["camera"].segments[-1]
    assert not before.whole, "it died inside a segment"
    recorder.start()
    resumed_at = len(recorder.index(lesson).renditions["camera"].segments)
    await eventually(lambda: recorder.whole(lesson) > resumed_at, 40, "a segment after the crash")
    index = recorder.index(lesson)
    camera = index.renditions["camera"]
    salvaged = next(segment for segment in camera.segments if segment.number == before.number)
    assert salvaged.salvaged and salvaged.parts == before.parts
    data = FolderStorage(recorder.root).read(lesson, salvaged.name)
    assert hashlib.sha256(data).hexdigest() == salvaged.sha256
    assert [item.number for item in camera.runs] == [1, 2], "one discontinuity"
    (hole,) = index.interruptions
    assert hole.reason == "recorder_stopped" and hole.from_ms < hole.to_ms
    told = [item for item in await recorder.told() if item["what"] == "interrupted"]
    assert told == [{"what": "interrupted", "lesson": lesson, "from_ms": hole.from_ms, "to_ms": hole.to_ms,
                     "reason": hole.reason}]  # fmt: skip
    for run in (1, 2):
        assert len(frames_of(recorder.file(lesson, camera, run))["video"]) > 20
