# SPDX-License-Identifier: GPL-2.0
"""The topology of hand-made packets: a generator, a director, silent servers.

        gen                director                   servers
    10.1.0.1 -------- 10.1.0.254   10.2.1.254 -------- s1 10.2.1.1
    plays all of      VIPs on lo   10.2.2.254 -------- s2 10.2.2.1
    192.0.2.0/24 and               10.2.3.254 -------- s3 10.2.3.1
    203.0.113.0/24    VIP 198.51.100.1, VIP2 .2

The servers do not have the VIP: what reaches them is captured and goes no
further. Neighbours are fixed, so nothing waits for ARP.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator

from kt.capture import Capture, Port
from kt.genl import Genl
from kt.net import Network, permanent_neighbours
from kt.packets import ICMP, Initiator, Packet
from kt.wait import wait_until

VIP, VIP2 = "198.51.100.1", "198.51.100.2"
DIRECTOR = "10.1.0.254"
SERVERS = 3

# What a namespace begins with.
DEFAULTS = {
    "isakmp_initial_timeout": 10,
    "isakmp_established_timeout": 28800,
    "expire_nodest_conn": 1,
    "sloppy": 0,
    "esp_refreshes": 0,
    "tcp_timeout": 900,
}

# Each packet that is ours moves exactly one of these, or one of the drop- counters.
FORWARDED = ("ike", "esp", "ah", "esp-in-udp", "keepalive", "tcp")


def server_address(number: int) -> str:
    """Address of a server, numbered from 1."""
    return f"10.2.{number}.1"


def verdicts(counters: dict[str, int]) -> dict[str, int]:
    """The counters that say what became of a packet, those that moved."""
    return {
        name: n
        for name, n in counters.items()
        if n and (name in FORWARDED or name.startswith("drop-"))
    }


class Bench:
    """Everything drawn at the head of this file."""

    def __init__(self, prefix: str = "bench-") -> None:
        self.network = Network(prefix)
        self._open: list[Capture | Port | Genl] = []
        self.handled = 0
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        network = self.network
        self.gen = network.ns("gen")
        self.director = network.ns("director")
        self.servers = [network.ns(f"s{n + 1}") for n in range(SERVERS)]
        network.link(self.gen, "out", self.director, "in")
        self.gen.ip("addr add 10.1.0.1/24 dev out", "route add default via 10.1.0.254")
        self.director.ip(
            f"addr add {DIRECTOR}/24 dev in",
            f"addr add {VIP}/32 dev lo",
            f"addr add {VIP2}/32 dev lo",
            "route add 192.0.2.0/24 via 10.1.0.1",
            "route add 203.0.113.0/24 via 10.1.0.1",
        )
        # What is asked for is told at once; the rate limit has a test of its own.
        self.director.sysctl("net/ipv4/icmp_ratemask", 0)
        permanent_neighbours(self.director, "in", [("10.1.0.1", self.gen.mac("out"))])
        permanent_neighbours(self.gen, "out", [(DIRECTOR, self.director.mac("in"))])
        for number, server in enumerate(self.servers, 1):
            network.link(server, "eth0", self.director, f"s{number}")
            server.ip(f"addr add {server_address(number)}/24 dev eth0")
            self.director.ip(f"addr add 10.2.{number}.254/24 dev s{number}")
            permanent_neighbours(
                self.director, f"s{number}", [(server_address(number), server.mac("eth0"))]
            )
        self.port = self._keep(Port(self.gen, "out", self.director.mac("in")))
        self.back = self._keep(Capture(self.gen, "out"))
        self.captures = [self._keep(Capture(server, "eth0")) for server in self.servers]
        self.genl = self._keep(Genl(self.director))

    def _keep(self, made):  # type: ignore[no-untyped-def]
        self._open.append(made)
        return made

    def close(self) -> None:
        """Close what is open and remove the namespaces."""
        for made in self._open:
            made.close()
        self.network.close()

    def reopen(self) -> None:
        """The module was loaded anew: the family may have another number."""
        self.genl.family = 0

    def setup(self, scheduler: str = "rr", weights: Iterable[int] = (1, 1, 1)) -> None:
        """Only this: one service at VIP, its servers with these weights, default timeouts."""
        self.clear()
        self.genl.do("service-new", address=VIP, scheduler=scheduler)
        for number, weight in enumerate(weights, 1):
            self.genl.do(
                "server-new",
                service=VIP,
                address=server_address(number),
                method="dr",
                weight=weight,
            )

    def clear(self) -> None:
        """No service, nothing in the captures, default timeouts."""
        self.genl.do("flush")
        wait_until(lambda: self.genl.do("status-get")["entries"] == 0, 10, "the entries' end")
        for name, value in DEFAULTS.items():
            self.director.sysctl(f"net/ipvs_ipsec/{name}", value)
        self.drain()

    def drain(self) -> None:
        """Forget what was captured."""
        for capture in (self.back, *self.captures):
            capture.frames()

    def client(self, number: int = 1, vip: str = VIP) -> Initiator:
        """An initiator with an address and an SPI of its own."""
        net = "192.0.2" if number < 255 else "203.0.113"
        return Initiator(
            f"{net}.{number % 255}",
            vip,
            ispi=0xA0000000_00000000 + number,
            rspi=0xB0000000_00000000 + number,
        )

    @contextlib.contextmanager
    def moved(self, packets: int) -> Iterator[Counter[str]]:
        """What the counters moved while the block sent so many packets of ours."""
        before = self.genl.counters()
        moved: Counter[str] = Counter()
        yield moved

        def settled() -> bool:
            moved.clear()
            for name, n in self.genl.counters().items():
                if n != before[name]:
                    moved[name] = n - before[name]
            return sum(verdicts(moved).values()) >= packets

        wait_until(settled, 20, lambda: f"{packets} packets counted, seen: {dict(moved)}")
        assert sum(verdicts(moved).values()) == packets, f"counted twice: {dict(moved)}"

    def send(self, *packets: bytes) -> Counter[str]:
        """Send packets of ours, in this order; give back how the counters moved."""
        with self.moved(len(packets)) as moved:
            # The first may wait for the hooks, and goes on from another CPU than the one that the
            # others come in by: they could overtake it.
            with self.moved(min(len(packets), 1)):
                self.port.send(packets[:1])
            self.port.send(packets[1:])
        return moved

    def expect(self, *packets: bytes, **verdict: int) -> Counter[str]:
        """Send packets; their verdicts must be these and no others (`_` for `-`)."""
        moved = self.send(*packets)
        seen, wanted = verdicts(moved), {k.replace("_", "-"): v for k, v in verdict.items()}
        assert seen == wanted, f"verdicts: {seen}, not {wanted}"
        return moved

    def arrived(self) -> list[list[Packet]]:
        """What the servers got since the last call; everything sent has been counted."""
        return [capture.packets() for capture in self.captures]

    def server_of(self, *packets: bytes, count: int | None = None) -> int:
        """Send packets that must all reach one server; its number."""
        self.drain()
        self.send(*packets)
        want = len(packets) if count is None else count
        got: list[int] = [0] * SERVERS

        def all_there() -> bool:
            for index, some in enumerate(self.arrived()):
                got[index] += len(some)
            return sum(got) >= want

        wait_until(all_there, 5, lambda: f"{want} packets at the servers, seen {got}")
        assert sorted(got) == [0] * (SERVERS - 1) + [want], f"packets per server: {got}"
        return got.index(want) + 1

    def spread(self, clients: Iterable[int], established: bool = False) -> list[int]:
        """How many of these new clients each server got."""
        self.drain()
        packets: list[bytes] = []
        for client in map(self.client, clients):
            packets += [client.first(), client.later()] if established else [client.first()]
        self.expect(*packets, ike=len(packets))
        return [len({p.src for p in packets}) for packets in self.arrived()]

    def server(self, number: int, vip: str = VIP) -> dict:  # type: ignore[type-arg]
        """What is shown of a server."""
        shown = self.genl.do("server-get", service=vip, address=server_address(number))
        assert shown is not None
        return shown

    def set_server(self, number: int, **values: object) -> None:
        """Change a server of the service at VIP."""
        self.genl.do("server-set", service=VIP, address=server_address(number), **values)

    def nothing_forwarded(self) -> None:
        """No server got anything, nor was anything but ICMP sent back."""
        arrived = self.arrived()
        assert arrived == [[], [], []], f"reached a server: {arrived}"

    def icmp(self, count: int = 1) -> list[Packet]:
        """ICMP messages that came back."""
        return self.back.wait(count, "ICMP", lambda p: p.protocol == ICMP)

    def no_icmp(self) -> None:
        """Nothing came back."""
        assert self.back.packets() == []

    def entries(self) -> list[dict]:  # type: ignore[type-arg]
        """The entries of the director."""
        return self.genl.dump("entry-get")

    def entry(self, client: Initiator, service_port: int = 500) -> dict:  # type: ignore[type-arg]
        """The one entry of a flow."""
        (found,) = (
            e
            for e in self.entries()
            if (e["client"], e["client-port"], e["service"], e["service-port"])
            == (client.address, client.port, client.vip, service_port)
        )
        return found

    def age(self, client: Initiator, port: int = 500, by: int = 200) -> int:
        """Wait until an entry's timer has run for so many ms; what is left of it."""
        start = self.entry(client, port)["expires"]
        wait_until(lambda: self.entry(client, port)["expires"] <= start - by, 2, "the timer runs")
        return self.entry(client, port)["expires"]

    def established(self, number: int = 1, vip: str = VIP) -> tuple[Initiator, int]:
        """An initiator whose entry on port 500 is established, and the number of its server."""
        client = self.client(number, vip)
        return client, self.server_of(client.first(), client.later())
