# SPDX-License-Identifier: GPL-2.0
"""Netlink messages by the spec and the dice, and what each must be answered.

`Maker` makes datagrams of messages that are right, nearly right or broken. `Model`
reads the same bytes as the kernel does (netlink_rcv_skb, genl_rcv_msg, the spec's
policies, the rules of the family) and says what each message is answered. A message
may have several faults; which of them is told is not laid down.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from errno import EAFNOSUPPORT, EBUSY, EEXIST, EINVAL, ENOENT, EOPNOTSUPP, ERANGE, errorcode
from typing import Any

from kt.capture import BUFFER, SO_RCVBUFFORCE
from kt.fuzz import pick
from kt.genl import (
    NLA_TYPE_MASK,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    Attribute,
    Genl,
    address,
    attr,
    spec,
    u32,
)

NLM_F_MULTI, NLM_F_ECHO = 0x2, 0x8
NLA_F_NESTED, NLA_F_NET_BYTEORDER = 0x8000, 0x4000
NLMSG_MIN_TYPE, GENL_MAX_ID = 16, 1023
HEADER = struct.Struct("=IHHII")
GENL = struct.Struct("=BBH")
TLV = struct.Struct("=HH")

SCHEDULERS = (b"rr", b"wrr")
DEFAULT_SCHEDULER, DEFAULT_WEIGHT = b"wrr", 1

# For an answer, or a part of a dump. A part is as large as the largest room its socket has ever
# had: little, so that dumps have several.
ROOM = 4096

Values = dict[str, bytes]


def host(packed: bytes | None) -> set[int]:
    """What is wrong with an address that a service or server shall have."""
    if packed is None or len(packed) not in (4, 16):
        return {EINVAL}
    if len(packed) == 16:
        usable = packed[0] != 0xFF and any(packed)
        return {EAFNOSUPPORT} if usable else {EINVAL, EAFNOSUPPORT}
    return set() if 0 < packed[0] < 224 else {EINVAL}


def name(payload: bytes) -> bytes:
    """A string ends at its NUL."""
    return payload.partition(b"\0")[0]


def number(payload: bytes) -> int:
    """A u32 as netlink has it."""
    return int.from_bytes(payload, "little")


def fault(known: Attribute, kind: int, payload: bytes) -> bool:
    """Whether an attribute is not as the spec's checks want it."""
    if kind & NLA_F_NESTED:
        return True
    longest = len(payload) if known.longest is None else known.longest
    if known.kind == "binary":
        return len(payload) > longest
    if known.kind == "string":
        return b"\0" not in payload or len(payload) - payload.endswith(b"\0") > longest
    assert known.kind == "u32", f"{known.name}: teach the model {known.kind}"
    largest = len(known.enum) - 1 if known.enum else known.largest
    return len(payload) != 4 or (largest is not None and number(payload) > largest)


def read(takes: dict[int, Attribute], data: bytes) -> Values | None:
    """Attributes by name, the last of each; `None` when netlink refuses them."""
    found: Values = {}
    at, end = 0, len(data)
    while end - at >= 4:
        length, kind = TLV.unpack_from(data, at)
        if length < 4 or length > end - at:
            break
        known = takes.get(kind & NLA_TYPE_MASK)
        payload = data[at + 4 : at + length]
        if known is None or fault(known, kind, payload):
            return None
        found[known.name] = payload
        at += (length + 3) & ~3
    return found if at >= end else None


@dataclass
class Service:
    """A service of the model: its scheduler, and the weights of its servers."""

    scheduler: bytes
    servers: dict[bytes, int] = field(default_factory=dict)


@dataclass
class Expected:
    """What a datagram must be answered; errors are those that are possible, 0 is success."""

    acks: list[tuple[int, set[int]]] = field(default_factory=list)
    """Sequence numbers and errors, in order."""
    dumps: dict[int, set[int]] = field(default_factory=dict)
    """Errors at the end of each dump, by sequence number."""
    replies: int = 0


