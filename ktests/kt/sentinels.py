# SPDX-License-Identifier: GPL-2.0
"""Sentinels: among packets by the dice, what strongSwan's initiators sent is replayed, unchanged.

All of it must reach the server of each, whatever else is sent. Here, too, is how what a server
got is held against what was sent.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable

from kt.packets import (
    IKE_PORT,
    NON_ESP_MARKER,
    UDP,
    Packet,
    parse,
    reassemble,
    seal,
)

IPV4_SIZE = 20
FIRST, ADDRESSES = 241, "203.0.113.240/28"
"""Of the sentinels' addresses, 203.0.113.FIRST and up, and the network they are in."""


class Sentinels:
    """Initiators of the corpus, each with an address and soon with a server of its own."""

    def __init__(self, corpus: list[bytes]) -> None:
        self._by_source: dict[str, list[bytes]] = {}
        for packet in corpus:
            self._by_source.setdefault(parse(packet).src, []).append(packet)
        self.frames: list[bytes] = []
        self.sent: dict[str, list[bytes]] = {}
        self.packets = 0
        self._servers: dict[str, int] = {}

    def begin(self) -> None:
        """All that an initiator sent, from the first packet on."""
        self._servers.clear()
        self._take(lambda _: True)

    def go_on(self) -> None:
        """From now on only what belongs to established flows.

        MOBIKE leaves port 500 after the first message: that flow's entry is initial and ends soon.
        """
        established = {flow(packet) for packet in self.frames if not begins(packet)}
        self._take(lambda packet: not begins(packet) or flow(packet) in established)

    def _take(self, wanted: Callable[[bytes], bool]) -> None:
        self.frames = []
        for number, packets in enumerate(self._by_source.values(), FIRST):
            address = f"203.0.113.{number}"
            frames = [moved_to(packet, address) for packet in packets]
            frames = [frame for frame in frames if wanted(frame)]
            self.frames += frames
            self.sent[address] = [shape(whole) for whole in wholes(map(parse, frames))]
        self.packets = sum(map(len, self.sent.values()))

    def among(self, frames: list[bytes]) -> list[bytes]:
        """Frames with those of the sentinels spread among them, the last at the end."""
        mixed: list[bytes] = []
        for number, frame in enumerate(self.frames, 1):
            until = len(frames) * number // len(self.frames)
            mixed += frames[len(mixed) - number + 1 : until]
            mixed.append(frame)
        return mixed

    def check(self, arrived: list[tuple[int, Packet]]) -> None:
        """Everything has come, unchanged and in order, to the server where all else went."""
        for address, sent in self.sent.items():
            mine = [(server, packet) for server, packet in arrived if packet.src == address]
            servers = [server for server, _ in mine]
            home = self._servers.setdefault(address, servers[0])
            assert servers == [home] * len(sent), f"{address} is at home at {home}: {servers}"
            assert [shape(packet) for _, packet in mine] == sent, f"{address}: other packets"


def shape(packet: Packet) -> bytes:
    """What is the same at the server: all but TTL and checksum, and how it was cut."""
    head = packet.header
    flags = 0 if packet.more or packet.offset else head[6] & 0xC0
    return bytes([head[1], flags]) + head[4:6] + head[9:10] + head[12:] + packet.payload


class Wholes:
    """Packets put together again where they were cut."""

    def __init__(self) -> None:
        self._pieces: dict[tuple[str, int, int], list[Packet]] = {}

    def add(self, packet: Packet) -> Packet | None:
        """The packet that is whole now, if one is."""
        if not packet.more and not packet.offset:
            return packet
        key = packet.src, packet.ident, packet.protocol
        pieces = self._pieces.setdefault(key, [])
        pieces.append(packet)
        size = sum(len(p.payload) for p in pieces)
        if any(not p.more and p.offset + len(p.payload) == size for p in pieces):
            return reassemble(self._pieces.pop(key))
        return None


def wholes(packets: Iterable[Packet]) -> list[Packet]:
    """Packets, none of them in pieces."""
    together = Wholes()
    return [whole for packet in packets if (whole := together.add(packet))]


def moved_to(packet: bytes, address: str) -> bytes:
    """A packet as another client sends it."""
    header = packet[:12] + socket.inet_aton(address) + packet[16:IPV4_SIZE]
    return seal(header) + packet[IPV4_SIZE:]


def begins(packet: bytes) -> bool:
    """Whether a packet of the corpus is IKE without responder SPI."""
    whole = parse(packet)
    if whole.protocol != UDP or whole.offset:
        return False
    at = 8 if whole.ports[1] == IKE_PORT else 12
    is_ike = at == 8 or whole.payload[8:12] == NON_ESP_MARKER
    return is_ike and whole.payload[at + 8 : at + 16] == bytes(8)


def flow(packet: bytes) -> bytes:
    """Source and ports of a packet of the corpus."""
    return packet[12:16] + packet[IPV4_SIZE : IPV4_SIZE + 4]
