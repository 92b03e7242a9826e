# SPDX-License-Identifier: GPL-2.0
"""Packets of either family by hand: made, read, and every checksum in them checked."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

from kt import packets
from kt.packets import ESP, ICMP, UDP, Initiator, checksum

IPIP, IPV6, GRE, ICMPV6 = 4, 41, 47, 58
HOP_BY_HOP, ROUTING, FRAGMENT, DEST_OPTIONS = 0, 43, 44, 60
EXTENSIONS = (HOP_BY_HOP, ROUTING, FRAGMENT, DEST_OPTIONS)
PADDING = b"\x01\x04" + bytes(4)


def family(address: str) -> int:
    """4 or 6."""
    return ipaddress.ip_address(address).version


def pack(address: str) -> bytes:
    """The bytes of an address."""
    return ipaddress.ip_address(address).packed


def ipv6(
    src: str,
    dst: str,
    protocol: int,
    payload: bytes,
    *,
    ttl: int = 64,
    tos: int = 0,
    label: int = 0,
    extensions: tuple[tuple[int, bytes], ...] = (),
) -> bytes:
    """An IPv6 packet; `extensions` are numbers and all but the first byte of their headers."""
    follows = [number for number, _ in extensions] + [protocol]
    chain = b"".join(
        bytes([after]) + rest for after, (_, rest) in zip(follows[1:], extensions, strict=True)
    )
    head = struct.pack(
        "!IHBB", 6 << 28 | tos << 20 | label, len(chain) + len(payload), follows[0], ttl
    )
    return head + pack(src) + pack(dst) + chain + payload


def ip(src: str, dst: str, protocol: int, payload: bytes, **fields: object) -> bytes:
    """A packet of the family of its addresses; IPv6 knows no `df`, `ident` and `options`."""
    if family(src) == 4:
        return packets.ip(src, dst, protocol, payload, **fields)  # type: ignore[arg-type]
    for name in ("df", "ident", "options"):
        fields.pop(name, None)
    return ipv6(src, dst, protocol, payload, **fields)  # type: ignore[arg-type]


def pseudo(src: str, dst: str, protocol: int, length: int) -> bytes:
    """The pseudo header (RFC 768; RFC 8200 section 8.1)."""
    form = "!HH" if family(src) == 4 else "!II"
    return pack(src) + pack(dst) + struct.pack(form, protocol, length)


def with_sum(src: str, dst: str, protocol: int, data: bytes, at: int) -> bytes:
    """`data` with the right checksum at an offset; UDP's zero is written as ones."""
    data = data[:at] + bytes(2) + data[at + 2 :]
    found = checksum(pseudo(src, dst, protocol, len(data)) + data)
    if protocol == UDP:
        found = found or 0xFFFF
    return data[:at] + found.to_bytes(2) + data[at + 2 :]


def udp(
    src: str, dst: str, ports: tuple[int, int], payload: bytes, *, summed: bool = True
) -> bytes:
    """A datagram, with its checksum or without (which only IPv4 allows)."""
    data = packets.udp(*ports, payload)
    return with_sum(src, dst, UDP, data, 6) if summed else data


def icmp_error(src: str, dst: str, kind: int, code: int, info: int, quoted: bytes) -> bytes:
    """An ICMP error, or one of ICMPv6."""
    data = struct.pack("!BBHI", kind, code, 0, info) + quoted
    if family(src) == 6:
        return ip(src, dst, ICMPV6, with_sum(src, dst, ICMPV6, data, 2))
    return ip(src, dst, ICMP, data[:2] + checksum(data).to_bytes(2) + data[4:])


def fragments(
    packet: bytes, size: int, ident: int = 0x4242, *, df: bool = False
) -> list[bytes]:
    """A packet cut into fragments of `size` bytes of payload (a multiple of 8)."""
    if packet[0] >> 4 == 4:
        return packets.fragments(packet, size, ident, df=df)
    whole = read(packet)
    return [
        ipv6(
            whole.src,
            whole.dst,
            whole.protocol,
            whole.payload[cut : cut + size],
            ttl=whole.ttl,
            tos=whole.tos,
            extensions=(
                (
                    FRAGMENT,
                    struct.pack("!BHI", 0, cut | (cut + size < len(whole.payload)), ident),
                ),
            ),
        )
        for cut in range(0, len(whole.payload), size)
    ]


