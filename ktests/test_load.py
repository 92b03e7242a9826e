# SPDX-License-Identifier: GPL-2.0
"""Loading, unloading, and namespaces that die, while packets flow.

    gen 10.1.0.1 ------ director ------ s1, s2, s3
    a flood: every      VIP on lo
    kind of packet,     the module comes and goes
    two processors

What is looked for is the kernel's log: conftest.py reads it after each test.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kt import flood, module
from kt.bench import VIP, Bench
from kt.genl import Genl, Refused
from kt.memory import given_back, in_use
from kt.net import Network, sh
from kt.packets import Initiator
from kt.wait import PATIENCE, wait_until

# With checkers on, one takes up to half a minute.
ROUNDS = 50 if PATIENCE == 1 else 10


@contextlib.contextmanager
def flooded(bench: Bench) -> Iterator[None]:
    """Both generators run inside the block."""
    mac = bench.director.mac("in")
    captures = (bench.back, *bench.captures)
    for capture in captures:
        capture.pause()
    pktgen = flood.start_pktgen(bench.gen, "out", mac, VIP)
    mixture = flood.start(bench.gen, "out", mac, VIP)
    try:
        yield
    finally:
        bench.gen.stop(mixture)
        flood.stop_pktgen(bench.gen, pktgen)
        for capture in captures:
            capture.resume()


@pytest.fixture(autouse=True)
def _loaded() -> Iterator[None]:
    """Whatever a test does, the next finds the module loaded."""
    module.load()
    yield
    module.load()


def forwarding(bench: Bench, packets: int, counter: str = "esp-in-udp") -> None:
    """Configure a fresh module and wait until so much of the flood was forwarded."""
    bench.reopen()
    bench.setup()
    if counter == "fastpath":
        bench.genl.do("fastpath-new", ifindex=bench.director.index("in"))
    # pktgen's flow is let through by the one IKE exchange it cannot do itself.
    client = Initiator(flood.PKTGEN_CLIENT, VIP, port=4500)
    bench.port.send([client.natt_first(), client.natt_later()])

    def enough() -> bool:
        counters = bench.genl.counters()
        return counters[counter] > packets and counters["entries-established"] > 20

    wait_until(enough, 20, lambda: f"a forwarded flood: {bench.genl.counters()}")


def test_it_loads_unloads_and_loads_again(bench: Bench) -> None:
    for _ in range(3):
        module.unload()
        assert not module.loaded()
        with pytest.raises(FileNotFoundError), Genl(bench.director) as genl:
            genl.find_family()
        assert not Path("/proc/sys/net/ipvs_ipsec").exists()
        module.load()
        with Genl(bench.director) as genl:
            assert genl.everything() == ([], [])


def test_nothing_survives_a_reload(bench: Bench) -> None:
    client, _ = bench.established()
    bench.director.sysctl("net/ipvs_ipsec/isakmp_initial_timeout", 99)
    assert module.users() == 0, "services and entries do not hold the module"
    module.unload()
    module.load()
    bench.reopen()
    assert bench.genl.everything() == ([], [])
    assert bench.entries() == []
    assert set(bench.genl.counters().values()) == {0}
    assert bench.director.read_sysctl("net/ipvs_ipsec/isakmp_initial_timeout") == "10"
    bench.setup()
    bench.expect(client.later(), drop_ike_no_entry=1)


def test_unloads_under_a_flood(bench: Bench) -> None:
    began = time.monotonic()
    with flooded(bench):
        for number in range(1, ROUNDS + 1):
            forwarding(bench, 50)
            module.unload()
            assert not module.loaded()
            module.load()
            if number % 10 == 0:
                print(f"\n  {number} unloads, {time.monotonic() - began:.1f} s", end="", flush=True)


def test_unloads_under_a_flood_on_the_fast_path(bench: Bench) -> None:
    with flooded(bench):
        for _ in range(15):
            forwarding(bench, 50, "fastpath")
            module.unload()
            module.load()


def test_the_fast_path_comes_and_goes_under_a_flood(bench: Bench) -> None:
    index = bench.director.index("in")
    with flooded(bench):
        for _ in range(30):
            forwarding(bench, 20, "fastpath")
            bench.genl.do("fastpath-del", ifindex=index)


def test_services_come_and_go_under_a_flood(bench: Bench) -> None:
    with flooded(bench):
        forwarding(bench, 50)
        genl = bench.genl
        for _ in range(30):
            genl.do("server-del", service=VIP, address="10.2.1.1")
            genl.do("server-new", service=VIP, address="10.2.1.1")
            genl.do("server-set", service=VIP, address="10.2.2.1", weight=0)
            genl.do("service-set", address=VIP, scheduler="wrr")
            genl.dump("entry-get")
            genl.do("service-del", address=VIP)
            bench.setup()
        forwarding(bench, 50)


def test_unload_with_thousands_of_entries(bench: Bench) -> None:
    for _ in range(2):
        bench.setup()
        bench.director.sysctl("net/ipvs_ipsec/isakmp_initial_timeout", 600)
        clients = [bench.client(1 + n % 250).at(port=1024 + n, ispi=n + 1) for n in range(4000)]
        bench.send(*(c.first() for c in clients[:2000]))
        bench.send(*(c.first() for c in clients[2000:]))
        assert bench.genl.do("status-get")["entries"] == len(clients)
        began = time.monotonic()
        module.unload()
        assert time.monotonic() - began < 5 * PATIENCE
        module.load()
        bench.reopen()


def test_unload_while_removed_entries_are_freed(bench: Bench) -> None:
    """They are freed a grace period after their removal: the module must not be gone by then."""
    for _ in range(3):
        bench.setup()
        clients = [bench.client(1 + n % 250).at(port=1024 + n, ispi=n + 1) for n in range(2000)]
        bench.send(*(c.first() for c in clients))
        bench.genl.do("flush")
        module.unload()
        module.load()
        bench.reopen()


def test_unload_beside_commands(bench: Bench) -> None:
    """Netlink requests and dumps run into the module's end: done or refused, never stuck."""
    stop = False

    def command() -> int:
        done = 0
        with Genl(bench.director) as genl:
            while not stop:
                try:
                    genl.do("service-new", address=VIP)
                    genl.do("server-new", service=VIP, address="10.2.1.1")
                    genl.dump("server-get")
                    genl.dump("entry-get")
                    genl.do("flush")
                    done += 1
                except (Refused, FileNotFoundError):
                    genl.family = 0
        return done

    def unload() -> bool:
        return sh("rmmod", module.NAME, check=False).returncode == 0

    with ThreadPoolExecutor(2) as pool:
        commands = [pool.submit(command) for _ in range(2)]
        try:
            for _ in range(12):
                # A command under way holds the module for a moment.
                wait_until(unload, 10, "an unload between commands")
                module.load()
        finally:
            stop = True
        assert sum(c.result(timeout=30 * PATIENCE) for c in commands) > 0


