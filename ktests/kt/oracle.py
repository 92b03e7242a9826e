# SPDX-License-Identifier: GPL-2.0
"""What the director must make of any bytes, written from the specification alone.

A second, plain version of the checks at the door: behaviour.md ("Packets that
are ours"), RFC 7296, RFC 2408, RFC 3948, RFC 4302, RFC 4303, RFC 9329. It knows no
entries: the random tests send from addresses that have none.
"""

from __future__ import annotations

import struct

from kt.packets import AH, ESP, TCP, UDP

IKEV2 = {34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44}
IKEV2_BEGINS = {34, 38}
IKEV1 = {1, 2, 3, 4, 5, 6, 32, 33}
IKEV1_BEGINS = {1, 2, 3, 4}
IKEV1_NOTIFIES = 5
PRIVATE = set(range(240, 256))
IKEV2_SEALED = {46, 53}
PAYLOADS_MAX = 128


def payloads(kind: int, body: bytes, *, ikev2: bool) -> bool:
    """Whether a chain of payloads that begins with one of this kind is well-formed."""
    for _ in range(PAYLOADS_MAX):
        if kind == 0:
            return True
        if len(body) < 4:
            return False
        following, size = body[0], int.from_bytes(body[2:4])
        if not 4 <= size <= len(body):
            return False
        if ikev2 and kind in IKEV2_SEALED:
            return True
        kind, body = following, body[size:]
    return kind == 0


ASIDE = "drop-ike-exchange"
"""The verdict on what passes where there is an IKE SA, says nothing about it and begins none."""


def ike(message: bytes, aside: str) -> str:
    """IKE: its verdict without entry, "" for one that begins an IKE SA."""
    if len(message) < 28:
        return "drop-ike-short"
    header = struct.unpack_from("!QQBBBBII", message)
    ispi, rspi, first, version, exchange, flags, _, length = header
    if version >> 4 not in (1, 2):
        return "drop-ike-version"
    if not 28 <= length <= len(message):
        return "drop-ike-length"
    if exchange not in PRIVATE | (IKEV1 if version >> 4 == 1 else IKEV2):
        return "drop-ike-exchange"
    if ispi == 0:
        return "drop-ike-spi"
    encrypted = version >> 4 == 1 and flags & 1
    notifies = version >> 4 == 1 and exchange == IKEV1_NOTIFIES and rspi == 0 and not encrypted
    says_nothing = exchange in PRIVATE or notifies
    begins = exchange in (IKEV1_BEGINS if version >> 4 == 1 else IKEV2_BEGINS)
    if rspi == 0 and not begins and not says_nothing:
        return "drop-ike-exchange"
    if not encrypted and not payloads(first, message[28:length], ikev2=version >> 4 == 2):
        return "drop-ike-payload"
    if says_nothing:
        return aside
    return "drop-ike-no-entry" if rspi else ""


def esp_in_udp(message: bytes) -> str:
    """ESP in UDP, without entry."""
    if len(message) < 8 or message[:4] == bytes(4):
        return "drop-esp-malformed"
    return "drop-esp-in-udp-no-entry"


def udp(datagram: bytes, aside: str) -> str | None:
    """A datagram: its verdict, or None when it is not ours."""
    if len(datagram) < 8:
        return "drop-truncated"
    _, dport, length, _ = struct.unpack_from("!HHHH", datagram)
    if dport not in (500, 4500):
        return None
    if not 8 <= length <= len(datagram):
        return "drop-truncated"
    message = datagram[8:length]
    if message == b"\xff":
        return "drop-keepalive-no-entry"
    if dport == 4500:
        if len(message) < 4:
            return "drop-truncated"
        return ike(message[4:], aside) if message[:4] == bytes(4) else esp_in_udp(message)
    if message[:8] != bytes(8):
        return ike(message, aside)
    found = esp_in_udp(message[8:])
    return "drop-ike-spi" if found == "drop-esp-malformed" else found


def tcp(segment: bytes) -> str | None:
    """A segment: its verdict, "" for one that begins a connection, or None when it is not ours."""
    if segment[2:4] != b"\x11\x94":
        return None
    if len(segment) < 20 or not 20 <= (segment[12] >> 4) * 4 <= len(segment):
        return "drop-truncated"
    syn, ack = segment[13] & 0x02, segment[13] & 0x10
    return "" if syn and not ack else "drop-tcp-no-entry"


def verdict(protocol: int, payload: bytes, aside: str = ASIDE) -> str | None:
    """Any packet to a VIP, of a client without entry."""
    if protocol == UDP:
        return udp(payload, aside)
    if protocol == TCP:
        return tcp(payload)
    if protocol == ESP:
        malformed = len(payload) < 8 or payload[:4] == bytes(4)
        return "drop-esp-malformed" if malformed else "drop-esp-no-entry"
    if protocol == AH:
        if len(payload) < 12 or payload[4:8] == bytes(4):
            return "drop-ah-malformed"
        size = (payload[1] + 2) * 4
        return "drop-ah-no-entry" if 12 <= size <= len(payload) else "drop-ah-malformed"
    return None
