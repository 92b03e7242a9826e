# SPDX-License-Identifier: GPL-2.0
"""Ways to make a message nearly right."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from kt.fuzz import pick
from kt.fuzz.model import GENL, GENL_MAX_ID, HEADER, NLA_F_NESTED, TLV
from kt.genl import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, Attribute, address, attr, u32

NLA_F_NET_BYTEORDER = 0x4000


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
NO_PORTS = [*(b"\1" * size for size in (0, 1, 3, 4)), b"\0\0", b"\0\1", b"\xff\xff"]
NO_SPIS = [
    *(b"\1" * size for size in (0, 1, 4, 7, 9, 16)),
    *(bytes([n, *7 * [0]]) for n in (1, 0x80)),
    *(bytes([*7 * [0], n]) for n in (1, 0x80)),
    *(bytes(8), b"\xff" * 8),
]
BAD = {
    "binary": NO_HOSTS,
    "string": NO_NAMES,
    "u16": NO_PORTS,
    "u32": NO_NUMBERS,
    "u64": NO_SPIS,
}

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
    kind = pick(dice, (*range(34), 99, 0x3FFF, dice.randrange(1 << 16)))
    draft.attributes[at] = kind, draft.attributes[at][1]


@mutation
def added(dice: random.Random, draft: Draft, _: list[Attribute]) -> None:
    """One more."""
    kind = pick(dice, (*range(34), 99, 0x3FFF))
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
