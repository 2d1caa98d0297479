"""Recordings over HTTP: who sees what, playlists that players understand, replay segment by segment."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

import classroom
from media.recording.cutter import Cutter
from media.recording.frames import Frame
from media.recording.storage import FolderStorage
from media.recording.writer import RecordingWriter
from signaling.context import epoch_ms

BEGAN_MS = 1_800_000_000_000
SILENCE = b"\xf8\xff\xfe"


class Lecture:
    """A recording of a made-up lecture (sound only), written by the recorder's own writer."""

    def __init__(self, storage: FolderStorage, lesson_id: str) -> None:
        claim = storage.claim(lesson_id)
        assert claim is not None
        self.writer = RecordingWriter(storage, lesson_id, claim, BEGAN_MS)
        self.cutter = Cutter(BEGAN_MS * 1000, 1)
        self.packets = 0

    def speak(self, seconds: float) -> Lecture:
        for _ in range(round(seconds * 50)):
            at_us = BEGAN_MS * 1000 + self.packets * 20_000
            frame = Frame("opus", SILENCE, (1 << 32) + self.packets * 960, at_us, duration_ts=960)
            for cut in self.cutter.push(frame):
                self.writer.take("camera", cut)
            self.packets += 1
        return self

    def close(self) -> None:
        for cut in self.cutter.finish():
            self.writer.take("camera", cut)
        self.writer.close(BEGAN_MS + self.packets * 20)


@pytest.fixture
def record_lecture(town: Any) -> Callable[[], Lecture]:
    return lambda: Lecture(FolderStorage(town.settings.recordings_dir), town.ours.lesson_id)


@pytest.fixture
async def ended(town: Any, record_lecture: Callable[[], Lecture]) -> Any:
    await classroom.start_lesson(town.record, town.ours.lesson_id, town.ours.people["instructor"][1])
    await classroom.end_lesson(town.record, town.ours.lesson_id, town.ours.people["instructor"][1])
    record_lecture().speak(30).close()
    return town


def who(town: Any, role: str, ours: bool = True) -> str:
    return str((town.ours if ours else town.theirs).people[role][0])


async def test_staff_get_the_whole_playlist_and_any_cache_may_keep_its_segments(ended: Any) -> None:
    lesson = ended.ours.lesson_id
    facts = await (await ended.ask(who(ended, "organiser"), "GET", f"/api/lessons/{lesson}/recording")).get_json()
    assert facts["state"] == "ready" and abs(facts["duration_s"] - 30) < 0.1
    assert facts["renditions"][0]["codecs"] == "opus" and facts["seal"]
    answer = await ended.ask(who(ended, "organiser"), "GET", f"/api/lessons/{lesson}/recording/camera.m3u8")
    text = await answer.get_data(as_text=True)
    assert answer.headers["Cache-Control"] == "no-store"
    assert text.startswith("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:7\n") and text.endswith("#EXT-X-ENDLIST\n")
    assert abs(sum(map(float, re.findall(r"#EXTINF:([\d.]+),", text))) - 30) < 0.1
    for address in re.findall(r"(/recordings/\S+?\.(?:m4s|mp4))", text):
        segment = await ended.ask(None, "GET", address)
        assert segment.status_code == 200
        assert segment.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert "Set-Cookie" not in segment.headers
        assert (await segment.get_data())[4:8] in (b"ftyp", b"moof")


async def test_forbidden_and_absent_answer_alike(ended: Any) -> None:
    lesson = ended.ours.lesson_id
    absent = await ended.ask(who(ended, "organiser"), "GET", "/api/lessons/l_0000000000000000/recording")
    for login, path in (
        (who(ended, "organiser", ours=False), f"/api/lessons/{lesson}/recording"),
        (who(ended, "learner", ours=False), f"/api/lessons/{lesson}/recording"),
        (who(ended, "learner"), f"/api/lessons/{lesson}/recording/camera.m3u8"),
        (who(ended, "organiser"), f"/api/lessons/{lesson}/recording/none.m3u8"),
        (who(ended, "organiser"), f"/api/lessons/{lesson}/live/camera.m3u8"),
        (who(ended, "learner"), "/api/replays/v_0000000000000000"),
        (who(ended, "learner"), "/api/replays/v_0000000000000000/camera.m3u8"),
        (None, f"/recordings/{lesson}/index.jsonl"),
        (None, f"/recordings/{lesson}/{'0' * 32}.m4s"),
        (None, f"/recordings/..%2f..%2fsecrets/{'0' * 32}.m4s"),
    ):
        answer = await ended.ask(login, "GET", path)
        assert (answer.status_code, await answer.get_json()) == (404, await absent.get_json()), path


