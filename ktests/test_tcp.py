# SPDX-License-Identifier: GPL-2.0
"""IKE and ESP in TCP (RFC 9329): connections of an initiator go where its UDP goes.

    client ---- in  director  s1 ---- s1
    10.1.0.1    VIP on lo     s2 ---- s2      rr; both listen on TCP 4500
    2001:db8:1::1

Real connections of the kernel's own TCP; what they carry is made by hand, since the
stock kernel has no espintcp for a daemon to use. With dr the servers have the VIP,
and answer by way of the director, which forwards.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from kt import module
from kt.dual import FAMILIES, Family
from kt.genl import Genl
from kt.net import Network, Ns
from kt.packets import IKE_AUTH, NON_ESP_MARKER, esp, framed, ike
from kt.wait import SHORT, wait_until

PORT = 4500
PREFIX = b"IKETCP"
SERVERS = (1, 2)


class Star:
    """The topology."""

    def __init__(self) -> None:
        self.network = Network("tcp-")
        self.director, self.client = (self.network.ns(name) for name in ("director", "client"))
        self.servers = {n: self.network.ns(f"s{n}") for n in SERVERS}
        self.genl: Genl
        self._build()

    def _build(self) -> None:
        for ns in (self.director, self.client, *self.servers.values()):
            ns.sysctl("net/ipv6/conf/default/accept_dad", 0)
            ns.sysctl("net/ipv6/conf/all/forwarding", 1)
            ns.sysctl("net/ipv4/ip_forward", 1)
        self.network.link(self.client, "out", self.director, "in")
        for number, server in self.servers.items():
            self.network.link(server, "eth0", self.director, f"s{number}")
        for side in FAMILIES.values():
            net, bits = (24, 32) if side.version == 4 else (64, 128)
            self.director.ip(
                f"addr add {side.director}/{net} dev in", f"addr add {side.vip}/{bits} dev lo"
            )
            # Other addresses of the client's network, for other clients.
            self.director.ip(f"route add {side.clients.format(0)}/{net} via {side.near}")
            self.client.ip(
                f"addr add {side.near}/{net} dev out",
                *(f"addr add {side.clients.format(n)}/{bits} dev lo" for n in range(1, 9)),
                f"route add default via {side.director}",
            )
            for number, server in self.servers.items():
                towards = side.towards(number)
                self.director.ip(f"addr add {towards}/{net} dev s{number}")
                server.ip(
                    f"addr add {side.rip(number)}/{net} dev eth0",
                    f"addr add {side.vip}/{bits} dev lo",
                    f"route add default via {towards}",
                )
        for number in SERVERS:  # what comes from the VIP is the servers' answer
            self.director.sysctl(f"net/ipv4/conf/s{number}/accept_local", 1)
        self.genl = Genl(self.director)

    def close(self) -> None:
        """Remove the namespaces."""
        self.genl.close()
        self.network.close()


class Case:
    """One family and method: listeners at both servers."""

    def __init__(self, star: Star, side: Family, method: str) -> None:
        self.star, self.side = star, side
        star.genl.family = 0
        star.genl.do("flush")
        star.genl.do("service-new", address=side.vip, scheduler="rr")
        for number in SERVERS:
            star.genl.do("server-new", service=side.vip, address=side.rip(number), method=method)
        self.stack = contextlib.ExitStack()
        self.listeners = {n: self._listen(ns, n, method) for n, ns in star.servers.items()}

    def _socket(self, ns: Ns) -> socket.socket:
        kind = socket.AF_INET if self.side.version == 4 else socket.AF_INET6
        with ns.entered():
            made = self.stack.enter_context(socket.socket(kind, socket.SOCK_STREAM))
        made.settimeout(10)
        return made

    def _listen(self, ns: Ns, number: int, method: str) -> socket.socket:
        listener = self._socket(ns)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.side.vip if method == "dr" else self.side.rip(number), PORT))
        listener.listen()
        return listener

    def connect(self, client: int = 1) -> tuple[socket.socket, int, socket.socket]:
        """A connection of a client: its end, the number of its server, the server's end."""
        near = self._socket(self.star.client)
        near.bind((self.side.clients.format(client), 0))
        near.connect((self.side.vip, PORT))
        peer = near.getsockname()[:2]
        for number, listener in self.listeners.items():
            listener.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                far, source = listener.accept()
                self.stack.enter_context(far)
                far.settimeout(10)
                assert source[:2] == peer, "ports stay as they are"
                return near, number, far
        raise AssertionError("no server has accepted")

    def entry(self, near: socket.socket) -> dict:  # type: ignore[type-arg]
        """The entry of a connection."""
        address, port = near.getsockname()[:2]
        (found,) = (
            e
            for e in self.star.genl.dump("entry-get")
            if (e["protocol"], e["client"], e["client-port"]) == (6, address, port)
        )
        return found


@pytest.fixture(scope="module")
def _star() -> Iterator[Star]:
    module.load()
    star = Star()
    yield star
    star.close()


@pytest.fixture(params=["dr", "nat"])
def case(_star: Star, side: Family, request: pytest.FixtureRequest) -> Iterator[Case]:
    """A service with two servers."""
    module.load()
    made = Case(_star, side, request.param)
    with made.stack:
        yield made


