"""The stage in real browsers: a hand, the floor, a voice that others hear, mute-all; camera and screen at once."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.async_api import Page, expect

import classroom
from classroom import create_class, create_course, create_lesson, create_organisation, create_person
from classroom import enrol as enrol_in_class

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(240)]

PASSWORD = "journey-2026-Aa"
PATIENCE_MS = 30_000
# The slots that each page offers, in order.
CLASSROOM = ("audio", "camera", "screen", "guest", "voice0", "voice1", "voice2")
STUDIO = ("guest", "audio", "voice0", "voice1", "voice2")
PEOPLE = {"s-guest": "陈发言", "s-other": "林听众", "s-teacher": "周讲师"}


async def _seed(data_dir: Path) -> tuple[str, dict[str, str]]:
    record = classroom.open_record(f"sqlite+aiosqlite:///{data_dir / 'anke.sqlite3'}")
    try:
        organisation = await create_organisation(record, "晋城第三煤业", "enterprise")
        people = {
            login: await create_person(
                record, login, PASSWORD, name, {"instructor" if login == "s-teacher" else "learner"}, organisation
            )
            for login, name in PEOPLE.items()
        }
        course = await create_course(record, "机电安全", 24.0)
        class_id = await create_class(record, course, organisation, "2026 年第三期", "shanxi-2021", "2026-1")
        await enrol_in_class(record, class_id, [people["s-guest"], people["s-other"]])
        lesson_id = await create_lesson(record, class_id, "井下供电", people["s-teacher"], record.clock_ms(), 1.0)
        return lesson_id, people
    finally:
        await record.close()


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A microphone's file that Chromium plays in a loop: noise in syllables, as speech is to a level meter."""
    rate_hz = 48_000
    at_s = np.arange(rate_hz * 6) / rate_hz
    noise = np.random.default_rng(7).normal(0, 5000, at_s.size)
    spoken = (at_s % 0.26 > 0.08) & (at_s % 3.0 > 0.4)
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((noise * spoken).clip(-30_000, 30_000).astype("<i2").tobytes())
    return path


async def _enter(page: Page, login: str, path: str) -> None:
    await page.locator("[data-testid=sign-in-login]").locator("visible=true").first.click()
    await page.keyboard.type(login)
    await page.locator("[data-testid=sign-in-password]").locator("visible=true").first.click()
    await page.keyboard.type(PASSWORD)
    await page.get_by_test_id("sign-in-submit").click()
    await page.wait_for_url(lambda url: "/sign-in" not in url, timeout=PATIENCE_MS)
    await page.goto(f"{page.url.split('/', 3)[0]}//{page.url.split('/', 3)[2]}{path}")


async def _until(question: Callable[[], Awaitable[Any]], what: str, patience_s: float = 30.0) -> Any:
    for _ in range(int(patience_s / 0.2)):
        answer = await question()
        if answer:
            return answer
        await asyncio.sleep(0.2)
    raise AssertionError(f"did not happen within {patience_s} s: {what}")


async def _received(page: Page, slots: tuple[str, ...] = CLASSROOM) -> dict[str, dict[str, Any]]:
    """Inbound streams of the page by the name of their slot; mids are given in the order of the m-lines."""
    peers = await page.evaluate("async () => window.__anke ? await window.__anke.stats('play:') : []")
    streams = [report for peer in peers for report in peer["reports"] if report.get("type") == "inbound-rtp"]
    return {slots[int(report["mid"])]: report for report in streams}


async def _energy(page: Page, slots: tuple[str, ...] = CLASSROOM) -> float:
    """Of the first guest's voice, in decoded sound."""
    return float((await _received(page, slots)).get("voice0", {}).get("totalAudioEnergy", 0.0))