class Model:
    """What is configured, and what the family makes of any bytes."""

    def __init__(self, family: int) -> None:
        self.family = family
        self.services: dict[bytes, Service] = {}
        known = spec()
        self._names = {number: op for op, number in known["ops"].items()}
        self._takes: dict[tuple[str, str], dict[int, Attribute]] = {}
        for (op, mode), taken in known["takes"].items():
            group = known["sets"][known["op_set"][op]]
            self._takes[op, mode] = {group[n].number: group[n] for n in taken}

    def configured(self) -> tuple[Any, Any]:
        """The same as Genl.everything() is to show."""
        services, servers = [], []
        for vip, service in self.services.items():
            services.append(
                {
                    "address": text(vip),
                    "scheduler": service.scheduler.decode(),
                    "servers": len(service.servers),
                }
            )
            servers += [
                {"service": text(vip), "address": text(rip), "method": "dr", "weight": weight}
                for rip, weight in service.servers.items()
            ]
        return sorted(services, key=str), sorted(servers, key=str)

    def takes_in(self, datagram: bytes) -> Expected | None:
        """What must be answered to a datagram, which is done to the model.

        `None`, and nothing is done, when part of it is addressed to another family.
        """
        messages = list(walk(datagram))
        for kind, *_ in messages:
            if NLMSG_MIN_TYPE <= kind <= GENL_MAX_ID and kind != self.family:
                return None
        expected = Expected()
        for message in messages:
            self._message(expected, *message)
        return expected

    def _message(
        self, expected: Expected, kind: int, flags: int, sequence: int, body: bytes
    ) -> None:
        """What netlink and generic netlink do before an operation is called, and after."""
        faults: set[int] = set()
        if flags & NLM_F_REQUEST and kind >= NLMSG_MIN_TYPE:
            mode = "dump" if flags & NLM_F_DUMP == NLM_F_DUMP else "do"
            op = ""
            if kind != self.family:
                faults.add(ENOENT)
            elif len(body) < GENL.size:
                faults.add(EINVAL)
            else:  # nobody looks at the version
                command, _, reserved = GENL.unpack_from(body)
                op = self._names.get(command, "")
                known = NLM_F_REQUEST | NLM_F_ACK | NLM_F_ECHO
                if reserved or flags & ~(known | (NLM_F_DUMP if mode == "dump" else 0)):
                    faults.add(EINVAL)
                if (op, mode) not in self._takes:
                    faults.add(EOPNOTSUPP)
            if not faults:
                faults = self._operation(op, mode, body[GENL.size :])
                if mode == "dump":
                    # What is dumped may go meanwhile, and only one dump goes on at a time.
                    partial = {0, ENOENT} if body[GENL.size :] else {0}
                    busy = {EBUSY} if expected.dumps else set()
                    expected.dumps[sequence] = (faults or partial) | busy
                    return
                expected.replies += op.endswith("-get") and not faults
        if faults or flags & NLM_F_ACK:
            expected.acks.append((sequence, faults or {0}))

    def _operation(self, op: str, mode: str, data: bytes) -> set[int]:
        given = read(self._takes[op, mode], data)
        if given is None:
            return {EINVAL, ERANGE}
        does: Callable[[Values], set[int]] = getattr(self, f"_{mode}_{op.replace('-', '_')}")
        return does(given)

    def _do_service_new(self, given: Values) -> set[int]:
        vip = given.get("address")
        faults = host(vip)
        scheduler = name(given.get("scheduler", DEFAULT_SCHEDULER))
        if scheduler not in SCHEDULERS:
            faults.add(ENOENT)
        if vip in self.services:
            faults.add(EEXIST)
        if vip is not None and not faults:
            self.services[vip] = Service(scheduler)
        return faults

    def _service(self, vip: bytes | None, faults: set[int]) -> Service | None:
        """The service an operation names; its absence is a fault."""
        if vip is None or len(vip) not in (4, 16):
            faults.add(EINVAL)
            return None
        service = self.services.get(vip)
        if service is None:
            faults.add(ENOENT)
        return service

    def _do_service_set(self, given: Values) -> set[int]:
        faults: set[int] = set()
        service = self._service(given.get("address"), faults)
        if "scheduler" not in given:
            faults.add(EINVAL)
        elif name(given["scheduler"]) not in SCHEDULERS:
            faults.add(ENOENT)
        if service and not faults:
            service.scheduler = name(given["scheduler"])
        return faults

    def _do_service_del(self, given: Values) -> set[int]:
        faults: set[int] = set()
        if self._service(given.get("address"), faults):
            del self.services[given["address"]]
        return faults

    def _do_service_get(self, given: Values) -> set[int]:
        faults: set[int] = set()
        self._service(given.get("address"), faults)
        return faults

    def _dump_service_get(self, _: Values) -> set[int]:
        return set()

    def _do_server_new(self, given: Values) -> set[int]:
        rip = given.get("address")
        faults = host(rip) | method(given)
        if rip == given.get("service"):
            faults.add(EINVAL)
        service = self._service(given.get("service"), faults)
        if service and rip in service.servers:
            faults.add(EEXIST)
        if service and rip is not None and not faults:
            service.servers[rip] = number(given.get("weight", u32(DEFAULT_WEIGHT)))
        return faults

    def _server(self, given: Values, faults: set[int]) -> dict[bytes, int]:
        """The servers of the service, with the one that an operation names among them."""
        rip = given.get("address")
        if rip is None or len(rip) not in (4, 16):
            faults.add(EINVAL)
        service = self._service(given.get("service"), faults)
        if service and rip not in service.servers:
            faults.add(ENOENT)
        return service.servers if service else {}

    def _do_server_set(self, given: Values) -> set[int]:
        faults = method(given)
        servers = self._server(given, faults)
        if "weight" not in given and "method" not in given:
            faults.add(EINVAL)
        if not faults and "weight" in given:
            servers[given["address"]] = number(given["weight"])
        return faults

    def _do_server_del(self, given: Values) -> set[int]:
        faults: set[int] = set()
        servers = self._server(given, faults)
        if not faults:
            del servers[given["address"]]
        return faults

    def _do_server_get(self, given: Values) -> set[int]:
        faults: set[int] = set()
        self._server(given, faults)
        return faults

    def _dump_server_get(self, given: Values) -> set[int]:
        faults: set[int] = set()
        if "service" in given:
            self._service(given["service"], faults)
        return faults

    def _dump_entry_get(self, _: Values) -> set[int]:
        return set()

    def _do_status_get(self, _: Values) -> set[int]:
        return set()

    def _do_flush(self, _: Values) -> set[int]:
        self.services.clear()
        return set()


