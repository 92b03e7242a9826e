# SPDX-License-Identifier: GPL-2.0
"""The storm: everything at once, and the module comes and goes under it.

    gen 10.1.0.1 -------- director ------ s1, s2, s3
    a flood of clients,   VIP on lo
    waves of newcomers,   the workers of kt/storm.py: services, weights, flushes,
    pktgen                timeouts, the fast path, dumps, rmmod and insmod
        |
        +---------------- doomed: one director after the other dies under a flood

What is looked for is the kernel's log: conftest.py reads it after the test. A kernel
with its checkers on (KASAN, KCSAN, lockdep) sees more; --storm-seconds gives it time.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from kt import flood, module
from kt.bench import FORWARDED, VIP, Bench
from kt.memory import given_back, in_use
from kt.storm import WORKERS
from kt.wait import PATIENCE, wait_until

WARM_UP = 10


class Storm:
    """All workers and the floods, at once."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.ending = threading.Event()
        self.workers = [kind(bench, self.ending) for kind in WORKERS]
        self.seconds = 0.0
        self.pktgen = 0

    def rage(self, seconds: float, tell: Callable[[str], None]) -> None:
        """Go on for so long, and tell how every ten seconds. Fails as soon as a worker does."""
        start_anew(self.bench)
        with self._floods() as flow, ThreadPoolExecutor(len(self.workers)) as pool:
            began = time.monotonic()
            futures = [pool.submit(worker.run) for worker in self.workers]
            try:
                while self.seconds < seconds and not any(f.done() for f in futures):
                    wait(futures, min(10, seconds - self.seconds), FIRST_COMPLETED)
                    self.seconds = time.monotonic() - began
                    flow()
                    tell(self.report())
            finally:
                self.ending.set()
        for future in futures:
            future.result()

    @contextlib.contextmanager
    def _floods(self) -> Iterator[Callable[[], None]]:
        """All floods flow inside the block; the function checks that they still do."""
        bench = self.bench
        mac = bench.director.mac("in")
        captures = (bench.back, *bench.captures)
        for capture in captures:
            capture.pause()
        pktgen = flood.start_pktgen(bench.gen, "out", mac, VIP)
        floods = [flood.start(bench.gen, "out", mac, VIP, kind) for kind in flood.KINDS]

        def flow() -> None:
            assert [process.poll() for process in floods] == [None] * len(floods)
            before, self.pktgen = self.pktgen, flood.pktgen_sent(bench.gen, "out")
            assert self.pktgen > before, "pktgen ran dry"

        def wave() -> bool:
            return bench.genl.counters()["entries-created"] > 3000

        try:
            wait_until(wave, 60, lambda: f"the first wave: {bench.genl.counters()}")
            yield flow
        finally:
            for process in floods:
                bench.gen.stop(process)
            flood.stop_pktgen(bench.gen, pktgen)
            for capture in captures:
                capture.resume()

    def total(self, *names: str) -> int:
        """What was counted under these names, by all workers."""
        return sum(worker.done[name] for worker in self.workers for name in names)

    def report(self) -> str:
        """What was done so far, in a line."""
        return (
            f"{self.seconds:.0f} s: {self.total(*FORWARDED)} packets forwarded, "
            f"{self.total('fastpath')} of them by the fast path, "
            f"{self.total('entries-created')} entries, {self.total('reloads')} reloads, "
            f"{self.total('grown')} + {self.total('shrunk')} resizes "
            f"up to {self.total('largest')} buckets, {self.total('namespaces')} namespaces, "
            f"{self.total('commands')} commands, {self.total('dumps', 'deserted')} dumps"
        )

    def check(self) -> None:
        """Everyone has done their part."""
        assert self.pktgen > 10 * self.seconds
        for worker in self.workers:
            for name, a_minute in worker.least.items():
                least = max(1, int(a_minute * self.seconds / 60 / PATIENCE))
                done = worker.done[name]
                assert done >= least, f"{type(worker).__name__}: {done} {name}, not {least}"


def drained() -> bool:
    """Whether no packet waits any more to come in, on any processor."""
    lines = Path("/proc/net/softnet_stat").read_text(encoding="ascii").splitlines()
    return all(int(line.split()[11], 16) == 0 for line in lines)


def start_anew(bench: Bench) -> None:
    """A fresh module, configured, and no packet on its way."""
    wait_until(drained, 30, "packets that wait")
    module.unload()
    module.load()
    bench.reopen()
    bench.setup()


def test_storm(
    bench: Bench,
    pytestconfig: pytest.Config,
    capsys: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
) -> None:
    def tell(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line}", end="", flush=True)

    # The first gusts fill the kernel's caches: what they took is no leak.
    Storm(bench).rage(WARM_UP, tell)
    start_anew(bench)
    before = in_use()

    storm = Storm(bench)
    storm.rage(pytestconfig.getoption("--storm-seconds"), tell)
    record_property("ran", storm.report())
    storm.check()

    start_anew(bench)
    client, server = bench.established()
    assert bench.server_of(client.esp(), client.esp()) == server
    bench.director.sysctl("net/ipvs_ipsec/isakmp_established_timeout", 1)
    bench.expect(client.later(), ike=1)
    wait_until(lambda: bench.genl.do("status-get")["entries"] == 0, 10, "the entry's end")
    # The module was not there meanwhile: what it had not given back nothing points to, which
    # kmemleak sees where checkers have the kernel keep more.
    given_back(before, limit=max(2000, int(400 * PATIENCE)))
