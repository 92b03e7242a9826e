# SPDX-License-Identifier: GPL-2.0
"""What a director's table takes: memory, and time to tell all of it."""

from __future__ import annotations

import subprocess
import time
from typing import Any

from kt.cost.cases import Case
from kt.cost.lab import Road
from kt.cost.traffic import Traffic
from kt.memory import in_use


def weigh(case: Case, road: Road, traffic: Traffic, flows: int) -> dict[str, Any]:
    """Prepare a case, and see what that has taken."""
    empty = in_use()
    case.configure(road)
    ready = in_use()
    case.remember(road, traffic, flows)
    case.send(road, traffic, flows, flows)
    # The next sweep may have made a table larger, and gives back what it was before.
    time.sleep(2)
    full = in_use()
    entries, took = dump(case, road)
    if entries != flows:
        raise RuntimeError(f"{case.name} told {entries} entries of {flows}")
    return {
        "case": case.name,
        "traffic": traffic.name,
        "entries": entries,
        "bytes_before": (ready - empty) * 1024,
        "bytes_per_entry": (full - ready) * 1024 / entries,
        "dump_per_entry": took * 1e9 / entries,
    }


def dump(case: Case, road: Road) -> tuple[int, float]:
    """How many entries the case's command prints, and in how many seconds."""
    with road.director.entered():
        start = time.monotonic()
        told = subprocess.run(case.dump, capture_output=True, check=True).stdout
        took = time.monotonic() - start
    return sum(b"10." in line for line in told.splitlines()), took
