# SPDX-License-Identifier: GPL-2.0
"""How much of the machine namespaces may take: entries, and memory for what they configure.

gen 10.1.0.1 ------ director ------ s1, s2, s3     twice
plays clients       VIP on lo
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from kt import module
from kt.bench import SERVERS as SERVERS_OF_ONE
from kt.bench import VIP, Bench, server_address
from kt.genl import Genl
from kt.net import Ns
from kt.wait import wait_until

FOLDER = Path("/proc/sys/net/ipvs_ipsec")
EACH, TOTAL = "netns_entries_max", "netns_entries_max_total"
DEFAULTS = {EACH: 262_144, TOTAL: 1_048_576}
LARGEST = 1 << 22
GROUPS = Path("/sys/fs/cgroup")
SERVERS = 1000


def allow(**bounds: int) -> None:
    """Set the bounds, in the first namespace."""
    for name, value in bounds.items():
        (FOLDER / name).write_text(f"{value}\n", encoding="ascii")


@pytest.fixture
def loaded() -> Iterator[None]:
    """The module as it is loaded: no entry anywhere, default bounds."""
    module.unload()
    module.load()
    yield
    module.unload()
    module.load()


@pytest.fixture
def two(loaded: None) -> Iterator[tuple[Bench, Bench]]:
    """Two directors, whose entries last."""
    benches = Bench("one-"), Bench("two-")
    for bench in benches:
        bench.setup()
        bench.director.sysctl("net/ipvs_ipsec/isakmp_initial_timeout", 600)
    yield benches
    for bench in benches:
        bench.close()


def firsts(bench: Bench, numbers: range) -> list[bytes]:
    """A first message of each of these clients."""
    return [bench.client(number).first() for number in numbers]


def test_namespaces_share_a_bound(two: tuple[Bench, Bench]) -> None:
    one, other = two
    allow(**{EACH: 10, TOTAL: 15})
    one.expect(*firsts(one, range(1, 13)), ike=10, drop_table_full=2)
    other.expect(*firsts(other, range(1, 13)), ike=5, drop_table_full=7)
    # Initiators with an entry still pass.
    one.expect(*firsts(one, range(1, 11)), ike=10)
    one.genl.do("entry-flush")
    other.expect(*firsts(other, range(6, 13)), ike=5, drop_table_full=2)
    one.expect(*firsts(one, range(1, 13)), ike=5, drop_table_full=7)
    # What ties an initiator to its server counts, too.
    one.genl.do("entry-flush")
    one.genl.do("service-set", address=VIP, persistence_timeout=300)
    one.expect(*firsts(one, range(1, 13)), ike=2, drop_table_full=10)
    # A namespace that goes takes its own with it.
    allow(**{EACH: 100})
    other.expect(*firsts(other, range(20, 21)), drop_table_full=1)
    one.close()
    numbers = iter(range(30, 1000))
    wait_until(
        lambda: other.send(*firsts(other, range(n := next(numbers), n + 1)))["ike"], 10, "room"
    )


def test_what_has_ended_takes_nobodys_place(two: tuple[Bench, Bench]) -> None:
    """Where addresses are translated it is kept for a minute, for the answers of its server."""
    one, _ = two
    for number in range(1, SERVERS_OF_ONE + 1):
        server = {"service": VIP, "address": server_address(number)}
        one.genl.do("server-set", **server, method="nat")
    allow(**{EACH: 10})
    for _ in range(3):
        one.expect(*firsts(one, range(1, 13)), ike=10, drop_table_full=2)
        one.genl.do("entry-flush")


def test_a_bound_below_what_there_is_ends_nobody(two: tuple[Bench, Bench]) -> None:
    one, other = two
    one.expect(*firsts(one, range(1, 6)), ike=5)
    allow(**{EACH: 3})
    one.expect(*firsts(one, range(1, 7)), ike=5, drop_table_full=1)
    other.expect(*firsts(other, range(1, 6)), ike=3, drop_table_full=2)
    allow(**{TOTAL: 0})
    other.expect(*firsts(other, range(1, 5)), ike=3, drop_table_full=1)


@pytest.mark.parametrize("name", DEFAULTS)
def test_bounds_are_the_first_namespaces_to_set(loaded: None, director: Ns, name: str) -> None:
    key = f"net/ipvs_ipsec/{name}"
    assert int((FOLDER / name).read_text(encoding="ascii")) == DEFAULTS[name]
    for value in (0, 1, LARGEST):
        allow(**{name: value})
        assert director.read_sysctl(key) == str(value)
    for value in (-1, LARGEST + 1):
        with pytest.raises(OSError) as refused:
            allow(**{name: value})
        assert refused.value.errno == errno.EINVAL
    with pytest.raises(PermissionError):
        director.sysctl(key, 5)
    assert director.read_sysctl(key) == str(LARGEST)


@pytest.fixture
def charged() -> Iterator[Path]:
    """A control group of memory that we are in."""
    where = Path("/proc/self/cgroup").read_text(encoding="ascii").strip().rpartition(":")[2]
    (GROUPS / "cgroup.subtree_control").write_text("+memory", encoding="ascii")
    group = GROUPS / "charged"
    group.mkdir()
    (group / "cgroup.procs").write_text("0", encoding="ascii")
    yield group
    (GROUPS / where.lstrip("/") / "cgroup.procs").write_text("0", encoding="ascii")
    group.rmdir()


@pytest.mark.needs("/sys/fs/cgroup/cgroup.controllers", "memory")
def test_a_configuration_is_charged_to_who_makes_it(director: Ns, charged: Path) -> None:
    def used() -> int:
        words = (charged / "memory.stat").read_text(encoding="ascii").split()
        return int(words[words.index("kernel") + 1])

    with Genl(director) as genl:
        genl.do("service-new", address=VIP)
        before = used()
        for n in range(SERVERS):
            genl.do("server-new", service=VIP, address=f"10.{n >> 8}.{n & 255}.1")
        # Counters of two CPUs, and a route's cache of each, are more than this.
        wait_until(lambda: used() - before > 1000 * SERVERS, 10, lambda: f"{used() - before} bytes")
