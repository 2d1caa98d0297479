"""Firefox as a peer: Debian's `firefox-esr`, headless, told what to do over Marionette, a protocol of its own.

Playwright drives only Firefox builds of its own, and a WebDriver would be one more program. Marionette is a TCP socket
that carries `LENGTH:[type, id, …]` in JSON; this file speaks the four commands that a page needs.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

from browser import PAGE_SCRIPT, BrowserPeers
from commands import serve

FIREFOX = "/usr/bin/firefox-esr"
START_TIMEOUT_S = 60.0
CAPTURE = "return navigator.mediaDevices.getUserMedia({ audio: true }).then((stream) => { window.held = stream; })"
PREFERENCES: dict[str, bool | int | str] = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    # Candidates of 127.0.0.1, which no browser gathers by itself, and no mDNS names in their place.
    "media.peerconnection.ice.loopback": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    # The page that it is shown is JSON, which it would wrap into a viewer that may fetch nothing.
    "devtools.jsonview.enabled": False,
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    # Nothing is fetched: no updates, no plugins, no pages of its own.
    "app.update.disabledForTesting": True,
    "app.normandy.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.getAddons.cache.enabled": False,
    "media.gmp-manager.updateEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,none",
    "toolkit.telemetry.enabled": False,
    "toolkit.telemetry.server": "data:,none",
    "marionette.port": 0,
}


class Marionette:
    """One connection: requests are answered in the order in which they were asked."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._number = 0
        self._turn = asyncio.Lock()

    async def read(self) -> Any:
        size = (await self._reader.readuntil(b":"))[:-1]
        return json.loads(await self._reader.readexactly(int(size)))

    async def call(self, command: str, **parameters: Any) -> Any:
        async with self._turn:
            self._number += 1
            message = json.dumps([0, self._number, command, parameters]).encode()
            self._writer.write(b"%d:%s" % (len(message), message))
            await self._writer.drain()
            _, number, error, result = await self.read()
        assert number == self._number, "answers come in order"
        if error is not None:
            raise RuntimeError(f"{error['error']}: {error['message']}")
        return result

    async def evaluate(self, body: str, *arguments: Any) -> Any:
        """Runs `body` in the page, where `arguments` are; a promise that it returns is waited for."""
        result = await self.call("WebDriver:ExecuteScript", script=body, args=list(arguments), sandbox=None)
        return result["value"]


async def _port_of(profile: Path, process: asyncio.subprocess.Process) -> int:
    file = profile / "MarionetteActivePort"
    async with asyncio.timeout(START_TIMEOUT_S):
        while not (file.exists() and file.read_text().strip()):
            assert process.returncode is None, "Firefox ended before it could be spoken to"
            await asyncio.sleep(0.05)
    return int(file.read_text())


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="anke-firefox-", ignore_cleanup_errors=True) as folder:
        profile = Path(folder)
        lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in PREFERENCES.items())
        (profile / "user.js").write_text("\n".join(lines))
        process = await asyncio.create_subprocess_exec(
            *(FIREFOX, "--marionette", "--headless", "--no-remote", "--profile", folder),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={"HOME": folder, "PATH": "/usr/bin:/bin", "MOZ_DISABLE_CONTENT_SANDBOX": "1"},
        )
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", await _port_of(profile, process), limit=2**24)
            browser = Marionette(reader, writer)
            await browser.read()  # it introduces itself first
            session = await browser.call("WebDriver:NewSession", capabilities={"alwaysMatch": {}})
            await browser.call("WebDriver:SetTimeouts", script=60_000)
            version = session["capabilities"]["browserVersion"]

            async def open_page(url: str) -> None:
                await browser.call("WebDriver:Navigate", url=url)
                await browser.evaluate(PAGE_SCRIPT)
                # Only a page that captures something is shown all addresses, loopback among them.
                await browser.evaluate(CAPTURE)

            await serve(BrowserPeers(f"Firefox {version}", open_page, browser.evaluate))
        finally:
            process.terminate()
            await process.wait()


if __name__ == "__main__":
    asyncio.run(main())
