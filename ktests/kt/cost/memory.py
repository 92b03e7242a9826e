# SPDX-License-Identifier: GPL-2.0
"""What a read takes that has to wait for memory, which no count of instructions knows.

A packet of one flow among many waits for a bucket, and then for the entry that this names. Without
these two reads there is no table: they are the least that many flows take longer than one.
"""

from __future__ import annotations

import random
import time
from array import array
from itertools import chain, pairwise

LINE, WORD = 64, 8
READS = 1_000_000
BUCKET, ENTRY = 8, 128
"""Bytes in our table for each flow."""
CACHED = 16 << 10
"""Bytes that are in a processor's nearest cache."""


def _chase(size: int) -> float:
    """Nanoseconds a read, each of the line that the last one named, all of these bytes in turn.

    Of three times the least: what else this machine does only adds.
    """
    places = list(range(0, size // WORD, LINE // WORD))
    random.Random(size).shuffle(places)
    words = array("Q", bytes(size // WORD * WORD))
    for here, there in pairwise(chain(places, places[:1])):
        words[here] = there
    at = 0
    times = []
    for _ in range(3):
        start = time.perf_counter_ns()
        for _ in range(READS):
            at = words[at]
        times.append(time.perf_counter_ns() - start)
    return min(times) / READS


def waits(flows: int) -> dict[str, float]:
    """Nanoseconds by which reading any bucket, and any entry, takes longer than what is cached.

    The loop goes on while it waits, as far as a processor looks ahead: it is rather more.
    """
    cached, bucket, entry = map(_chase, (CACHED, BUCKET * flows, ENTRY * flows))
    return {"flows": flows, "bucket": bucket - cached, "entry": entry - cached}
