"""Memory that was freed and that the C library keeps: given back to the machine now and then."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

# A class joins within minutes and then stays for an hour: what the joins needed is given back once they are through.
QUIET_S = 2.0


class Heap:
    """glibc returns only the top of its heap by itself; freed pages below that wait for `malloc_trim`. Other C
    libraries have no such call, and then nothing happens."""

    def __init__(self) -> None:
        trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self._trim = trim
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def freed(self) -> None:
        """Much was freed: the heap is trimmed within `QUIET_S`, once for all that is freed until then."""
        if self._timer is None and self._trim is not None:
            self._timer = self._loop.call_later(QUIET_S, self._give_back)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_back(self) -> None:
        assert self._trim is not None, "without it no timer is set"
        self._timer = None
        self._trim(0)
