# SPDX-License-Identifier: GPL-2.0
"""The workers of test_hostile.py: spoofed packets, and changes under them.

`Spoofer` makes what somebody sends who knows every address and port, and sometimes an
SPI. The workers are threads; each goes on until the end, and whatever it finds wrong
ends all.
"""

from __future__ import annotations

import contextlib
import errno
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator

from kt.dual import FAMILIES, V6, Family
from kt.genl import Genl, Refused
from kt.inet import FRAGMENT, Client, fragments, icmp_error, ip, ipv6, udp
from kt.net import Network, Ns, permanent_neighbours
from kt.nic import Nic, NicDual
from kt.packets import (
    AH,
    ESP,
    IKE_PORT,
    INFORMATIONAL,
    KEEPALIVE,
    NATT_PORT,
    NON_ESP_MARKER,
    TCP,
    UDP,
    V1,
    ah,
    esp,
    framed,
    ike,
    tcp,
)
from kt.wait import PATIENCE, wait_until

# Few, so that spoofed packets meet what others have made.
CLIENTS, SPIS = 24, 6
PORTS = (IKE_PORT, NATT_PORT, NATT_PORT, 1024, 1025, 0, 65535)
BURST = 48
IKEV2, MAIN_MODE, AUTHIP = range(34, 48), 2, 243
METHODS: list[dict[str, object]] = [
    {"method": "dr"},
    {"method": "nat"},
    {"method": "nat", "encap": True},
    {"method": "tun"},
    {"method": "tun", "tunnel_type": "gre", "tunnel_flags": 1},
    {"method": "tun", "tunnel_type": "gue"},
]


