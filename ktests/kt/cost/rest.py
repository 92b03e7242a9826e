# SPDX-License-Identifier: GPL-2.0
"""A kernel that does nothing but what is timed."""

from __future__ import annotations

import time
from pathlib import Path

from kt.wait import wait_until

LITTLE = 0.05
"""The share of the time for which a processor may be busy that is at rest."""
IDLE, IO_WAIT = 3, 4


def _ticks() -> tuple[int, int]:
    """Clock ticks so far of all processors, and those of them in which they had nothing to do."""
    first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    ticks = [int(word) for word in first.split()[1:9]]
    return sum(ticks), ticks[IDLE] + ticks[IO_WAIT]


def rest(seconds: float) -> None:
    """Wait until there was next to nothing to do for so long: what is deferred has been done."""

    def is_idle() -> bool:
        ticks, idle = _ticks()
        time.sleep(seconds)
        ticks_now, idle_now = _ticks()
        return idle_now - idle >= (1 - LITTLE) * (ticks_now - ticks)

    wait_until(is_idle, 60, "the kernel to be at rest")
