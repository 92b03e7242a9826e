# SPDX-License-Identifier: GPL-2.0
"""What the fast path leaves to the rest of the stack: it fares as it does without.

    gen ---------- in   director   s1 ---- s1 RIP 1
    plays clients       VIP on lo

`fastpath` stands still, and the packet arrives or is answered as ever; the next
plain packet is taken again.
"""

from __future__ import annotations

import struct
from typing import Any

import pytest

from kt.dual import V4, V6, Dual, Family
from kt.fastpath import flows, normal, refused, taken, takes
from kt.inet import DEST_OPTIONS, PADDING, aged, fragments, read, whole
from kt.packets import ESP, KEEPALIVE, checksum, esp, ike
from kt.wait import wait_until

MARK = {"mark": 0x77}
SOCKET_FAMILIES = {4: 2, 6: 10}


@pytest.mark.parametrize("method", ["dr", "nat"])
def test_options_and_extension_headers(fast: Dual, side: Family, method: str) -> None:
    client, natt = flows(fast, side, method)
    unusual: dict[str, Any] = {"options": b"\x94\x04\0\0"}  # router alert
    if side is V6:
        unusual = {"extensions": ((DEST_OPTIONS, b"\0" + PADDING),)}
    for kind, sent in (
        ("esp", client.esp(**unusual)),
        ("esp_in_udp", natt.udp(4500, esp(0xC0000003), **unusual)),
    ):
        got = normal(fast, sent, **{kind: 1})
        assert len(got.header) == len(read(sent).header) > side.header
        assert method == "nat" or got.raw == aged(sent)
    taken(fast, client.esp(), esp=1)


@pytest.mark.parametrize("method", ["dr", "nat"])
def test_fragments(fast: Dual, side: Family, method: str) -> None:
    client, natt = flows(fast, side, method)
    for sent in (
        client.ip(ESP, esp(7, body=bytes(2000))),
        natt.udp(4500, esp(7, body=bytes(2000))),
    ):
        with takes(fast, 0), fast.moved(1):
            fast.port.send(fragments(sent, 1024))
        pieces = fast.captures[0].some(2)
        assert method == "nat" or whole(pieces) == read(sent).payload


def test_ttl_that_ends_here(fast: Dual, side: Family) -> None:
    client, natt = flows(fast, side)
    for sent in (client.esp(ttl=1), natt.udp(4500, esp(0xC0000003), ttl=1)):
        refused(fast, sent, drop_ttl=1)
        assert fast.back.one().icmp == ((11, 0) if side is V4 else (3, 0))


def test_what_is_larger_than_the_mtu(fast: Dual, side: Family) -> None:
    client, _ = flows(fast, side)
    size = 1300 - side.header - 8
    fits = client.ip(ESP, esp(7, body=bytes(size)), df=True)
    too_big = client.ip(ESP, esp(7, body=bytes(size + 1)), df=True)
    with fast.mtu("s1", 1300):
        taken(fast, fits, esp=1)
        refused(fast, too_big, drop_mtu=1)
        assert fast.back.one().info == 1300
        if side is V4:
            cut = client.ip(ESP, esp(7, body=bytes(size + 1)), ident=7)
            with takes(fast, 0):
                fast.expect(cut, esp=1)
                assert whole(fast.captures[0].some(2)) == read(cut).payload
    taken(fast, too_big, esp=1)


def test_a_frame_longer_than_its_packet(fast: Dual, side: Family) -> None:
    client, _ = flows(fast, side)
    assert normal(fast, client.esp() + bytes(10), esp=1).raw == aged(client.esp())


def header(packet: bytes, at: int, form: str, value: int) -> bytes:
    """An IPv4 packet with something else in its header, whose checksum is right."""
    head = bytearray(packet[:20])
    struct.pack_into(form, head, at, value)
    head[10:12] = bytes(2)
    head[10:12] = checksum(bytes(head)).to_bytes(2)
    return bytes(head) + packet[20:]


def test_headers_that_lie(fast: Dual) -> None:
    client, _ = flows(fast, V4)
    whole_packet = client.esp()
    with takes(fast, 0):
        fast.port.send(
            [
                header(whole_packet, 0, "!B", 0x44),  # shorter than a header
                header(whole_packet, 0, "!B", 0x4F),  # all of it options
                header(whole_packet, 0, "!B", 0x55),  # no version of IP
                header(whole_packet, 2, "!H", len(whole_packet) + 1),
                header(whole_packet, 2, "!H", 19),
                whole_packet[:19],
                whole_packet[:20],
                whole_packet[:24],
            ]
        )
        fast.expect(client.later(), ike=1)
        fast.forget(1)
    taken(fast, whole_packet, esp=1)


def test_a_wrong_header_checksum(fast: Dual) -> None:
    client, _ = flows(fast, V4)
    sent = client.esp()
    with takes(fast, 0):
        fast.port.send([sent[:10] + bytes((sent[10], sent[11] ^ 1)) + sent[12:]])
        fast.expect(client.later(), ike=1)
        fast.forget(1)
    taken(fast, sent, esp=1)


def test_headers_of_ipv6_that_lie(fast: Dual) -> None:
    client, _ = flows(fast, V6)
    sent = client.esp()
    with takes(fast, 0):
        fast.port.send(
            [
                sent[:4] + struct.pack("!H", len(sent) - 39) + sent[6:],
                sent[:4] + bytes(2) + sent[6:],
                sent[:39],
                sent[:40],
                sent[:44],
            ]
        )
        fast.expect(client.later(), ike=1)
        fast.captures[0].frames()
    taken(fast, sent, esp=1)


