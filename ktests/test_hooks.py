# SPDX-License-Identifier: GPL-2.0
"""Hooks in FORWARD and LOCAL_OUT are there while there are entries, and before the first answer.

    gen ---------- in   director   s1 ---- s1
    plays clients       VIP on lo  s2 ---- s2

Whoever only forwards does not pay for them. The first packet waits until they
are registered, so that its answer is seen whatever comes first.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kt import module
from kt.dual import Dual, Family
from kt.inet import Client, aged
from kt.net import sh
from kt.packets import ike
from kt.tool import Tool
from kt.wait import PATIENCE, wait_until

LOCAL_IN = {"input"}
FORWARD = {"input", "forward"}
ALL = {"input", "forward", "output"}
REACH = {"dr": FORWARD, "tun": FORWARD, "nat": ALL, "local": ALL}

# Seconds after which hooks go that nobody needs, and more than it takes.
IDLE, LONG = 5, 15
WRONG = 0xDEAD_0000_0000_0001


@pytest.fixture
def fresh() -> Iterator[Dual]:
    """A director that has had no entry."""
    sh("modprobe", "nfnetlink_hook")
    module.load()
    dual = Dual("hooks-")
    try:
        yield dual
    finally:
        dual.close()


@pytest.fixture(params=REACH)
def method(request: pytest.FixtureRequest) -> str:
    """Every forwarding method."""
    return str(request.param)


def hooks(dual: Dual) -> tuple[set[str], set[str]]:
    """Where ours are, in IPv4 and in IPv6. They come and go together, but not in one moment."""
    found: dict[str, set[str]] = {"ip": set(), "ip6": set()}
    family = where = ""
    for line in dual.director.run("nft", "list", "hooks").stdout.splitlines():
        if words := re.match(r"family (\w+)", line):
            family = words[1]
        elif words := re.match(r"\s*hook (\w+)", line):
            where = words[1]
        elif "[ip_vs_ipsec]" in line:
            found[family].add(where)
    return found["ip"], found["ip6"]


def both(places: set[str]) -> tuple[set[str], set[str]]:
    """The same in both families."""
    return places, places


def configure(dual: Dual, side: Family, method: str) -> None:
    """One service, one server."""
    dual.configure(side, method, side.vip if method == "local" else side.rip())


def idle(dual: Dual) -> None:
    """The last entry has gone, and the hooks with it."""
    Tool(dual.director).run("entry", "flush")
    wait_until(lambda: hooks(dual) == both(LOCAL_IN), LONG, "hooks to go")


def test_they_come_with_the_first_entry_and_go_with_the_last(
    fresh: Dual, side: Family, method: str
) -> None:
    configure(fresh, side, method)
    assert hooks(fresh) == both(LOCAL_IN)
    for number in (1, 2):
        client = side.client(number)
        # What makes no entry wants no hook.
        fresh.expect(client.esp(), drop_esp_no_entry=1)
        assert hooks(fresh) == both(LOCAL_IN)
        fresh.expect(client.first(), ike=1)
        assert hooks(fresh) == both(REACH[method])
        idle(fresh)


def test_traffic_for_others_wants_none(fresh: Dual, side: Family) -> None:
    configure(fresh, side, "nat")
    sent = side.client().answer(side.rip(), 500, ike(1, 2))
    fresh.answers[0].send([sent])
    assert fresh.back.one().raw == aged(sent)
    assert hooks(fresh) == both(LOCAL_IN)


def test_a_server_needs_them_as_long_as_its_entries(fresh: Dual, side: Family) -> None:
    """What is removed with nat answers for a while still, and must not be seen."""
    configure(fresh, side, "nat")
    client = fresh.admitted(side)
    fresh.genl.do("server-del", service=side.vip, address=side.rip())
    fresh.genl.do("service-del", address=side.vip)
    wait_until(lambda: fresh.genl.do("status-get")["entries"] == 0, 5, "the sweep")
    # On any kernel: what was removed is known for a minute only.
    time.sleep(IDLE + 3)
    assert hooks(fresh) == both(ALL)
    with fresh.counted(drop_reply_removed=1):
        fresh.answers[0].send([client.esp_answer(side.rip())])
    fresh.quiet()


def test_another_method_wants_more(fresh: Dual, side: Family) -> None:
    configure(fresh, side, "dr")
    fresh.expect(side.client().first(), ike=1)
    assert hooks(fresh) == both(FORWARD)
    fresh.genl.do("server-new", service=side.vip, address=side.rip(2), method="nat")
    fresh.expect(side.client(2).first(), side.client(3).first(), ike=2)
    assert hooks(fresh) == both(ALL)


@contextlib.contextmanager
def one_processor() -> Iterator[None]:
    """Who sends has the CPU of those who would register hooks, so that many packets come first."""
    mask = Path("/sys/devices/virtual/workqueue/cpumask")
    before, mine = mask.read_text(encoding="ascii"), os.sched_getaffinity(0)
    mask.write_text("1\n", encoding="ascii")
    os.sched_setaffinity(0, {0})
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)
        mask.write_text(before, encoding="ascii")


def test_all_who_come_at_once_get_through_in_their_order(fresh: Dual, side: Family) -> None:
    """Nobody is lost, or overtaken by what depends on him."""
    fresh.configure(side, "dr", side.rip(1), side.rip(2))
    clients = [side.client(number) for number in range(1, 101)]
    packets = [p for c in clients for p in (c.first(), c.later(), c.esp())]
    with one_processor():
        fresh.expect(*packets, ike=200, esp=100)
    for capture in fresh.captures:
        assert len({p.src for p in capture.some(150)}) == 50
    assert fresh.genl.counters()["entries-created"] == 100


def test_the_firewall_and_the_scheduler_see_the_first_once(fresh: Dual, side: Family) -> None:
    fresh.configure(side, "dr", side.rip(1), side.rip(2))
    family = "ip" if side.version == 4 else "ip6"
    rules = "type filter hook input priority 0; udp dport 500 counter"
    fresh.director.run("nft", f"add table {family} seen; add chain {family} seen in {{ {rules}; }}")
    chain = fresh.director.run("nft", "list", "chain", family, "seen", "in")
    assert "packets 0 " in chain.stdout
    fresh.expect(side.client().first(), ike=1)
    fresh.captures[0].one()
    chain = fresh.director.run("nft", "list", "chain", family, "seen", "in")
    assert "packets 1 " in chain.stdout


def listening(dual: Dual, side: Family) -> socket.socket:
    """A socket at the VIP."""
    kind = socket.AF_INET if side.version == 4 else socket.AF_INET6
    with dual.director.entered():
        sock = socket.socket(kind, socket.SOCK_DGRAM)
    sock.bind((side.vip, 500))
    sock.settimeout(5 * PATIENCE)
    return sock


def test_a_dr_server_may_become_the_director(fresh: Dual, side: Family) -> None:
    """Its first answer is seen in LOCAL_OUT, where no dr server's has been before."""
    configure(fresh, side, "dr")
    other, client = side.client(2), side.client()
    fresh.expect(other.first(), ike=1)
    fresh.captures[0].one()
    assert hooks(fresh) == both(FORWARD)
    bits = 32 if side.version == 4 else 128
    fresh.director.ip(f"addr add {side.rip()}/{bits} dev lo")
    with listening(fresh, side) as sock:
        fresh.expect(client.first(), ike=1)
        assert sock.recvfrom(2000)[1][0] == client.address
        assert hooks(fresh) == both(ALL)
        sock.sendto(ike(client.ispi, client.rspi), (client.address, 500))
        fresh.back.one()
        wrong = client.udp(500, ike(client.ispi, WRONG, 35))
        fresh.expect(wrong, drop_ike_responder_spi=1)
        fresh.expect(client.later(), ike=1)


def flood(dual: Dual, side: Family) -> list[Client]:
    """Initiators who wait, some of them."""
    configure(dual, side, "dr")
    clients = [side.client(number) for number in range(1, 201)]
    dual.port.send([client.first() for client in clients])
    return clients


def test_a_namespace_may_go_while_packets_wait(side: Family) -> None:
    sh("modprobe", "nfnetlink_hook")
    module.load()
    for number in range(5):
        dual = Dual(f"hooks{number}-")
        flood(dual, side)
        dual.close()


def test_so_may_the_module(fresh: Dual, side: Family) -> None:
    for _ in range(5):
        flood(fresh, side)
        module.unload()
        assert hooks(fresh) == both(set())
        module.load()
        fresh.reopen()
    assert hooks(fresh) == both(LOCAL_IN)
    clients = flood(fresh, side)
    wait_until(
        lambda: fresh.genl.do("status-get")["entries"] == len(clients), 5, "all to have entries"
    )


def test_a_link_may_go_while_packets_wait(fresh: Dual, side: Family) -> None:
    flood(fresh, side)
    fresh.director.ip("link del in")
    assert all(places in (LOCAL_IN, FORWARD) for places in hooks(fresh))
