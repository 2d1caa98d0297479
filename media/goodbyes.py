"""Who seems to have said goodbye and cannot be asked to prove it: judged by silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from media._router import Router as NativeRouter

# Two connectivity checks of a live peer, which are at most 6 s apart (RFC 7675 5.1); most send reports every second.
PROOF_S = 12.0
LOOK_S = 1.0


class Goodbyes:
    """Alerts that nobody can authenticate any more. Whoever sent one and then neither checks nor reports is gone;
    whoever does is not, so that a forged alert ends nothing. One look a second at most, whatever arrives."""

    def __init__(self, native: NativeRouter) -> None:
        self._native = native
        self._loop = asyncio.get_running_loop()
        self._heard: dict[int, tuple[float, Callable[[], None]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def hear(self, transport_id: int, on_gone: Callable[[], None]) -> None:
        """A peer's alert came; `on_gone` is called when it stays silent for `PROOF_S`."""
        self._heard.setdefault(transport_id, (self._loop.time(), on_gone))
        if self._timer is None:
            self._timer = self._loop.call_later(LOOK_S, self._look)

    def forget(self, transport_id: int) -> None:
        self._heard.pop(transport_id, None)

    def close(self) -> None:
        self._heard.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        now_s = self._loop.time()
        due = [transport_id for transport_id, (heard_s, _) in self._heard.items() if now_s - heard_s >= PROOF_S]
        if due:
            ages_ms = {flow["transport_id"]: flow["consent_age_ms"] for flow in self._native.snapshot()["transports"]}
            for transport_id in due:
                heard_s, on_gone = self._heard.pop(transport_id)
                age_ms = ages_ms.get(transport_id)
                if age_ms is not None and age_ms >= 1000 * (now_s - heard_s):
                    on_gone()
        self._timer = self._loop.call_later(LOOK_S, self._look) if self._heard else None