def method(given: Values) -> set[int]:
    """Only direct routing is there."""
    methods = spec()["sets"]["server"]["method"].enum
    return {EOPNOTSUPP} if methods[number(given.get("method", u32(3)))] != "dr" else set()


def text(packed: bytes) -> str:
    """An IPv4 address to read."""
    return ".".join(map(str, packed))


@dataclass
class Draft:
    """A message before it is packed."""

    command: int
    attributes: list[tuple[int, bytes]]
    flags: int = NLM_F_REQUEST | NLM_F_ACK
    kind: int = 0
    version: int = 1
    reserved: int = 0
    tail: bytes = b""

    def pack(self, sequence: int) -> bytes:
        """Its bytes, padded so that another may follow."""
        body = b"".join([attr(kind, payload) for kind, payload in self.attributes]) + self.tail
        size = HEADER.size + GENL.size + len(body)
        header = HEADER.pack(size, self.kind, self.flags, sequence, 0)
        padding = b"\0" * (-size % 4)
        return header + GENL.pack(self.command, self.version, self.reserved) + body + padding


# How often an operation is asked for; 1 where nothing is said.
WEIGHTS = {
    ("service-new", "do"): 3,
    ("server-new", "do"): 6,
    ("server-set", "do"): 3,
    ("server-del", "do"): 2,
    ("service-get", "dump"): 0.2,
    ("server-get", "dump"): 0.2,
    ("entry-get", "dump"): 0.2,
    ("status-get", "do"): 0.3,
    ("flush", "do"): 0.02,
}

