# SPDX-License-Identifier: GPL-2.0
"""Packets by hand: every field can be wrong on purpose.

scapy makes and reads the packets where a second opinion counts (test_dr.py);
where thousands are sent, or a length lies, bytes are plainer and quicker.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

IKE_PORT, NATT_PORT = 500, 4500
ICMP, TCP, UDP, ESP, AH = 1, 6, 17, 50, 51
IKE_SA_INIT, IKE_AUTH, CREATE_CHILD_SA, INFORMATIONAL = 34, 35, 36, 37
V1, V2 = 0x10, 0x20
# Types of payload; those of IKEv1 are others, which no one here looks at.
SECURITY_ASSOCIATION, ENCRYPTED, ENCRYPTED_FRAGMENT = 33, 46, 53
INITIATOR, ENCRYPTION = 0x08, 0x01  # flags, of IKEv2 and of IKEv1
NON_ESP_MARKER = bytes(4)
KEEPALIVE = b"\xff"

# The head of a pcap file; LINKTYPE_RAW: packets begin with their IP header.
PCAP = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def seal(header: bytes) -> bytes:
    """A header with its checksum, whatever else is wrong with it."""
    blank = header[:10] + b"\0\0" + header[12:]
    return header[:10] + (-int.from_bytes(blank) % 0xFFFF).to_bytes(2) + header[12:]


def ip(
    src: str,
    dst: str,
    protocol: int,
    payload: bytes,
    *,
    ttl: int = 64,
    tos: int = 0,
    ident: int = 0,
    df: bool = False,
    more: bool = False,
    offset: int = 0,
    options: bytes = b"",
) -> bytes:
    """An IPv4 packet; `offset` in bytes."""
    fragment = (0x4000 if df else 0) | (0x2000 if more else 0) | offset // 8
    header = (
        struct.pack(
            "!BBHHHBBH4s4s",
            0x45 + len(options) // 4,
            tos,
            20 + len(options) + len(payload),
            ident,
            fragment,
            ttl,
            protocol,
            0,
            ipaddress.ip_address(src).packed,
            ipaddress.ip_address(dst).packed,
        )
        + options
    )
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def udp(sport: int, dport: int, payload: bytes, *, length: int | None = None) -> bytes:
    """A UDP datagram without checksum (IPv4 allows it)."""
    return (
        struct.pack("!HHHH", sport, dport, 8 + len(payload) if length is None else length, 0)
        + payload
    )


def tcp(sport: int, dport: int, payload: bytes = b"", *, syn: bool = False) -> bytes:
    """A segment without checksum, which no director looks at."""
    return (
        struct.pack("!HHIIBBHHH", sport, dport, 1, 0, 0x50, 2 if syn else 16, 1024, 0, 0) + payload
    )


def framed(message: bytes) -> bytes:
    """A message as the stream of RFC 9329 has it: its length, counting itself, goes before it."""
    return struct.pack("!H", len(message) + 2) + message


def fragments(
    packet: bytes, size: int, ident: int = 0x4242, *, df: bool = False
) -> list[bytes]:
    """An IPv4 packet cut into fragments of `size` bytes of payload (a multiple of 8)."""
    whole = parse(packet)
    cuts = range(0, len(whole.payload), size)
    return [
        ip(
            whole.src,
            whole.dst,
            whole.protocol,
            whole.payload[cut : cut + size],
            ttl=whole.ttl,
            tos=whole.tos,
            ident=ident,
            df=df,
            more=cut + size < len(whole.payload),
            offset=cut,
        )
        for cut in cuts
    ]


def chain(*contents: bytes, last: int = 0) -> bytes:
    """IKE payloads; behind each follows another of the same type, behind the last `last`."""
    types = [SECURITY_ASSOCIATION] * (len(contents) - 1) + [last]
    return b"".join(
        struct.pack("!BBH", following, 0, 4 + len(content)) + content
        for following, content in zip(types, contents, strict=True)
    )


def ike(
    ispi: int,
    rspi: int = 0,
    exchange: int = IKE_SA_INIT,
    *,
    version: int = V2,
    length: int | None = None,
    body: bytes = bytes(64),
    next_payload: int | None = None,
    flags: int | None = None,
    message_id: int = 0,
) -> bytes:
    """An IKE message: its header and `body`, of which the payloads are walked and no more is read.

    Unless `next_payload` tells what body begins with, it is made to be one payload of its size:
    four bytes of it become that payload's header.
    """
    if next_payload is None:
        next_payload = SECURITY_ASSOCIATION if len(body) >= 4 else 0
        body = chain(body[4:]) if len(body) >= 4 else body
    if flags is None:
        flags = INITIATOR if version == V2 else 0
    size = 28 + len(body) if length is None else length
    return (
        struct.pack(
            "!QQBBBBII",
            ispi,
            rspi,
            next_payload,
            version,
            exchange,
            flags,
            message_id,
            size,
        )
        + body
    )


def esp(spi: int, sequence: int = 1, body: bytes = bytes(64)) -> bytes:
    """An ESP packet; nobody here can decrypt it."""
    return struct.pack("!II", spi, sequence) + body


def ah(
    spi: int, sequence: int = 1, *, words: int = 4, icv: int = 12, body: bytes = bytes(40)
) -> bytes:
    """An AH packet; the payload length field counts words of 4 bytes, less 2."""
    return struct.pack("!BBHII", UDP, words, 0, spi, sequence) + bytes(icv) + body


@dataclass(frozen=True)
class Packet:
    """An IPv4 packet, read; `raw` has all of it."""

    src: str
    dst: str
    protocol: int
    ttl: int
    tos: int
    ident: int
    df: bool
    more: bool
    offset: int
    header: bytes
    payload: bytes

    @property
    def raw(self) -> bytes:
        """The whole packet."""
        return self.header + self.payload

    @property
    def ports(self) -> tuple[int, int]:
        """Source and destination port."""
        sport, dport = struct.unpack_from("!HH", self.payload)
        return sport, dport

    @property
    def icmp(self) -> tuple[int, int]:
        """Type and code."""
        return self.payload[0], self.payload[1]


def parse(data: bytes) -> Packet:
    """Read an IPv4 packet; what follows its total length (padding) is left out."""
    first, tos, total, ident, fragment, ttl, protocol, _ = struct.unpack_from("!BBHHHBBH", data)
    size = (first & 15) * 4
    src, dst = (str(ipaddress.ip_address(data[at : at + 4])) for at in (12, 16))
    return Packet(
        src,
        dst,
        protocol,
        ttl,
        tos,
        ident,
        bool(fragment & 0x4000),
        bool(fragment & 0x2000),
        (fragment & 0x1FFF) * 8,
        data[:size],
        data[size:total],
    )


def reassemble(packets: list[Packet]) -> Packet:
    """The packet that these fragments, or this one whole packet, are."""
    ordered = sorted(packets, key=lambda p: p.offset)
    payload = b""
    for piece in ordered:
        assert piece.offset == len(payload), f"a gap or overlap at {len(payload)}"
        payload += piece.payload
    assert [p.more for p in ordered] == [True] * (len(ordered) - 1) + [False]
    first = ordered[0]
    return replace(
        first,
        more=False,
        payload=payload,
        header=ip(
            first.src,
            first.dst,
            first.protocol,
            payload,
            ttl=first.ttl,
            tos=first.tos,
            ident=first.ident,
            df=first.df,
        )[:20],
    )


def only_ttl_changed(sent: bytes, got: Packet) -> None:
    """The same bytes but for the TTL, one lower, and the header's checksum."""
    before = parse(sent)
    assert got.ttl == before.ttl - 1
    assert checksum(got.header) == 0
    blank = slice(8, 9), slice(10, 12)  # TTL, checksum

    def rest(packet: Packet) -> bytes:
        raw = bytearray(packet.raw)
        for part in blank:
            raw[part] = bytes(part.stop - part.start)
        return bytes(raw)

    assert rest(got) == rest(before)


