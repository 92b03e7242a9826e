# SPDX-License-Identifier: GPL-2.0
"""Services and servers of the model: what makes one, changes it, is wrong with it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from errno import EAFNOSUPPORT, EEXIST, EINVAL, ENOENT, ERANGE
from typing import Any, ClassVar

from kt.fuzz.spis import Spis
from kt.genl import known

SCHEDULERS = (b"rr", b"wrr", b"lc", b"wlc", b"sed", b"nq", b"sh", b"mh", b"fo", b"ovf", b"twos")
FAMILIES = {2: 4, 10: 16}
"""AF_INET and AF_INET6, and how long an address of theirs is."""

Values = dict[str, bytes]
Faults = set[int]
Key = tuple[bytes] | tuple[int, int]
"""The address of a service; or its mark and its family."""


def number(payload: bytes) -> int:
    """A number as netlink has it."""
    return int.from_bytes(payload, "little")


def name(payload: bytes) -> bytes:
    """A string ends at its NUL."""
    return payload.partition(b"\0")[0]


def text(packed: bytes) -> str:
    """An address to read."""
    return str(ipaddress.ip_address(packed))


def is_host(packed: bytes) -> bool:
    """Whether a service or a server can have this address."""
    if len(packed) == 16:
        return packed[0] != 0xFF and any(packed)
    return len(packed) == 4 and 0 < packed[0] < 224


def key_of(given: Values, vip: str, faults: Faults) -> Key | None:
    """What names a service; `vip` is the attribute with its address."""
    mark = number(given["mark"]) if "mark" in given else None
    if (vip in given) == (mark is not None):
        faults.add(EINVAL)
        return None
    if mark is None:
        if len(given[vip]) in (4, 16):
            return (given[vip],)
        faults.add(EINVAL)
        return None
    wrong = set()
    if mark == 0 or "family" not in given:
        wrong.add(EINVAL)
    if "family" in given and number(given["family"]) not in FAMILIES:
        wrong.add(EAFNOSUPPORT)
    faults |= wrong
    return None if wrong else (mark, number(given["family"]))


def length(key: Key) -> int:
    """Bytes of an address of the service's family."""
    return FAMILIES[key[1]] if len(key) == 2 else len(key[0])


def key_row(key: Key, vip: str) -> dict[str, Any]:
    """A key as it is shown."""
    if len(key) == 2:
        return {"mark": key[0], "family": key[1]}
    return {vip: text(key[0])}


def names(group: str, attribute: str, bits: int) -> set[str]:
    """Flags by name."""
    return {n for bit, n in enumerate(known(group, attribute).enum) if bits >> bit & 1}