class Spoofer:
    """Makes bursts of packets, from both sides of a director."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._sent: list[bytes] = []

    def burst(self) -> list[bytes]:
        """What initiators, and who claims to be one, send."""
        dice, side = self._dice, dice_of(self._dice, FAMILIES)
        made: list[bytes] = []
        while len(made) < BURST:
            client = self._client(side)
            packet = dice.choice(KINDS)(dice, client)
            if dice.random() < 0.2:  # GRO merges what is of one flow and length
                made += [packet, dice.choice(SAME_FLOW)(dice, client), packet]
            made += self._odd(side, packet)
        self._sent = (self._sent + made)[-1000:]
        return made

    def answers(self) -> list[bytes]:
        """What servers, and who claims to be one, send."""
        dice, side = self._dice, dice_of(self._dice, FAMILIES)
        made: list[bytes] = []
        while len(made) < BURST:
            client = self._client(side)
            server = dice.choice((side.rip(1), side.rip(2), side.rip(2), side.vip))
            made += self._odd(side, dice.choice(ANSWERS)(dice, client, server))
        self._sent = (self._sent + made)[-1000:]
        return made

    def errors(self, side: Family) -> list[bytes]:
        """ICMP errors about what was sent, from anywhere to anywhere."""
        dice = self._dice
        ends = (side.vip, side.rip(1), side.rip(2), side.near, side.director, *self._some(side))
        quoted = [p for p in self._sent if p[0] >> 4 == side.version]
        return [
            icmp_error(
                dice.choice(ends),
                dice.choice(ends),
                *dice.choice(ERRORS[side.version]),
                dice.choice(quoted)[: dice.choice((28, 48, 68, 128, 576))],
            )
            for _ in range(BURST if quoted else 0)
        ]

    def _some(self, side: Family) -> list[str]:
        return [side.clients.format(number) for number in range(1, CLIENTS + 1)]

    def _client(self, side: Family) -> Client:
        dice = self._dice
        return Client(
            dice.choice(self._some(side)),
            dice.choice((side.vip, side.vip, side.other_vip)),
            port=dice.choice(PORTS),
            ispi=dice.randint(1, SPIS),
            rspi=dice.randint(0, SPIS),
        )

    def _odd(self, side: Family, packet: bytes) -> list[bytes]:
        """The packet, or what is wrong with it: as often whole as not."""
        dice, luck = self._dice, self._dice.random()
        if luck < 0.7:
            return [packet]
        if luck < 0.8:
            pieces = fragments(packet, 8 * dice.randint(1, 8), dice.randint(1, 50))
            # What has no payload has no fragments.
            return dice.choice((pieces, pieces[:1], pieces[-1:]))
        if luck < 0.85 and side.version == 6:
            extension = FRAGMENT, bytes(dice.randint(0, 255) for _ in range(7))
            return [ipv6(side.near, side.vip, UDP, packet[40:], extensions=(extension,))]
        if luck < 0.9:
            own = (side.vip, side.director, side.rip(1), side.towards(1))
            return [ip(dice.choice(own), side.vip, UDP, packet[side.header :], ttl=1)]
        at = dice.randrange(len(packet))
        if luck < 0.95:
            return [packet[: max(at, side.header)]]
        return [packet[:at] + bytes([packet[at] ^ 1 << dice.randint(0, 7)]) + packet[at + 1 :]]


def dice_of(dice: random.Random, families: dict[int, Family]) -> Family:
    """One of both."""
    return families[dice.choice((4, 6))]


def _message(dice: random.Random, client: Client) -> bytes:
    rspi = dice.choice((0, client.rspi))
    return dice.choice(
        (
            ike(client.ispi, rspi, dice.choice(IKEV2), flags=dice.choice((0, 8, 32))),
            ike(client.ispi, rspi, MAIN_MODE, version=V1),
            ike(client.ispi, rspi, 5, version=V1, flags=dice.choice((0, 1))),
            ike(client.ispi, rspi, AUTHIP, version=V1),
            ike(client.ispi, rspi, INFORMATIONAL, length=dice.choice((0, 28, 1000))),
            ike(0, rspi),
        )
    )


def _either(dice: random.Random, client: Client, message: bytes) -> bytes:
    """IKE on one of its ports."""
    if dice.random() < 0.5:
        return client.udp(IKE_PORT, message)
    return client.udp(NATT_PORT, NON_ESP_MARKER + message)


Kind = Callable[[random.Random, Client], bytes]
KINDS: list[Kind] = [
    lambda _, client: client.first(),
    lambda _, client: client.later(),
    lambda _, client: client.natt_first(),
    lambda _, client: client.natt_later(),
    lambda dice, client: _either(dice, client, _message(dice, client)),
    lambda dice, client: client.esp(dice.randint(0, SPIS)),
    lambda dice, client: client.ip(AH, ah(dice.randint(0, SPIS))),
    lambda dice, client: client.udp(NATT_PORT, esp(dice.randint(0, SPIS))),
    lambda dice, client: client.udp(IKE_PORT, bytes(8) + esp(dice.randint(0, SPIS))),
    lambda dice, client: client.udp(dice.choice((IKE_PORT, NATT_PORT)), KEEPALIVE),
    lambda dice, client: client.ip(TCP, tcp(client.port, NATT_PORT, syn=dice.random() < 0.5)),
    lambda dice, client: client.ip(
        TCP, tcp(client.port, NATT_PORT, framed(NON_ESP_MARKER + _message(dice, client)))
    ),
    lambda dice, client: client.ip(dice.randint(0, 255), bytes(dice.randint(0, 64))),
]
SAME_FLOW: list[Kind] = [
    lambda _, client: client.udp(NATT_PORT, NON_ESP_MARKER + ike(client.ispi)),
    lambda dice, client: client.udp(NATT_PORT, esp(dice.randint(0, SPIS), body=bytes(88))),
    lambda dice, client: client.udp(NATT_PORT, esp(dice.randint(0, SPIS))),
]


def _reply(dice: random.Random, client: Client, server: str) -> bytes:
    message, port = _message(dice, client), dice.choice((IKE_PORT, NATT_PORT))
    return client.answer(server, port, NON_ESP_MARKER * (port == NATT_PORT) + message)


Answer = Callable[[random.Random, Client, str], bytes]
ANSWERS: list[Answer] = [
    _reply,
    _reply,
    lambda dice, client, server: client.answer(server, NATT_PORT, esp(dice.randint(0, SPIS))),
    lambda dice, client, server: client.answer(server, dice.choice((53, IKE_PORT)), KEEPALIVE),
    lambda dice, client, server: ip(server, client.address, ESP, esp(dice.randint(0, SPIS))),
    lambda dice, client, server: ip(server, client.address, AH, ah(dice.randint(0, SPIS))),
    lambda dice, client, server: ip(
        server, client.address, TCP, tcp(NATT_PORT, client.port, bytes(dice.randint(0, 40)))
    ),
    lambda _, client, server: ip(
        server, client.address, UDP, udp(server, client.address, (7, 7), b"")
    ),
]

# Type, code and the four bytes behind the checksum.
ERRORS = {
    4: [(3, 1, 0), (3, 2, 0), (3, 3, 0), (3, 4, 576), (3, 4, 0), (3, 4, 1 << 16), (11, 0, 0)],
    6: [(1, 0, 0), (2, 0, 1280), (2, 0, 0), (2, 0, 0xFFFFFFFF), (3, 0, 0), (4, 1, 6)],
}


class Worker:
    """One kind of work, counted in `done`; `least` is what of it a minute must have seen."""

    least: dict[str, int] = {}
    # Seconds between two steps: others want the processors too.
    pause = 0.02

    def __init__(self, dual: NicDual, ending: threading.Event, seed: int) -> None:
        self.dual = dual
        self.ending = ending
        self.dice = random.Random(f"{seed} {type(self).__name__}")
        self.spoofer = Spoofer(self.dice)
        self.done: Counter[str] = Counter()
        self.line = Genl(dual.director)

    def run(self) -> None:
        """Work until the end."""
        with contextlib.closing(self.line):
            while not self.ending.wait(self.pause * PATIENCE):
                self.step()

    def step(self) -> None:
        """A piece of the work."""
        raise NotImplementedError

    def attempt(self, op: str, **values: object) -> None:
        """An operation, which may be refused for what another worker has done."""
        with contextlib.suppress(Refused):
            self.line.do(op, **values)
            self.done["changes"] += 1


class Initiators(Worker):
    """Spoofed packets to the services, and errors about them."""

    least = {"packets": 1000}

    def step(self) -> None:
        packets = self.spoofer.burst()
        if self.dice.random() < 0.2:
            packets += self.spoofer.errors(dice_of(self.dice, FAMILIES))
        self.done["packets"] += self.dual.port.send(packets)
        self.dual.back.frames()


class Servers(Worker):
    """Spoofed packets from where the servers are, and errors about what they were sent."""

    least = {"packets": 1000}

    def step(self) -> None:
        packets = self.spoofer.answers()
        if self.dice.random() < 0.2:
            packets += self.spoofer.errors(dice_of(self.dice, FAMILIES))
        nic = self.dice.choice(self.dual.answers)
        try:
            self.done["packets"] += nic.send(packets)
        except OSError as unplugged:  # by the plumber
            if unplugged.errno != errno.EIO:
                raise
        nic.frames()


class Administrator(Worker):
    """Has services and servers of every kind, and changes them."""

    least = {"changes": 30}
    pause = 0.05

    def step(self) -> None:
        side, dice = dice_of(self.dice, FAMILIES), self.dice
        service = dice.choice((side.vip, side.other_vip))
        server = {"service": service, "address": side.rip(dice.randint(1, 2))}
        luck = dice.random()
        if luck < 0.25:
            self.attempt("service-new", address=service, scheduler=dice.choice(("rr", "sh", "lc")))
        elif luck < 0.7:
            self.attempt("server-new", **server, **dice.choice(METHODS))
            self.attempt("server-set", **server, **dice.choice(METHODS))
        elif luck < 0.75:
            self.attempt("server-new", service=service, address=service, method="local")
        elif luck < 0.8:
            first = dice.randint(256, 300)
            self.attempt("server-set", **server, esp_spi_min=first, esp_spi_max=first + 9)
        elif luck < 0.85:
            self.attempt("server-del", **server)
        elif luck < 0.9:
            self.attempt("entry-flush")
        elif luck < 0.95:
            self.attempt("service-del", address=service)
        elif luck < 0.97:
            self.attempt("flush")
        else:
            self.attempt(
                dice.choice(("fastpath-new", "fastpath-del")),
                ifindex=self.dual.director.index("in"),
            )


class Plumber(Worker):
    """Has addresses come and go, and links, and timers and rules that nobody expects."""

    least = {"changes": 10}
    pause = 0.1

    def step(self) -> None:
        side, dice, director = dice_of(self.dice, FAMILIES), self.dice, self.dual.director
        bits = 32 if side.version == 4 else 128
        luck = dice.random()
        if luck < 0.5:
            verb = dice.choice(("add", "del"))
            # It may be there already, or not be there.
            director.run("ip", "addr", verb, f"{side.rip(1)}/{bits}", "dev", "lo", check=False)
        elif luck < 0.7:
            self._plug()
        else:
            timer = dice.choice(("isakmp_initial_timeout", "isakmp_established_timeout"))
            director.sysctl(f"net/ipvs_ipsec/{timer}", dice.choice((1, 2, 10)))
            director.sysctl("net/ipvs_ipsec/expire_nodest_conn", dice.choice((0, 1)))
        self.done["changes"] += 1

    def _plug(self) -> None:
        """Unplug a link and plug it in, which takes its neighbours, and the addresses of IPv6."""
        director = self.dual.director
        director.ip("link set s2 down", "link set s2 up")
        director.run("ip", "addr", "add", f"{V6.towards(2)}/64", "dev", "s2", check=False)
        known = [(side.rip(2), self.dual.answers[1].mac) for side in FAMILIES.values()]
        permanent_neighbours(director, "s2", known)
        self.done["links"] += 1


class Undertaker(Worker):
    """Makes directors that die while packets are on their way in, device first or namespace first."""

    least = {"namespaces": 2}
    pause = 0.3

    def step(self) -> None:
        self.done["born"] += 1
        with Network(f"doomed{self.done['born']}-") as network, witnessed(network) as witness:
            ns = network.ns("director")
            witness(ns.name)
            nic = Nic(ns, "in")
            try:
                for side in FAMILIES.values():
                    ns.ip(f"addr add {side.vip}/{32 if side.version == 4 else 128} dev lo")
                self._serve(ns)
                nic.send(self.spoofer.burst())
                if self.dice.random() < 0.5:
                    nic.close()
            finally:
                ns.close()
                nic.close()
        self.done["namespaces"] += 1

    def _serve(self, ns: Ns) -> None:
        with contextlib.closing(Genl(ns)) as line:
            for side in FAMILIES.values():
                line.do("service-new", address=side.vip)
                method = self.dice.choice(METHODS)
                line.do("server-new", service=side.vip, address=side.rip(), **method)


@contextlib.contextmanager
def witnessed(network: Network) -> Iterator[Callable[[str], None]]:
    """The namespaces that are named inside the block are gone when it has ended."""
    witnesses: list[str] = []
    outside = network.ns("outside")

    def witness(name: str) -> None:
        device = f"w{len(witnesses)}"
        outside.ip(f"link add {device} type veth peer name witness netns {name}")
        witnesses.append(device)

    yield witness
    with outside.entered():

        def gone() -> bool:
            left = {name for _, name in socket.if_nameindex()}
            return not left & set(witnesses)

        wait_until(gone, 5, "the end of a namespace")


WORKERS = [*Worker.__subclasses__(), Initiators]
