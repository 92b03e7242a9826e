# SPDX-License-Identifier: GPL-2.0
"""Packets by the dice: what strongSwan sends, changed, and what must be counted for it.

`Maker` changes packets of the corpus (corpus.py). What is known of the result is a
`Made`: the frames, and the verdict that the oracle has on what IPv4's own checks
leave of it.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kt import oracle
from kt.fuzz import pick
from kt.packets import (
    AH,
    ESP,
    IKE_PORT,
    KEEPALIVE,
    NATT_PORT,
    NON_ESP_MARKER,
    TCP,
    UDP,
    Packet,
    chain,
    fragments,
    framed,
    seal,
    tcp,
)

IPV4 = struct.Struct("!BBHHHBBH4s4s")
MTU = 1500
RESERVED, DONT, MORE = 0x8000, 0x4000, 0x2000
FRAGMENTS_MAX = 40
NATT = NATT_PORT.to_bytes(2)
PORTS_OF_IKE = (IKE_PORT.to_bytes(2), NATT)

# Reasons to drop a packet that lie in itself; all others lie in its entry, which the oracle does
# not know.
MALFORMED = {
    "drop-truncated",
    "drop-ike-short",
    "drop-ike-version",
    "drop-ike-length",
    "drop-ike-exchange",
    "drop-ike-spi",
    "drop-ike-payload",
    "drop-esp-malformed",
    "drop-ah-malformed",
}
GOOD = "good"
"""The verdict on a packet without such a fault."""
UNSURE = "unsure"
"""That on one that has such a fault unless its client has an IKE SA."""


def verdict(protocol: int, payload: bytes) -> str | None:
    """GOOD, or the reason to drop a packet to the VIP; `None` when it is not ours."""
    if protocol == UDP and payload[2:4] not in PORTS_OF_IKE:
        return None
    found = oracle.verdict(protocol, payload, aside=UNSURE)
    return found if found is None or found in MALFORMED | {UNSURE} else GOOD


@dataclass
class Made:
    """What is sent, and what is known of it."""

    frames: list[bytes]
    whole: bytes
    """The packet as the director gets it, if it does."""
    verdict: str | None
    sure: bool = True
    """Whether it is known what IPv4 makes of it, before it is ours; and we, without its entry."""

    def __post_init__(self) -> None:
        self.sure = self.verdict != UNSURE


@dataclass
class Draft:
    """A packet before it has a header."""

    protocol: int
    payload: bytearray
    source: bytes
    target: bytes
    ident: int
    ttl: int = 64
    tos: int = 0
    flags: int = 0
    options: bytes = b""
    lies: bool = False
    """The UDP length is wrong on purpose."""

    @property
    def is_udp(self) -> bool:
        """Whether there is a UDP header to change."""
        return self.protocol == UDP and len(self.payload) >= 8

    @property
    def ike(self) -> int:
        """Where the header of IKE begins, if it is IKE."""
        return 12 if self.payload[2:4] == NATT else 8

    def pack(self) -> bytes:
        """A packet that IPv4 finds nothing wrong with, options aside."""
        size = IPV4.size + len(self.options)
        words = (0x40 + size // 4, self.tos, size + len(self.payload), self.ident, self.flags)
        header = IPV4.pack(*words, self.ttl, self.protocol, 0, self.source, self.target)
        return seal(header + self.options) + self.payload

    def made(self) -> Made:
        """The same with the oracle's verdict."""
        packet = self.pack()
        return Made([packet], packet, verdict(self.protocol, bytes(self.payload)))