def write_pcap(file: Path, packets: Iterable[bytes]) -> None:
    """Keep packets, all of one time, for us and for every tool that reads pcap."""
    records = [struct.pack("<IIII", 0, 0, len(p), len(p)) + p for p in packets]
    file.write_bytes(PCAP + b"".join(records))


def read_pcap(file: Path) -> list[bytes]:
    """The packets of a file of `write_pcap`."""
    data = file.read_bytes()
    assert data.startswith(PCAP), f"{file} is not as write_pcap writes it"
    packets, at = [], len(PCAP)
    while at < len(data):
        (size,) = struct.unpack_from("<8xI", data, at)
        packets.append(data[at + 16 : at + 16 + size])
        at += 16 + size
    return packets


@dataclass(frozen=True)
class Initiator:
    """A client as the director sees it: address, port and IKE SPIs of one IKE SA."""

    address: str
    vip: str
    port: int = IKE_PORT
    ispi: int = 0x1111111111111111
    rspi: int = 0x2222222222222222

    def at(self, **changes: object) -> Initiator:
        """The same initiator with something changed."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def ip(self, protocol: int, payload: bytes, **fields: object) -> bytes:
        """Any packet to the VIP."""
        return ip(self.address, self.vip, protocol, payload, **fields)  # type: ignore[arg-type]

    def udp(self, dport: int, payload: bytes, **fields: object) -> bytes:
        """Any datagram to the VIP."""
        return self.ip(UDP, udp(self.port, dport, payload), **fields)

    def first(self, *, ttl: int = 64, **fields: object) -> bytes:
        """IKE_SA_INIT on port 500: responder SPI 0."""
        return self.udp(IKE_PORT, ike(self.ispi, **fields), ttl=ttl)  # type: ignore[arg-type]

    def later(self, exchange: int = IKE_AUTH, *, ttl: int = 64, **fields: object) -> bytes:
        """IKE_AUTH on port 500, with the responder's SPI."""
        message = ike(self.ispi, self.rspi, exchange, **fields)  # type: ignore[arg-type]
        return self.udp(IKE_PORT, message, ttl=ttl)

    def natt_first(self) -> bytes:
        """IKE_SA_INIT on port 4500, behind the marker."""
        return self.udp(NATT_PORT, NON_ESP_MARKER + ike(self.ispi))

    def natt_later(self, exchange: int = IKE_AUTH) -> bytes:
        """IKE_AUTH on port 4500, behind the marker."""
        return self.udp(NATT_PORT, NON_ESP_MARKER + ike(self.ispi, self.rspi, exchange))

    def keepalive(self) -> bytes:
        """A NAT keepalive."""
        return self.udp(NATT_PORT, KEEPALIVE)

    def esp(self, spi: int = 0xC0000001, **fields: object) -> bytes:
        """Native ESP."""
        return self.ip(ESP, esp(spi), **fields)

    def ah(self, spi: int = 0xC0000002, **fields: object) -> bytes:
        """AH."""
        return self.ip(AH, ah(spi), **fields)

    def esp_in_udp(self, spi: int = 0xC0000003) -> bytes:
        """ESP in UDP on port 4500 (RFC 3948)."""
        return self.udp(NATT_PORT, esp(spi))

    def connect(self) -> bytes:
        """The beginning of a connection to TCP port 4500 (RFC 9329)."""
        return self.ip(TCP, tcp(self.port, NATT_PORT, syn=True))

    def stream(self) -> bytes:
        """IKE_AUTH at the beginning of a segment."""
        message = framed(NON_ESP_MARKER + ike(self.ispi, self.rspi, IKE_AUTH))
        return self.ip(TCP, tcp(self.port, NATT_PORT, message))

    def esp_in_udp_draft(self, spi: int = 0xC0000004) -> bytes:
        """ESP in UDP on port 500, behind the non-IKE marker of the old drafts."""
        return self.udp(IKE_PORT, bytes(8) + esp(spi))
