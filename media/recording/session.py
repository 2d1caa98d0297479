"""The recording of one lesson while it is live: subscription, intakes, writer; it comes back by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import httpx

from media.control import MediaControl
from media.dtls import NodeCertificate
from media.errors import MediaError
from media.recording.cutter import Cut, PartCut, SegmentCut
from media.recording.frames import AudioFrames, VideoFrames
from media.recording.intake import Intake, Track
from media.recording.reorder import Packet
from media.recording.storage import Storage
from media.recording.whep_viewer import CODECS, REPORT_S, ViewerRefused, WhepViewer
from media.recording.writer import SOURCE_STOPPED, RecordingWriter
from media.tokens import Act, SlotClaim, mint

logger = logging.getLogger(__name__)

TICK_S = 0.05
RETRY_S = 0.5
TOKEN_LIFETIME_MS = 60_000
HOLDER = "recorder"
# m-lines of the subscription: (slot, kind, suffix of the publication), and which of them make a rendition.
LINES = (("audio", "audio", "lecture"), ("camera", "video", "lecture"), ("screen", "video", "screen"))
RENDITIONS = {"camera": (0, 1), "screen": (2,)}
SILENT_US = 3_000_000  # without a packet for so long there is nothing to record
CAN_TAKE_BPS = 100_000_000
LATE_US = 9_000_000  # packets come, but no part came of them for so long: something is wrong


@dataclass(slots=True)
class Figures:
    """Counters of one lesson's recording since this recorder took it on."""

    packets: int = 0
    lost: int = 0
    broken_frames: int = 0
    bad_packets: int = 0
    parts: int = 0
    segments: int = 0
    payload_bytes: int = 0
    subscriptions: int = 0
    storage_errors: int = 0
    silence_filled: int = 0
    write_ms_worst: float = 0.0
    last_part_us: int = 0
    last_segment_us: int = 0
    last_error: str = field(default="")