class Maker:
    """Makes packets to a VIP, of many clients."""

    def __init__(
        self, dice: random.Random, corpus: Sequence[Packet], vip: str, clients: Sequence[str]
    ) -> None:
        self.dice = dice
        self.corpus = corpus
        self.vip = socket.inet_aton(vip)
        self.clients = [socket.inet_aton(client) for client in clients]
        # What others have where the SPIs of IKE are.
        self.spis = sorted({p.payload[at : at + 8] for p in corpus for at in (8, 12, 16, 20)})
        self._ident = 0

    def make(self) -> Made:
        """One packet, in one frame or in fragments."""
        draft, luck = self._draft(), self.dice.random()
        for _ in range(0 if luck < 0.25 else 1 if luck < 0.7 else 3):
            pick(self.dice, CHANGES)(self, draft)
        # Most lengths are right, so that more than the first check has work.
        if draft.is_udp and not draft.lies and self.dice.random() < 0.8:
            draft.payload[4:6] = len(draft.payload).to_bytes(2)
        luck = self.dice.random()
        if (luck < 0.05 and draft.payload) or len(draft.payload) > MTU - 60:
            return self._fragments(draft)
        if luck < 0.2:
            return pick(self.dice, HEADERS)(self.dice, draft)
        return draft.made()

    def _draft(self) -> Draft:
        """A packet of the corpus as another client sends it."""
        dice = self.dice
        packet = pick(dice, self.corpus)
        client = int(dice.random() * len(self.clients))
        self._ident = (self._ident + 1) & 0xFFFF
        draft = Draft(
            packet.protocol,
            bytearray(packet.payload),
            self.clients[client],
            self.vip,
            self._ident,
        )
        if draft.is_udp:
            if dice.random() < 0.5:
                draft.payload[:2] = (1024 + int(dice.random() * 4)).to_bytes(2)
            if dice.random() < 0.75:  # an IKE SA of its own
                put(draft, draft.ike + 6, client.to_bytes(2))
        return draft

    def _fragments(self, draft: Draft) -> Made:
        """Cut, and sent as nobody should."""
        dice = self.dice
        draft.flags = 0
        whole = draft.pack()
        sizes = (8, 16, 64, 256, 512, 1024, 1480)
        size = next(
            s
            for s in sizes[dice.randrange(len(sizes)) :] + (1480,)
            if s * FRAGMENTS_MAX > len(draft.payload)
        )
        pieces = fragments(whole, size, draft.ident)
        made = Made(pieces, whole, verdict(draft.protocol, bytes(draft.payload)))
        if len(pieces) > 1:
            pick(dice, ORDERS)(dice, made)
        return made


INTERESTING = (0, 1, 3, 4, 7, 8, 11, 12, 20, 27, 28, 29, 31, 32, 0x7F, 0x80, 0xFE, 0xFF)

Change = Callable[[Maker, Draft], None]
CHANGES: list[Change] = []


def change(made: Change) -> Change:
    """A way to change what follows the IPv4 header."""
    CHANGES.append(made)
    return made


def place(dice: random.Random, draft: Draft) -> int:
    """A place in the payload, in its headers more often than not."""
    size = max(1, len(draft.payload))
    return int(dice.random() * (min(size, 48) if dice.random() < 0.8 else size))


def put(draft: Draft, at: int, data: bytes) -> None:
    """Overwrite what is there; the length stays."""
    room = len(draft.payload) - at
    if room > 0:
        draft.payload[at : at + len(data)] = data[:room]


@change
def bits(maker: Maker, draft: Draft) -> None:
    """A few bits flip."""
    for _ in range(maker.dice.randrange(1, 9)):
        at = place(maker.dice, draft)
        put(draft, at, bytes(b ^ 1 << maker.dice.randrange(8) for b in draft.payload[at : at + 1]))


@change
def byte(maker: Maker, draft: Draft) -> None:
    """A byte has an interesting value."""
    put(draft, place(maker.dice, draft), bytes([pick(maker.dice, INTERESTING)]))


@change
def word(maker: Maker, draft: Draft) -> None:
    """So have two, or four."""
    number = pick(maker.dice, INTERESTING)
    data = pick(maker.dice, (number.to_bytes(2), number.to_bytes(4), b"\xff" * 4, b"\x80\0\0\0"))
    put(draft, place(maker.dice, draft), data)


@change
def cut(maker: Maker, draft: Draft) -> None:
    """Not all of it is there."""
    del draft.payload[place(maker.dice, draft) :]


@change
def grown(maker: Maker, draft: Draft) -> None:
    """There is more than there should be."""
    draft.payload += maker.dice.randbytes(pick(maker.dice, (1, 2, 3, 4, 8, 20, 100)))


@change
def udp_length(maker: Maker, draft: Draft) -> None:
    """The UDP length lies."""
    if draft.is_udp:
        size = len(draft.payload)
        lies = (0, 7, 8, 9, 12, 16, 35, 36, 40, size - 1, size + 1, size + 8, 0xFFFF)
        draft.payload[4:6] = (pick(maker.dice, lies) & 0xFFFF).to_bytes(2)
        draft.lies = True


@change
def ike_length(maker: Maker, draft: Draft) -> None:
    """The length of IKE lies, or nearly so."""
    size = max(0, len(draft.payload) - draft.ike)
    lies = (0, 27, 28, 29, size - 1, size + 1, size + 4, size + 8, 1 << 16, 1 << 31)
    put(draft, draft.ike + 24, (pick(maker.dice, lies) & 0xFFFFFFFF).to_bytes(4))


@change
def payloads(maker: Maker, draft: Draft) -> None:
    """A payload of IKE has another length, or another kind follows it."""
    dice, at = maker.dice, draft.ike + 28
    for _ in range(dice.randrange(8)):
        size = int.from_bytes(draft.payload[at + 2 : at + 4])
        if at + max(4, size) > len(draft.payload):
            break
        at += max(4, size)
    if dice.random() < 0.5:
        size = len(draft.payload) - at
        lies = (0, 3, 4, 5, size - 1, size, size + 1, size + 4, 0xFFFF)
        put(draft, at + 2, (pick(dice, lies) & 0xFFFF).to_bytes(2))
    else:
        put(draft, at, bytes([pick(dice, (0, 33, 46, 53, dice.randrange(256)))]))