# Addresses that are none, or none a service or a server can have.
NO_HOSTS = [
    *(b"\1" * size for size in (0, 1, 2, 3, 5, 8, 15, 17, 20, 100, 1000)),
    *map(address, ("0.0.0.0", "0.1.2.3", "224.0.0.1", "240.0.0.1", "255.255.255.255")),
    *map(address, ("::", "::1", "ff02::1", "2001:db8::1", "::ffff:198.51.100.1")),
]
NO_NAMES = [
    *(b"", b"\0", b"rr", b"none\0", b"RR\0", b"rr \0", b"rr\0rr\0", b"\0rr\0", b"\xff\xfe\0"),
    *(b"r" * size for size in (15, 16, 17, 4000)),
    *(b"r" * size + b"\0" for size in (15, 16, 17)),
]
NO_NUMBERS = [
    *(b"\1" * size for size in (0, 1, 2, 3, 5, 8, 16)),
    *map(u32, (4, 5, 255, 65536, 0x01000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)),
]
BAD = {"binary": NO_HOSTS, "string": NO_NAMES, "u32": NO_NUMBERS}


class Maker:
    """Makes datagrams."""

    def __init__(
        self, dice: random.Random, family: int, vips: Sequence[str], rips: Sequence[str]
    ) -> None:
        self.dice = dice
        self.family = family
        self._sequence = 0
        known = spec()
        self._good = {
            ("service", "address"): [address(a) for a in vips],
            ("server", "service"): [address(a) for a in vips],
            ("server", "address"): [address(a) for a in rips],
            ("service", "scheduler"): [name + b"\0" for name in SCHEDULERS],
            ("server", "method"): [u32(3)],
            ("server", "weight"): [u32(n) for n in (0, 1, 2, 100, 65535)],
        }
        # (command, flags, name of its attributes' set, the attributes that it takes)
        self._operations = []
        for (op, mode), taken in known["takes"].items():
            group = known["op_set"][op]
            takes = [known["sets"][group][n] for n in taken]
            flags = NLM_F_REQUEST | NLM_F_ACK | (NLM_F_DUMP if mode == "dump" else 0)
            row = (known["ops"][op], flags, group, takes)
            self._operations += [row] * int(50 * WEIGHTS.get((op, mode), 1))

    def datagram(self) -> tuple[bytes, int]:
        """One datagram, and how many messages were put into it."""
        random = self.dice.random
        parts: list[bytes] = []
        while len(parts) < 40:
            draft, takes = self._right()
            luck = random()
            if luck < 0.5:
                parts.append(self._pack(draft))
                continue
            self._nearly(draft, takes)
            parts.append(self._pack(draft))
            if luck > 0.92:
                # It may end the kernel's walk, or swallow what follows.
                parts[-1] = self._broken(parts[-1])
                if random() < 0.3:
                    parts.append(self._pack(self._right()[0]))
                break
        return b"".join(parts), len(parts)

    def _pack(self, draft: Draft) -> bytes:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        return draft.pack(self._sequence)

    def _right(self) -> tuple[Draft, list[Attribute]]:
        """A message without fault, though it may name what is not there."""
        dice = self.dice
        command, flags, group, takes = pick(dice, self._operations)
        attributes = [
            (known.number, pick(dice, self._good[group, known.name]))
            for known in takes
            # Addresses are needed; but a dump is of all that there is, mostly.
            if dice.random() < (0.5 if flags & NLM_F_DUMP or not known.address else 1)
        ]
        return Draft(command, attributes, flags, self.family), takes

    def _nearly(self, draft: Draft, takes: list[Attribute]) -> None:
        """Something is wrong with it, or nearly so."""
        while True:
            pick(self.dice, MUTATIONS)(self.dice, draft, takes)
            if self.dice.random() < 0.7:
                return

    def _broken(self, message: bytes) -> bytes:
        """Lengths that lie, bytes that are missing, noise."""
        dice, broken = self.dice, bytearray(message)
        size = len(message)
        kind = dice.randrange(5)
        if kind == 0:
            return message[: dice.randrange(1, size)]
        if kind == 1:
            lies = (0, 1, 15, 16, 17, 19, 20, 21, size - 4, size - 1, size + 1, size + 4, size + 40)
            length = pick(dice, (*lies, dice.randrange(size), 1 << 16, 1 << 31, (1 << 32) - 1))
            broken[:4] = u32(length)
        elif kind == 2:
            at = pick(dice, (0, 4, 16, 20))
            broken[at:] = dice.randbytes(dice.randrange(1, 80))
        else:
            for _ in range(dice.randrange(1, 6)):
                broken[dice.randrange(size)] ^= 1 << dice.randrange(8)
            broken[8:12] = message[8:12]  # or answers could not be told from each other
        return bytes(broken)


