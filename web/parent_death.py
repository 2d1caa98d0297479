"""A child that must not outlive its parent, however the parent dies."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2), linux/prctl.h


def die_with_parent(signum: int = signal.SIGTERM) -> None:
    """Asks the kernel for `signum` when the thread that started this process ends. Does nothing outside Linux."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signum, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        # The parent died between fork and prctl: nobody will send the signal any more.
        os.kill(os.getpid(), signum)
