# SPDX-License-Identifier: GPL-2.0
"""Tunnels: the packet reaches the server inside another, of either family.

    gen ---------- in   director   s1 ==== s1 RIP 1
    plays clients       VIP on lo  s2 ==== s2 RIP 2

The server's end of the tunnel is this file: it reads the headers by hand.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import pytest

from kt.dual import FAMILIES, V4, V6, Dual, Family
from kt.inet import GRE, IPIP, IPV6, Inet, aged, fragments, ip, read, whole
from kt.packets import ESP, UDP, checksum, ike
from kt.wait import wait_until

ETHER_TYPES = {4: 0x0800, 6: 0x86DD}
INNER = {4: IPIP, 6: IPV6}
GUE_PORT = 6080


@dataclass(frozen=True)
class Kind:
    """A kind of tunnel, as it is configured and as it looks."""

    name: str
    options: dict[str, Any]
    length: int

    @property
    def has_sum(self) -> bool:
        """Whether a checksum is wanted."""
        return bool(self.options.get("tunnel_flags"))

    def open(self, outer: Inet) -> bytes:
        """The packet inside; what is around it must be right."""
        inner = outer.payload[self.length :]
        version = inner[0] >> 4
        if self.name == "ipip":
            assert outer.protocol == INNER[version]
        elif self.name == "gre":
            assert outer.protocol == GRE
            flags = 0x8000 if self.has_sum else 0
            assert int.from_bytes(outer.payload[:2]) == flags
            assert int.from_bytes(outer.payload[2:4]) == ETHER_TYPES[version]
            assert not self.has_sum or checksum(outer.payload) == 0
        else:
            assert outer.protocol == UDP
            assert outer.ports[1] == self.options.get("tunnel_port", GUE_PORT)
            assert (outer.udp_sum != 0) == self.has_sum
            assert int.from_bytes(outer.payload[4:6]) == len(outer.payload)
            assert outer.message[:4] == bytes([0, INNER[version], 0, 0])
        return inner


KINDS = {
    "ipip": Kind("ipip", {}, 0),
    "gre": Kind("gre", {"tunnel_type": "gre"}, 4),
    "gre-csum": Kind("gre", {"tunnel_type": "gre", "tunnel_flags": 1}, 8),
    "gue": Kind("gue", {"tunnel_type": "gue"}, 12),
    "gue-csum": Kind("gue", {"tunnel_type": "gue", "tunnel_flags": 1}, 12),
    "gue-port": Kind("gue", {"tunnel_type": "gue", "tunnel_port": 5555}, 12),
}
PAIRS = [(a, b) for a in (V4, V6) for b in (V4, V6)]


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of tunnel in turn."""
    return request.param


@pytest.fixture(params=PAIRS, ids=[f"{a.version}in{b.version}" for a, b in PAIRS])
def pair(request: pytest.FixtureRequest) -> tuple[Family, Family]:
    """The family inside, and the one outside."""
    return request.param


def configure(dual: Dual, pair: tuple[Family, Family], kind: Kind) -> None:
    """One server behind a tunnel."""
    inside, outside = pair
    dual.configure(inside, "tun", outside.rip(), **kind.options)


def test_the_inner_packet_changes_in_nothing_but_its_ttl(
    dual: Dual, pair: tuple[Family, Family], kind: Kind
) -> None:
    configure(dual, pair, kind)
    inside, outside = pair
    client, natt = inside.client(), inside.client(port=40_001)
    for counter, sent in (
        ("ike", client.first()),
        ("ike", client.later()),
        ("esp", client.esp()),
        ("ah", client.ah(ttl=2)),
        ("esp", client.ip(ESP, bytes.fromhex("c0000001") + bytes(range(64)))),
        ("ike", natt.natt_later()),
        ("keepalive", natt.keepalive()),
        ("esp-in-udp", natt.esp_in_udp()),
        ("esp", client.ip(ESP, bytes.fromhex("c0000001") + bytes(61))),  # an odd length
    ):
        dual.expect(sent, **{counter: 1})
        outer = dual.captures[0].one()
        assert kind.open(outer) == aged(sent)
        assert (outer.src, outer.dst) == (outside.towards(), outside.rip())


