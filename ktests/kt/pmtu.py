# SPDX-License-Identifier: GPL-2.0
"""The topology of path MTU discovery: a narrow hop before the director, and narrow ones behind.

                      before                     VIP on lo
    client ---- r1 ============ r2 ------------- director ---- mid
    .1.1      .1.254          /     .3.254   .3.1     |         |
                             /                        | dr      | beyond
                            /             10.4.0.1    |         |
                           /               10.4.0.11  |         | 10.5.0.11
                          +--------------------------- gateway -+
                           back, 10.6.0.11             VIP and 10.9.0.1 on lo

    203.0.113.0/24 client - r1      10.2.0.0/24 before     10.3.0.0/24 r2 - director
    10.4.0.0/24 dr                  10.7.0.0/24 director - mid
    10.5.0.0/24 beyond              10.6.0.0/24 back
    IPv6: fd00:N::/64 for 10.N.0.0/24, 2001:db8:c::/64 for the client

With dr the director has a link to the gateway, else a router is between them. A
gateway answers by `back`, with nat by `beyond` and the director. A hop is as
narrow as `narrow` makes it.
"""

from __future__ import annotations

from pathlib import Path

from kt.genl import Genl
from kt.matrix import FORMS, GUE_PORT, INSIDE, MODULES, VIPS, Client, serve_iperf
from kt.net import Network, Ns, sh
from kt.strongswan import Charon, gateway_conf, start_all

GATEWAY = 11
NETS = {"before": 2, "lan": 3, "dr": 4, "beyond": 5, "back": 6, "mid": 7}


def address(net: str, host: int, family: int) -> str:
    """A host's address in one of the nets."""
    number = NETS[net]
    return f"10.{number}.0.{host}" if family == 4 else f"fd00:{number}::{host}"


class PmtuLab:
    """Everything drawn at the head of this file, the daemons running."""

    def __init__(self, folder: Path) -> None:
        sh("modprobe", "-a", *MODULES)
        self.network = Network("pm-")
        try:
            self._build()
            self._serve(folder)
        except BaseException:
            self.network.close()
            raise

    def _build(self) -> None:
        network = self.network
        self.client = Client(network, "esp")
        self.r1, self.r2, self.director, self.mid, self.gateway = (
            network.ns(name) for name in ("r1", "r2", "director", "mid", "gateway")
        )
        for ns in (self.r1, self.r2, self.director, self.mid):
            ns.sysctl("net/ipv4/ip_forward", 1)
            ns.sysctl("net/ipv6/conf/all/forwarding", 1)
        self._link("before", self.r1, 1, self.r2, 2)
        self._link("lan", self.r2, 254, self.director, 1)
        self._link("mid", self.director, 1, self.mid, 2)
        self._link("dr", self.director, 1, self.gateway, GATEWAY)
        self._link("beyond", self.mid, 254, self.gateway, GATEWAY)
        self._link("back", self.r2, 254, self.gateway, GATEWAY)

        network.link(self.client.ns, "wan", self.r1, "wan")
        self.r1.ip("addr add 203.0.113.254/24 dev wan", "addr add 2001:db8:c::fe/64 dev wan nodad")
        self.client.setup("wan", {4: "203.0.113.254", 6: "2001:db8:c::fe"})
        for family, vip in VIPS.items():
            clients = {4: "203.0.113.0/24", 6: "2001:db8:c::/64"}[family]
            everything = {4: "0.0.0.0/0", 6: "::/0"}[family]
            via = {
                self.r1: [(everything, address("before", 2, family))],
                self.r2: [
                    (clients, address("before", 1, family)),
                    (vip, address("lan", 1, family)),
                ],
                self.mid: [(everything, address("mid", 1, family))],
                self.director: [
                    (everything, address("lan", 254, family)),
                    (net("beyond", family), address("mid", 2, family)),
                ],
                self.gateway: [
                    (net("mid", family), address("beyond", 254, family)),
                ],
            }
            for ns, routes in via.items():
                ns.ip(*(f"route add {to} via {router}" for to, router in routes))
            for ns in (self.director, self.gateway):
                ns.ip(f"addr add {vip}{'/128 nodad' if family == 6 else '/32'} dev lo")
        self._tunnels()

    def _link(self, name: str, one: Ns, one_host: int, other: Ns, other_host: int) -> None:
        """A net with two hosts."""
        self.network.link(one, name, other, name)
        for ns, host in ((one, one_host), (other, other_host)):
            ns.ip(
                f"addr add {address(name, host, 4)}/24 dev {name}",
                f"addr add {address(name, host, 6)}/64 dev {name} nodad",
            )

    def _tunnels(self) -> None:
        ends = {f: f"local {address('beyond', GATEWAY, f)} remote " for f in (4, 6)}
        for family in ends:
            ends[family] += address("mid", 1, family)
        self.gateway.ip(
            f"link add ipip1 type ipip {ends[4]}",
            f"link add gre1 type gre {ends[4]}",
            f"link add six1 type ip6tnl mode any {ends[6]}",
            f"link add gre61 type ip6gre {ends[6]}",
            *(f"link set {name} up" for name in ("ipip1", "gre1", "six1", "gre61")),
            f"fou add port {GUE_PORT} gue",
        )
        self.gateway.run("ip", "-6", "fou", "add", "port", str(GUE_PORT), "gue")

    def _serve(self, folder: Path) -> None:
        self.gateway.ip(f"addr add {INSIDE}/32 dev lo")
        serve_iperf(self.gateway, len(FORMS))
        self.gateway_charon = Charon(
            self.gateway, folder, gateway_conf("%any", f"{INSIDE}/32", "10.9.1.0/24")
        )
        self.client.charon = Charon(self.client.ns, folder, self.client.conf())
        start_all([self.gateway_charon, self.client.charon])

    def configure(self, method: str, family: int, shim: str = "") -> None:
        """One service with one server, and the server's way out; nothing known of any path."""
        server = address("dr" if method == "dr" else "beyond", GATEWAY, family)
        more = {"tunnel_type": shim} if shim else {}
        with Genl(self.director) as genl:
            genl.do("flush")
            genl.do("service-new", address=VIPS[family], scheduler="rr")
            genl.do("server-new", service=VIPS[family], address=server, method=method, **more)
        out = "beyond" if method == "nat" else "back"
        self.gateway.ip(f"route replace default via {address(out, 254, family)}")

    def narrow(self, hop: str, mtu: int) -> None:
        """This hop, of `before`, `beyond` and `dr`, has an MTU of its own; the others have 1500."""
        ends = {
            "before": (self.r1, self.r2),
            "beyond": (self.mid, self.gateway),
            "dr": (self.director, self.gateway),
        }
        for name, both in ends.items():
            for ns in both:
                ns.ip(f"link set {name} mtu {mtu if name == hop else 1500}")
        for ns in self.network.namespaces.values():
            for family in ("-4", "-6"):
                ns.run("ip", family, "route", "flush", "cache")

    def close(self) -> None:
        """End the daemons and remove the namespaces."""
        self.network.close()

    def __enter__(self) -> PmtuLab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def net(name: str, family: int) -> str:
    """A net's prefix."""
    return address(name, 0, 4) + "/24" if family == 4 else f"fd00:{NETS[name]}::/64"
