"""One class from sign-in to audit in real browsers: every role, every part real (R-010, R-015, R-030, R-031, R-057)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect
from playwright.async_api import TimeoutError as PlaywrightTimeout

import classroom
from classroom import add_questions, create_class, create_course, create_lesson, create_organisation, create_person
from classroom import enrol as enrol_in_class

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "journey-2026-Aa"
PATIENCE_MS = 30_000
CLOCK_FACTOR = 11.25


@dataclass(frozen=True)
class Ground:
    class_id: str
    lesson_id: str
    learner_id: str


async def _seed(data_dir: Path) -> Ground:
    record = classroom.open_record(f"sqlite+aiosqlite:///{data_dir / 'anke.sqlite3'}")
    try:
        organisation = await create_organisation(record, "晋城第一煤业", "enterprise")
        people = {
            role: await create_person(record, f"j-{role}", PASSWORD, name, {role}, organisation)
            for role, name in (
                ("learner", "张学员"),
                ("instructor", "王讲师"),
                ("proctor", "李监考"),
                ("organiser", "赵组织"),
            )
        }
        course = await create_course(record, "矿山安全生产基础", 24.0)
        await add_questions(record, course, classroom.seed_questions())
        class_id = await create_class(record, course, organisation, "2026 年第一期", "shanxi-2021", "2026-1")
        await enrol_in_class(record, class_id, [people["learner"]])
        starts = record.clock_ms() - 1000
        lesson = await create_lesson(
            record, class_id, "瓦斯检查与通风", people["instructor"], starts, 1.0, clock_factor=CLOCK_FACTOR
        )
        return Ground(class_id, lesson, people["learner"])
    finally:
        await record.close()


async def _sign_in(page: Page, login: str) -> None:
    await page.locator("[data-testid=sign-in-login]").locator("visible=true").first.click()
    await page.keyboard.type(login)
    await page.locator("[data-testid=sign-in-password]").locator("visible=true").first.click()
    await page.keyboard.type(PASSWORD)
    await page.get_by_test_id("sign-in-submit").click()
    await page.wait_for_url(lambda url: "/sign-in" not in url, timeout=PATIENCE_MS)


async def _inbound(page: Page, kind: str) -> list[dict[str, Any]]:
    peers = await page.evaluate("async () => window.__anke ? await window.__anke.stats('play:') : []")
    return [r for p in peers for r in p["reports"] if r.get("type") == "inbound-rtp" and r.get("kind") == kind]


async def _until(question: Callable[[], Awaitable[Any]], what: str, patience_s: float = 30.0) -> Any:
    for _ in range(int(patience_s / 0.3)):
        answer = await question()
        if answer:
            return answer
        await asyncio.sleep(0.3)
    raise AssertionError(f"did not happen within {patience_s} s: {what}")


async def _get_ready(page: Page, picture: Any) -> None:
    """Device check with every network leg good, consent, three shots of the face, into the classroom."""
    for leg in ("http", "live", "media"):
        await expect(page.get_by_test_id(f"network-leg-{leg}")).to_have_attribute(
            "data-state", "good", timeout=PATIENCE_MS
        )
    await picture(page, "learner-devices")
    await page.get_by_test_id("check-continue").click()
    await picture(page, "learner-consent")
    await page.get_by_test_id("consent-box").click()
    await page.get_by_test_id("consent-give").click()
    shoot, send = page.get_by_test_id("enrol-shoot"), page.get_by_test_id("enrol-send")
    for shot in range(3):
        await expect(shoot).to_be_enabled(timeout=PATIENCE_MS)
        await shoot.click()
        await expect(page.get_by_test_id(f"enrol-shot-{shot}").locator("img")).to_be_visible(timeout=PATIENCE_MS)
    await send.click()
    await expect(page.get_by_test_id("enrol-done")).to_be_visible(timeout=PATIENCE_MS)
    await picture(page, "learner-face")
    await page.get_by_test_id("enter-classroom").click()
    await expect(page.get_by_test_id("classroom")).to_be_visible(timeout=PATIENCE_MS)


async def _answer_quiz(page: Page) -> None:
    for question in range(5):
        option = page.get_by_test_id(f"quiz-option-{question}-0")
        await option.scroll_into_view_if_needed(timeout=PATIENCE_MS)
        await option.click()
        following = page.get_by_test_id("quiz-next")
        if await following.count() and await following.is_visible() and await following.is_enabled():
            await following.click()


async def test_a_class_from_sign_in_to_audit(platform: Any, face_capture: Path, open_page: Any, picture: Any) -> None:
    """R-010, R-016, R-017, R-019, R-057, R-058, R-065, R-080, R-081."""
    ground = await _seed(platform.data_dir)

    learner = await open_page(camera=face_capture)
    await picture(learner, "sign-in")
    await _sign_in(learner, "j-learner")
    await picture(learner, "learner-lessons")
    await learner.get_by_test_id(f"enter-learner-{ground.lesson_id}").click()
    await _get_ready(learner, picture)

    instructor = await open_page()
    await _sign_in(instructor, "j-instructor")
    await instructor.get_by_test_id(f"enter-instructor-{ground.lesson_id}").click()
    await instructor.get_by_test_id("start-class").click()
    await instructor.get_by_test_id("confirm-yes").click()
    await expect(instructor.get_by_test_id("studio")).to_have_attribute("data-state", "live", timeout=PATIENCE_MS)

    # The lecture arrives: decoded frames advance, sound carries energy.
    async def frames() -> int:
        return max((int(r.get("framesDecoded", 0)) for r in await _inbound(learner, "video")), default=0)

    first = await _until(frames, "a decoded lecture frame")

    async def more() -> bool:
        return await frames() > first + 20

    await _until(more, "lecture frames advancing")

    async def loud() -> bool:
        return any(float(r.get("totalAudioEnergy", 0)) > 0 for r in await _inbound(learner, "audio"))

    await _until(loud, "sound energy above zero")

    # A ping comes by itself, and a face check from the tap finds the enrolled face.
    await expect(learner.get_by_test_id("ping-dialog")).to_be_visible(timeout=60_000)
    await picture(learner, "learner-ping")
    await learner.get_by_test_id("ping-answer").click()
    await expect(learner.get_by_test_id("ping-dialog")).to_be_hidden(timeout=PATIENCE_MS)

    proctor = await open_page()
    await _sign_in(proctor, "j-proctor")
    await proctor.get_by_test_id(f"enter-proctor-{ground.lesson_id}").click()
    tile = proctor.get_by_test_id(f"wall-tile-{ground.learner_id}")
    await expect(tile).to_be_visible(timeout=PATIENCE_MS)

    async def on_the_wall() -> bool:
        return any(int(r.get("framesDecoded", 0)) > 5 for r in await _inbound(proctor, "video"))

    await _until(on_the_wall, "the learner's picture on the wall")

    async def board() -> dict[str, Any]:
        rows = await instructor.evaluate(
            "async (id) => (await fetch(`/api/lessons/${id}/score-board`)).json()", ground.lesson_id
        )
        return next((row for row in rows if row["person_id"] == ground.learner_id), {})

    async def matched() -> bool:
        return (await board()).get("verdicts", {}).get("MATCH", 0) > 0

    await _until(matched, "a face check MATCH from the tap", 60.0)
    await picture(proctor, "proctor-wall")

    # The quiz: pushed with one click, answered, closed, explained.
    await instructor.get_by_test_id("start-quiz").click()
    await _answer_quiz(learner)
    await picture(learner, "learner-quiz")
    await picture(instructor, "instructor-studio")

    async def credited() -> bool:
        return float((await board()).get("credited_s", 0)) > 0

    await _until(credited, "credited seconds", 60.0)
    await picture(learner, "learner-classroom")

    # Ending: closing evidence, results, audit.
    await instructor.get_by_test_id("end-class").click()
    await instructor.get_by_test_id("confirm-yes").click()
    closing = learner.get_by_test_id("ping-answer")

    async def ended() -> bool:
        if await closing.is_visible():
            # The class may end between the look and the click.
            with contextlib.suppress(PlaywrightTimeout):
                await closing.click(timeout=2000)
        return await learner.get_by_test_id("classroom").get_attribute("data-state") == "ended"

    await _until(ended, "the class has ended", 90.0)
    await picture(learner, "learner-ended")
    row = await board()
    assert row["pings"]["answered"] >= 1
    assert row["verdicts"]["MATCH"] >= 1
    assert row["verdicts"].get("MISMATCH", 0) == 0
    assert row["quiz_score"] is not None

    organiser = await open_page()
    await _sign_in(organiser, "j-organiser")
    await organiser.goto(f"{platform.url}/lessons/{ground.lesson_id}/scores")
    await expect(organiser.get_by_test_id(f"score-row-{ground.learner_id}")).to_be_visible(timeout=PATIENCE_MS)
    await organiser.get_by_test_id("verify").click()
    await expect(organiser.get_by_test_id("verify-result")).to_contain_text("一致", timeout=PATIENCE_MS)
    await picture(organiser, "organiser-scores")

    audit = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "web.cli", "verify", ground.lesson_id],
        cwd=ROOT,
        env={**os.environ, **platform.environment},
        capture_output=True,
        text=True,
    )
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert "identical" in audit.stdout


async def test_a_second_window_ends_the_first_within_five_seconds(
    platform: Any, face_capture: Path, open_page: Any, picture: Any
) -> None:
    """R-060, R-061: one person, one place; the first window says what happened, on a phone too."""
    ground = await _seed_second(platform.data_dir)
    first = await open_page(camera=face_capture, width=390, height=844)
    await _sign_in(first, "k-learner")
    await first.goto(f"{platform.url}/lessons/{ground}/class")
    await expect(first.get_by_test_id("classroom")).to_be_visible(timeout=PATIENCE_MS)
    await picture(first, "learner-phone")
    second = await first.context.new_page()
    await second.goto(f"{platform.url}/lessons/{ground}/class")
    await expect(first.get_by_test_id("seat-ended")).to_be_visible(timeout=5_000)
    await picture(first, "learner-phone-second-window")
    await expect(second.get_by_test_id("classroom")).to_be_visible(timeout=PATIENCE_MS)


async def _seed_second(data_dir: Path) -> str:
    record = classroom.open_record(f"sqlite+aiosqlite:///{data_dir / 'anke.sqlite3'}")
    try:
        organisation = await create_organisation(record, "晋城第二煤业", "enterprise")
        learner = await create_person(record, "k-learner", PASSWORD, "孙学员", {"learner"}, organisation)
        teacher = await create_person(record, "k-teacher", PASSWORD, "钱讲师", {"instructor"}, organisation)
        course = await create_course(record, "通风安全", 24.0)
        await add_questions(record, course, classroom.seed_questions())
        class_id = await create_class(record, course, organisation, "2026 年第二期", "shanxi-2021", "2026-1")
        await enrol_in_class(record, class_id, [learner])
        return await create_lesson(record, class_id, "通风系统", teacher, record.clock_ms(), 1.0)
    finally:
        await record.close()
