# SPDX-License-Identifier: GPL-2.0
"""The topology of the matrix: three clients, each with its own form of IPsec.

       esp .1        udp .2        ah .3        203.0.113.0/24, 2001:db8:c::/64
         |             |             |
   +-----+-------------+-------------+------ wan, .254, ::fe ---+
   |                         router                             |
   +-----+-------------+-------------+------ lan, .254, ::fe ---+
         |             |             |
      director        gw1           gw2         10.0.0.0/24, fd00::/64
      .1, ::1       .11, ::11     .12, ::12
      both VIPs on lo everywhere; 10.9.0.1, the net behind the tunnels, too
                  ipip sit gre ip6tnl ip6gre    a tunnel of each kind from the director,
                  fou: GUE on UDP 6080          and GUE to each of them
      charon        charon        charon        give clients 10.9.3.x, 10.9.1.x, 10.9.2.x

Client esp asks for native ESP, udp for ESP in UDP, ah for AH. Gateways answer
straight to the router, with nat by way of the director. Each gateway counts
what reaches it, by what it is and by what is around it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kt.genl import Genl
from kt.net import Network, Ns, sh
from kt.strongswan import Charon, client_conf, gateway_conf, start_all
from kt.undone import undo_translation

VIPS = {4: "198.51.100.1", 6: "2001:db8:51::1"}
INSIDE = "10.9.0.1"
FORMS = ("esp", "udp", "ah")
MODULES = ("ipip", "sit", "ip_gre", "ip6_tunnel", "ip6_gre", "fou", "fou6", "esp4", "esp6")
GUE_PORT = 6080
IPERF_PORT = 5201
IPERF_BACK = 50  # a server is not ready for the next test as soon as one has ended
IPERF_SILENCE = 86_400_000  # ms, the most that a server accepts

COUNTING = """
table inet count {
  counter by_esp { }
  counter by_udp { }
  counter by_ah { }
  counter by_ipip { }
  counter by_gre { }
  counter by_gue { }
  chain in {
    type filter hook prerouting priority -400;
    meta l4proto 50 counter name by_esp
    meta l4proto 51 counter name by_ah
    udp dport 4500 @th,64,32 != 0 counter name by_udp
    meta l4proto { 4, 41 } counter name by_ipip
    meta l4proto 47 counter name by_gre
    udp dport 6080 counter name by_gue
  }
}
"""


@dataclass(frozen=True)
class Way:
    """A forwarding method, with the families of service and servers."""

    method: str
    vip: int = 4
    rip: int = 4
    shim: str = ""
    undone: bool = False
    """The gateways undo the address translation."""

    @property
    def name(self) -> str:
        """As the rows of the matrix begin."""
        named = self.shim and f"{self.method}-{self.shim}" or self.method
        return named + (" undone" if self.undone else "")

    @property
    def families(self) -> str:
        """What is in what."""
        return f"IPv{self.vip}" + ("" if self.vip == self.rip else f" in IPv{self.rip}")

    def __str__(self) -> str:
        return f"{self.name}-{self.families}".replace(" ", "-")


class Host:
    """A namespace on one of the router's bridges, an address of each family."""

    def __init__(self, network: Network, name: str, addresses: dict[int, str]) -> None:
        self.name = name
        self.addresses = addresses
        self.ns = network.ns(name)
        self.charon: Charon

    def setup(self, device: str, routers: dict[int, str]) -> None:
        """Addresses and default routes."""
        for key in ("all", "default", device):
            self.ns.sysctl(f"net/ipv6/conf/{key}/accept_redirects", 0)
            self.ns.sysctl(f"net/ipv4/conf/{key}/accept_redirects", 0)
            self.ns.sysctl(f"net/ipv4/conf/{key}/send_redirects", 0)
        self.ns.ip(
            f"addr add {self.addresses[4]}/24 dev {device}",
            f"addr add {self.addresses[6]}/64 dev {device} nodad",
        )
        self.default_by(routers)

    def default_by(self, routers: dict[int, str]) -> None:
        """Another way out."""
        self.ns.ip(*(f"route replace default via {address}" for address in routers.values()))

    def ping(self, count: int, *options: object, to: str = INSIDE) -> tuple[int, str]:
        """Pings of the inside that were answered, and what ping said."""
        words = ["ping", "-n", "-c", count, "-i", "0.02", "-W", "2", *options, to]
        done = self.ns.run(*map(str, words), check=False)
        text = done.stdout + done.stderr
        (told,) = [line for line in text.splitlines() if "packets transmitted" in line]
        return int(told.split(",")[1].split()[0]), text


