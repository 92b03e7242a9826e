# SPDX-License-Identifier: GPL-2.0
"""Netlink messages by the spec and the dice: right, nearly right, broken."""

from __future__ import annotations

import random
from collections.abc import Sequence

from kt.fuzz import pick
from kt.fuzz.configured import SCHEDULERS
from kt.fuzz.mutations import MUTATIONS, Draft
from kt.genl import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, Attribute, payload, spec, u32

# How often an operation is asked for; 1 where nothing is said.
WEIGHTS = {
    ("service-new", "do"): 3,
    ("server-new", "do"): 6,
    ("server-set", "do"): 3,
    ("server-del", "do"): 2,
    ("service-get", "dump"): 0.2,
    ("server-get", "dump"): 0.2,
    ("entry-get", "dump"): 0.2,
    ("fastpath-get", "dump"): 0.2,
    ("entry-flush", "do"): 0.3,
    ("status-get", "do"): 0.3,
    ("flush", "do"): 0.02,
}

# Values that are right somewhere.
GOOD = {
    "mark": (1, 2, 3, 0xFFFFFFFF),
    "family": (2, 10),
    "scheduler": [name.decode() for name in SCHEDULERS],
    "scheduler-flags": (0, 1, 2, 3),
    "persistence-timeout": (0, 1, 300, 2678400),
    "persistence-prefix": (1, 8, 24, 32),
    "initial-timeout": (0, 1, 10, 3600),
    "established-timeout": (0, 1, 28800, 2592000),
    "soft-entries": (0, 1, 100, 65536),
    "method": (0, 1, 2, 3, 3, 3),
    "weight": (0, 1, 2, 100, 65535),
    "tunnel-type": (0, 1, 2),
    "tunnel-port": (1, 6080, 65535),
    "tunnel-flags": (0, 1),
    "encap": (0, 1),
    "upper-threshold": (0, 1, 3, 10, 0xFFFFFFFF),
    "lower-threshold": (0, 1, 2),
}
# SPIs that name servers, or none any more; what stands together is right together. Servers of a
# service must have different ones, and mostly do.
LABELS = [{"ike-label": n << 56, "ike-mask": 0xFF << 56} for n in range(64)]
LABELS += [{"ike-label": 0, "ike-mask": 0}] * 16
RANGES = [{"esp-spi-min": n << 8, "esp-spi-max": (n << 8) + 0xFF} for n in range(1, 65)]
RANGES += [{"esp-spi-min": 0, "esp-spi-max": 0}] * 16
# Initiators that have entries now and then, and some that never do.
CLIENTS = (*(f"192.0.2.{n}" for n in range(200, 255)), "0.0.0.0", "2001:db8:c::1", "::")
# What only servers of one method have.
METHODS = {"nat": {"encap"}, "tun": {"tunnel-type", "tunnel-port", "tunnel-flags"}}


class Maker:
    """Makes datagrams."""

    def __init__(
        self,
        dice: random.Random,
        family: int,
        vips: Sequence[str],
        rips: Sequence[str],
        devices: Sequence[int],
    ) -> None:
        self.dice = dice
        self.family = family
        self._sequence = 0
        self._vips, self._rips, self._devices = vips, rips, devices
        known = spec()
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
        command, flags, group, takes = pick(self.dice, self._operations)
        # A dump is of all that there is, mostly.
        whole = flags & NLM_F_DUMP and self.dice.random() < 0.5
        values = {} if whole else self._values(group, {known.name for known in takes})
        attributes = [
            (known.number, payload(known, values[known.name]))
            for known in takes
            if known.name in values
        ]
        return Draft(command, attributes, flags, self.family), takes

    def _values(self, group: str, takes: set[str]) -> dict[str, int | str]:
        """What such a message says."""
        dice, random = self.dice, self.dice.random
        values: dict[str, int | str] = {n: pick(dice, GOOD[n]) for n in GOOD if n in takes}
        method = values.get("method")
        for name in [*values]:
            if name not in ("mark", "family") and random() < 0.5:
                del values[name]
        # A server that is not given a method may have any.
        its = spec()["sets"]["server"]["method"].enum[method] if "method" in values else ""
        for of, names in METHODS.items():
            if its != of and (its or random() < 0.9):
                values = {k: v for k, v in values.items() if k not in names}
        if "upper-threshold" not in values and random() < 0.9:
            values.pop("lower-threshold", None)
        vip = pick(dice, self._vips)
        if random() < 0.3:
            six = values.get("family") == 10
        else:
            six = ":" in vip
            values.pop("mark", None)
            values.pop("family", None)
            if key := {"service": "address", "server": "service"}.get(group):
                values[key] = vip
        if group == "entry":
            entry = {"client": pick(dice, CLIENTS), "service": pick(dice, self._vips)}
            values |= {name: value for name, value in entry.items() if random() < 0.5}
        if group == "fastpath":
            values["ifindex"] = pick(dice, self._devices)
        if group == "server" and random() < 0.3:
            values |= pick(dice, pick(dice, (LABELS, RANGES)))
        if group == "server" and "address" in takes:
            rip = pick(dice, self._rips)
            while (":" in rip) != six and its != "tun" and random() < 0.9:
                rip = pick(dice, self._rips)
            values["address"] = rip
        return {name: value for name, value in values.items() if name in takes}

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
