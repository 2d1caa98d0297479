"""Chromium as a peer: the system's, headless, driven by Playwright."""

from __future__ import annotations

import asyncio
from typing import Any

from browser import PAGE_SCRIPT, BrowserPeers
from commands import serve
from playwright.async_api import async_playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--allow-loopback-in-peer-connection",
    "--autoplay-policy=no-user-gesture-required",
]


async def main() -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = await browser.new_page()

        async def open_page(url: str) -> None:
            await page.goto(url)
            await page.add_script_tag(content=PAGE_SCRIPT)

        async def call(body: str, *arguments: Any) -> Any:
            return await page.evaluate(f"list => (function () {{ {body} }}).apply(null, list)", list(arguments))

        await serve(BrowserPeers(f"Chromium {browser.version}", open_page, call))
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
