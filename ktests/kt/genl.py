# SPDX-License-Identifier: GPL-2.0
"""Generic netlink by hand: what is sent is exactly what the caller says.

Well-formed messages are built from the YAML spec; broken ones from bytes. YNL's
own library is a second opinion (test_ynl.py), too well behaved for bad input.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kt.net import Ns
from kt.wait import PATIENCE

NETLINK_GENERIC = 16
SOL_NETLINK = 270
NETLINK_CAP_ACK, NETLINK_EXT_ACK = 10, 11
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300
NLM_F_DUMP_INTR, NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x10, 0x100, 0x200
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLA_TYPE_MASK = 0x3FFF
GENL_ID_CTRL, CTRL_CMD_GETFAMILY = 16, 3
CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME = 1, 2

FAMILY = "ipvs-ipsec"
SIZES = {"u16": 2, "u32": 4, "u64": 8}


def spec_file() -> Path:
    """The YAML spec: beside the tests in the source tree, or wherever the guest has it."""
    here = Path(__file__).resolve().parents[2]
    named = os.environ.get("IPVS_IPSEC_SPEC")
    places = [Path(named)] if named else []
    places += [
        here / "Documentation/netlink/specs/ipvs-ipsec.yaml",
        here / "ynl/Documentation/netlink/specs/ipvs-ipsec.yaml",
    ]
    for place in places:
        if place.is_file():
            return place
    return next(here.rglob("ipvs-ipsec.yaml"))


@dataclass
class Attribute:
    """What the spec says of one attribute."""

    name: str
    number: int
    kind: str
    enum: list[str] = field(default_factory=list)
    flags: bool = False
    """The names of `enum` are bits."""
    nested: str = ""
    big_endian: bool = False
    address: bool = False
    hexadecimal: bool = False
    """The spec wants it shown so."""
    longest: int | None = None
    """Bytes a request may have, the NUL of a string not counted."""
    largest: int | None = None
    least: int | None = None


@functools.cache
def spec() -> dict[str, Any]:
    """The spec as `sets` (by name), `ops` (name to number), `op_set` and `takes`.

    `takes` has, by operation and "do" or "dump", the attributes that a request may have.
    """
    raw = yaml.load(spec_file().read_text(encoding="utf-8"), yaml.CSafeLoader)
    numbers = {d["name"]: d["value"] for d in raw["definitions"] if d["type"] == "const"}
    enums = {
        d["name"]: [e["name"] for e in d["entries"]]
        for d in raw["definitions"]
        if d["type"] in ("enum", "flags")
    }

    def limit(attribute: dict[str, Any], check: str) -> int | None:
        found = attribute.get("checks", {}).get(check)
        return numbers.get(found, found)

    sets = {
        group["name"]: {
            a["name"]: Attribute(
                a["name"],
                number,
                a["type"],
                enums.get(a.get("enum", ""), []),
                a.get("enum-as-flags", False),
                a.get("nested-attributes", ""),
                a.get("byte-order") == "big-endian",
                a.get("display-hint") == "ipv4-or-v6",
                a.get("display-hint") == "hex",
                limit(a, "max-len"),
                limit(a, "max"),
                limit(a, "min"),
            )
            for number, a in enumerate(group["attributes"], 1)
        }
        for group in raw["attribute-sets"]
    }
    operations = raw["operations"]["list"]
    return {
        "sets": sets,
        "ops": {op["name"]: number for number, op in enumerate(operations, 1)},
        "op_set": {op["name"]: op["attribute-set"] for op in operations},
        "takes": {
            (op["name"], mode): op[mode].get("request", {}).get("attributes", [])
            for op in operations
            for mode in ("do", "dump")
            if mode in op
        },
    }


class Refused(Exception):
    """The kernel said no: errno, the extack text, and the attribute it points at."""

    def __init__(self, errno: int, text: str, offset: int | None, missing: int | None) -> None:
        super().__init__(f"[{os.strerror(errno)}] {text}")
        self.errno = errno
        self.text = text
        self.offset = offset
        self.missing = missing


def attr(number: int, payload: bytes) -> bytes:
    """One attribute, padded."""
    return struct.pack("=HH", len(payload) + 4, number) + payload + b"\0" * (-len(payload) % 4)


def u32(value: int) -> bytes:
    """A u32 as netlink has it."""
    return struct.pack("=I", value)


@functools.lru_cache(maxsize=4096)
def address(text: str) -> bytes:
    """The bytes of an IP address."""
    return ipaddress.ip_address(text).packed


def known(attribute_set: str, name: str) -> Attribute:
    """What the spec says of an attribute (`_` for `-`)."""
    found: Attribute = spec()["sets"][attribute_set][name.replace("_", "-")]
    return found


def payload(of: Attribute, value: Any) -> bytes:
    """A value as the attribute has it; bytes are what they are."""
    if isinstance(value, bytes):
        return value
    if of.address:
        return address(value)
    if of.kind == "string":
        return bytes(value.encode()) + b"\0"
    if of.flags and not isinstance(value, int):
        value = sum(1 << of.enum.index(name) for name in value)
    if isinstance(value, str):
        value = of.enum.index(value)
    return int.to_bytes(value, SIZES[of.kind], "big" if of.big_endian else "little")


def encode(attribute_set: str, **values: Any) -> bytes:
    """Attributes by their names in the spec (`_` for `-`)."""
    encoded = b""
    for name, value in values.items():
        of = known(attribute_set, name)
        encoded += attr(of.number, payload(of, value))
    return encoded


def value_of(of: Attribute, data: bytes) -> Any:
    """What the payload of an attribute says."""
    if of.nested:
        return decode(of.nested, data)
    if of.address:
        return str(ipaddress.ip_address(data))
    if of.kind == "string":
        return data.rstrip(b"\0").decode()
    value = int.from_bytes(data, "big" if of.big_endian else "little")
    if of.flags:
        return {name for bit, name in enumerate(of.enum) if value >> bit & 1}
    return of.enum[value] if of.enum else value


def in_order(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows in an order that depends on nothing but what they say."""
    return sorted(rows, key=lambda row: sorted((name, str(value)) for name, value in row.items()))


