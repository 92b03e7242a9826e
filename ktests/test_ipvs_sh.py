# SPDX-License-Identifier: GPL-2.0
"""What the kernel's own selftest of ip_vs (net/netfilter/ipvs.sh) does, inside an IPsec tunnel.

      client                            director
    10.0.0.2 on a bridge -------------- 10.0.0.1    VIP on lo
                     |                  172.16.0.1
                     |                      |
                     |                  172.16.0.2
                     +----------------- 10.0.0.3    server: charon, 10.9.0.1 on lo
                        not with nat                VIP on lo, not with nat

The client brings up a tunnel to the VIP and sends the server some bytes through
it, over TCP; they arrive as they were. With dr and tun the server answers over
its own link to the client, with nat it has none. With tun the director does
not forward (ip_forward is 0).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kt import module
from kt.net import Network, Ns, sh
from kt.strongswan import Charon, client_conf, gateway_conf, start_all
from kt.tool import Tool
from kt.wait import PATIENCE, wait_until

VIP, RIP = "207.175.44.110", "172.16.0.2"
INSIDE, PORT = "10.9.0.1", 8080


class ThreeHosts:
    """The topology, made anew for each method."""

    def __init__(self, folder: Path) -> None:
        self.network = Network("vs-")
        try:
            self._build(folder)
        except BaseException:
            self.network.close()
            raise

    def _build(self, folder: Path) -> None:
        network = self.network
        self.client, self.director, self.server = (
            network.ns(name) for name in ("client", "director", "server")
        )
        network.bridge(self.client, "br0", "10.0.0.2/24")
        network.link(self.director, "out", self.client, "to-director")
        network.link(self.server, "out", self.client, "to-server")
        network.link(self.director, "in", self.server, "in")
        self.client.ip(
            "link set to-director master br0",
            "link set to-server master br0",
            f"route add {VIP} via 10.0.0.1",
        )
        self.director.ip(
            "addr add 10.0.0.1/24 dev out",
            "addr add 172.16.0.1/24 dev in",
            f"addr add {VIP}/32 dev lo",
        )
        self.server.ip(
            "addr add 10.0.0.3/24 dev out",
            f"addr add {RIP}/24 dev in",
            f"addr add {INSIDE}/32 dev lo",
        )
        inside = f"{INSIDE}/32"
        self.responder = Charon(self.server, folder, gateway_conf("%any", inside, "10.9.1.0/24"))
        self.initiator = Charon(self.client, folder, client_conf("10.0.0.2", VIP, "client", inside))
        self.tool = Tool(self.director)

    def silent_vip(self) -> None:
        """The server has the VIP, and tells nobody."""
        self.server.sysctl("net/ipv4/conf/all/arp_ignore", 1)
        self.server.sysctl("net/ipv4/conf/all/arp_announce", 2)
        self.server.ip(f"addr add {VIP}/32 dev lo")

    def connect(self) -> None:
        """The tunnel comes up."""
        start_all([self.responder, self.initiator])
        self.initiator.initiate()
        # charon says so before the route is there.
        routed = ("ip", "route", "get", INSIDE)
        wait_until(lambda: self.client.run(*routed, check=False).returncode == 0, 10, "a route")

    def sent_and_received(self) -> tuple[bytes, bytes]:
        """Bytes that the client sent to the inside, and those that arrived."""
        sent = os.urandom(32)
        listener = _socket(self.server)
        listener.bind((INSIDE, PORT))
        listener.listen()

        def receive() -> bytes:
            connection, _ = listener.accept()
            connection.settimeout(20 * PATIENCE)
            with connection, connection.makefile("rb") as stream:
                return stream.read()

        with listener, ThreadPoolExecutor() as pool:
            received = pool.submit(receive)
            with _socket(self.client) as sender:
                sender.connect((INSIDE, PORT))
                sender.sendall(sent)
            return sent, received.result()


def _socket(ns: Ns) -> socket.socket:
    with ns.entered():
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.settimeout(20 * PATIENCE)
    return made


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[ThreeHosts]:
    """The topology, no daemon running."""
    module.load()
    made = ThreeHosts(tmp_path)
    yield made
    made.network.close()


def works(hosts: ThreeHosts, method: str, *options: str) -> None:
    """A service with one server passes what the client sends."""
    hosts.tool.run("service", "add", VIP, "-s", "rr")
    hosts.tool.run("server", "add", VIP, RIP, "-m", method, *options)
    hosts.connect()
    sent, received = hosts.sent_and_received()
    assert received == sent
    counters = hosts.tool.counters()
    assert counters["esp-in-udp" if method == "nat" else "esp"] > 0
    assert not {k: n for k, n in counters.items() if n and k.startswith("drop-")}
    (entry,) = [e for e in hosts.tool.entries() if e["service_port"] == 4500]
    assert (entry["server"], entry["method"]) == (RIP, method)


def test_dr(hosts: ThreeHosts) -> None:
    hosts.director.sysctl("net/ipv4/ip_forward", 1)
    hosts.silent_vip()
    works(hosts, "dr")


def test_nat(hosts: ThreeHosts) -> None:
    hosts.director.sysctl("net/ipv4/ip_forward", 1)
    hosts.server.ip("link del out", "route add default via 172.16.0.1")
    works(hosts, "nat")


@pytest.mark.parametrize("kind", ["ipip", "gre", "gue"])
def test_tun(hosts: ThreeHosts, kind: str) -> None:
    sh("modprobe", "-a", "ipip", "ip_gre", "fou")
    hosts.director.sysctl("net/ipv4/ip_forward", 0)
    hosts.silent_vip()
    hosts.server.ip(
        f"link add ipip1 type ipip local {RIP} remote 172.16.0.1",
        "link set ipip1 up",
        f"link add gre1 type gre local {RIP} remote 172.16.0.1",
        "link set gre1 up",
        "fou add port 6080 gue",
    )
    hosts.server.sysctl("net/ipv4/conf/ipip1/rp_filter", 0)
    works(hosts, "tun", "--tun-type", kind)
