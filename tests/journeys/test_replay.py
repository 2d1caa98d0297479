"""A recorded lesson in real browsers: the fallback while it is live, a killed recorder, replay by staff and learner."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from web.settings import Settings

from .recorded_lesson import plays_on, recorded_lesson, seek, sign_in, until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

PATIENCE_MS = 30_000


async def test_a_lesson_recorded_through_a_crash_watched_without_webrtc_and_replayed(
    platform: Any, open_page: Any, picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in platform.environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    async with recorded_lesson(settings) as lesson:
        url = f"{platform.url}/lessons/{lesson.lesson_id}"

        # Whom no WebRTC path reaches sees the lecture all the same.
        learner: Page = await open_page()

        async def shut(route: Route) -> None:
            await route.abort("connectionrefused")

        await learner.route("**/whep/**", shut)
        await learner.route("**/whip/**", shut)
        await sign_in(learner, platform.url, lesson.people["learner"][0])
        await until(lesson.segments, "a first segment")
        await learner.goto(f"{url}/class")
        await expect(learner.get_by_test_id("lecture-fallback")).to_be_visible(timeout=PATIENCE_MS)
        await plays_on(learner, "lecture-fallback-video")
        await picture(learner, "fallback-1440")

        # A killed recorder is told to staff in words, and comes back into the same recording.
        organiser: Page = await open_page()
        await sign_in(organiser, platform.url, lesson.people["proctor"][0])
        await organiser.goto(f"{url}/wall")
        state = organiser.get_by_test_id("recording-state")
        await expect(state).to_have_attribute("data-state", "recording", timeout=PATIENCE_MS)
        before = await lesson.segments()
        lesson.kill_recorder()

        async def resumed() -> bool:
            camera = (await lesson.index()).renditions["camera"]
            return len(camera.runs) > 1 and await lesson.segments() > before + 1

        await until(resumed, "the recorder resumes")
        await expect(state).to_have_attribute("data-state", "recording", timeout=PATIENCE_MS)
        [hole] = (await lesson.index()).interruptions
        assert hole.reason == "recorder_stopped"
        noted = await lesson.ledger("RECORDING_INTERRUPTED")
        assert {entry["reason"] for entry in noted} >= {"recorder_stopped"}

        await lesson.end()

        async def closed() -> bool:
            return (await lesson.index()).closed_at_ms is not None

        await until(closed, "the recording is closed")
        [sealed] = await until(lambda: lesson.ledger("RECORDING_CLOSED"), "the seal is in the ledger")
        assert sealed["seal"] == (await lesson.index()).head

        # Staff go where they like.
        organiser_login = lesson.people["organiser"][0]
        await sign_in(organiser, platform.url, organiser_login)
        await organiser.goto(f"{url}/replay")
        facts = await plays_on(organiser, "replay-video")
        await seek(organiser, "replay-video", facts["ends_s"] - 3)
        await seek(organiser, "replay-video", 1.0)
        await picture(organiser, "replay-staff-1440")

        # A learner is handed one segment after the other, and nothing beyond, whatever the player does.
        await learner.goto(f"{url}/replay")
        await picture(learner, "replay-learner-before")
        await learner.get_by_test_id("replay-begin").click()
        await plays_on(learner, "replay-video")
        await learner.evaluate(
            """() => { const v = document.querySelector('[data-testid=replay-video]')
              v.playbackRate = 16; v.currentTime = 1e6 }"""
        )
        await asyncio.sleep(1)
        video = await learner.evaluate(
            """() => { const v = document.querySelector('[data-testid=replay-video]')
              const ranges = v.buffered
              return { rate: v.playbackRate, buffered: ranges.length ? ranges.end(ranges.length - 1) : 0 } }"""
        )
        assert video["rate"] == 1
        assert video["buffered"] <= 12 + 10, "what the clock has handed out, not what the player asked for"
        await picture(learner, "replay-learner-1440")
        await learner.set_viewport_size({"width": 390, "height": 844})
        await picture(learner, "replay-learner-390")
        await organiser.set_viewport_size({"width": 390, "height": 844})
        await picture(organiser, "replay-staff-390")
