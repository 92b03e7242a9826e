# SPDX-License-Identifier: GPL-2.0
"""What the family must answer to any bytes, and what is configured afterwards.

`Model` reads datagrams as the kernel does (netlink_rcv_skb, genl_rcv_msg, the spec's policies)
and does to `kt.fuzz.configured` what the operations say. A message may have several faults; which
of them is told is not laid down.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from errno import EBUSY, EEXIST, EINVAL, ENODEV, ENOENT, EOPNOTSUPP, ERANGE
from typing import Any

from kt.fuzz.configured import Faults, Key, Server, Service, Values, is_host, key_of, number
from kt.genl import (
    NLA_TYPE_MASK,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    SIZES,
    Attribute,
    in_order,
    spec,
)

NLM_F_ECHO = 0x8
NLA_F_NESTED = 0x8000
NLMSG_MIN_TYPE, GENL_MAX_ID = 16, 1023
HEADER = struct.Struct("=IHHII")
GENL = struct.Struct("=BBH")
TLV = struct.Struct("=HH")
LOOPBACK = 1


def fault(known: Attribute, kind: int, payload: bytes) -> bool:
    """Whether an attribute is not as the spec's checks want it."""
    if kind & NLA_F_NESTED:
        return True
    longest = len(payload) if known.longest is None else known.longest
    if known.kind == "binary":
        return len(payload) > longest
    if known.kind == "string":
        return b"\0" not in payload or len(payload) - payload.endswith(b"\0") > longest
    if len(payload) != SIZES[known.kind]:
        return True
    if known.flags:
        return number(payload) >= 1 << len(known.enum)
    if known.least is not None and number(payload) < known.least:
        return True
    largest = len(known.enum) - 1 if known.enum else known.largest
    return largest is not None and number(payload) > largest


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
class Expected:
    """What a datagram must be answered; errors are those that are possible, 0 is success."""

    acks: list[tuple[int, set[int]]] = field(default_factory=list)
    """Sequence numbers and errors, in order."""
    dumps: dict[int, set[int]] = field(default_factory=dict)
    """Errors at the end of each dump, by sequence number."""
    replies: int = 0