Mutation = Callable[[random.Random, Draft, list[Attribute]], None]
MUTATIONS: list[Mutation] = []


def mutation(change: Mutation) -> Mutation:
    """A way to make a message nearly right."""
    MUTATIONS.append(change)
    return change


def place(dice: random.Random, draft: Draft) -> int:
    """The place of one attribute; an empty one is made if there is none."""
    if not draft.attributes:
        draft.attributes.append((1, b""))
    return int(dice.random() * len(draft.attributes))


@mutation
def missing(dice: random.Random, draft: Draft, _: list[Attribute]) -> None:
    """An attribute is not there."""
    del draft.attributes[place(dice, draft)]


@mutation
def doubled(dice: random.Random, draft: Draft, _: list[Attribute]) -> None:
    """An attribute is there twice."""
    draft.attributes.insert(place(dice, draft), pick(dice, draft.attributes))


@mutation
def disordered(dice: random.Random, draft: Draft, _: list[Attribute]) -> None:
    """Attributes have no order."""
    dice.shuffle(draft.attributes)


@mutation
def bad_value(dice: random.Random, draft: Draft, takes: list[Attribute]) -> None:
    """A value that the spec, or the family, does not want."""
    for known in takes and [pick(dice, takes)]:
        kept = [a for a in draft.attributes if a[0] != known.number]
        draft.attributes = [*kept, (known.number, pick(dice, BAD[known.kind]))]


@mutation
def resized(dice: random.Random, draft: Draft, _: list[Attribute]) -> None:
    """A payload is a little too long or too short."""
    at = place(dice, draft)
    kind, payload = draft.attributes[at]
    size = max(0, len(payload) + pick(dice, (-4, -2, -1, 1, 2, 4, 12)))
    draft.attributes[at] = kind, (payload + bytes(12))[:size]


@mutation
def bit_flipped(dice: random.Random, draft: Draft, _: list[Attribute]) -> None:
    """One bit of a payload."""
    at = place(dice, draft)
    kind, payload = draft.attributes[at]
    changed = bytearray(payload or b"\0")
    changed[int(dice.random() * len(changed))] ^= 1 << dice.randrange(8)
    draft.attributes[at] = kind, bytes(changed)


@mutation
def swapped(dice: random.Random, draft: Draft, _: list[Attribute]) -> None:
    """The wrong byte order."""
    at = place(dice, draft)
    kind, payload = draft.attributes[at]
    draft.attributes[at] = kind, payload[::-1]


@mutation
def of_another_kind(dice: random.Random, draft: Draft, _: list[Attribute]) -> None:
    """Another attribute number: of a type that is not its own, read-only, unknown."""
    at = place(dice, draft)
    kind = pick(dice, (*range(12), 99, 0x3FFF, dice.randrange(1 << 16)))
    draft.attributes[at] = kind, draft.attributes[at][1]


@mutation
def added(dice: random.Random, draft: Draft, _: list[Attribute]) -> None:
    """One more."""
    kind = pick(dice, (*range(12), 99, 0x3FFF))
    draft.attributes.append((kind, pick(dice, BAD[pick(dice, (*BAD,))])))


@mutation
def flagged(dice: random.Random, draft: Draft, _: list[Attribute]) -> None:
    """A nest, or network byte order."""
    at = place(dice, draft)
    kind, payload = draft.attributes[at]
    if dice.random() < 0.3:
        payload = attr(kind, payload)
    draft.attributes[at] = kind | pick(dice, (NLA_F_NESTED, NLA_F_NET_BYTEORDER)), payload


@mutation
def wrong_mode(_: random.Random, draft: Draft, __: list[Attribute]) -> None:
    """A dump of what is not dumped, or the other way round."""
    draft.flags ^= NLM_F_DUMP


@mutation
def odd_flags(dice: random.Random, draft: Draft, _: list[Attribute]) -> None:
    """MULTI, ECHO, REPLACE, EXCL, CREATE, APPEND, and what has no name."""
    draft.flags ^= 1 << dice.randrange(16)


@mutation
def silent(_: random.Random, draft: Draft, __: list[Attribute]) -> None:
    """No acknowledgement is wanted."""
    draft.flags &= ~NLM_F_ACK


