# SPDX-License-Identifier: GPL-2.0
"""The topology of the tunnels: clients, a router, a director, gateways.

        c1 203.0.113.1   c2 .2   ...
              |            |
        +-----+------------+------------ wan, 203.0.113.254 ----+
        |                      router                           |
        +-----+------------+------------ lan, 10.0.0.254 -------+
              |            |            |
           director       gw1          gw2  ...
           10.0.0.1     10.0.0.11    10.0.0.12
           VIP on lo     VIP on lo, arp_ignore=1, arp_announce=2
                         10.9.0.1 on lo: the net behind the tunnels
                         gives clients 10.9.1.x    10.9.2.x

The router sends the VIP to the director; what a gateway answers goes straight
to the router. Each gateway counts what reaches it, by kind and client. If it is
asked for, there is a second director, 10.0.0.2; or the gateways' links end in a
bridge of the director, and what they answer passes that.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kt.net import Network, Ns, Process
from kt.strongswan import VIP_ONLY, Charon, client_conf, gateway_conf

VIP = "198.51.100.1"
INSIDE = "10.9.0.1"

# The addresses are there beforehand: an element made by a packet needs per-CPU memory at once, and
# where there is none just then the packet goes uncounted.
COUNTING = """
table ip count {{
  set by_ike {{ type ipv4_addr; counter; elements = {{ {clients} }} }}
  set by_esp {{ type ipv4_addr; counter; elements = {{ {clients} }} }}
  set by_ah {{ type ipv4_addr; counter; elements = {{ {clients} }} }}
  chain in {{
    type filter hook prerouting priority -400;
    ip daddr {{ {vip}, {rip} }} udp dport {{ 500, 4500 }} ip saddr @by_ike
    ip daddr {{ {vip}, {rip} }} ip protocol esp ip saddr @by_esp
    ip daddr {{ {vip}, {rip} }} ip protocol ah ip saddr @by_ah
  }}
}}
"""
CLIENTS_MAX = 32
ROUTER = "10.0.0.254"


def client_address(number: int) -> str:
    """Address of a client, numbered from 1."""
    return f"203.0.113.{number}"


def director_address(number: int) -> str:
    """Address of a director, numbered from 1."""
    return f"10.0.0.{number}"


def gateway_address(number: int) -> str:
    """Address of a gateway, numbered from 1."""
    return f"10.0.0.{10 + number}"


def on_wan(ns: Ns, address: str) -> None:
    """An address on the WAN in place of any other, and the way out."""
    ns.ip(
        "addr flush dev wan scope global",
        f"addr add {address}/24 dev wan",
        "route add default via 203.0.113.254",
    )


class Gateway:
    """A real server: its namespace, its daemon, what reached it."""

    def __init__(self, network: Network, number: int) -> None:
        self.name = f"gw{number}"
        self.number = number
        self.address = gateway_address(number)
        self.pool = f"10.9.{number}.0/24"
        self.ns = network.ns(self.name)
        self.charon: Charon

    def setup(self) -> None:
        """Addresses, silence about the VIP on the LAN, counters."""
        self.ns.sysctl("net/ipv4/conf/all/arp_ignore", 1)
        self.ns.sysctl("net/ipv4/conf/all/arp_announce", 2)
        self.ns.ip(
            f"addr add {VIP}/32 dev lo",
            f"addr add {INSIDE}/32 dev lo",
            f"addr add {self.address}/24 dev lan",
            f"route add default via {ROUTER}",
        )
        clients = ", ".join(client_address(n + 1) for n in range(CLIENTS_MAX))
        rules = COUNTING.format(vip=VIP, rip=self.address, clients=clients)
        self.ns.run("nft", "-f", "-", input=rules)

    def default_by(self, router: str) -> None:
        """Another way out."""
        self.ns.ip(f"route replace default via {router}")

    def counts(self) -> dict[str, dict[str, int]]:
        """Packets that reached the gateway: kind, then client address."""
        listed = json.loads(self.ns.run("nft", "-j", "list", "ruleset").stdout)["nftables"]
        return {
            item["set"]["name"].removeprefix("by_"): {
                element["elem"]["val"]: element["elem"]["counter"]["packets"]
                for element in item["set"]["elem"]
                if element["elem"]["counter"]["packets"]
            }
            for item in listed
            if "set" in item
        }

    def esp(self) -> dict[str, int]:
        """ESP packets that reached the gateway, by client address."""
        return self.counts()["esp"]


class Client:
    """An initiator: its namespace and its daemon."""

    def __init__(self, network: Network, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.ns = network.ns(self.name)
        self.charon: Charon

    def ping(self, *args: Any, **more: Any) -> int:
        """Ping the inside of the tunnel; the number of answers missing."""
        return self.missing(self.pinging(*args, **more))

    def pinging(
        self, count: int = 5, interval: float = 0.02, address: str = INSIDE, cpu: int | None = None
    ) -> Process:
        """The same side by side with other things; on one processor if that is told."""
        words = ["ping", "-q", "-n", "-c", str(count), "-i", str(interval), "-W", "2", address]
        if cpu is not None:
            words[:0] = ["taskset", "-c", str(cpu)]
        return self.ns.start(*words, stdout=subprocess.PIPE)

    def missing(self, pinging: Process) -> int:
        """When it has come to its end: the number of answers missing."""
        told = self.ns.finish(pinging)
        (line,) = [line for line in told.splitlines() if "packets transmitted" in line]
        sent, answered = (int(part.split()[0]) for part in line.split(",")[:2])
        return sent - answered

    def settle(self) -> None:
        """The address that is its own."""
        on_wan(self.ns, self.address)

    def gateway_number(self) -> int:
        """Which gateway it is at, told by the inside address it was given."""
        (address,) = self.charon.inside_addresses()
        return int(address.split(".")[2])


class Lab:
    """Everything drawn at the head of this file. No daemon runs yet."""

    def __init__(
        self,
        folder: Path,
        clients: int = 2,
        gateways: int = 2,
        directors: int = 1,
        bridged: bool = False,
        settings: Callable[[int], str] = lambda _: VIP_ONLY,
        prefix: str = "lab-",
    ) -> None:
        """`settings` tells a gateway's daemon, by its number, what its strongswan.conf has."""
        self.network = Network(prefix)
        try:
            self._build(clients, gateways, directors, bridged)
            self._daemons(folder, settings)
        except BaseException:
            self.network.close()
            raise

    def _build(self, clients: int, gateways: int, directors: int, bridged: bool) -> None:
        network = self.network
        self.router = network.ns("router")
        names = ["director", "director2"][:directors]
        self.directors = [network.ns(name) for name in names]
        self.director = self.directors[0]
        self.clients = [Client(network, f"c{n}", client_address(n)) for n in range(1, clients + 1)]
        self.gateways = [Gateway(network, n + 1) for n in range(gateways)]

        network.bridge(self.router, "wan", "203.0.113.254/24")
        network.bridge(self.router, "lan", "10.0.0.254/24")
        self.router.sysctl("net/ipv4/ip_forward", 1)

        for number, (name, director) in enumerate(zip(names, self.directors, strict=True), 1):
            if bridged:
                network.bridge(director, "lan")
                self._attach(director, "uplink", self.router, "lan", name)
                director.ip("link set uplink master lan")
            else:
                self._attach(director, "lan", self.router, "lan", name)
            director.ip(
                f"addr add {director_address(number)}/24 dev lan",
                f"addr add {VIP}/32 dev lo",
                f"route add default via {ROUTER}",
            )
        self.send_by(1)

        for gateway in self.gateways:
            switch = self.director if bridged else self.router
            self._attach(gateway.ns, "lan", switch, "lan", gateway.name)
            gateway.setup()
        for client in self.clients:
            self._attach(client.ns, "wan", self.router, "wan", client.name)
            client.settle()

    def _daemons(self, folder: Path, settings: Callable[[int], str]) -> None:
        for gateway in self.gateways:
            conf = gateway_conf(VIP, f"{INSIDE}/32", gateway.pool, mobike=True)
            gateway.charon = Charon(gateway.ns, folder, conf, settings(gateway.number))
        for client in self.clients:
            conf = client_conf(client.address, VIP, client.name, f"{INSIDE}/32")
            client.charon = Charon(client.ns, folder, conf)

    def forwards(self, director: Ns) -> None:
        """A director that lets through what gateways answer, out on the link it came by."""
        director.sysctl("net/ipv4/ip_forward", 1)
        for device in ("all", "lan"):
            director.sysctl(f"net/ipv4/conf/{device}/send_redirects", 0)

    def send_by(self, number: int) -> None:
        """The router sends the VIP's packets to a director, numbered from 1."""
        self.router.ip(f"route replace {VIP} via {director_address(number)}")

    def _attach(self, ns: Ns, device: str, switch: Ns, bridge: str, port: str) -> None:
        """One end of a cable in a bridge of `switch`, the other in `ns`."""
        self.network.link(ns, device, switch, port)
        switch.ip(f"link set {port} master {bridge}")

    @property
    def daemons(self) -> list[Charon]:
        """Every IKE daemon, gateways first."""
        return [peer.charon for peer in (*self.gateways, *self.clients)]

    def esp_by_gateway(self) -> dict[str, dict[str, int]]:
        """ESP packets per gateway and client name."""
        names = {client.address: client.name for client in self.clients}
        return {
            gateway.name: {names.get(a, a): n for a, n in sorted(gateway.esp().items())}
            for gateway in self.gateways
        }

    def close(self) -> None:
        """End the daemons and remove the namespaces."""
        self.network.close()

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
