# SPDX-License-Identifier: GPL-2.0
"""The topology of the scenarios: roads, and a home behind NATs.

                                         192.168.2.1 deep
                                                |
                                               nat2           192.168.2.0/24
        192.168.1.1 h1    192.168.1.2 h2        | .200    crowd .101 to .130
              |                |                |           |
              +-------------- nat1, 192.168.1.254 ----------+
                                |
        c1 203.0.113.1   c2 .2  | .100
              |           |     |
        +-----+-----------+-----+---- wan ----+
        |              router                 |
        +-----+-----------+-----+---- lan ----+
           director      gw1   gw2              all of it: kt/matrix.py

Clients are watched as they send, gateways as they get (kt/watch.py). The router lets no client
reach a gateway past the director, of whose address MOBIKE tells. NATs give every flow another port.
`crowd` is one daemon with thirty addresses: to all beyond nat1, thirty clients.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kt.certificates import Identified, issue, make_key, root
from kt.matrix import INSIDE, VIPS, Cluster, Host, Way, together
from kt.net import Network, Ns
from kt.roads import (
    CROWD,
    INSIDE6,
    INSIDE_OTHER,
    SITE,
    crowd_conns,
    gateway_conns,
    home_conns,
    road_conns,
)
from kt.strongswan import GATEWAY_ID, Charon, start_all
from kt.watch import Watch

PINGS = 5
RSA = 4096  # bits

# One half-open IKE SA is enough for cookies; a crowd behind one address may have many; and who uses
# aggressive mode must say so.
GATEWAY_SETTINGS = """install_routes = no
  cookie_threshold = 1
  block_threshold = 0
  i_dont_care_about_security_and_use_aggressive_mode_psk = yes"""
MAKE_BEFORE_BREAK = "make_before_break = yes"
# It is also the one that gives a gateway up within five seconds.
BREAK_BEFORE_MAKE = "make_before_break = no\n  retransmit_tries = 2\n  retransmit_base = 1"

MASQUERADE = """
destroy table ip nat
table ip nat {{
  chain out {{
    type nat hook postrouting priority srcnat;
    oifname "wan" meta l4proto udp masquerade to :{first}-{last}
  }}
}}
"""
NOT_PAST_THE_DIRECTOR = """
table inet past {
  chain out {
    type filter hook forward priority filter;
    iifname "wan" ip daddr 10.0.0.0/24 drop
    iifname "wan" ip6 daddr fd00::/64 drop
  }
}
"""
HELD_UP = """
table inet held {
  chain out { type filter hook output priority 0; udp dport 4500 drop; }
}
"""


class Nat:
    """A router whose home has private addresses, another port for every flow."""

    def __init__(self, network: Network, name: str, home: str) -> None:
        self.name = name
        self.ns = network.ns(name)
        network.bridge(self.ns, "home", f"{home}.254/24")
        self.ns.sysctl("net/ipv4/ip_forward", 1)
        self.map_to(20000)

    def map_to(self, port: int) -> None:
        """Ports from here on for new mappings."""
        rules = MASQUERADE.format(first=port, last=port + 9999)
        self.ns.run("nft", "-f", "-", input=rules)

    def forget(self) -> None:
        """All mappings, as by a power cut; the next have other ports."""
        self.map_to(30000)
        self.ns.run("conntrack", "-F")


class Client(Host):
    """An initiator with a connection for each scenario."""

    def loses(self, count: int = PINGS, *options: object, to: str = INSIDE) -> int:
        """Pings without an answer."""
        return count - self.ping(count, *options, to=to)[0]

    def up(self, name: str, child: str = "net") -> None:
        """A tunnel comes up."""
        self.charon.initiate(name=name, child=child)

    def is_routed(self, to: str) -> bool:
        """Whether its way to a net is the tunnel: charon says that one is up before it is used."""
        inside = [a for sa in self.charon.list_sas() for a in sa.get("local-vips", [])]
        route = self.ns.run("ip", "route", "get", to, check=False).stdout
        return "table 220" in route and (not inside or any(f"src {a} " in route for a in inside))

    def sa(self) -> dict[str, Any]:
        """Its only IKE SA."""
        (found,) = self.charon.list_sas()
        return found

    @contextlib.contextmanager
    def held_up(self) -> Iterator[None]:
        """What it sends to port 4500 goes nowhere."""
        self.ns.run("nft", "-f", "-", input=HELD_UP)
        try:
            yield
        finally:
            self.ns.run("nft", "delete", "table", "inet", "held")


class ScenarioLab(Cluster):
    """Everything drawn at the head of this file, the daemons running."""

    way: Way

    def __init__(self, folder: Path) -> None:
        super().__init__("sc-")
        self.watches: dict[str, Watch] = {}
        try:
            self._populate(folder)
            peers = (*self.gateways, *self.clients)
            start_all(peer.charon for peer in peers)
            # Not before: what daemons and the kernel say as they start is of no interest.
            for gateway in self.gateways:
                self.watches[gateway.name] = Watch(gateway.ns)
            for client in self.clients:
                self.watches[client.name] = Watch(client.ns, VIPS.values())
        except BaseException:
            self.close()
            raise

    def _populate(self, folder: Path) -> None:
        self.nat1, self.nat2 = (Nat(self.network, f"nat{n}", f"192.168.{n}") for n in (1, 2))
        self.c1, self.c2 = (self._client(f"c{n}", self.router, "203.0.113", n) for n in (1, 2))
        self.h1, self.h2 = (self._client(f"h{n}", self.nat1.ns, "192.168.1", n) for n in (1, 2))
        self.deep = self._client("deep", self.nat2.ns, "192.168.2", 1)
        self.crowd = self._client("crowd", self.nat1.ns, "192.168.1", CROWD[0])
        self.clients = [self.c1, self.c2, self.h1, self.h2, self.deep, self.crowd]
        self.router.run("nft", "-f", "-", input=NOT_PAST_THE_DIRECTOR)
        self._attach_nat(self.nat1, self.router, "wan", "203.0.113.100", "203.0.113.254")
        self._attach_nat(self.nat2, self.nat1.ns, "home", "192.168.1.200", "192.168.1.254")
        self.crowd.ns.ip(*(f"addr add 192.168.1.{host}/24 dev wan" for host in CROWD[1:]))
        self.c1.ns.ip(f"addr add {SITE}/32 dev lo")
        # An address that goes must not take the others with it.
        self.c1.ns.sysctl("net/ipv4/conf/wan/promote_secondaries", 1)

        for client in self.clients:
            settings = BREAK_BEFORE_MAKE if client is self.c2 else MAKE_BEFORE_BREAK
            if client is self.crowd:
                conf = crowd_conns()
            else:
                conf = (road_conns if client in (self.c1, self.c2) else home_conns)(client)
            client.charon = Charon(client.ns, folder, conf, settings)
        for gateway in self.gateways:
            gateway.ns.ip(
                f"addr add {INSIDE_OTHER}/32 dev lo", f"addr add {INSIDE6}/128 dev lo nodad"
            )
            conf = gateway_conns(gateway, self.c1)
            gateway.charon = Charon(gateway.ns, folder, conf, GATEWAY_SETTINGS)
        self._certify(folder)

    def _client(self, name: str, to: Ns, net: str, number: int) -> Client:
        """A client on the bridge `wan` of the router, or `home` of a NAT."""
        bridge, net6 = ("wan", "2001:db8:c::") if to is self.router else ("home", "fd01::")
        client = Client(self.network, name, {4: f"{net}.{number}", 6: f"{net6}{number}"})
        self.network.link(client.ns, "wan", to, name)
        to.ip(f"link set {name} master {bridge}")
        client.setup("wan", {4: f"{net}.254", 6: f"{net6}fe"})
        return client

    def _attach_nat(self, nat: Nat, to: Ns, bridge: str, address: str, router: str) -> None:
        self.network.link(nat.ns, "wan", to, nat.name)
        to.ip(f"link set {nat.name} master {bridge}")
        nat.ns.ip(f"addr add {address}/24 dev wan", f"route add default via {router}")

    def _certify(self, folder: Path) -> None:
        """Small certificates, and long chains of RSA; those of both gateways are the same."""
        keys = folder / "keys"
        keys.mkdir()
        sizes = dict.fromkeys(["root", "gateway", "c1", "c2"], 0)
        # One key for all ends of the long chains: to make one takes seconds here.
        sizes |= dict.fromkeys(["clients", "gateways", "ends"], RSA)
        together(lambda name: make_key(keys / f"{name}.key", sizes[name]), list(sizes))
        ca = root(keys / "root.key", "root")

        def between(name: str) -> Identified:
            """An authority that the other end does not know: its certificate must be sent."""
            return issue(ca, keys / f"{name}.key", keys / f"{name}.pem", name, "--ca")

        def certify(by: Identified, name: str, small_id: str, large_id: str, *peers: Host) -> None:
            small = issue(ca, keys / f"{name}.key", keys / f"{name}.pem", small_id)
            large = issue(by, keys / "ends.key", keys / f"{name}-large.pem", large_id)
            for peer in peers:
                peer.charon.give("x509ca", ca.certificate, by.certificate)
                peer.charon.give("x509", small.certificate, large.certificate)
                peer.charon.give("private", small.key, large.key)

        certify(between("gateways"), "gateway", GATEWAY_ID, GATEWAY_ID, *self.gateways)
        clients = between("clients")
        for client in (self.c1, self.c2):
            name = client.name
            certify(clients, name, f"{name}.cert.example", f"{name}.large.example", client)

    def use(self, way: Way) -> None:
        """From here on this forwarding method."""
        self.way = way
        self.configure(way)

    def rest(self) -> None:
        """No tunnel is left."""
        together(lambda client: client.charon.terminate_all(), self.clients)
        together(lambda gateway: gateway.charon.terminate_all(), self.gateways)

    def close(self) -> None:
        """End the daemons and remove the namespaces."""
        for watch in self.watches.values():
            watch.close()
        super().close()
