# SPDX-License-Identifier: GPL-2.0
"""What clients send and gateways get, packet by packet.

Each packet of IKE, ESP and AH has a mark that no director changes: SPI and
sequence number, or the head of an IKE message. So each that a client sent is found
again at the gateway that got it, whatever NATs and tunnels are between.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Collection

from kt.capture import BUFFER, SO_RCVBUFFORCE
from kt.inet import Inet, read
from kt.net import Ns
from kt.packets import AH, ESP, IKE_PORT, NATT_PORT, NON_ESP_MARKER, UDP

ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
IKE_MARK = 64  # header, and the number of a fragment (RFC 7383)

type Mark = tuple[str, bytes]


def mark(packet: Inet) -> Mark | None:
    """What it is, `ike`, `esp`, `udp` (ESP in UDP) or `ah`, and which one.

    Of a packet in fragments the first has it.
    """
    data = packet.payload
    if packet.offset:
        return None
    if packet.protocol == ESP:
        return "esp", data[:8]
    if packet.protocol == AH:
        return "ah", data[4:12]
    if packet.protocol != UDP:
        return None
    message = packet.message
    if packet.ports[1] == IKE_PORT:
        return "ike", message[:IKE_MARK]
    if packet.ports[1] != NATT_PORT or len(message) == 1:
        return None
    if message.startswith(NON_ESP_MARKER):
        return "ike", message[len(NON_ESP_MARKER) :][:IKE_MARK]
    return "udp", message[:8]


class Watch:
    """The packets that leave a host for some addresses, or that reach it, by any device."""

    def __init__(self, ns: Ns, leaving_for: Collection[str] = ()) -> None:
        self._leaving_for = leaving_for
        with ns.entered():
            # Without the link layer's header, which tunnels have not.
            self._socket = socket.socket(
                socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL)
            )
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        self._socket.setblocking(False)
        self._seen: dict[str, Counter[Mark]] = {}

    def forget(self) -> None:
        """What was seen up to now."""
        self.seen()
        self._seen.clear()

    def seen(self, source: str = "") -> Counter[Mark]:
        """What was seen since, by mark: all, or what came from an address."""
        while True:
            try:
                data, (device, kind, way, *_) = self._socket.recvfrom(1 << 16)
            except BlockingIOError:
                break
            if kind not in (ETH_P_IP, ETH_P_IPV6) or device == "lo":
                continue
            if (way == socket.PACKET_OUTGOING) == bool(self._leaving_for):
                self._note(read(data))
        if source:
            return self._seen.get(source, Counter())
        return sum(self._seen.values(), Counter())

    def _note(self, packet: Inet) -> None:
        found = mark(packet)
        if found and (not self._leaving_for or packet.dst in self._leaving_for):
            self._seen.setdefault(packet.src, Counter())[found] += 1

    def close(self) -> None:
        """Look no more."""
        self._socket.close()