@mutation
def other_version(dice: random.Random, draft: Draft, _: list[Attribute]) -> None:
    """Nobody looks at the version of a family."""
    draft.version = dice.randrange(256)


@mutation
def reserved_bits(dice: random.Random, draft: Draft, _: list[Attribute]) -> None:
    """These must be 0."""
    draft.reserved = 1 << dice.randrange(16)


@mutation
def other_command(dice: random.Random, draft: Draft, _: list[Attribute]) -> None:
    """Another operation with these attributes, or none."""
    draft.command = pick(dice, (*range(15), dice.randrange(256)))


@mutation
def other_type(dice: random.Random, draft: Draft, _: list[Attribute]) -> None:
    """A control message, or a family that nobody has."""
    draft.kind = pick(dice, (0, 1, 2, 3, 4, 15, GENL_MAX_ID + 1, 0x7FFF, 0xFFFF))


@mutation
def bad_tail(dice: random.Random, draft: Draft, _: list[Attribute]) -> None:
    """At the end an attribute whose length lies, or too few bytes for one."""
    lying = TLV.pack(pick(dice, (0, 1, 2, 3, 5, 9, 12, 40, 0xFFFF)), dice.randrange(1, 5))
    draft.tail = pick(dice, (lying + bytes(dice.randrange(12)), dice.randbytes(3), b"\0"))


def walk(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence number and body of each message, as the kernel walks them."""
    at, end = 0, len(datagram)
    while end - at >= HEADER.size:
        length, kind, flags, sequence, _ = HEADER.unpack_from(datagram, at)
        if length < HEADER.size or length > end - at:
            return
        yield kind, flags, sequence, datagram[at + HEADER.size : at + length]
        at += (length + 3) & ~3


class Line:
    """A netlink socket for many messages at a time; the kernel answers before send returns."""

    def __init__(self, genl: Genl) -> None:
        self.sock = genl.sock
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        self.sock.setblocking(False)
        self.seen: Counter[int] = Counter()

    def exchange(self, datagram: bytes, expected: Expected) -> None:
        """Send a datagram; its answers must be the expected ones."""
        acks, ends, replies = [], {}, 0
        self.sock.send(datagram)
        with contextlib.suppress(BlockingIOError):
            while True:
                data = self.sock.recv(ROOM)
                for kind, flags, sequence, body in walk(data):
                    if kind == NLMSG_ERROR and sequence not in expected.dumps:
                        acks.append((sequence, error(body)))
                    elif kind in (NLMSG_ERROR, NLMSG_DONE):
                        ends[sequence] = error(body)
                    else:
                        replies += not flags & NLM_F_MULTI
        self.seen.update(number for _, number in acks)
        self.seen.update(ends.values())
        assert [a for a, _ in acks] == [a for a, _ in expected.acks], (
            f"answers {acks}, not {expected.acks}"
        )
        assert ends.keys() == expected.dumps.keys(), f"ends {ends}, not {expected.dumps}"
        wanted = [*(errors for _, errors in expected.acks), *expected.dumps.values()]
        came = [*acks, *((sequence, ends[sequence]) for sequence in expected.dumps)]
        for (sequence, number), errors in zip(came, wanted, strict=True):
            assert number in errors, (
                f"{names(number)}, not {names(*errors)}: {shown(datagram, sequence)}"
            )
        assert replies == expected.replies, f"{replies} replies, not {expected.replies}"

    def shown(self) -> str:
        """Every error number that came, and how often."""
        return ", ".join(f"{names(number)} {n:,}" for number, n in self.seen.most_common())


def shown(datagram: bytes, wanted: int) -> str:
    """The message of a datagram that has this sequence number."""
    for kind, flags, sequence, body in walk(datagram):
        if sequence == wanted:
            return f"type {kind}, flags {flags:#x}, body {body.hex()}"
    return "no message"


def error(body: bytes) -> int:
    """The number in an answer, 0 for success."""
    (negative,) = struct.unpack_from("=i", body)
    return -int(negative)


def names(*numbers: int) -> str:
    """Error numbers by name."""
    return " or ".join(errorcode.get(n, str(n)) if n else "done" for n in sorted(numbers))
