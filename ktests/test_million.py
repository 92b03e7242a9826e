# SPDX-License-Identifier: GPL-2.0
"""The timers of a great table: who is dead is invisible at once and freed within a second, and the
sweep keeps no CPU for more than a millisecond.

    gen ------ director ------ s1
    plays 31 addresses, 32,768 ports each

Entries come by `sloppy`, one packet each, with dr. Some have a short timer. How many there are is
pytest's option --entries: a million in `make test-debug`. What was measured is printed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from kt import module
from kt.bench import VIP, Bench
from kt.masses import PORTS, Masses
from kt.memory import in_use
from kt.wait import PATIENCE, wait_until


@pytest.fixture
def fresh() -> Iterator[Bench]:
    """A director of its own, which has never swept."""
    module.load()
    module.allow_entries(1 << 21)
    bench = Bench("million-")
    bench.setup("rr", [1])
    bench.captures[0].pause()
    bench.back.pause()
    yield bench
    bench.close()


def status(bench: Bench, name: str) -> int:
    """A number of the director."""
    shown = bench.genl.do("status-get")
    assert shown is not None
    return int(shown[name])


def test_many_timers(
    fresh: Bench,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    addresses = max(2, request.config.getoption("--entries") // PORTS)
    lasting = (addresses - 1) * PORTS
    fresh.director.sysctl("net/ipvs_ipsec/sloppy", 1)
    before = in_use()
    with contextlib.closing(Masses(fresh.gen, "out", fresh.director.mac("in"), VIP)) as masses:
        masses.send(range(1, addresses))
        wait_until(lambda: status(fresh, "entries") == lasting, 60, "the entries")
        memory = in_use() - before
        fresh.genl.do("service-set", address=VIP, established_timeout=2)
        expired = fresh.genl.counters()["entries-expired"]
        masses.send(range(addresses, addresses + 1))
    wait_until(lambda: status(fresh, "entries") == lasting, 30, "the end of some")
    assert fresh.genl.counters()["entries-expired"] == expired + PORTS
    lag = status(fresh, "sweep-lag")
    told = (
        f"{lasting + PORTS:,} entries, {status(fresh, 'table-size'):,} buckets: "
        f"{PORTS:,} freed {lag} ms after their timers at most, "
        f"in steps of {status(fresh, 'sweep-step')} us at most; "
        f"{memory * 1024 // lasting} bytes an entry"
    )
    with capfd.disabled():
        print(f"\n  {told}")
    record_property("ran", told)
    assert lag <= 1000 * PATIENCE
    # What was measured while packets came in by the thousand is forgotten after two windows.
    small = 1000 * PATIENCE
    wait_until(lambda: status(fresh, "sweep-step") <= small, 60, "a sweep in small steps")
