"""A whole platform of its own (`anke up` on free ports, fresh data) and real Chromium windows with fake cameras."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "build" / "journeys"
CHROMIUM = "/usr/bin/chromium"
PASSWORD = "journey-2026-Aa"
START_PATIENCE_S = 90.0


@dataclass(frozen=True)
class Platform:
    """A running platform: where it is, where its data lies, the process id of its supervisor."""

    url: str
    data_dir: Path
    environment: dict[str, str]
    log: Path


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Platform]:
    data_dir = tmp_path_factory.mktemp("platform")
    environment = {
        "ANKE_DATA_DIR": str(data_dir),
        "ANKE_WEB_PORT": str(free_port()),
        "ANKE_MEDIA_PORT": str(free_port()),
        "ANKE_MEDIA_UDP_PORT": str(free_port()),
        "ANKE_REDIS_PORT": str(free_port()),
        "ANKE_TURN": "false",
    }
    log = data_dir / "platform.log"
    url = f"http://127.0.0.1:{environment['ANKE_WEB_PORT']}"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "web.cli", "up"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_healthy(url, child, log)
            yield Platform(url, data_dir, environment, log)
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(timeout=30)


def _wait_until_healthy(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError) as error:
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the platform did not start ({error}):\n{log.read_text()[-4000:]}") from error
        time.sleep(0.3)


@pytest.fixture(scope="session")
def face_capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real moving face as a file that Chromium plays as its camera."""
    from web.demo.footage import write_fake_capture

    return write_fake_capture(tmp_path_factory.mktemp("capture") / "face.mjpeg")


OpenPage = Callable[..., Awaitable[Page]]


@pytest.fixture
async def open_page(platform: Platform) -> AsyncIterator[OpenPage]:
    """`await open_page(camera=None, width=1440, height=900, microphone=None)`: a Chromium of its own, at the sign-in
    page. `camera` and `microphone` are files that it plays; sharing picks the screen by itself."""
    async with async_playwright() as playwright:
        browsers: list[Browser] = []

        async def open_one(
            camera: Path | None = None, width: int = 1440, height: int = 900, microphone: Path | None = None
        ) -> Page:
            flags = [
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                "--allow-loopback-in-peer-connection",
                "--autoplay-policy=no-user-gesture-required",
                "--auto-select-desktop-capture-source=Entire screen",
            ]
            if camera is not None:
                flags.append(f"--use-file-for-fake-video-capture={camera}")
            if microphone is not None:
                flags.append(f"--use-file-for-fake-audio-capture={microphone}")
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=flags)
            browsers.append(browser)
            context = await browser.new_context(viewport={"width": width, "height": height}, locale="zh-CN")
            await context.grant_permissions(["camera", "microphone"], origin=platform.url)
            page = await context.new_page()
            await page.goto(f"{platform.url}/sign-in")
            return page

        yield open_one
        for browser in browsers:
            await browser.close()


@pytest.fixture
def picture() -> Callable[[Page, str], Awaitable[None]]:
    """`await picture(page, name)` keeps a screenshot in build/journeys/."""

    async def keep(page: Page, name: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=str(PICTURES / f"{name}.png"))

    return keep