def test_what_the_link_brings_for_another_host(fast: Dual, side: Family) -> None:
    client, _ = flows(fast, side)
    kind = 0x0800 if side is V4 else 0x86DD
    head = bytes.fromhex("020000000099") + fast.gen.mac("out") + struct.pack("!H", kind)
    with takes(fast, 0):
        fast.port.sock.send(head + client.esp())
        fast.expect(client.later(), ike=1)
        fast.captures[0].one()


def test_everything_but_esp(fast: Dual, side: Family) -> None:
    client, natt = flows(fast, side)
    for sent, kind in (
        (client.later(), "ike"),
        (natt.natt_later(), "ike"),
        (natt.udp(4500, KEEPALIVE), "keepalive"),
        (client.ah(), "ah"),
        (client.esp_in_udp_draft(), "esp_in_udp"),
    ):
        assert normal(fast, sent, **{kind: 1}).raw == aged(sent)


def test_initial_entries_and_none(fast: Dual, side: Family) -> None:
    flows(fast, side)
    client = side.client(5)
    refused(fast, client.esp(), drop_esp_no_entry=1)
    fast.back.one("ICMP")
    normal(fast, client.first(), ike=1)
    refused(fast, client.esp(), drop_not_established=1)
    refused(fast, client.at(port=4500).esp_in_udp(0xC1000001), drop_esp_in_udp_no_entry=1)


@pytest.mark.parametrize("changes", [{"esp_spi_min": 1000, "esp_spi_max": 1999}, {"encap": 1}])
def test_servers_with_routable_spis_and_with_encap(
    fast: Dual, side: Family, changes: dict[str, int]
) -> None:
    client, _ = flows(fast, side, "nat", **changes)
    normal(fast, client.esp(), esp=1)


def test_tunnels(fast: Dual, side: Family) -> None:
    client, _ = flows(fast, side, "tun")
    normal(fast, client.esp(), esp=1)


def test_the_director_itself(fast: Dual, side: Family) -> None:
    fast.configure(side, "local", side.vip)
    client = side.client()
    with takes(fast, 0):
        fast.expect(client.first(), client.esp(), ike=1, drop_not_established=1)


def test_a_service_by_mark_anywhere(fast: Dual, side: Family) -> None:
    client, _ = flows(fast, side)
    key = MARK | {"family": SOCKET_FAMILIES[side.version]}
    fast.genl.do("service-new", **key)
    normal(fast, client.esp(), esp=1)
    fast.genl.do("service-del", **key)
    taken(fast, client.esp(), esp=1)


MARKING = """
table netdev marks {
  chain in { type filter hook ingress device "in" priority filter; meta mark set 7; }
}
"""


def test_packets_with_a_mark(fast: Dual, side: Family) -> None:
    client, _ = flows(fast, side)
    fast.director.run("nft", "-f", "-", input=MARKING)
    try:
        normal(fast, client.esp(), esp=1)
    finally:
        fast.director.run("nft", "flush", "ruleset")
    taken(fast, client.esp(), esp=1)


@pytest.mark.parametrize("direction", ["in", "out", "fwd"])
def test_ipsec_policies_of_the_namespace(fast: Dual, side: Family, direction: str) -> None:
    client, _ = flows(fast, side)
    nets = ("src", "203.0.113.0/24", "dst", "10.99.0.0/16")
    if side is V6:
        nets = ("src", "2001:db8:77::/64", "dst", "2001:db8:99::/64")
    fast.director.run("ip", "xfrm", "policy", "add", *nets, "dir", direction)
    try:
        normal(fast, client.esp(), esp=1)
    finally:
        fast.director.run("ip", "xfrm", "policy", "flush")
    taken(fast, client.esp(), esp=1)


def test_esp_that_restarts_timers(fast: Dual, side: Family) -> None:
    client, natt = flows(fast, side)
    fast.director.sysctl("net/ipvs_ipsec/esp_refreshes", 1)
    normal(fast, client.esp(), esp=1)
    normal(fast, natt.esp_in_udp(), esp_in_udp=1)
    fast.director.sysctl("net/ipvs_ipsec/esp_refreshes", 0)
    taken(fast, client.esp(), esp=1)


def test_a_route_that_puts_something_around(fast: Dual, side: Family) -> None:
    client, _ = flows(fast, side)
    fast.director.ip(f"route replace {side.rip()} encap mpls 100 via {side.rip(2)} dev s2")
    try:
        for _ in range(3):
            with takes(fast, 0):
                fast.expect(client.esp(), esp=1)
                (got,) = wait_until(fast.captures[1].frames, 5, "the frame")
            assert got[12:14] == b"\x88\x47" and int.from_bytes(got[14:18]) >> 12 == 100
            assert got[18:] == aged(client.esp())
    finally:
        fast.director.ip(f"route del {side.rip()}")


def test_icmp_errors_and_other_packets(fast: Dual, side: Family) -> None:
    client, _ = flows(fast, side)
    with takes(fast, 0):
        fast.port.send([client.udp(53, b"a name")])
        assert fast.back.one().icmp == ((3, 3) if side is V4 else (1, 4))
        fast.expect(client.udp(500, ike(client.ispi, client.rspi, 37)), ike=1)
        fast.captures[0].one()
