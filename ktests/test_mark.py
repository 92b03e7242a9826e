# SPDX-License-Identifier: GPL-2.0
"""Services by firewall mark, which nft sets.

gen 10.1.0.1 ------ director -------- s1 10.2.1.1
plays clients       VIP, VIP2 on lo   s2, s3 alike
192.0.2.0/24        nft: meta mark set

Of IPv6:

client 2001:db8:1::1 ------ director ------ server 2001:db8:2::1
                       VIP6 and VIP6B on lo    VIP6 and VIP6B on lo
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from kt.bench import VIP, VIP2, Bench, server_address
from kt.genl import Genl
from kt.net import Network, Ns, permanent_neighbours
from kt.packets import ike
from kt.wait import wait_until

MARK = {"mark": 0x77, "family": 2}
MARK6 = {"mark": 0x77, "family": 10}
VIP6, VIP6B = "2001:db8::1", "2001:db8::2"


@contextlib.contextmanager
def marking(ns: Ns, *rules: str) -> Iterator[None]:
    """Packets that arrive get marks."""
    lines = "\n".join(rules)
    chain = f"chain in {{ type filter hook prerouting priority mangle;\n{lines}\n}}"
    ns.run("nft", "-f", "-", input=f"table inet marks {{\n{chain}\n}}\n")
    try:
        yield
    finally:
        ns.run("nft", "delete", "table", "inet", "marks")


@pytest.fixture
def bench(bench: Bench) -> Iterator[Bench]:
    """The service at VIP has server 1, that by mark 2 and 3; packets to both VIPs get the mark."""
    bench.setup("rr", [1])
    bench.genl.do("service-new", **MARK, scheduler="rr")
    for number in (2, 3):
        bench.genl.do("server-new", **MARK, address=server_address(number))
    with marking(bench.director, f"ip daddr {{ {VIP}, {VIP2} }} meta mark set 0x77"):
        yield bench


def test_a_mark_goes_before_an_address(bench: Bench) -> None:
    assert bench.spread(range(1, 21)) == [0, 10, 10]
    by_mark = bench.genl.do("service-get", **MARK)
    assert (by_mark["conns"], by_mark["in-packets"], by_mark["servers"]) == (20, 20, 2)
    assert bench.genl.do("service-get", address=VIP)["conns"] == 0
    # Without it, or with that of another family or number, the address counts.
    bench.genl.do("service-del", **MARK)
    assert bench.entries() == []
    bench.genl.do("service-new", **MARK6)
    bench.genl.do("service-new", **MARK | {"mark": 0x78})
    assert bench.spread(range(1, 11)) == [10, 0, 0]


def test_a_mark_covers_addresses_without_a_service(bench: Bench) -> None:
    clients = [bench.client(n, VIP2) for n in range(1, 5)]
    bench.expect(*(client.first() for client in clients), ike=4)
    assert [len(packets) for packets in bench.arrived()] == [0, 2, 2]
    assert {(e["client"], e["service"]) for e in bench.entries()} == {
        (client.address, VIP2) for client in clients
    }
    server = bench.server_of(clients[0].later(), clients[0].esp())
    assert server in (2, 3)
    natt = clients[0].at(port=4500, vip=VIP2)
    assert bench.server_of(natt.natt_later(), natt.esp_in_udp(), natt.keepalive()) == server


def test_packets_without_a_mark_are_not_the_marks(bench: Bench) -> None:
    bench.director.run("nft", "flush", "table", "inet", "marks")
    before = bench.genl.counters()
    bench.port.send([bench.client(1, VIP2).first()])
    (answer,) = bench.icmp()
    assert answer.icmp == (3, 3), "port unreachable, by the director's own stack"
    assert bench.genl.counters() == before
    assert bench.spread(range(1, 11)) == [10, 0, 0]


def test_each_address_of_a_mark_has_entries_of_its_own(bench: Bench) -> None:
    one, two = bench.client(1), bench.client(1, VIP2)
    bench.expect(one.first(), one.later(), ike=2)
    bench.expect(two.later(), drop_ike_no_entry=1)
    bench.expect(two.esp(), drop_esp_no_entry=1)
    drops = bench.genl.do("service-get", **MARK)["drops"]
    assert drops == {"drop-ike-no-entry": 1, "drop-esp-no-entry": 1}


def test_persistence_covers_all_addresses_of_a_mark(bench: Bench) -> None:
    bench.genl.do("service-set", **MARK, persistence_timeout=300)
    servers = {}
    for number in range(1, 5):
        one, two = bench.client(number), bench.client(number, VIP2)
        servers[number] = bench.server_of(one.first())
        assert bench.server_of(two.at(ispi=number).first()) == servers[number]
        assert bench.server_of(one.at(port=20_000, ispi=99 + number).first()) == servers[number]
    assert sorted(servers.values()) == [2, 2, 3, 3]
    tied = [bench.genl.do("server-get", **MARK, address=server_address(n)) for n in (2, 3)]
    assert [server["persistent"] for server in tied] == [2, 2]


def test_a_service_by_mark_is_changed_and_removed(bench: Bench) -> None:
    client = bench.client()
    server = bench.server_of(client.first(), client.later())
    bench.genl.do("service-set", **MARK, scheduler="wrr")
    bench.genl.do("server-set", **MARK, address=server_address(server), weight=0)
    assert bench.spread(range(2, 12))[server - 1] == 0
    assert bench.server_of(client.later()) == server
    bench.genl.do("server-del", **MARK, address=server_address(server))
    assert bench.server_of(client.at(ispi=3).first()) == 5 - server
    assert len(bench.genl.dump("server-get", **MARK)) == 1
    bench.genl.do("service-del", **MARK)
    assert bench.entries() == []
    assert [s["address"] for s in bench.genl.dump("server-get")] == [server_address(1)]


@pytest.fixture
def six(bench: Bench) -> Iterator[tuple[Ns, Ns, Ns]]:
    """What is drawn below "Of IPv6": client, director, server."""
    with Network("mark6-") as network:
        client, director, server = (network.ns(name) for name in ("client", "director", "server"))
        network.link(client, "out", director, "in")
        network.link(server, "eth0", director, "out")
        client.ip(
            "addr add 2001:db8:1::1/64 dev out nodad",
            "route add default via 2001:db8:1::fe",
        )
        vips = [f"addr add {vip}/128 dev lo nodad" for vip in (VIP6, VIP6B)]
        director.ip(
            "addr add 2001:db8:1::fe/64 dev in nodad",
            "addr add 2001:db8:2::fe/64 dev out nodad",
            *vips,
        )
        server.ip("addr add 2001:db8:2::1/64 dev eth0 nodad", *vips)
        permanent_neighbours(client, "out", [("2001:db8:1::fe", director.mac("in"))])
        permanent_neighbours(director, "out", [("2001:db8:2::1", server.mac("eth0"))])
        yield client, director, server


def bound(ns: Ns, address: str) -> socket.socket:
    """A UDP socket on port 500."""
    with ns.entered():
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.bind((address, 500))
    sock.settimeout(5)
    return sock


def test_a_mark_of_ipv6(six: tuple[Ns, Ns, Ns]) -> None:
    client, director, server = six
    with Genl(director) as genl, marking(director, "meta nfproto ipv6 meta mark set 0x77"):
        genl.do("service-new", **MARK)  # of another family
        genl.do("service-new", **MARK6, persistence_timeout=60, persistence_prefix=64)
        genl.do("server-new", **MARK6, address="2001:db8:2::1")
        with bound(client, "2001:db8:1::1") as gen:
            for vip, spi in ((VIP6, 1), (VIP6B, 2)):
                with bound(server, vip) as daemon:
                    for message in (ike(spi), ike(spi, 9, 35)):
                        gen.sendto(message, (vip, 500))
                        data, source = daemon.recvfrom(4096)
                        assert (data, source[:2]) == (message, ("2001:db8:1::1", 500))
        entries = genl.dump("entry-get")
        assert {(e["service"], e["state"]) for e in entries} == {
            (VIP6, "established"),
            (VIP6B, "established"),
        }
        assert genl.do("service-get", **MARK)["conns"] == 0
        assert genl.do("service-get", **MARK6)["in-packets"] == 4
        shown = genl.do("server-get", **MARK6, address="2001:db8:2::1")
        assert (shown["persistent"], shown["established"]) == (1, 2)
        genl.do("flush")
        wait_until(lambda: genl.do("status-get")["entries"] == 0, 10, "the entries' end")