def walk(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence number and body of each message, as the kernel walks them."""
    at, end = 0, len(datagram)
    while end - at >= HEADER.size:
        length, kind, flags, sequence, _ = HEADER.unpack_from(datagram, at)
        if length < HEADER.size or length > end - at:
            return
        yield kind, flags, sequence, datagram[at + HEADER.size : at + length]
        at += (length + 3) & ~3


class Model:
    """What is configured, and what the family makes of any bytes."""

    def __init__(self, family: int, devices: Iterable[int]) -> None:
        """`devices` are the indices of those that can have a fast path."""
        self.family = family
        self.services: dict[Key, Service] = {}
        self.fast: set[int] = set()
        self._devices = set(devices)
        known = spec()
        self._names = {number: op for op, number in known["ops"].items()}
        self._takes: dict[tuple[str, str], dict[int, Attribute]] = {}
        for (op, mode), taken in known["takes"].items():
            group = known["sets"][known["op_set"][op]]
            self._takes[op, mode] = {group[n].number: group[n] for n in taken}

    def configured(self) -> tuple[Any, Any]:
        """The same as Genl.everything() is to show."""
        services = [service.row(key) for key, service in self.services.items()]
        servers = [
            server.row(key, rip)
            for key, service in self.services.items()
            for rip, server in service.servers.items()
        ]
        return in_order(services), in_order(servers)

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

    def _service(self, key: Key | None, faults: Faults) -> Service | None:
        """The service of a key; its absence is a fault."""
        service = key and self.services.get(key)
        if key and not service:
            faults.add(ENOENT)
        return service or None

    def _do_service_new(self, given: Values) -> Faults:
        faults: Faults = set()
        key = key_of(given, "address", faults)
        service = Service.new(key, given, faults)
        if "address" in given and not is_host(given["address"]):
            faults.add(EINVAL)
        if key in self.services:
            faults.add(EEXIST)
        if key and not faults:
            self.services[key] = service
        return faults

    def _do_service_set(self, given: Values) -> Faults:
        faults: Faults = set()
        key = key_of(given, "address", faults)
        service = self._service(key, faults)
        changed = (service or Service.new(key, {}, set())).changed(key, given, faults)
        if not given.keys() & Service.SETTINGS:
            faults.add(EINVAL)
        if key and not faults:
            self.services[key] = changed
        return faults

    def _do_service_del(self, given: Values) -> Faults:
        faults: Faults = set()
        key = key_of(given, "address", faults)
        if self._service(key, faults) and key and not faults:
            del self.services[key]
        return faults

    def _do_service_get(self, given: Values) -> Faults:
        faults: Faults = set()
        self._service(key_of(given, "address", faults), faults)
        return faults

    def _dump_service_get(self, _: Values) -> Faults:
        return set()

    def _do_server_new(self, given: Values) -> Faults:
        faults: Faults = set()
        key = key_of(given, "service", faults)
        rip = given.get("address")
        if rip is None or not is_host(rip):
            faults.add(EINVAL)
        server = Server().changed(key, rip, given, faults)
        service = self._service(key, faults)
        if service and rip in service.servers:
            faults.add(EEXIST)
        if service:
            service.judge(rip, server, faults)
        if service and rip and not faults:
            service.servers[rip] = server
        return faults

    def _server(self, given: Values, faults: Faults) -> tuple[Key | None, Service]:
        """The service, with the server that an operation names in it."""
        rip = given.get("address")
        if rip is None or len(rip) not in (4, 16):
            faults.add(EINVAL)
        key = key_of(given, "service", faults)
        service = self._service(key, faults)
        if service and rip not in service.servers:
            faults.add(ENOENT)
        return key, service or Service()

    def _do_server_set(self, given: Values) -> Faults:
        faults: Faults = set()
        key, service = self._server(given, faults)
        rip = given.get("address", b"")
        changed = service.servers.get(rip, Server()).changed(key, rip, given, faults)
        service.judge(rip, changed, faults)
        if not given.keys() & Server.SETTINGS:
            faults.add(EINVAL)
        if not faults:
            service.servers[rip] = changed
        return faults

    def _do_server_del(self, given: Values) -> Faults:
        faults: Faults = set()
        _, service = self._server(given, faults)
        if not faults:
            del service.servers[given["address"]]
        return faults

    def _do_server_get(self, given: Values) -> Faults:
        faults: Faults = set()
        self._server(given, faults)
        return faults

    def _dump_server_get(self, given: Values) -> Faults:
        faults: Faults = set()
        if "service" in given or "mark" in given:
            self._service(key_of(given, "service", faults), faults)
        return faults

    def _dump_entry_get(self, _: Values) -> Faults:
        return set()

    def _do_entry_flush(self, given: Values) -> Faults:
        lengths = {len(given[name]) for name in ("client", "service") if name in given}
        return set() if lengths <= {4, 16} else {EINVAL}

    def _do_status_get(self, _: Values) -> Faults:
        return set()

    def _do_fastpath_new(self, given: Values) -> Faults:
        if "ifindex" not in given:
            return {EINVAL}
        index = number(given["ifindex"])
        if index in self.fast:
            return {EEXIST}
        if index not in self._devices:
            return {EOPNOTSUPP if index == LOOPBACK else ENODEV}
        self.fast.add(index)
        return set()

    def _do_fastpath_del(self, given: Values) -> Faults:
        if "ifindex" not in given:
            return {EINVAL}
        index = number(given["ifindex"])
        if index not in self.fast:
            return {ENOENT}
        self.fast.remove(index)
        return set()

    def _dump_fastpath_get(self, _: Values) -> Faults:
        return set()

    def _do_flush(self, _: Values) -> Faults:
        self.services.clear()
        return set()
