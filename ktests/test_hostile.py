# SPDX-License-Identifier: GPL-2.0
"""Spoofed packets of every kind, by a real driver, while everything under them changes.

    wire ---- in  director  s1 ---- wire      in, s1, s2: taps (kt/nic.py)
                            s2 ---- wire      the wire is this program

The workers of kt/hostile.py send what initiators and servers would, and what they
would not; change services, servers, addresses, links and timers; and have directors die.
When nobody sends any more nothing goes on by itself, and every device, namespace and the
module go within five seconds.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import pytest

from kt import module
from kt.bench import FORWARDED
from kt.hostile import WORKERS, Worker, witnessed
from kt.net import Network
from kt.nic import NicDual
from kt.wait import PATIENCE, wait_until

GONE = 5


@contextlib.contextmanager
def within(seconds: float, what: str) -> Iterator[None]:
    """The block takes no longer."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < seconds * PATIENCE, f"{what}: {took:.1f} s"


def rage(workers: list[Worker], ending: threading.Event, seconds: float) -> None:
    """All work for so long. Fails as soon as one does."""
    began = time.monotonic()
    with ThreadPoolExecutor(len(workers)) as pool:
        futures = [pool.submit(worker.run) for worker in workers]
        try:
            wait(futures, seconds, FIRST_COMPLETED)
        finally:
            ending.set()
    for future in futures:
        future.result()
    assert time.monotonic() - began >= seconds


def quiet(dual: NicDual) -> bool:
    """Whether nothing is counted while nobody sends."""
    before = dual.genl.counters()
    time.sleep(0.2)
    after = dual.genl.counters()
    # The sweep goes on.
    return all(before[name] == n for name, n in after.items() if "expired" not in name)


def test_nothing_hurts_the_director(
    pytestconfig: pytest.Config, record_property: Callable[[str, object], None]
) -> None:
    seed = pytestconfig.getoption("--fuzz-seed") or random.randrange(1 << 32)
    print(f"--fuzz-seed {seed}")
    seconds = pytestconfig.getoption("--hostile-seconds")
    module.load()
    ending = threading.Event()
    with Network("witness-") as network, witnessed(network) as witness:
        dual = NicDual("hostile-")
        try:
            witness(dual.director.name)
            workers = [kind(dual, ending, seed + n) for n, kind in enumerate(WORKERS)]
            rage(workers, ending, seconds)
            wait_until(lambda: quiet(dual), GONE, lambda: f"quiet: {dual.genl.counters()}")
            counters = dual.genl.counters()
            with within(GONE, "devices"):
                for nic in (dual.port, *dual.answers):
                    nic.close()
        finally:
            with within(GONE, "the namespace"):
                dual.close()
    with within(GONE, "the module"):
        module.unload()

    done = sum((worker.done for worker in workers), Counter())
    record_property("ran", f"{seconds:.0f} s: {dict(done)}; counted: {counters}")
    print(dict(done), counters)
    # What is spoofed meets what it is meant for, given the time.
    rare = (*FORWARDED, "out", "icmp", "fastpath") if seconds / PATIENCE >= 60 else ()
    for name in ("ike", "entries-established", *rare):
        assert counters[name], f"{name} was not seen: {counters}"
    for worker in workers:
        for name, a_minute in worker.least.items():
            least = max(1, int(a_minute * seconds / 60 / PATIENCE))
            assert worker.done[name] >= least, f"{type(worker).__name__}: {worker.done}"