def carries(one: socket.socket, other: socket.socket, data: bytes) -> None:
    """What one end sends, the other gets as it was."""
    one.sendall(data)
    got = b""
    while len(got) < len(data):
        got += other.recv(1 << 16)
    assert got == data


def exchange(near: socket.socket, far: socket.socket, ispi: int, rspi: int) -> None:
    """IKE_SA_INIT and IKE_AUTH."""
    carries(near, far, PREFIX)
    carries(near, far, framed(NON_ESP_MARKER + ike(ispi)))
    carries(far, near, framed(NON_ESP_MARKER + ike(ispi, rspi, flags=0x20)))
    carries(near, far, framed(NON_ESP_MARKER + ike(ispi, rspi, IKE_AUTH)))


def test_a_connection_is_established_by_ike(case: Case) -> None:
    near, number, far = case.connect()
    entry = case.entry(near)
    assert (entry["state"], entry["server"]) == ("initial", case.side.rip(number))
    exchange(near, far, 0x1234, 0x5678)
    entry = case.entry(near)
    assert (entry["state"], entry["initiator-spi"], entry["responder-spi"]) == (
        "established",
        0x1234,
        0x5678,
    )
    assert 800_000 < entry["expires"] <= 900_000, "tcp_timeout"


def test_streams_arrive_as_they_were(case: Case) -> None:
    near, _, far = case.connect()
    exchange(near, far, 0x1234, 0x5678)
    stream = b"".join(framed(esp(0xC0000001, n, bytes(1200))) for n in range(64))
    before = case.star.genl.counters()["tcp"]
    carries(near, far, stream)
    carries(far, near, stream)
    assert case.star.genl.counters()["tcp"] > before


def test_connections_of_a_client_stay_together(case: Case) -> None:
    for client in (1, 2, 3, 4):
        near, home, far = case.connect(client)
        exchange(near, far, 0x1000 + client, 0x2000 + client)
        assert {case.connect(client)[1] for _ in range(3)} == {home}


def test_clients_spread(case: Case) -> None:
    assert {case.connect(client)[1] for client in (1, 2)} == set(SERVERS)


def test_they_go_where_udp_went(case: Case) -> None:
    """A client that changes over to TCP, since UDP does not get through any more."""
    side, star = case.side, case.star
    kind = socket.AF_INET if side.version == 4 else socket.AF_INET6
    for number in (1, 2, 3, 4):
        address = side.clients.format(number)
        with star.client.entered():
            udp = socket.socket(kind, socket.SOCK_DGRAM)
        with udp:
            udp.bind((address, 500))
            udp.sendto(ike(0x9000 + number), (side.vip, 500))
        wait_until(
            lambda wanted=address: wanted in {e["client"] for e in star.genl.dump("entry-get")},
            5,
            "the entry of UDP",
        )
        (home,) = (e["server"] for e in star.genl.dump("entry-get") if e["client"] == address)
        for _ in range(2):
            assert side.rip(case.connect(number)[1]) == home


def test_without_entry_a_segment_is_reset(case: Case) -> None:
    """The client learns at once that it must connect anew."""
    near, _, far = case.connect()
    exchange(near, far, 0x1234, 0x5678)
    before = case.star.genl.counters()["drop-tcp-no-entry"]
    case.star.genl.do("entry-flush")
    near.send(framed(esp(0xC0000001)))
    with pytest.raises(ConnectionResetError):
        near.recv(1)
    assert case.star.genl.counters()["drop-tcp-no-entry"] > before
    near, _, far = case.connect()
    exchange(near, far, 0x1234, 0x5678)


def test_whoever_only_begins_does_not_stay(case: Case) -> None:
    case.star.director.sysctl("net/ipvs_ipsec/isakmp_initial_timeout", SHORT)
    case.connect()
    count = case.star.genl
    wait_until(lambda: count.dump("entry-get") == [], 5, "the entry's end")
    case.star.director.sysctl("net/ipvs_ipsec/isakmp_initial_timeout", 10)


def test_a_silent_connection_ends(case: Case) -> None:
    director = case.star.director
    director.sysctl("net/ipvs_ipsec/tcp_timeout", SHORT)
    near, _, far = case.connect()
    exchange(near, far, 0x1234, 0x5678)
    wait_until(lambda: case.star.genl.dump("entry-get") == [], 5, "the entry's end")
    director.sysctl("net/ipvs_ipsec/tcp_timeout", 900)


def test_another_responder_spi_than_the_replys_is_dropped(case: Case) -> None:
    near, _, far = case.connect()
    carries(near, far, PREFIX)
    carries(near, far, framed(NON_ESP_MARKER + ike(1)))
    carries(far, near, framed(NON_ESP_MARKER + ike(1, 2, flags=0x20)))
    before = case.star.genl.counters()["drop-ike-responder-spi"]
    near.send(framed(NON_ESP_MARKER + ike(1, 3, IKE_AUTH)))
    wait_until(lambda: case.star.genl.counters()["drop-ike-responder-spi"] > before, 5, "the drop")
    assert case.entry(near)["state"] == "initial"