def split(data: bytes) -> list[tuple[int, bytes]]:
    """Attributes as pairs of number and payload."""
    found = []
    while len(data) >= 4:
        length, number = struct.unpack_from("=HH", data)
        found.append((number & NLA_TYPE_MASK, data[4:length]))
        data = data[(length + 3) & ~3 :]
    return found


def decode(attribute_set: str, data: bytes) -> dict[str, Any]:
    """Attributes by name; an unknown one is an error."""
    by_number = {a.number: a for a in spec()["sets"][attribute_set].values()}
    found: dict[str, Any] = {}
    for number, body in split(data):
        of = by_number[number]
        found[of.name] = value_of(of, body)
    return found


def blamed(attributes: bytes, refused: Refused) -> int | None:
    """The number of the attribute of the request that a refusal points at."""
    if refused.offset is None:
        return None
    at = refused.offset - 20  # the netlink header and that of generic netlink
    (number,) = struct.unpack_from("=2xH", attributes, at)
    return int(number) & NLA_TYPE_MASK


class Genl:
    """A socket of the family in one namespace; usable by one thread at a time."""

    def __init__(self, ns: Ns | None = None) -> None:
        if ns is None:
            self._open()
        else:
            with ns.entered():
                self._open()

    def _open(self) -> None:
        self._sequence = 0
        self.interrupted = False
        self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
        self.sock.settimeout(20 * PATIENCE)
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):
            self.sock.setsockopt(SOL_NETLINK, option, 1)
        self.family = 0

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    def __enter__(self) -> Genl:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def find_family(self) -> int:
        """The number of the family; FileNotFoundError while the module is not loaded."""
        name = attr(CTRL_ATTR_FAMILY_NAME, FAMILY.encode() + b"\0")
        try:
            (answer,) = self.message(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, name)
        except Refused as refused:
            raise FileNotFoundError(f"netlink family {FAMILY}: {refused}") from refused
        (number,) = struct.unpack("=H", dict(split(answer))[CTRL_ATTR_FAMILY_ID])
        return number

    def message(
        self,
        kind: int,
        command: int,
        attributes: bytes = b"",
        *,
        dump: bool = False,
        version: int = 1,
    ) -> list[bytes]:
        """Send one message, give back the attributes of each answer."""
        self._sequence += 1
        flags = NLM_F_REQUEST | NLM_F_ACK | (NLM_F_DUMP if dump else 0)
        body = struct.pack("=BBH", command, version, 0) + attributes
        self.sock.send(struct.pack("=IHHII", len(body) + 16, kind, flags, self._sequence, 0) + body)
        self.interrupted = False
        answers: list[bytes] = []
        while True:
            if self._take(self.sock.recv(1 << 17), answers):
                return answers

    def _take(self, data: bytes, answers: list[bytes]) -> bool:
        """Read the messages of one datagram; whether the last has come."""
        while data:
            length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", data)
            body, data = data[16:length], data[(length + 3) & ~3 :]
            if sequence != self._sequence:
                continue
            self.interrupted |= kind != NLMSG_ERROR and bool(flags & NLM_F_DUMP_INTR)
            if kind not in (NLMSG_ERROR, NLMSG_DONE):
                answers.append(body[4:])
                continue
            (error,) = struct.unpack_from("=i", body)
            if error:
                # The header of the request stands before the extack, but for DONE.
                more = body[4 if kind == NLMSG_DONE else 20 :] if flags & NLM_F_ACK_TLVS else b""
                told = dict(split(more))
                numbers = [struct.unpack("=I", told[n])[0] if n in told else None for n in (2, 5)]
                text = told.get(1, b"").rstrip(b"\0").decode()
                raise Refused(-error, text, *numbers)
            return True
        return False

    def call(
        self, op: str | int, attributes: bytes = b"", *, dump: bool = False, version: int = 1
    ) -> list[bytes]:
        """Send an operation of the family, its attributes given as bytes."""
        self.family = self.family or self.find_family()
        number = spec()["ops"][op] if isinstance(op, str) else op
        return self.message(self.family, number, attributes, dump=dump, version=version)

    def do(self, op: str, **values: Any) -> dict[str, Any] | None:
        """A well-formed operation with at most one answer."""
        group = spec()["op_set"][op]
        answers = self.call(op, encode(group, **values))
        return decode(group, answers[0]) if answers else None

    def together(self, *requests: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """Well-formed operations in one datagram, so that the kernel does them at one go; answers."""
        self.family = self.family or self.find_family()
        datagram, first = b"", self._sequence + 1
        for op, values in requests:
            self._sequence += 1
            attributes = encode(spec()["op_set"][op], **values)
            length = 20 + len(attributes)
            flags = NLM_F_REQUEST | NLM_F_ACK
            datagram += struct.pack("=IHHII", length, self.family, flags, self._sequence, 0)
            datagram += struct.pack("=BBH", spec()["ops"][op], 1, 0) + attributes
        self.sock.send(datagram)
        last, answers = self._sequence, []
        for self._sequence, (op, _) in enumerate(requests, first):
            some: list[bytes] = []
            while not self._take(self.sock.recv(1 << 17), some):
                pass
            answers += [decode(spec()["op_set"][op], answer) for answer in some]
        assert self._sequence == last
        return answers

    def dump(self, op: str, **values: Any) -> list[dict[str, Any]]:
        """A well-formed dump; once more when the table changed meanwhile."""
        group = spec()["op_set"][op]
        attributes = encode(group, **values)
        for _ in range(50):
            answers = self.call(op, attributes, dump=True)
            if not self.interrupted:
                return [decode(group, answer) for answer in answers]
        raise AssertionError(f"{op}: the table never held still")

    def counters(self) -> dict[str, int]:
        """Every counter of the namespace."""
        status = self.do("status-get")
        assert status is not None
        return {name: status["counters"].get(name, 0) for name in spec()["sets"]["counters"]}

    def everything(self) -> tuple[Any, Any]:
        """Services and servers with what was configured, for "nothing has changed"."""
        names = {op: set(spec()["takes"][op, "do"]) for op in ("service-new", "server-new")}

        def only(op: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            wanted = {*names[op], "servers"}
            return in_order({k: v for k, v in row.items() if k in wanted} for row in rows)

        return (
            only("service-new", self.dump("service-get")),
            only("server-new", self.dump("server-get")),
        )