def test_the_outer_header_follows_the_inner_one(
    dual: Dual, pair: tuple[Family, Family], kind: Kind
) -> None:
    configure(dual, pair, kind)
    inside, _ = pair
    client = dual.admitted(inside)
    for ttl, tos, df in itertools.product((2, 255), (0, 0xB8, 0x01), (False, True)):
        dual.expect(client.esp(ttl=ttl, tos=tos, df=df), esp=1)
        outer = dual.captures[0].one()
        assert (outer.ttl, outer.tos) == (ttl - 1, tos)
        assert outer.df == (outer.version == 4 and inside.version == 4 and df)
        assert len(outer.header) == (20 if outer.version == 4 else 40)
        assert len(outer.raw) == len(outer.header) + kind.length + inside.header + 72


def test_identification_differs_where_fragmenting_is_allowed(dual: Dual) -> None:
    configure(dual, (V4, V4), KINDS["ipip"])
    client = dual.admitted(V4)
    dual.expect(*[client.esp()] * 20, esp=20)
    idents = [p.header[4:6] for p in dual.captures[0].some(20)]
    assert len(set(idents)) == 20


def spread(dual: Dual, inside: Family, field: Any) -> None:
    """`field` of the outer packet is one for a flow, and many for many flows."""
    seen = set()
    for number in range(1, 17):
        client = dual.admitted(inside, number)
        for sort in (client.later(), client.esp()):
            dual.expect(*[sort] * 3, **{"ike" if read(sort).protocol == UDP else "esp": 3})
            values = {field(outer) for outer in dual.captures[0].some(3)}
            assert len(values) == 1, "one flow, one value"
            seen |= values
    assert len(seen) > 16, f"32 flows have {len(seen)} values"


def test_source_ports_of_gue_spread_the_flows(dual: Dual, pair: tuple[Family, Family]) -> None:
    configure(dual, pair, KINDS["gue"])
    spread(dual, pair[0], lambda outer: outer.ports[0])


def test_flow_labels_spread_the_flows(dual: Dual, side: Family) -> None:
    configure(dual, (side, V6), KINDS["ipip"])
    spread(dual, side, lambda outer: outer.label)


def test_source_ports_are_of_the_range_for_that(dual: Dual) -> None:
    low, high = map(int, dual.director.read_sysctl("net/ipv4/ip_local_port_range").split())
    configure(dual, (V4, V4), KINDS["gue"])
    client = dual.admitted(V4)
    dual.expect(client.esp(), esp=1)
    assert low <= dual.captures[0].one().ports[0] <= high


def test_what_does_not_fit_is_refused_with_what_would(
    dual: Dual, pair: tuple[Family, Family], kind: Kind
) -> None:
    """Fragmentation needed, or packet too big, less what the tunnel puts around."""
    configure(dual, pair, kind)
    inside, outside = pair
    client = dual.admitted(inside)
    overhead = outside.header + kind.length
    with dual.mtu("s1", 1400):
        room = 1400 - overhead - inside.header
        fits = client.ip(ESP, bytes.fromhex("c0000001") + bytes(room - 4), df=True)
        too_big = client.ip(ESP, bytes.fromhex("c0000001") + bytes(room - 3), df=True)
        dual.expect(fits, esp=1)
        outer = dual.captures[0].one()
        assert len(outer.raw) == 1400 and kind.open(outer) == aged(fits)
        dual.expect(too_big, drop_mtu=1)
        told = dual.back.one()
        dual.quiet()
    assert told.is_icmp and (told.src, told.dst) == (inside.vip, client.address)
    assert told.icmp == ((3, 4) if inside.version == 4 else (2, 0))
    assert told.info == 1400 - overhead
    assert too_big.startswith(told.quoted)


@pytest.mark.parametrize("outside", [V4, V6], ids=["in4", "in6"])
def test_without_df_the_outer_packet_is_cut(dual: Dual, outside: Family, kind: Kind) -> None:
    configure(dual, (V4, outside), kind)
    client = dual.admitted(V4)
    sent = client.ip(ESP, bytes.fromhex("c0000001") + bytes(1300), ident=7)
    with dual.mtu("s1", 1280):
        dual.expect(sent, esp=1)
        pieces = dual.captures[0].some(2)
    assert all(len(p.raw) <= 1280 for p in pieces)
    outer = read(ip(outside.towards(), outside.rip(), pieces[0].protocol, whole(pieces)))
    assert kind.open(outer) == aged(sent)


