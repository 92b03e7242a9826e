# SPDX-License-Identifier: GPL-2.0
"""Waiting for something to become true, without guessing how long it takes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

# A kernel with its checkers on, under emulation, needs more.
PATIENCE = float(os.environ.get("IPVS_IPSEC_PATIENCE", "1"))

# Seconds of a timer that is to end soon, but not before what comes first is done.
SHORT = max(1, int(PATIENCE / 2))

# Seconds that an initial entry lives: as by default, but longer where all is slower.
INITIAL = int(10 * PATIENCE)


def wait_until[T](condition: Callable[[], T], timeout: float, what: str | Callable[[], str]) -> T:
    """Poll `condition` until it is true; give back its value.

    `what` says what was waited for; a function may add what was seen instead.
    """
    timeout *= PATIENCE
    deadline = time.monotonic() + timeout
    pause = 0.002
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            text = what() if callable(what) else what
            raise AssertionError(f"waited {timeout:g} s in vain: {text}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
