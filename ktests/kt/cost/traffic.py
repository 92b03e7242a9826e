# SPDX-License-Identifier: GPL-2.0
"""What the initiators of a benchmark send: ESP in either form, and IKE to make themselves known."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace

from kt.cost.pktgen import Addresses, Stream
from kt.packets import ESP as PROTO_ESP
from kt.packets import IKE_AUTH, IKE_PORT, IKE_SA_INIT, INITIATOR, NATT_PORT, V2

CLIENTS = "10.0.0.0"
RESPONSE = 0x20
HEADER = 28
FRAME = 14 + 20 + 8  # Ethernet, IPv4, UDP
SIZE = 114


@dataclass(frozen=True)
class Traffic:
    """What initiators send all the time."""

    name: str
    port: int
    """Where their IKE is."""
    rule: str
    known = True
    """Whether the director has to know them for it."""

    def stream(self, flows: int, vip: str, turn: int) -> Stream:
        """That of so many initiators, for the how manieth time."""
        return Stream(Addresses(CLIENTS, flows), Addresses(vip), self.port, SIZE, self.rule)


class First(Traffic):
    """The first message of an initiator that nobody has seen before, whenever it is sent."""

    known = False

    def stream(self, flows: int, vip: str, turn: int) -> Stream:
        start = ipaddress.ip_address(CLIENTS) + turn * flows
        return first(Addresses(str(start), flows), vip, self.port, turn + 1)


# pktgen's magic number is the SPI of all, so that no rule comes between it and the director; SPIS
# are those that initiators have shown before, each its address.
UDP4500 = Traffic("udp4500", NATT_PORT, "")
SPIS = replace(UDP4500, rule="@th,64,32 set @nh,96,32")
ESP = Traffic("esp", IKE_PORT, f"ip protocol set {PROTO_ESP} @th,0,32 set @nh,96,32")
NEW = First("new", IKE_PORT, "")

TRAFFIC = {traffic.name: traffic for traffic in (UDP4500, ESP, NEW)}


def _message(port: int, block: int, rspi: int, exchange: int, flags: int) -> str:
    """The rule that makes an IKE message of a datagram. The sequence number stays where it is, and
    makes the initiator's SPI, with the number of a block, one that no other has."""
    words = {0: block, 8: 0, 12: rspi, 16: V2 << 16 | exchange << 8 | flags, 24: HEADER}
    if port == NATT_PORT:
        # The non-ESP marker, and the header four bytes later: the SPI begins with the number.
        words = {0: 0, 8: block, 12: 0, 16: rspi, 20: words[16], 28: HEADER}
    # In bits, after the eight bytes of UDP's header.
    return " ".join(f"@th,{(8 + at) * 8},32 set {word}" for at, word in words.items())


def _ike(clients: Addresses, vip: str, port: int, rule: str) -> Stream:
    size = FRAME + HEADER + (4 if port == NATT_PORT else 0)
    return Stream(clients, Addresses(vip), port, size, rule)


def first(clients: Addresses, vip: str, port: int, block: int) -> Stream:
    """The first message of each initiator."""
    return _ike(clients, vip, port, _message(port, block, 0, IKE_SA_INIT, INITIATOR))


def reply(server: str, clients: Addresses, port: int, block: int) -> Stream:
    """What the server answers to each."""
    rule = _message(port, block, 1, IKE_SA_INIT, RESPONSE)
    return replace(_ike(clients, server, port, rule), src=Addresses(server), dst=clients)


def later(clients: Addresses, vip: str, port: int, block: int) -> Stream:
    """What each says when it has the answer."""
    return _ike(clients, vip, port, _message(port, block, 1, IKE_AUTH, INITIATOR))
