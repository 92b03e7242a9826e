# SPDX-License-Identifier: GPL-2.0
"""The topology of hand-made packets in both families, for every forwarding method.

        gen                 director                        servers
    10.1.0.1 --------- in  10.1.0.254    10.2.1.254 s1 ---- 10.2.1.1
    2001:db8:1::1          2001:db8:1::fe    ...:21::fe     2001:db8:21::1
    plays 192.0.2.0/24     VIP 198.51.100.1  10.2.2.254 s2 ---- 10.2.2.1
    and 2001:db8:c::/64    2001:db8:ff::1    ...:22::fe     2001:db8:22::1

No one but the director has addresses: what reaches the others is captured and
goes no further, and what they say is made by hand. Neighbours are fixed. The
director leaves no checksum to its devices, so a capture has what a wire has.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from kt.bench import Bench
from kt.capture import BUFFER, SO_RCVBUFFORCE, Capture, Port
from kt.genl import Genl
from kt.inet import Client, Inet, check_sums, read
from kt.net import Ns, permanent_neighbours
from kt.packets import NON_ESP_MARKER, ike
from kt.wait import wait_until

ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17
SERVERS = 2


@dataclass(frozen=True)
class Family:
    """The addresses of one family."""

    version: int
    vip: str
    other_vip: str
    clients: str
    servers: str
    near: str
    director: str

    def client(self, number: int = 1, **changes: Any) -> Client:
        """An initiator with an address and an SPI of its own."""
        made = Client(
            self.clients.format(number),
            self.vip,
            ispi=0xA0000000_00000000 + number,
            rspi=0xB0000000_00000000 + number,
        )
        return made.at(**changes)  # type: ignore[return-value]

    def rip(self, number: int = 1) -> str:
        """Address of a server, numbered from 1."""
        return self.servers.format(number, 1)

    def towards(self, number: int = 1) -> str:
        """Address of the director on the link to a server."""
        return self.servers.format(number, 254 if self.version == 4 else "fe")

    @property
    def header(self) -> int:
        """Bytes of the IP header."""
        return 20 if self.version == 4 else 40


V4 = Family(4, "198.51.100.1", "198.51.100.2", "192.0.2.{}", "10.2.{}.{}", "10.1.0.1", "10.1.0.254")
V6 = Family(
    6,
    "2001:db8:ff::1",
    "2001:db8:ff::2",
    "2001:db8:c::{:x}",
    "2001:db8:2{}::{}",
    "2001:db8:1::1",
    "2001:db8:1::fe",
)
FAMILIES = {4: V4, 6: V6}


class Wire(Port):
    """Sends packets of both families out of a device."""

    def __init__(self, ns: Ns, device: str, to: bytes) -> None:
        super().__init__(ns, device, to)
        self._macs = to + ns.mac(device)

    def send(self, packets: Iterable[bytes], processor: int = 0) -> int:
        """Send packets in order; how many they were."""
        count = 0
        for packet in packets:
            kind = ETH_P_IPV6 if packet[0] >> 4 == 6 else ETH_P_IP
            self._head = self._macs + struct.pack("!H", kind)
            count += super().send([packet], processor)
        return count


class Tap(Capture):
    """The packets of both families that reach a device; multicast is left out."""

    def __init__(self, ns: Ns, device: str) -> None:
        self.name = ns.name
        with ns.entered():
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
            self.sock.bind((device, ETH_P_ALL))
        self.sock.setblocking(False)

    def packets(  # type: ignore[override]
        self, wanted: Callable[[Inet], bool] = lambda _: True
    ) -> list[Inet]:
        """What has come since the last call, without link-layer headers, checksums right."""
        found = []
        for frame in self.frames():
            (kind,) = struct.unpack_from("!H", frame, 12)
            if kind in (ETH_P_IP, ETH_P_IPV6) and not frame[0] & 1:
                packet = check_sums(read(frame[14:]))
                if wanted(packet):
                    found.append(packet)
        return found

    def some(self, count: int = 1, what: str = "packets") -> list[Inet]:
        """Exactly so many packets, as they come."""
        found = self.wait(count, what)
        assert len(found) == count, f"{what} at {self.name}: {found}"
        return found  # type: ignore[return-value]

    def one(self, what: str = "a packet") -> Inet:
        """Exactly one."""
        return self.some(1, what)[0]


def sums_by_software(ns: Ns, *devices: str) -> None:
    """The kernel writes checksums itself before a packet leaves by these devices."""
    import ctypes
    import fcntl

    value = ctypes.create_string_buffer(struct.pack("II", ETHTOOL_STXCSUM, 0))
    with ns.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for device in devices:
            request = struct.pack("16sP16x", device.encode(), ctypes.addressof(value))
            fcntl.ioctl(sock, SIOCETHTOOL, request)


class Dual(Bench):
    """Everything drawn at the head of this file."""

    def _build(self) -> None:
        network = self.network
        self._director()
        self.gen = self._silent("gen")
        self.servers = [self._silent(f"s{n + 1}") for n in range(SERVERS)]
        network.link(self.gen, "out", self.director, "in")
        for number, server in enumerate(self.servers, 1):
            network.link(server, "eth0", self.director, f"s{number}")
        macs = {f"s{n}": server.mac("eth0") for n, server in enumerate(self.servers, 1)}
        for side in FAMILIES.values():
            self._addresses(side, {"in": self.gen.mac("out"), **macs})
        devices = ["in", *(f"s{n + 1}" for n in range(SERVERS))]
        sums_by_software(self.director, *devices)
        self.port = self._keep(Wire(self.gen, "out", self.director.mac("in")))
        self.back: Tap = self._keep(Tap(self.gen, "out"))
        self.captures: list[Tap] = [self._keep(Tap(s, "eth0")) for s in self.servers]
        self.answers = [
            self._keep(Wire(server, "eth0", self.director.mac(f"s{number}")))
            for number, server in enumerate(self.servers, 1)
        ]
        self.genl = self._keep(Genl(self.director))

    def _director(self) -> None:
        self.director = self.network.ns("director")
        self.director.sysctl("net/ipv6/conf/default/accept_dad", 0)
        self.director.sysctl("net/ipv6/conf/all/forwarding", 1)
        self.director.sysctl("net/ipv4/ip_forward", 1)
        self.director.sysctl("net/ipv4/icmp_ratemask", 0)
        self.director.sysctl("net/ipv6/icmp/ratemask", 129)  # echo replies only

    def _silent(self, name: str) -> Ns:
        made = self.network.ns(name)
        made.sysctl("net/ipv6/conf/default/disable_ipv6", 1)
        return made

    def _addresses(self, side: Family, macs: dict[str, bytes]) -> None:
        """The director's, and its neighbours on its links."""
        bits, net = (32, 24) if side.version == 4 else (128, 64)
        clients = "192.0.2.0/24" if side.version == 4 else "2001:db8:c::/64"
        self.director.ip(
            f"addr add {side.director}/{net} dev in",
            f"addr add {side.vip}/{bits} dev lo",
            f"addr add {side.other_vip}/{bits} dev lo",
            f"route add {clients} via {side.near}",
            *(f"addr add {side.towards(n)}/{net} dev s{n}" for n in range(1, SERVERS + 1)),
        )
        permanent_neighbours(self.director, "in", [(side.near, macs["in"])])
        for number in range(1, SERVERS + 1):
            known = [(side.rip(number), macs[f"s{number}"])]
            permanent_neighbours(self.director, f"s{number}", known)

    def configure(self, side: Family, method: str, *servers: str, **options: Any) -> None:
        """Only this: one service at the VIP, its servers (s1 unless told) by this method."""
        self.clear()
        self._method = method
        self.genl.do("service-new", address=side.vip, scheduler="rr")
        for server in servers or (side.rip(1),):
            self.genl.do("server-new", service=side.vip, address=server, method=method, **options)

    def admitted(self, side: Family, number: int = 1, **changes: Any) -> Client:
        """An initiator whose entry on port 500 is established; what was captured is forgotten."""
        client = side.client(number, **changes)
        self.expect(client.first(), ike=1)
        self._reply(side, client, 500, ike(client.ispi, client.rspi))
        self.expect(client.later(), ike=1)
        self.forget(1)
        return client

    def admitted_natt(
        self, side: Family, number: int = 1, port: int = 4500, **changes: Any
    ) -> Client:
        """The same on port 4500."""
        client = side.client(number, port=port, **changes)
        self.expect(client.natt_first(), ike=1)
        self._reply(side, client, 4500, NON_ESP_MARKER + ike(client.ispi, client.rspi))
        self.expect(client.natt_later(), ike=1)
        self.forget(1)
        return client

    def _reply(self, side: Family, client: Client, port: int, message: bytes) -> None:
        """The server that a first message reaches answers it, if the director sees that."""
        reached: list[int] = []

        def anywhere() -> bool:
            for number, capture in enumerate(self.captures):
                if capture.packets(lambda p: self._method == "tun" or p.src == client.address):
                    reached.append(number)
            return bool(reached)

        wait_until(anywhere, 5, "a first message at a server")
        if self._method == "nat":
            (number,) = reached
            self.answers[number].send([client.answer(side.rip(number + 1), port, message)])
            self.back.one("the answer")

    def forget(self, count: int) -> None:
        """So many packets reach servers; nobody looks at them."""
        left = [count]

        def gone() -> bool:
            left[0] -= sum(len(capture.frames()) for capture in self.captures)
            return left[0] <= 0

        wait_until(gone, 5, lambda: f"{left[0]} packets more at the servers")

    @contextlib.contextmanager
    def counted(self, **counters: int) -> Iterator[None]:
        """These counters, and none but these, move inside the block (`_` for `-`)."""
        before = self.genl.counters()
        yield
        wanted = {name.replace("_", "-"): n for name, n in counters.items()}
        moved: Counter[str] = Counter()

        def done() -> bool:
            moved.clear()
            moved.update(
                {k: n - before[k] for k, n in self.genl.counters().items() if n != before[k]}
            )
            return all(moved[name] >= n for name, n in wanted.items())

        wait_until(done, 5, lambda: f"{wanted} counted, seen {dict(moved)}")
        assert dict(moved) == {k: n for k, n in wanted.items() if n}

    @contextlib.contextmanager
    def mtu(self, device: str, size: int) -> Iterator[None]:
        """A link of the director takes packets up to `size` bytes, whatever comes in."""
        self.director.ip(f"link set {device} mtu {size}")
        try:
            yield
        finally:
            self.director.ip(f"link set {device} mtu 1500")
            if size < 1280:  # IPv6 has left the link
                self._ipv6_again(device)

    @contextlib.contextmanager
    def down(self, device: str) -> Iterator[None]:
        """A link of the director to a server is down."""
        self.director.ip(f"link set {device} down")
        try:
            yield
        finally:
            self.director.ip(f"link set {device} up")
            self._ipv6_again(device)
            number = int(device.removeprefix("s"))
            known = [(V4.rip(number), self.servers[number - 1].mac("eth0"))]
            permanent_neighbours(self.director, device, known)

    def _ipv6_again(self, device: str) -> None:
        number = int(device.removeprefix("s"))
        self.director.ip(f"addr add {V6.towards(number)}/64 dev {device}")
        known = [(V6.rip(number), self.servers[number - 1].mac("eth0"))]
        permanent_neighbours(self.director, device, known)

    def quiet(self) -> None:
        """Nothing has reached a server or the initiators."""
        for capture in (self.back, *self.captures):
            assert capture.packets() == [], f"at {capture.name}"