def director_dies_under_a_flood(doomed: Bench, counter: str) -> None:
    """With services, entries and packets in flight."""
    gen = doomed.network.namespaces["gen"]

    def link_is_gone() -> bool:
        return gen.run("ip", "link", "show", "out", check=False).returncode != 0

    with flooded(doomed):
        forwarding(doomed, 50, counter)
        doomed.genl.close()
        doomed.director.close()
        wait_until(link_is_gone, 20, "the end of the director's namespace")


def test_a_directors_namespace_dies_under_a_flood(bench: Bench) -> None:
    for number in range(4):
        doomed = Bench(f"doomed{number}-")
        try:
            director_dies_under_a_flood(doomed, "fastpath" if number % 2 else "esp-in-udp")
        finally:
            doomed.close()
    client, server = bench.established()
    assert bench.server_of(client.esp()) == server, "the other namespace noticed nothing"


def live_and_die(number: int) -> None:
    """A namespace with a hundred servers, gone again."""
    with Network(f"leak{number}-") as network:
        ns = network.ns("x")
        with Genl(ns) as genl:
            for vip in range(1, 11):
                genl.do("service-new", address=f"198.51.100.{vip}")
                for rip in range(1, 11):
                    genl.do("server-new", service=f"198.51.100.{vip}", address=f"10.0.0.{rip}")


def test_dead_namespaces_give_their_memory_back() -> None:
    for number in range(12):
        live_and_die(number)
    before = in_use()
    for number in range(40):
        live_and_die(number)
    given_back(before, limit=400)  # 10 kB a namespace; the noise is below 300


def test_removed_services_and_servers_give_their_memory_back(genl: Genl) -> None:
    rips = [f"10.0.0.{n}" for n in range(1, 41)]

    def one_by_one() -> None:
        genl.do("service-new", address=VIP)
        for rip in rips:
            genl.do("server-new", service=VIP, address=rip)
        for rip in rips:
            genl.do("server-del", service=VIP, address=rip)
        genl.do("service-del", address=VIP)

    def all_at_once() -> None:
        for last in range(1, 21):
            genl.do("service-new", address=f"198.51.100.{last}")
            genl.do("server-new", service=f"198.51.100.{last}", address=rips[0])
        genl.do("flush")

    before = 0
    for number in range(70):
        if number == 10:
            before = in_use()
        one_by_one()
        all_at_once()
    given_back(before, limit=300)  # 2,400 servers, 1,200 services


def test_dead_entries_give_their_memory_back(bench: Bench) -> None:
    clients = [bench.client(1 + n % 250).at(port=1024 + n, ispi=n + 1) for n in range(3000)]
    before = 0
    for number in range(5):
        if number == 1:  # the table has its size, the caches their slabs
            before = in_use()
        bench.director.sysctl("net/ipvs_ipsec/isakmp_initial_timeout", 600)
        for start in range(0, len(clients), 1000):
            bench.send(*(c.first() for c in clients[start : start + 1000]))
        assert bench.genl.do("status-get")["entries"] == len(clients)
        bench.setup()
    given_back(before, limit=800)  # 12,000 entries of about 200 bytes