class Server(Host):
    """A host that has the VIPs, a daemon and something to fetch from."""

    def __init__(self, network: Network, name: str, number: int, pool: int) -> None:
        super().__init__(network, name, {4: f"10.0.0.{number}", 6: f"fd00::{number}"})
        self.pool = f"10.9.{pool}.0/24"

    def be_silent(self) -> None:
        """The VIPs, of which the LAN is told nothing."""
        self.ns.sysctl("net/ipv4/conf/all/arp_ignore", 1)
        self.ns.sysctl("net/ipv4/conf/all/arp_announce", 2)
        self.ns.ip(
            f"addr add {VIPS[4]}/32 dev lo",
            f"addr add {VIPS[6]}/128 dev lo nodad",
            f"addr add {INSIDE}/32 dev lo",
        )

    def serve(self, folder: Path) -> None:
        """What the daemon shall do; an iperf3 server a client."""
        self.charon = Charon(self.ns, folder, gateway_conf("%any", f"{INSIDE}/32", self.pool))
        serve_iperf(self.ns, len(FORMS))


def serve_iperf(ns: Ns, clients: int) -> None:
    """Two iperf3 servers a client, one for each direction.

    They take the time since they were started for silence of the client, until the first 128 KiB
    are there; where these take more than a second, two minutes of it would end the transfer.
    """
    for number in range(clients):
        for port in (IPERF_PORT + number, IPERF_PORT + IPERF_BACK + number):
            words = ["-B", INSIDE, "-p", str(port), "--rcv-timeout", str(IPERF_SILENCE)]
            ns.start("iperf3", "-s", *words)


class Gateway(Server):
    """A real server, with the ends of tunnels from the director."""

    def tunnels_from(self, director: Host) -> None:
        """A tunnel of each kind, and GUE to each of them."""
        ends4 = f"local {self.addresses[4]} remote {director.addresses[4]}"
        ends6 = f"local {self.addresses[6]} remote {director.addresses[6]}"
        devices = {
            "ipip1": f"type ipip {ends4}",
            "sit1": f"type sit {ends4}",
            "gre1": f"type gre {ends4}",
            "six1": f"type ip6tnl mode any {ends6}",
            "gre61": f"type ip6gre {ends6}",
        }
        self.ns.ip(
            *(f"link add {name} {kind}" for name, kind in devices.items()),
            *(f"link set {name} up" for name in devices),
            f"fou add port {GUE_PORT} gue",
        )
        self.ns.run("ip", "-6", "fou", "add", "port", str(GUE_PORT), "gue")
        self.ns.run("nft", "-f", "-", input=COUNTING)

    def undo_translation(self, wanted: bool) -> None:
        """Whether the daemon sees the VIP where the director has written the server's address."""
        pairs = [(self.addresses[family], vip) for family, vip in VIPS.items()]
        undo_translation(self.ns, pairs if wanted else [])

    def reached(self) -> dict[str, int]:
        """Packets that reached it since this was last asked."""
        return reset_counters(self.ns)


class Client(Host):
    """An initiator of one form of IPsec."""

    def __init__(self, network: Network, form: str) -> None:
        self.number = FORMS.index(form) + 1
        addresses = {4: f"203.0.113.{self.number}", 6: f"2001:db8:c::{self.number}"}
        super().__init__(network, form, addresses)

    def conf(self) -> str:
        """A connection to the VIP of each family."""
        return "".join(
            client_conf(
                self.addresses[family],
                VIPS[family],
                self.name,
                f"{INSIDE}/32",
                name=f"vpn{family}",
                encap=self.name == "udp",
                ah=self.name == "ah",
            )
            for family in VIPS
        )

    def child(self) -> dict[str, Any]:
        """Its CHILD SA."""
        (ike,) = self.charon.list_sas()
        (child,) = ike["child-sas"].values()
        return child

    def home(self) -> str:
        """Which gateway it is at, told by the inside address it was given."""
        (address,) = self.charon.inside_addresses()
        return address.split(".")[2]

    def transfer(self, amount: str) -> None:
        """Have iperf3 take as many bytes to the inside by TCP, and back."""
        port = IPERF_PORT + self.number - 1
        for to, direction in ((port, []), (port + IPERF_BACK, ["-R"])):
            words = ["iperf3", "-c", INSIDE, "-p", str(to), "-J", "-n", amount, *direction]
            done = self.ns.run(*words, check=False, timeout=20)
            told = json.loads(done.stdout)
            assert "error" not in told, f"{self.name}: {words}: {told['error']}"