def test_ipv6_of_1280_bytes_always_passes(dual: Dual, side: Family, kind: Kind) -> None:
    """RFC 8200 section 5: what is around it is cut, if it must be."""
    configure(dual, (V6, side), kind)
    client = dual.admitted(V6)
    sent = client.ip(ESP, bytes.fromhex("c0000001") + bytes(1280 - 44))
    with dual.mtu("s1", 1280):
        dual.expect(sent, esp=1)
        pieces = dual.captures[0].some(2)
    outer = read(ip(side.towards(), side.rip(), pieces[0].protocol, whole(pieces)))
    assert kind.open(outer) == aged(sent)
    dual.quiet()


def arrived(dual: Dual) -> list[Inet]:
    """The fragments of one outer packet."""
    pieces: list[Inet] = []

    def complete() -> bool:
        pieces.extend(dual.captures[0].packets())
        ends = [p.offset + len(p.payload) for p in pieces if not p.more]
        return bool(ends) and sum(len(p.payload) for p in pieces) >= ends[0]

    wait_until(complete, 5, lambda: f"a whole packet: {pieces}")
    return pieces


def test_large_ike_and_esp_cross(dual: Dual, pair: tuple[Family, Family], kind: Kind) -> None:
    """4 KB in fragments: reassembled, wrapped as one packet, the outer one cut again."""
    configure(dual, pair, kind)
    inside, outside = pair
    client, body = inside.client(), bytes(range(250)) * 16
    dual.expect(client.later(), drop_ike_no_entry=1)
    for sent in (client.first(body=body), client.later(body=body), client.ip(ESP, body)):
        with dual.moved(1):
            dual.port.send(reversed(fragments(sent, 1400)))
        pieces = arrived(dual)
        assert all(len(p.raw) <= 1500 for p in pieces)
        outer = read(ip(outside.towards(), outside.rip(), pieces[0].protocol, whole(pieces)))
        assert read(kind.open(outer)).payload == read(sent).payload


def test_the_largest_packet_there_is_has_no_room_for_a_tunnel(
    dual: Dual, pair: tuple[Family, Family], kind: Kind
) -> None:
    """With a header around it, it would be longer than a packet can be."""
    configure(dual, pair, kind)
    inside, outside = pair
    client = dual.admitted(inside)
    most = 65_535 - (20 if outside.version == 4 else 0) - kind.length - inside.header - 8 - 28
    fits = client.later(body=bytes(most))
    with dual.moved(1) as moved:
        dual.port.send(fragments(fits, 1400))
    assert moved["ike"] == 1
    pieces = arrived(dual)
    outer = read(ip(outside.towards(), outside.rip(), pieces[0].protocol, whole(pieces)))
    assert kind.open(outer)[inside.header :] == fits[inside.header :]
    if len(fits) == 65_535 and inside.version == 4:
        return  # around it is IPv6, whose length field does not count its header
    with dual.moved(1) as moved:
        dual.port.send(fragments(client.later(body=bytes(most + 1)), 1400))
    assert moved["drop-mtu"] == 1
    assert not dual.captures[0].packets()


def test_a_tunnel_to_the_director_itself_is_delivered_here(
    dual: Dual, pair: tuple[Family, Family], kind: Kind
) -> None:
    """As ip_vs does with a local server: no header is put around."""
    inside, outside = pair
    dual.configure(inside, "tun", outside.towards(), **kind.options)
    dual.expect(inside.client().first(), ike=1)
    (told,) = dual.back.some(1, "port unreachable: no socket is there")
    assert told.icmp == ((3, 3) if inside.version == 4 else (1, 4))


def test_a_path_too_narrow_for_the_tunnel_is_counted(dual: Dual) -> None:
    configure(dual, (V4, V4), KINDS["gue-csum"])
    client = dual.admitted(V4)
    with dual.mtu("s1", 68 + 20 + 12 - 1):
        dual.expect(client.esp(df=True), drop_path_mtu=1)
        dual.quiet()
        # What may be cut is.
        dual.expect(client.esp(), esp=1)
        first, last = dual.captures[0].some(2, "fragments")
        assert (first.more, last.more) == (True, False)


def test_replies_of_a_tunnelled_server_pass_untouched(dual: Dual, side: Family) -> None:
    """They come from the VIP already, as with dr, if the director is their way at all."""
    configure(dual, (side, side), KINDS["ipip"])
    dual.admitted(side)
    other = FAMILIES[side.version].client(98)
    sent = other.answer(side.rip(), 500, ike(1, 2))
    dual.answers[0].send([sent])
    assert dual.back.one().raw == aged(sent)