@change
def many_payloads(maker: Maker, draft: Draft) -> None:
    """As many payloads of IKE as there may be, or nearly."""
    if draft.is_udp and len(draft.payload) >= draft.ike + 28:
        body = chain(*[b""] * pick(maker.dice, (1, 126, 127, 128, 129, 200)))
        draft.payload[draft.ike + 28 :] = body
        put(draft, draft.ike + 16, b"\x21")
        put(draft, draft.ike + 24, (28 + len(body)).to_bytes(4))


@change
def ah_length(maker: Maker, draft: Draft) -> None:
    """The length of AH lies, or nearly so."""
    size = len(draft.payload) // 4 - 2
    put(draft, 1, bytes([pick(maker.dice, (0, 1, 2, size - 1, size, size + 1, 255)) & 0xFF]))


@change
def ports(maker: Maker, draft: Draft) -> None:
    """Other ports, mostly those of IKE."""
    others = (*PORTS_OF_IKE, *PORTS_OF_IKE, b"\0\0", b"\1\xf3", b"\1\xf5", b"\x11\x95", b"\xff\xff")
    put(draft, pick(maker.dice, (0, 2)), pick(maker.dice, others))


@change
def exchange(maker: Maker, draft: Draft) -> None:
    """Another version or exchange of IKE."""
    dice = maker.dice
    put(draft, draft.ike + 17, bytes([pick(dice, (0x00, 0x10, 0x1F, 0x20, 0x21, 0x30, 0xF0))]))
    if dice.random() < 0.7:
        put(draft, draft.ike + 17, pick(dice, (b"\x10", b"\x20")))
        put(draft, draft.ike + 18, bytes([pick(dice, (dice.randrange(48), 255))]))


@change
def spis(maker: Maker, draft: Draft) -> None:
    """The SPIs of IKE are 0, those of others, or nobody's."""
    dice = maker.dice
    spi = pick(dice, (bytes(8), bytes(8), pick(dice, maker.spis), dice.randbytes(8)))
    put(draft, draft.ike + pick(dice, (0, 8)), spi)


@change
def ipsec_spi(maker: Maker, draft: Draft) -> None:
    """The SPI of ESP, of AH or of ESP in UDP."""
    spi = pick(maker.dice, (bytes(4), b"\0\0\0\1", b"\xff" * 4, maker.dice.randbytes(4)))
    put(draft, {ESP: 0, AH: 4}.get(draft.protocol, 8), spi)


@change
def protocol(maker: Maker, draft: Draft) -> None:
    """Another protocol has these bytes."""
    other = maker.dice.randrange(256)
    draft.protocol = pick(maker.dice, (UDP, ESP, AH, TCP, UDP, ESP, AH, TCP, other))


@change
def in_tcp(maker: Maker, draft: Draft) -> None:
    """The same message in a segment of TCP, of one of few connections."""
    if draft.is_udp:
        message = framed(bytes(draft.payload[8:]))
        port = 1024 + maker.dice.randrange(4)
        draft.protocol = TCP
        draft.payload[:] = tcp(port, NATT_PORT, message, syn=maker.dice.random() < 0.5)


@change
def spliced(maker: Maker, draft: Draft) -> None:
    """The head of one packet on the tail of another."""
    other = pick(maker.dice, maker.corpus)
    at = place(maker.dice, draft)
    draft.payload[at:] = other.payload[pick(maker.dice, (at, 0, 8, 12)) :]


@change
def marker(maker: Maker, draft: Draft) -> None:
    """A marker more, or one less."""
    if maker.dice.random() < 0.5:
        draft.payload[8:8] = pick(maker.dice, (NON_ESP_MARKER, bytes(8), bytes(3)))
    else:
        del draft.payload[8:12]


@change
def tiny(maker: Maker, draft: Draft) -> None:
    """A keepalive, or nearly."""
    few = (KEEPALIVE, KEEPALIVE, b"", b"\0", b"\xfe", b"\xff\xff", bytes(3), bytes(4), bytes(8))
    draft.payload[8:] = pick(maker.dice, few)


Header = Callable[[random.Random, Draft], Made]
HEADERS: list[Header] = []


def header(made: Header) -> Header:
    """A way to change the IPv4 header."""
    HEADERS.append(made)
    return made


def resealed(made: Made, at: int, data: bytes) -> bytes:
    """The packet with other bytes in its header, and the right checksum for them."""
    changed = made.whole[:at] + data + made.whole[at + len(data) :]
    return seal(changed[: IPV4.size]) + changed[IPV4.size :]


