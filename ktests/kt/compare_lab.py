# SPDX-License-Identifier: GPL-2.0
"""The topology of the comparison with ip_vs: that of kt/lab.py, and clients behind a NAT.

                         n1 192.168.1.1   n2 .2
                              |             |
                            home, a NAT: 203.0.113.200
    c1 203.0.113.1   c2 .2    |    stranger 203.0.113.66
        |              |      |        |
        +---------- router ---+--------+------- wan
                      |
        +----------- lan ------+--------+
     director                 gw1      gw2

A client colours what it sends: with a DSCP of its own, which neither the NAT nor
the director alters. By it gateways count, whatever address a packet comes from.
"""

from __future__ import annotations

import socket
from pathlib import Path

from kt.lab import INSIDE, VIP, Client, Lab, on_wan
from kt.matrix import reset_counters, together
from kt.packets import IKE_PORT, ike
from kt.strongswan import gateway_conf
from kt.wait import wait_until

NATTED = 2
HOME, STRANGER = "203.0.113.200", "203.0.113.66"
KINDS = ("ike", "esp")

COLOURING = """
table ip colour {{
  chain out {{
    type filter hook postrouting priority 300;
    ip dscp set {colour}
  }}
}}
"""

COUNTED = """
    ip dscp {colour} ip protocol esp counter name by_esp_{name}
    ip dscp {colour} udp dport 4500 @th,64,32 != 0 counter name by_esp_{name}
    ip dscp {colour} udp dport 4500 @th,64,32 == 0 counter name by_ike_{name}
    ip dscp {colour} udp dport 500 counter name by_ike_{name}
"""

MASQUERADE = """
destroy table ip nat
table ip nat {{
  chain out {{
    type nat hook postrouting priority srcnat;
    oifname wan ip protocol udp masquerade to :{first}-{last}
  }}
}}
"""
PORTS = 1000  # of one mapping


class CompareLab(Lab):
    """Everything drawn above; clients and gateways know their part when they are told."""

    def __init__(self, folder: Path, prefix: str) -> None:
        super().__init__(folder, clients=2, prefix=prefix)

    def _build(self, clients: int, gateways: int, directors: int, bridged: bool) -> None:
        super()._build(clients, gateways, directors, bridged)
        self.forwards(self.director)
        self.stranger = self.network.ns("stranger")
        self._attach(self.stranger, "wan", self.router, "wan", "stranger")
        on_wan(self.stranger, STRANGER)
        self._build_home()
        for colour, client in enumerate(self.clients, 1):
            client.ns.run("nft", "-f", "-", input=COLOURING.format(colour=colour))
        for gateway in self.gateways:
            gateway.ns.run("nft", "-f", "-", input=self._counting())
        self._confs: dict[str, str] = {}

    def _build_home(self) -> None:
        """The NAT, and the clients behind it."""
        self.home = self.network.ns("home")
        self._attach(self.home, "wan", self.router, "wan", "home")
        on_wan(self.home, HOME)
        self.network.bridge(self.home, "rooms", "192.168.1.254/24")
        self.home.sysctl("net/ipv4/ip_forward", 1)
        self._first_port = 20_000
        self.remap()
        for number in range(1, NATTED + 1):
            client = Natted(self.network, f"n{number}", f"192.168.1.{number}")
            self.network.link(client.ns, "wan", self.home, client.name)
            self.home.ip(f"link set {client.name} master rooms")
            client.settle()
            self.clients.append(client)

    def _counting(self) -> str:
        colours = list(enumerate((client.name for client in self.clients), 1))
        counters = [f"counter by_{kind}_{name} {{ }}" for _, name in colours for kind in KINDS]
        rules = [COUNTED.format(colour=colour, name=name) for colour, name in colours]
        head = "chain in { type filter hook prerouting priority -400;"
        return "\n".join(["table ip coloured {", *counters, head, *rules, "}", "}"])

    def client(self, name: str) -> Client:
        """The client of this name."""
        return next(client for client in self.clients if client.name == name)

    def remap(self) -> range:
        """The NAT forgets every mapping, as one that was switched off; its ports from now on."""
        first = self._first_port
        self._first_port += PORTS
        rules = MASQUERADE.format(first=first, last=first + PORTS - 1)
        self.home.run("nft", "-f", "-", input=rules)
        self.home.run("conntrack", "-F", check=False)
        return range(first, first + PORTS)

    def one_stray_packet(self) -> None:
        """A first message to port 500 of which nothing more is heard."""
        with (
            self.stranger.entered(),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        ):
            sock.sendto(ike(0x5742A1), (VIP, IKE_PORT))

    def answer_by(self, method: str) -> None:
        """The gateways' part in a forwarding method.

        With nat they answer by way of the director, from their own addresses. Their daemons, who
        know the device lo only (VIP_ONLY), find these there.
        """
        nat = method == "nat"
        for gateway in self.gateways:
            gateway.ns.ip(
                f"route replace default via {'10.0.0.1' if nat else '10.0.0.254'}",
                f"addr {'replace' if nat else 'flush to'} {gateway.address}/32 dev lo",
            )

    def listen_to_both(self) -> None:
        """The gateways' daemons answer to the VIP and to their own addresses."""
        for gateway in self.gateways:
            conf = gateway_conf("%any", f"{INSIDE}/32", gateway.pool, mobike=True)
            gateway.charon.reconfigure(conf)

    def configure(self, client: Client, conf: str) -> None:
        """What the client's daemon shall do, if it does not know yet."""
        if self._confs.get(client.name) != conf:
            client.charon.reconfigure(conf)
            self._confs[client.name] = conf

    def hang_up(self, clients: list[Client]) -> None:
        """No tunnel is left, nor half of one; every client is where it belongs."""
        together(lambda client: client.charon.terminate_all(), clients)
        together(lambda gateway: gateway.charon.terminate_all(), self.gateways)
        for client in clients:
            client.settle()

    def reached(self) -> dict[str, dict[str, list[str]]]:
        """By client and kind: the gateways that got something since this was last asked."""
        found = {client.name: {kind: [] for kind in KINDS} for client in self.clients}
        for gateway in self.gateways:
            for counter, packets in reset_counters(gateway.ns).items():
                kind, name = counter.split("_")
                if packets:
                    found[name][kind].append(gateway.name)
        return found


class Natted(Client):
    """A client behind the NAT."""

    def settle(self) -> None:
        """The address it has at home."""
        self.ns.ip(
            f"addr replace {self.address}/24 dev wan",
            "route replace default via 192.168.1.254",
        )


def tunnel_is_usable(client: Client) -> None:
    """Wait for the route through the tunnel: charon says that it is up before that is there."""
    wait_until(
        lambda: "src 10.9." in client.ns.run("ip", "route", "get", INSIDE, check=False).stdout,
        10,
        f"{client.name}: a route through the tunnel",
    )