class Cluster:
    """Router, director and gateways as drawn at the head of this file, without their daemons."""

    def __init__(self, prefix: str) -> None:
        sh("modprobe", "-a", *MODULES)
        self.network = Network(prefix)
        try:
            self._build()
        except BaseException:
            self.network.close()
            raise

    def _build(self) -> None:
        network = self.network
        self.router = network.ns("router")
        self.director = Server(network, "director", 1, pool=3)
        self.gateways = [Gateway(network, f"gw{n}", 10 + n, pool=n) for n in (1, 2)]
        self.servers = [self.director, *self.gateways]
        self.lan_routers = {4: "10.0.0.254", 6: "fd00::fe"}

        network.bridge(self.router, "wan", "203.0.113.254/24", "2001:db8:c::fe/64 nodad")
        network.bridge(self.router, "lan", "10.0.0.254/24", "fd00::fe/64 nodad")
        for ns in (self.router, self.director.ns):
            ns.sysctl("net/ipv4/ip_forward", 1)
            ns.sysctl("net/ipv6/conf/all/forwarding", 1)

        for server in self.servers:
            self.attach(server.ns, "lan", server.name)
            server.setup("lan", self.lan_routers)
            server.be_silent()
        for gateway in self.gateways:
            gateway.tunnels_from(self.director)
        for family, vip in VIPS.items():
            self.router.ip(f"route add {vip} via {self.director.addresses[family]}")

    def attach(self, ns: Ns, side: str, port: str) -> None:
        """One end of a cable in the router's bridge, the other in `ns`."""
        self.network.link(ns, side, self.router, port)
        self.router.ip(f"link set {port} master {side}")

    def offer(self, way: Way, scheduler: str = "rr", weights: tuple[int, ...] = (1, 1)) -> None:
        """One service with its servers, and no entry."""
        servers = [self.director] if way.method == "local" else self.gateways
        more = {"tunnel_type": way.shim} if way.shim else {}
        with Genl(self.director.ns) as genl:
            genl.do("flush")
            genl.do("service-new", address=VIPS[way.vip], scheduler=scheduler)
            for server, weight in zip(servers, weights, strict=False):
                genl.do(
                    "server-new",
                    service=VIPS[way.vip],
                    address=server.addresses[way.rip],
                    method=way.method,
                    weight=weight,
                    **more,
                )

    def configure(self, way: Way) -> None:
        """The service, and the gateways' part in it."""
        self.offer(way)
        routers = self.director.addresses if way.method == "nat" else self.lan_routers
        for gateway in self.gateways:
            gateway.default_by(routers)
            gateway.undo_translation(way.undone)
            gateway.reached()

    def counters(self) -> dict[str, int]:
        """The director's."""
        with Genl(self.director.ns) as genl:
            return genl.counters()

    def close(self) -> None:
        """End the daemons and remove the namespaces."""
        self.network.close()

    def __enter__(self) -> MatrixLab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class MatrixLab(Cluster):
    """Everything drawn at the head of this file, the daemons running."""

    def __init__(self, folder: Path) -> None:
        super().__init__("mx-")
        try:
            self._populate(folder)
            start_all(host.charon for host in (*self.servers, *self.clients))
        except BaseException:
            self.network.close()
            raise

    def _populate(self, folder: Path) -> None:
        for server in self.servers:
            server.serve(folder)
        self.clients = [Client(self.network, form) for form in FORMS]
        for client in self.clients:
            self.attach(client.ns, "wan", client.name)
            client.setup("wan", {4: "203.0.113.254", 6: "2001:db8:c::fe"})
            if client.name == "ah":
                # AH never learns that a packet is too big: icmpv6_notify takes it for an extension
                # header and tells the protocol after it.
                client.ns.ip("route replace default via 2001:db8:c::fe mtu 1400")
            client.charon = Charon(client.ns, folder, client.conf())


def reset_counters(ns: Ns) -> dict[str, int]:
    """Packets that COUNTING has counted in a namespace since this was last asked."""
    items = json.loads(ns.run("nft", "-j", "reset", "counters").stdout)["nftables"]
    found = [item["counter"] for item in items if "counter" in item]
    return {counter["name"].removeprefix("by_"): counter["packets"] for counter in found}


def together[T](act: Callable[[T], Any], items: list[T]) -> list[Any]:
    """Do something to several at once; when all are done, their errors are raised."""
    with ThreadPoolExecutor(max_workers=len(items)) as pool:
        futures = [pool.submit(act, item) for item in items]
    errors = [error for future in futures if (error := future.exception())]
    if errors:
        raise BaseExceptionGroup(f"{len(errors)} of {len(items)} failed", errors)
    return [future.result() for future in futures]