@header
def harmless(dice: random.Random, draft: Draft) -> Made:
    """Fields that do not matter before a packet is forwarded."""
    draft.ttl = pick(dice, (0, 1, 2, 255))
    draft.tos = dice.randrange(256)
    draft.flags = pick(dice, (0, DONT, RESERVED))
    return draft.made()


@header
def options(dice: random.Random, draft: Draft) -> Made:
    """Options that change nothing on the way: no-operation, end of list, router alert."""
    draft.options = pick(dice, (b"\1\1\1\1", b"\1" * 40, b"\1\1\1\0", bytes(8), b"\x94\4\0\0"))
    return draft.made()


@header
def odd_options(dice: random.Random, draft: Draft) -> Made:
    """Routes to record or to follow, time stamps, noise."""
    some = (b"\7\7\4\0\0\0\0\0", b"\x83\7\4\n\2\1\1\0", b"\x44\x0c\5\0" + bytes(8), b"\x44\4\5\xf0")
    draft.options = pick(dice, (*some, dice.randbytes(pick(dice, (4, 8, 40)))))
    made = draft.made()
    made.sure = False
    return made


@header
def odd_size(dice: random.Random, draft: Draft) -> Made:
    """The header says it is shorter or longer than it is; or it is of another IP."""
    made = draft.made()
    first = pick(dice, (0x40, 0x44, 0x46, 0x4F, 0x05, 0x65, 0xF5))
    made.frames = [resealed(made, 0, bytes([first]))]
    made.sure = first not in (0x46, 0x4F)
    if made.sure:
        made.verdict = None
    return made


@header
def odd_length(dice: random.Random, draft: Draft) -> Made:
    """The total length lies: too large and all is lost, too small and the rest is padding."""
    made = draft.made()
    size = len(made.whole)
    told = pick(dice, (0, 19, 20, 24, 28, 36, 40, 60, size - 1, size - 4, size + 1, 0xFFFF))
    packet = resealed(made, 2, (told & 0xFFFF).to_bytes(2))
    within = IPV4.size <= told <= size
    known = verdict(draft.protocol, packet[IPV4.size : told]) if within else None
    return Made([packet], packet[:told], known)


@header
def bad_checksum(dice: random.Random, draft: Draft) -> Made:
    """One bit of the checksum."""
    made = draft.made()
    packet = bytearray(made.whole)
    packet[pick(dice, (10, 11))] ^= 1 << dice.randrange(8)
    return Made([bytes(packet)], b"", None)


@header
def lonely(dice: random.Random, draft: Draft) -> Made:
    """A fragment without the others."""
    draft.flags = pick(dice, (MORE, MORE | 1, 1, 185, 0x1FFF))
    return Made([draft.pack()], b"", None)


@header
def odd_source(dice: random.Random, draft: Draft) -> Made:
    """Addresses that no client has."""
    addresses = ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "10.1.0.254", "10.2.1.1")
    draft.source = pick(dice, (draft.target, socket.inet_aton(pick(dice, addresses))))
    made = draft.made()
    made.sure = False
    return made


@header
def odd_target(dice: random.Random, draft: Draft) -> Made:
    """Addresses of the director that are no service, and of others."""
    addresses = ("198.51.100.2", "10.1.0.254", "255.255.255.255", "224.0.0.1", "9.9.9.9")
    draft.target = socket.inet_aton(pick(dice, addresses))
    made = draft.made()
    made.verdict = None
    return made


Order = Callable[[random.Random, Made], None]


def in_order(_: random.Random, __: Made) -> None:
    """As they should come."""


def last_first(_: random.Random, made: Made) -> None:
    """The other way round."""
    made.frames.reverse()


def shuffled(dice: random.Random, made: Made) -> None:
    """In any order."""
    dice.shuffle(made.frames)


def twice(dice: random.Random, made: Made) -> None:
    """One comes twice."""
    at = dice.randrange(len(made.frames))
    made.frames.insert(at, made.frames[at])


def gap(dice: random.Random, made: Made) -> None:
    """One does not come."""
    del made.frames[dice.randrange(len(made.frames))]
    made.verdict = None


def first_only(_: random.Random, made: Made) -> None:
    """All but the first are lost."""
    del made.frames[1:]
    made.verdict = None


def overlapping(dice: random.Random, made: Made) -> None:
    """One begins where another has not ended, or is said to be elsewhere."""
    at = dice.randrange(len(made.frames))
    frame = bytearray(made.frames[at])
    offset = int.from_bytes(frame[6:8])
    frame[6:8] = (offset + pick(dice, (-1, 1, 2, 0x1000)) & 0x3FFF).to_bytes(2)
    made.frames[at : at + dice.randrange(2)] = [seal(bytes(frame[:20])) + bytes(frame[20:])]
    made.sure = False


ORDERS: tuple[Order, ...] = (in_order, last_first, shuffled, twice, gap, first_only, overlapping)