async def test_a_learner_gets_the_floor_and_is_heard_until_everyone_is_muted(
    platform: Any, face_capture: Path, speech: Path, open_page: Any, picture: Any
) -> None:
    lesson_id, people = await _seed(platform.data_dir)
    guest_id = people["s-guest"]
    guest, other, teacher = await asyncio.gather(
        open_page(camera=face_capture, microphone=speech), open_page(width=390, height=844), open_page()
    )
    await asyncio.gather(
        _enter(guest, "s-guest", f"/lessons/{lesson_id}/class"),
        _enter(other, "s-other", f"/lessons/{lesson_id}/class"),
        _enter(teacher, "s-teacher", f"/lessons/{lesson_id}/studio"),
    )
    await teacher.get_by_test_id("start-class").click()
    await teacher.get_by_test_id("confirm-yes").click()

    async def answer_ping() -> None:
        await guest.get_by_test_id("ping-answer").click()

    await guest.add_locator_handler(guest.get_by_test_id("ping-dialog"), answer_ping)

    # Camera and screen together: both advance on the learner's stage.
    await teacher.get_by_test_id("share-screen").click()

    async def both_advance() -> bool:
        before = await _received(other)
        await asyncio.sleep(0.5)
        after = await _received(other)
        slots = ("camera", "screen")
        frames = [(before.get(s, {}).get("framesDecoded", 0), after.get(s, {}).get("framesDecoded", 0)) for s in slots]
        return all(later > earlier > 0 for earlier, later in frames)

    await _until(both_advance, "camera and screen advance together")
    hints = await teacher.evaluate(
        """() => [...document.querySelectorAll('video')]
             .flatMap((video) => video.srcObject?.getVideoTracks() ?? []).map((track) => track.contentHint)"""
    )
    assert "detail" in hints

    # A hand, one click, and the other learner hears the voice and sees who speaks.
    await guest.get_by_test_id("raise-hand").click()
    await teacher.get_by_test_id(f"floor-grant-{guest_id}").click(timeout=PATIENCE_MS)
    await expect(guest.get_by_test_id("speak-panel")).to_have_attribute("data-state", "speaking", timeout=PATIENCE_MS)
    await expect(guest.get_by_test_id("speak-panel")).to_contain_text("老师请您发言")
    mark = other.get_by_test_id(f"stage-guest-{guest_id}")
    await expect(mark).to_have_attribute("data-speaking", "true", timeout=PATIENCE_MS)
    loud = await _until(lambda: _energy(other), "sound of the guest's voice")
    await _until(lambda: _louder(other, loud), "the voice goes on")
    assert await _energy(guest) == 0, "a learner does not hear their own voice"
    await _until(lambda: _energy(teacher, STUDIO), "the instructor hears the guest")

    async def guest_in_sight() -> bool:
        return int((await _received(other)).get("guest", {}).get("framesDecoded", 0)) > 3

    await _until(guest_in_sight, "the guest's picture")
    stage, strip = other.get_by_test_id("stage-video"), other.get_by_test_id("guest-video")
    await expect(strip).to_be_visible(timeout=PATIENCE_MS)
    above, below = await _stage_box(other), await strip.bounding_box()
    assert await stage.is_visible() and below is not None
    assert below["y"] >= above["y"] + above["height"], "on a phone the guest does not cover the lecture"
    for page, name in ((guest, "stage-guest"), (other, "stage-phone"), (teacher, "stage-studio")):
        await picture(page, name)
    on_top = """(video) => { const box = video.getBoundingClientRect()
                const there = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2)
                return video.closest('figure').contains(there) ? '' : there?.outerHTML ?? 'outside' }"""
    assert await strip.evaluate(on_top) == "", "and nothing covers the guest"

    # Mute-all: the microphone is taken at its source, the highlight goes, the energy stands still.
    await teacher.get_by_test_id("floor-mute-all").click()
    await expect(guest.get_by_test_id("speak-panel")).to_have_attribute("data-state", "muted", timeout=PATIENCE_MS)
    await expect(mark).to_have_attribute("data-muted", "true", timeout=PATIENCE_MS)
    await expect(mark).to_have_attribute("data-speaking", "false", timeout=PATIENCE_MS)
    labels = await guest.evaluate("() => window.__anke.labels()")
    assert not any(".voice." in label for label in labels), "the page has stopped its microphone"

    async def silent() -> bool:
        before = (await _received(other))["voice0"]["packetsReceived"]
        await asyncio.sleep(1.0)
        return before == (await _received(other))["voice0"]["packetsReceived"]

    await _until(silent, "no packet of the voice any more")
    quiet = await _energy(other)
    await asyncio.sleep(1.0)
    assert await _energy(other) == quiet

    # Granted again the voice comes back by itself; then the learner is done.
    await teacher.get_by_test_id(f"floor-mute-{guest_id}").click()
    await _until(lambda: _louder(other, quiet), "the voice is back")
    await guest.get_by_test_id("speak-end").click()
    await expect(mark).to_have_count(0, timeout=PATIENCE_MS)
    await expect(guest.get_by_test_id("speak-panel")).to_have_count(0)


async def _louder(page: Page, than: float) -> bool:
    return await _energy(page) > than


async def _stage_box(page: Page) -> dict[str, float]:
    box = await page.locator(".stage").bounding_box()
    assert box is not None
    return dict(box)


async def test_without_a_microphone_the_floor_goes_back_with_words(
    platform: Any, face_capture: Path, open_page: Any, picture: Any
) -> None:
    lesson_id, people = await _seed_quiet(platform.data_dir)
    learner, teacher = await asyncio.gather(open_page(camera=face_capture, width=390, height=844), open_page())
    await learner.add_init_script(
        """const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices)
           navigator.mediaDevices.getUserMedia = (wanted) =>
             wanted.audio ? Promise.reject(new DOMException('no', 'NotAllowedError')) : open(wanted)"""
    )
    await asyncio.gather(
        _enter(learner, "q-learner", f"/lessons/{lesson_id}/class"),
        _enter(teacher, "q-teacher", f"/lessons/{lesson_id}/studio"),
    )
    await teacher.get_by_test_id("start-class").click()
    await teacher.get_by_test_id("confirm-yes").click()
    await expect(learner.get_by_test_id("classroom")).to_have_attribute("data-state", "live", timeout=PATIENCE_MS)
    await learner.get_by_test_id("raise-hand").click()
    await teacher.get_by_test_id(f"floor-grant-{people['q-learner']}").click(timeout=PATIENCE_MS)
    panel = learner.get_by_test_id("speak-panel")
    await expect(panel).to_have_attribute("data-state", "failed", timeout=PATIENCE_MS)
    await expect(panel).to_contain_text("您没有允许使用麦克风")
    await expect(teacher.get_by_test_id(f"floor-take-{people['q-learner']}")).to_have_count(0, timeout=PATIENCE_MS)
    await picture(learner, "stage-no-microphone")


async def _seed_quiet(data_dir: Path) -> tuple[str, dict[str, str]]:
    record = classroom.open_record(f"sqlite+aiosqlite:///{data_dir / 'anke.sqlite3'}")
    try:
        organisation = await create_organisation(record, "晋城第四煤业", "enterprise")
        roles = {"q-learner": "learner", "q-teacher": "instructor"}
        people = {
            login: await create_person(record, login, PASSWORD, f"吴{login[2:4]}", {role}, organisation)
            for login, role in roles.items()
        }
        course = await create_course(record, "顶板安全", 24.0)
        class_id = await create_class(record, course, organisation, "2026 年第四期", "shanxi-2021", "2026-1")
        await enrol_in_class(record, class_id, [people["q-learner"]])
        return await create_lesson(record, class_id, "顶板", people["q-teacher"], record.clock_ms(), 1.0), people
    finally:
        await record.close()