class LessonRecording:
    """`run` until `stop`; then the recording is finished and closed."""

    def __init__(
        self,
        lesson_id: str,
        writer: RecordingWriter,
        media: MediaControl,
        token_secret: str,
        certificate: NodeCertificate,
        http: httpx.AsyncClient,
    ) -> None:
        self.lesson_id = lesson_id
        self.writer = writer
        self.figures = Figures()
        self.began_us = _now_us()
        self._media = media
        self._secret = token_secret
        self._certificate = certificate
        self._http = http
        self._disk = ThreadPoolExecutor(1, thread_name_prefix=f"disk {lesson_id}")
        self._intakes: list[Intake] = []
        self._viewer: WhepViewer | None = None
        self._newest_us = 0
        self._stopping = asyncio.Event()

    @classmethod
    async def open(
        cls,
        storage: Storage,
        lesson_id: str,
        media: MediaControl,
        token_secret: str,
        certificate: NodeCertificate,
        http: httpx.AsyncClient,
    ) -> LessonRecording | None:
        """None while another recorder has this lesson. OSError from the storage."""
        claim = await asyncio.to_thread(storage.claim, lesson_id)
        if claim is None:
            return None
        try:
            writer = await asyncio.to_thread(RecordingWriter, storage, lesson_id, claim, _now_us() // 1000)
        except BaseException:
            claim.release()
            raise
        return cls(lesson_id, writer, media, token_secret, certificate, http)

    def stop(self) -> None:
        self._stopping.set()
        if self._viewer is not None:
            self._viewer.ended.set()

    async def run(self) -> None:
        """Returns after `stop`, with everything that arrived on disk and nothing closed yet."""
        while not self._stopping.is_set():
            viewer = WhepViewer(self._certificate, self._on_packet, self._on_report)
            self._viewer = viewer
            try:
                await self._subscribe(viewer)
                self.figures.subscriptions += 1
                await self._follow(viewer)
            except (ViewerRefused, MediaError, httpx.HTTPError, OSError, TimeoutError) as error:
                self.figures.last_error = f"{type(error).__name__}: {error}"
                logger.info("no subscription to %s: %s", self.lesson_id, self.figures.last_error)
            finally:
                self._finish_intakes()
                await viewer.close(self._http)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), RETRY_S)

    async def close(self) -> str:
        """Closes the recording for good; the hash that stands for all of it."""
        return await asyncio.wrap_future(self._disk.submit(self.writer.close, _now_us() // 1000))

    async def abandon(self) -> None:
        """Leaves the recording as it is, for the next recorder."""
        await asyncio.wrap_future(self._disk.submit(self.writer.abandon))

    async def _subscribe(self, viewer: WhepViewer) -> None:
        node = await self._media.node()
        subscription = f"{self.lesson_id}.{HOLDER}"
        token = mint(
            self._secret,
            holder=HOLDER,
            seat=f"{HOLDER}.{self.lesson_id}",
            room=self.lesson_id,
            act=Act.PLAY,
            id=subscription,
            now_ms=_now_us() // 1000,
            lifetime_ms=TOKEN_LIFETIME_MS,
            slots=[SlotClaim(slot, kind, f"{self.lesson_id}.{suffix}") for slot, kind, suffix in LINES],
        )
        epoch_us = self.writer.epoch_us
        tracks = [
            Track(line, kind, AudioFrames() if kind == "audio" else VideoFrames(CODECS))
            for line, (_, kind, _) in enumerate(LINES)
        ]
        self._intakes = [Intake(name, [tracks[line] for line in lines], epoch_us) for name, lines in RENDITIONS.items()]
        kinds = tuple(kind for _, kind, _ in LINES)
        # Beside its media port, a node answers WHEP where it answers commands: reachable from here by definition.
        await viewer.play(self._http, f"{node.control_url}/whep/{subscription}", token, kinds)

    async def _follow(self, viewer: WhepViewer) -> None:
        next_report_s = time.monotonic() + REPORT_S
        while not viewer.ended.is_set():
            now_us = _now_us()
            for intake in self._intakes:
                self._write(intake, intake.tick(now_us))
                for track in intake.tracks:
                    viewer.ask_again(track.line, track.reorder.missing(now_us))
                    if intake.wants_keyframe(track, now_us):
                        viewer.ask_keyframe(track.line)
            if time.monotonic() >= next_report_s:
                next_report_s += REPORT_S
                viewer.can_take(CAN_TAKE_BPS)
                for intake in self._intakes:
                    for track in intake.tracks:
                        if track.reorder.packets:
                            loss = track.loss_since_report()
                            viewer.report(track.line, track.reorder.lost, loss, track.reorder.highest_seq())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(viewer.ended.wait(), TICK_S)

    def _on_packet(self, line: int, packet: Packet) -> None:
        self.figures.packets += 1
        self.figures.payload_bytes += len(packet.payload)
        self._newest_us = packet.arrival_us
        intake, track = self._of(line)
        self._write(intake, intake.packet(track, packet))

    def _on_report(self, line: int, ntp_us: int, rtp_ts: int) -> None:
        intake, track = self._of(line)
        intake.report(track, ntp_us, rtp_ts)

    def _of(self, line: int) -> tuple[Intake, Track]:
        return next((intake, track) for intake in self._intakes for track in intake.tracks if track.line == line)

    def _finish_intakes(self) -> None:
        for intake in self._intakes:
            self._write(intake, intake.cutter.finish())
            self.figures.broken_frames += sum(track.frames.broken for track in intake.tracks)
            self.figures.silence_filled += intake.cutter.silent_fill
            self.figures.lost += sum(track.reorder.lost for track in intake.tracks)
        if self._viewer is not None:
            self.figures.bad_packets += self._viewer.bad_packets
        self._intakes = []

    def _write(self, intake: Intake, cuts: Iterable[Cut]) -> None:
        """In the order of the cuts, on the recording's own thread: packets do not wait for the disk."""
        for cut in cuts:
            lost = intake.lost_since_told() if isinstance(cut, SegmentCut) else 0
            self._count(cut)
            submitted_s = time.monotonic()
            future = self._disk.submit(self.writer.take, intake.name, cut, lost)
            future.add_done_callback(partial(self._written, submitted_s))

    def _count(self, cut: Cut) -> None:
        self.figures.parts += isinstance(cut, PartCut)
        self.figures.segments += isinstance(cut, SegmentCut)

    def _written(self, since_s: float, future: Future[None]) -> None:
        """Runs on the disk's thread."""
        error = future.exception()
        if error is not None:
            self.figures.storage_errors += 1
            self.figures.last_error = f"{type(error).__name__}: {error}"
            logger.error("%s was not written: %s", self.lesson_id, self.figures.last_error)
            return
        self.figures.write_ms_worst = max(self.figures.write_ms_worst, 1000 * (time.monotonic() - since_s))
        self.figures.last_part_us = _now_us()

    def state(self) -> tuple[str, str]:
        """(`recording` | `waiting` | `failing`, why). `waiting`: nothing arrives that could be recorded."""
        now_us = _now_us()
        if now_us - self._newest_us > SILENT_US:
            return "waiting", SOURCE_STOPPED if self._newest_us else self.figures.last_error
        written_us = max(self.figures.last_part_us, self.began_us)
        if now_us - written_us > LATE_US:
            return "failing", self.figures.last_error or "nothing is written"
        return "recording", ""


def _now_us() -> int:
    return time.time_ns() // 1000