@dataclass(frozen=True)
class Server:
    """A server of the model."""

    SETTINGS: ClassVar = {
        *("method", "weight", "tunnel-type", "tunnel-port", "tunnel-flags", "encap"),
        *("upper-threshold", "lower-threshold"),
        *("ike-label", "ike-mask", "esp-spi-min", "esp-spi-max"),
    }

    method: str = "dr"
    weight: int = 1
    tunnel: str = "ipip"
    port: int = 6080
    csum: int = 0
    encap: int = 0
    upper: int = 0
    lower: int = 0
    spis: Spis = Spis()

    def changed(self, key: Key | None, rip: bytes | None, given: Values, faults: Faults) -> Server:
        """The same with what is given."""

        def of(attribute: str, old: int) -> int:
            return number(given[attribute]) if attribute in given else old

        methods = known("server", "method").enum
        method = methods[of("method", methods.index(self.method))]
        old = self if method == self.method else Server()
        kinds = known("server", "tunnel-type").enum
        tunnel = kinds[of("tunnel-type", kinds.index(old.tunnel))]
        port = int.from_bytes(given["tunnel-port"]) if "tunnel-port" in given else old.port
        new = Server(
            method=method,
            weight=of("weight", self.weight),
            tunnel=tunnel,
            port=port if tunnel == "gue" else Server.port,
            csum=0 if tunnel == "ipip" else of("tunnel-flags", old.csum),
            encap=of("encap", old.encap),
            upper=of("upper-threshold", self.upper),
            lower=of("lower-threshold", self.lower),
            spis=self.spis.changed(given, faults),
        )
        wrong = (
            (method != "tun" and given.keys() & {"tunnel-type", "tunnel-port", "tunnel-flags"})
            or port == 0
            or ("tunnel-port" in given and tunnel != "gue")
            or (tunnel == "ipip" and of("tunnel-flags", 0))
            or (method != "nat" and new.encap)
            or (method != "local" and key == (rip,))
            or (method != "tun" and key and rip and length(key) != len(rip))
        )
        if wrong:
            faults.add(EINVAL)
        if new.lower > new.upper:
            faults.add(ERANGE)
        return new

    def row(self, key: Key, rip: bytes) -> dict[str, Any]:
        """What is shown of it."""
        shown = {
            **key_row(key, "service"),
            "address": text(rip),
            "method": self.method,
            "weight": self.weight,
            "upper-threshold": self.upper,
            "lower-threshold": self.lower,
            **self.spis.row(),
        }
        if self.method == "nat":
            shown["encap"] = self.encap
        if self.method == "tun":
            shown["tunnel-type"] = self.tunnel
            shown["tunnel-flags"] = names("server", "tunnel-flags", self.csum)
        if self.method == "tun" and self.tunnel == "gue":
            shown["tunnel-port"] = self.port
        return shown


@dataclass(frozen=True)
class Service:
    """A service of the model."""

    SETTINGS: ClassVar = {
        *("scheduler", "scheduler-flags", "persistence-timeout", "persistence-prefix"),
        *("initial-timeout", "established-timeout", "soft-entries"),
    }

    scheduler: bytes = b"wlc"
    flags: int = 0
    timeout: int = 0
    prefix: int = 32
    initial: int = 0
    established: int = 0
    soft: int = 0
    servers: dict[bytes, Server] = field(default_factory=dict)

    @classmethod
    def new(cls, key: Key | None, given: Values, faults: Faults) -> Service:
        """A new one."""
        return cls(prefix=length(key) * 8 if key else 128).changed(key, given, faults)

    def changed(self, key: Key | None, given: Values, faults: Faults) -> Service:
        """The same, its servers too, with what is given."""
        scheduler = name(given.get("scheduler", self.scheduler))
        if scheduler not in SCHEDULERS:
            faults.add(ENOENT)
        numbers = {
            field: number(given[attribute])
            for field, attribute in (
                ("flags", "scheduler-flags"),
                ("timeout", "persistence-timeout"),
                ("prefix", "persistence-prefix"),
                ("initial", "initial-timeout"),
                ("established", "established-timeout"),
                ("soft", "soft-entries"),
            )
            if attribute in given
        }
        new = replace(self, scheduler=scheduler, **numbers)
        if not 1 <= new.prefix <= (length(key) * 8 if key else 128):
            faults.add(EINVAL)
        return new

    def judge(self, rip: bytes | None, server: Server, faults: Faults) -> None:
        """What of a server does not go with the others."""
        others = (other for its, other in self.servers.items() if its != rip)
        if any(server.spis.overlap(other.spis) for other in others):
            faults.add(EEXIST)

    def row(self, key: Key) -> dict[str, Any]:
        """What is shown of it."""
        return {
            **key_row(key, "address"),
            "scheduler": self.scheduler.decode(),
            "scheduler-flags": names("service", "scheduler-flags", self.flags),
            "persistence-timeout": self.timeout,
            "persistence-prefix": self.prefix,
            "initial-timeout": self.initial,
            "established-timeout": self.established,
            "soft-entries": self.soft,
            "servers": len(self.servers),
        }
