# SPDX-License-Identifier: GPL-2.0
"""Without memory: whatever allocation fails, the director refuses, counts, and goes on.

gen 10.1.0.1 ------ director ------ s1, s2, s3
hand-made packets   VIP on lo       what reaches them is captured

Needs a kernel with failslab (make test-debug). Where one thread does all the work, each of its
allocations fails in its turn; packets, which the softirq takes, meet a share that fails.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from kt import module
from kt.bench import VIP, VIP2, Bench, server_address, verdicts
from kt.faults import confined_to, each_failing, failing, insert_module
from kt.genl import Genl, Refused
from kt.hooks import registered
from kt.net import Network, sh
from kt.wait import SHORT, wait_until

pytestmark = pytest.mark.needs("/sys/kernel/debug/failslab/require-start")

NO_MEMORY = (errno.ENOMEM, errno.ENOBUFS)
NEW_NETWORK = os.CLONE_NEWNET


def test_a_load_without_memory(record_property: Callable[[str, object], None]) -> None:
    """The module comes up whole or not at all."""
    module.unload()
    errors: Counter[int] = Counter()

    def load() -> None:
        try:
            insert_module()
        except OSError as error:
            errors[error.errno or 0] += 1

    def take_out(_: int) -> None:
        module.unload()

    try:
        with confined_to("do_init_module"):
            allocations = each_failing(load, take_out)
    finally:
        module.load()
    assert set(errors) == {errno.ENOMEM}, errors
    assert 5 < errors.total() <= allocations
    record_property("ran", f"{errors.total()} loads without memory")


class Attempt:
    """One operation that may find no memory, and what became of it."""

    def __init__(self, genl: Genl, op: str, **values: object) -> None:
        self.genl, self.op, self.values = genl, op, values
        self.error = 0

    def __call__(self) -> None:
        self.error = 0
        try:
            self.genl.do(self.op, **self.values)
        except Refused as refused:
            self.error = refused.errno
        except OSError as error:  # the request or its answer found no memory
            self.error = error.errno or 0


Change = tuple[str, dict[str, object]]

NEW_SERVICE = {"address": VIP2}
NEW_SERVICE6 = {"address": "2001:db8::1"}
NEW_SERVER = {"service": VIP, "address": "10.2.9.1"}
OLD_SERVER = {"service": VIP, "address": server_address(1)}

# There and back.
CHANGES: dict[str, tuple[Change, Change]] = {
    "service": (("service-new", NEW_SERVICE), ("service-del", NEW_SERVICE)),
    "service6": (("service-new", NEW_SERVICE6), ("service-del", NEW_SERVICE6)),
    "scheduler": (
        ("service-set", {"address": VIP, "scheduler": "wrr"}),
        ("service-set", {"address": VIP, "scheduler": "rr"}),
    ),
    "server": (("server-new", NEW_SERVER), ("server-del", NEW_SERVER)),
    "weight": (
        ("server-set", OLD_SERVER | {"weight": 7}),
        ("server-set", OLD_SERVER | {"weight": 1}),
    ),
    "server settings": (
        (
            "server-set",
            OLD_SERVER
            | {"method": "tun", "tunnel_type": "gre", "upper_threshold": 9, "lower_threshold": 3}
            | {"ike_label": 0x0B << 56, "ike_mask": 0xFF << 56},
        ),
        (
            "server-set",
            OLD_SERVER
            | {"method": "dr", "upper_threshold": 0, "lower_threshold": 0}
            | {"ike_label": 0, "ike_mask": 0},
        ),
    ),
}


def configured(genl: Genl) -> object:
    """What is shown of the configuration, and who has fragments of IPv6 reassembled."""
    return genl.everything(), module.users("nf_defrag_ipv6")


def without_memory(genl: Genl, there: Change, back: Change, in_module: bool) -> int:
    """Try a change with each allocation failing in its turn, then make it; how many failed."""
    (op, values), (undo, undo_values) = there, back
    old = configured(genl)
    genl.do(op, **values)
    new = configured(genl)
    genl.do(undo, **undo_values)
    assert configured(genl) == old != new
    attempt = Attempt(genl, op, **values)
    failures = 0

    def judge(n: int) -> None:
        nonlocal failures
        now = configured(genl)
        if attempt.error == 0:
            assert now == new, f"allocation {n}: said to be done"
        else:
            assert attempt.error in NO_MEMORY, os.strerror(attempt.error)
            # Where the answer itself is lost one is left in doubt.
            assert now == old or (now == new and not in_module), f"allocation {n}"
            failures += 1
        if now == new:
            genl.do(undo, **undo_values)

    with confined_to("module") if in_module else contextlib.nullcontext():
        each_failing(attempt, judge)
    genl.do(op, **values)
    return failures


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("where", ["module", "anywhere"])
def test_a_change_without_memory_changes_nothing(
    bench: Bench, change: str, where: str, record_property: Callable[[str, object], None]
) -> None:
    there, back = CHANGES[change]
    failures = without_memory(bench.genl, there, back, where == "module")
    failures += without_memory(bench.genl, back, there, where == "module")
    assert failures > 0
    record_property("ran", f"{failures} failed allocations")


def test_soft_entries_outlive_a_change_without_memory(bench: Bench) -> None:
    """Of a limit that was refused nothing holds: who has outlived its timer stays."""
    keep = {"address": VIP, "established_timeout": SHORT, "soft_entries": 1}

    def outlive(number: int) -> None:
        bench.genl.do("service-set", **keep)
        client, _ = bench.established(number)
        wait_until(lambda: bench.entry(client)["expires"] == 0, 5, "the timer's end")

    attempt = Attempt(bench.genl, "service-set", address=VIP, soft_entries=0)
    entries = []

    def judge(n: int) -> None:
        if attempt.error:
            entries.append(len(bench.entries()))
        else:
            outlive(n + 1)

    outlive(1)
    with confined_to("module"):
        each_failing(attempt, judge)
    assert len(entries) > 1 and all(entries), entries


@pytest.mark.parametrize("op", ["service-get", "server-get", "entry-get"])
def test_a_dump_without_memory(bench: Bench, op: str) -> None:
    """It fails or is whole, and the next one is whole."""
    bench.established(1)
    bench.established(2)
    before = bench.genl.dump(op)
    errors: Counter[int] = Counter()

    def dump() -> None:
        try:
            assert len(bench.genl.dump(op)) == len(before)
        except (Refused, OSError) as error:
            errors[error.errno or 0] += 1

    allocations = each_failing(dump, lambda _: None)
    assert set(errors) <= set(NO_MEMORY), errors
    assert 0 < errors.total() <= allocations
    assert len(bench.genl.dump(op)) == len(before)


def test_a_namespace_without_memory(record_property: Callable[[str, object], None]) -> None:
    """It cannot be made, or has a director that works."""
    made = True
    failures = 0

    def unshare() -> None:
        nonlocal made
        made = True
        try:
            os.unshare(NEW_NETWORK)
        except OSError as error:
            assert error.errno in NO_MEMORY
            made = False

    def judge(_: int) -> None:
        nonlocal failures
        failures += not made
        if made:
            with Genl() as genl:
                genl.do("service-new", address=VIP)

    def run() -> int:
        with confined_to("module"):
            return each_failing(unshare, judge)

    # A thread that ends takes its namespaces with it.
    with ThreadPoolExecutor(1) as pool:
        allocations = pool.submit(run).result()
    # The checkers themselves, and who takes other memory then, get by without.
    assert 3 <= failures <= allocations
    record_property("ran", f"{failures} failed allocations")


@pytest.mark.parametrize("address", [VIP, "2001:db8::1"])
def test_a_first_service_without_memory(
    address: str, record_property: Callable[[str, object], None]
) -> None:
    """It makes the state of its namespace and registers hooks, or leaves none."""
    sh("modprobe", "nfnetlink_hook")
    failures = made = 0
    none: tuple[set[str], set[str]] = set(), set()
    with Network("first-") as network:

        def fresh() -> Attempt:
            nonlocal made
            made += 1
            return Attempt(Genl(network.ns(str(made))), "service-new", address=address)

        attempt = fresh()

        def judge(n: int) -> None:
            nonlocal failures, attempt
            ns = network.namespaces[str(made)]
            there = attempt.genl.dump("service-get")
            if attempt.error:
                assert attempt.error in NO_MEMORY, os.strerror(attempt.error)
                assert (there, registered(ns)) == ([], none), f"allocation {n}"
                failures += 1
            else:
                assert len(there) == 1 and registered(ns) != none, f"allocation {n}"
            attempt.genl.close()
            ns.close()
            attempt = fresh()

        with confined_to("module"):
            each_failing(lambda: attempt(), judge)
        attempt.genl.do("service-new", address=address)
    assert failures > 10
    record_property("ran", f"{failures} failed allocations")


@pytest.mark.parametrize("percent", [1, 30])
def test_packets_without_memory(
    bench: Bench, percent: int, record_property: Callable[[str, object], None]
) -> None:
    """Each is forwarded or counted as dropped, and nothing is lost for good."""
    bench.director.sysctl("net/ipvs_ipsec/isakmp_initial_timeout", 600)
    client, server = bench.established()
    status = bench.genl.do("status-get")
    assert status is not None
    made = dropped = failures = 0
    for start in range(0, 4000, 500):
        numbers = range(start, start + 500)
        new = [bench.client(2 + n % 200).at(port=1024 + n, ispi=n + 1) for n in numbers]
        packets = [*(c.first() for c in new), client.esp(), client.later()]
        with (
            bench.moved(len(packets)) as moved,
            confined_to("module"),
            failing(percent) as failed,
        ):
            bench.port.send(packets)
            failures += failed()
        seen = verdicts(moved)
        assert set(seen) <= {"ike", "esp", "drop-no-memory", "drop-no-route"}, seen
        made += moved["entries-created"]
        dropped += seen.get("drop-no-memory", 0)
    entries = bench.genl.do("status-get")
    assert entries is not None and entries["entries"] == status["entries"] + made
    assert 0 < dropped <= failures
    bench.drain()
    assert bench.server_of(client.esp(), client.later()) == server
    record_property("ran", f"{failures} failed allocations, {dropped} packets dropped for it")


def test_everything_without_memory(
    bench: Bench, record_property: Callable[[str, object], None]
) -> None:
    """One in a hundred fails wherever this thread goes: commands, dumps, namespaces."""
    genl = bench.genl
    configured = genl.everything()
    done: Counter[str] = Counter()

    def attempt(name: str, act: Callable[[], object]) -> None:
        try:
            act()
        except (Refused, OSError) as error:
            # What others of the kernel say when they lack memory for a namespace is their business.
            allowed = (*NO_MEMORY, errno.EEXIST, errno.ENOENT)
            assert name == "namespace" or error.errno in allowed, f"{name}: {error}"
            done[f"{name}, refused"] += 1
        else:
            done[name] += 1

    def run() -> int:
        with Genl(bench.director) as genl, failing(1, this_thread_only=True) as failed:
            for n in range(400):
                server = {"service": VIP, "address": f"10.2.9.{n % 5 + 1}"}
                attempt("new", partial(genl.do, "server-new", **server))
                attempt("set", partial(genl.do, "server-set", **server, weight=3))
                attempt("dump", partial(genl.dump, "server-get"))
                attempt("del", partial(genl.do, "server-del", **server))
                if n % 20 == 0:
                    attempt("namespace", partial(os.unshare, NEW_NETWORK))
            return failed()

    with ThreadPoolExecutor(1) as pool:
        failures = pool.submit(run).result()
    for n in range(5):
        with contextlib.suppress(Refused):
            genl.do("server-del", service=VIP, address=f"10.2.9.{n + 1}")
    assert genl.everything() == configured
    print(f"\n  {dict(done)}", end="")
    record_property("ran", f"{failures} failed allocations")