async def test_a_learner_is_handed_segments_in_order_and_no_faster_than_the_clock(ended: Any) -> None:
    lesson, me = ended.ours.lesson_id, who(ended, "learner")
    opened = await (await ended.ask(me, "POST", f"/api/lessons/{lesson}/replay")).get_json()
    assert opened["credit"] == "none" and opened["issued_s"] == 0
    base = f"/api/replays/{opened['replay_id']}"
    text = await (await ended.ask(me, "GET", f"{base}/camera.m3u8")).get_data(as_text=True)
    assert "#EXT-X-PLAYLIST-TYPE:EVENT" in text and "#EXT-X-ENDLIST" not in text
    listed = re.findall(r"^(/api/replays/\S+\.m4s)$", text, re.MULTILINE)
    assert len(listed) == 3, "twelve seconds ahead, in segments of 3.5"
    skipped = await ended.ask(me, "GET", f"{base}/camera/5.m4s")
    assert (skipped.status_code, (await skipped.get_json())["error"]["code"]) == (403, "not_in_order")
    for address in listed:
        answer = await ended.ask(me, "GET", address)
        assert answer.status_code == 200 and (await answer.get_data())[4:8] == b"moof"
        assert answer.headers["Cache-Control"] == "private, no-store"
    early = await ended.ask(me, "GET", f"{base}/camera/{len(listed)}.m4s")
    assert (early.status_code, (await early.get_json())["error"]["code"]) == (425, "too_early")
    assert int(early.headers["Retry-After"]) >= 1
    again = await ended.ask(me, "GET", listed[0])
    assert again.status_code == 200, "back is always allowed"
    facts = await (await ended.ask(me, "GET", base)).get_json()
    assert facts["issued_s"] == pytest.approx(10.5, abs=0.2) and facts["watched_s"] == 0
    stranger = await ended.ask(who(ended, "learner", ours=False), "GET", listed[0])
    assert stranger.status_code == 404
    second = await (await ended.ask(me, "POST", f"/api/lessons/{lesson}/replay")).get_json()
    assert second["replay_id"] != opened["replay_id"]
    assert (await ended.ask(me, "GET", listed[0])).status_code == 404, "one player at a time"


async def test_a_live_playlist_waits_for_the_part_that_is_asked_for(
    town: Any, record_lecture: Callable[[], Lecture]
) -> None:
    lesson, me = town.ours.lesson_id, who(town, "learner")
    path = f"/api/lessons/{lesson}/live/camera.m3u8"
    await classroom.start_lesson(town.record, lesson, town.ours.people["instructor"][1])
    assert (await town.ask(me, "GET", path)).status_code == 404, "nothing is recorded yet"
    lecture = record_lecture().speak(10)
    text = await (await town.ask(me, "GET", path)).get_data(as_text=True)
    assert "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=" in text and "#EXT-X-PART:DURATION=1.0" in text
    hint = re.search(r'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="(\S+)"', text)
    assert hint is not None
    parts = re.findall(r'#EXT-X-PART:\S*?URI="([^"]+)"', text)
    for address in parts:
        part = await town.ask(None, "GET", address)
        assert part.status_code == 200 and (await part.get_data())[4:8] == b"moof"
        assert "immutable" in part.headers["Cache-Control"]
    number = len(re.findall("#EXTINF", text))
    open_parts = len(parts) - 4 * 2  # two whole segments of four parts are listed by their parts as well
    waiting = asyncio.create_task(town.ask(me, "GET", f"{path}?_HLS_msn={number}&_HLS_part={open_parts}"))
    hinted = asyncio.create_task(town.ask(None, "GET", hint[1]))
    done, _ = await asyncio.wait({waiting, hinted}, timeout=0.5)
    assert not done, "answered before there was anything new"
    lecture.speak(1.2)
    later = await (await waiting).get_data(as_text=True)
    assert hint[1] in re.findall(r'#EXT-X-PART:\S*?URI="([^"]+)"', later)
    assert (await hinted).status_code == 200
    far = await town.ask(me, "GET", f"{path}?_HLS_msn={number + 50}&_HLS_part=0")
    assert far.status_code == 400


async def test_what_was_delivered_live_is_written_down_once(town: Any, record_lecture: Callable[[], Lecture]) -> None:
    lesson, (me, person_id) = town.ours.lesson_id, town.ours.people["learner"]
    await classroom.start_lesson(town.record, lesson, town.ours.people["instructor"][1])
    await classroom.connected(town.record, lesson, person_id, "s_1", epoch_ms())
    lecture = record_lecture().speak(10)
    path = f"/api/lessons/{lesson}/live/camera.m3u8"
    for number, part in ((0, 2), (0, 3), (1, 0), (1, 1), (1, 1), (0, 2)):
        assert (await town.ask(me, "GET", f"{path}?_HLS_msn={number}&_HLS_part={part}")).status_code == 200
    await town.app.extensions["anke.deliveries"].write()
    entries = await classroom.evidence_of(town.record, lesson, person_id)
    [delivered] = [entry["body"] for entry in entries if entry["kind"] == "LECTURE_DELIVERED"]
    assert delivered["path"] == "hls"
    assert BEGAN_MS <= delivered["from_ms"] < delivered["to_ms"] <= BEGAN_MS + 6000
    lecture.close()


async def test_marks_are_placed_in_the_recording_and_pings_are_each_learner_s_own(ended: Any) -> None:
    lesson = ended.ours.lesson_id
    instructor = ended.ours.people["instructor"][1]
    await classroom.post_chat(ended.record, lesson, instructor, "instructor", "请看这里", "client-1", BEGAN_MS + 12_000)
    await classroom.post_chat(ended.record, lesson, instructor, "instructor", "课后", "client-2", BEGAN_MS + 99_000)
    facts = await (await ended.ask(who(ended, "learner"), "GET", f"/api/lessons/{lesson}/recording")).get_json()
    chats = [mark for mark in facts["marks"] if mark["kind"] == "chat"]
    assert [(mark["text"], mark["offset_s"]) for mark in chats] == [("请看这里", 12.0), ("课后", None)]
    assert {"class_started", "class_ended"} <= {mark["kind"] for mark in facts["marks"]}
    assert facts["seal"] is None and facts["interruptions"] == [], "staff only"