@dataclass(frozen=True)
class Inet:
    """A packet of either family, read."""

    version: int
    src: str
    dst: str
    protocol: int
    """What follows the IPv4 header, or the extension headers."""
    ttl: int
    tos: int
    label: int
    df: bool
    more: bool
    offset: int
    header: bytes
    """With options, or extension headers."""
    payload: bytes

    @property
    def raw(self) -> bytes:
        """The whole packet."""
        return self.header + self.payload

    @property
    def ports(self) -> tuple[int, int]:
        """Source and destination port."""
        return struct.unpack_from("!HH", self.payload)

    @property
    def message(self) -> bytes:
        """What a datagram carries."""
        return self.payload[8:]

    @property
    def udp_sum(self) -> int:
        """The checksum of a datagram."""
        return int.from_bytes(self.payload[6:8])

    @property
    def needs_sum(self) -> bool:
        """A datagram of IKE over IPv6; those of tunnels may lack a checksum (RFC 6935)."""
        return self.version == 6 and bool({500, 4500} & set(self.ports))

    @property
    def icmp(self) -> tuple[int, int]:
        """Type and code of ICMP."""
        return self.payload[0], self.payload[1]

    @property
    def info(self) -> int:
        """The four bytes after the checksum of ICMP: an MTU, a pointer."""
        return int.from_bytes(self.payload[4:8])

    @property
    def quoted(self) -> bytes:
        """What an ICMP error quotes."""
        return self.payload[8:]

    @property
    def is_icmp(self) -> bool:
        """ICMP of its family."""
        return self.protocol == (ICMP if self.version == 4 else ICMPV6)


def read(data: bytes) -> Inet:
    """Read a packet; what follows its length (padding) is left out."""
    if data[0] >> 4 == 4:
        v4 = packets.parse(data)
        return Inet(
            4,
            v4.src,
            v4.dst,
            v4.protocol,
            v4.ttl,
            v4.tos,
            0,
            v4.df,
            v4.more,
            v4.offset,
            v4.header,
            v4.payload,
        )
    first, length, protocol, ttl = struct.unpack_from("!IHBB", data)
    src, dst = (str(ipaddress.ip_address(data[at : at + 16])) for at in (8, 24))
    end, more, offset = 40, False, 0
    # A header that is cut off stays in the payload.
    while protocol in EXTENSIONS and offset == 0 and len(data) >= end + 8:
        size = 8
        if protocol == FRAGMENT:
            (field,) = struct.unpack_from("!H", data, end + 2)
            more, offset = bool(field & 1), field & ~7
        else:
            size += data[end + 1] * 8
        protocol, end = data[end], end + size
    body = data[end : 40 + length]
    return Inet(
        6,
        src,
        dst,
        protocol,
        ttl,
        first >> 20 & 0xFF,
        first & 0xFFFFF,
        False,
        more,
        offset,
        data[:end],
        body,
    )


def check_sums(packet: Inet) -> Inet:
    """Every checksum there is must be right; the packet itself is given back."""
    if packet.version == 4:
        assert checksum(packet.header) == 0, "checksum of the IPv4 header"
    if packet.more or packet.offset or len(packet.payload) < 8:
        return packet
    covered = pseudo(packet.src, packet.dst, packet.protocol, len(packet.payload))
    if packet.protocol == UDP and (packet.udp_sum or packet.needs_sum):
        length = int.from_bytes(packet.payload[4:6])
        assert length == len(packet.payload)
        assert checksum(covered + packet.payload) == 0, f"UDP checksum {packet.udp_sum:#06x}"
    if packet.protocol == ICMP:
        assert checksum(packet.payload) == 0, "ICMP checksum"
    if packet.protocol == ICMPV6:
        assert checksum(covered + packet.payload) == 0, "ICMPv6 checksum"
    return packet


def whole(pieces: list[Inet]) -> bytes:
    """The payload of the packet that these fragments, or this one whole packet, are."""
    ordered = sorted(pieces, key=lambda piece: piece.offset)
    payload = b""
    for piece in ordered:
        assert piece.offset == len(payload), f"a gap or overlap at {len(payload)}"
        payload += piece.payload
    assert [piece.more for piece in ordered] == [True] * (len(ordered) - 1) + [False]
    return payload


def aged(packet: bytes) -> bytes:
    """The same packet, one hop older."""
    if packet[0] >> 4 == 6:
        return packet[:7] + bytes([packet[7] - 1]) + packet[8:]
    size = (packet[0] & 15) * 4
    head = packet[:8] + bytes([packet[8] - 1, packet[9], 0, 0]) + packet[12:size]
    return head[:10] + checksum(head).to_bytes(2) + head[12:] + packet[size:]


class Client(Initiator):
    """An initiator of either family, whose datagrams have checksums."""

    def ip(self, protocol: int, payload: bytes, **fields: object) -> bytes:
        """Any packet to the VIP."""
        return ip(self.address, self.vip, protocol, payload, **fields)

    def udp(self, dport: int, payload: bytes, *, summed: bool = True, **fields: object) -> bytes:
        """Any datagram to the VIP."""
        data = udp(self.address, self.vip, (self.port, dport), payload, summed=summed)
        return self.ip(UDP, data, **fields)

    def answer(
        self, server: str, port: int, payload: bytes, *, summed: bool = True, **fields: object
    ) -> bytes:
        """A server's datagram to this initiator."""
        data = udp(server, self.address, (port, self.port), payload, summed=summed)
        return ip(server, self.address, UDP, data, **fields)

    def esp_answer(self, server: str, body: bytes = bytes(64), **fields: object) -> bytes:
        """A server's ESP to this initiator."""
        return ip(server, self.address, ESP, packets.esp(0xD0000001, body=body), **fields)
