# SPDX-License-Identifier: GPL-2.0
"""What only IPv6 has: extension headers, fragments of the source's own making, pointers.

    gen ---------- in   director   s1 ---- s1 2001:db8:21::1
    plays clients       VIP on lo          2001:db8:ff::1

test_nat.py, test_tunnel.py, test_icmp.py and test_local.py run in IPv6 too.
"""

from __future__ import annotations

import struct

import pytest

from kt.dual import V6, Dual
from kt.inet import (
    DEST_OPTIONS,
    FRAGMENT,
    HOP_BY_HOP,
    PADDING,
    ROUTING,
    Client,
    Inet,
    aged,
    fragments,
    icmp_error,
    ipv6,
    read,
    udp,
    whole,
)
from kt.packets import AH, ESP, UDP, ah, esp, ike

UNREACHABLE, TOO_BIG, EXCEEDED, PARAMETER = 1, 2, 3, 4
UNKNOWN_NEXT_HEADER = 1

# What follows the first byte of each header: its length in units of 8 bytes, and the rest.
HOPS = (HOP_BY_HOP, b"\0" + PADDING)
ROUTE = (ROUTING, bytes([0, 2, 0]) + bytes(4))  # type 2, no segments left
OPTIONS = (DEST_OPTIONS, b"\1" + b"\1\x0c" + bytes(12))
ATOMIC = (FRAGMENT, struct.pack("!BHI", 0, 0, 7))
CHAINS = {
    "none": (),
    "hop-by-hop": (HOPS,),
    "destination": (OPTIONS,),
    "all": (HOPS, OPTIONS, ROUTE, OPTIONS),
    "eight": (HOPS, *[OPTIONS] * 7),
}


@pytest.fixture(params=CHAINS.values(), ids=CHAINS)
def chain(request: pytest.FixtureRequest) -> tuple[tuple[int, bytes], ...]:
    """Extension headers before what the packet is about."""
    return request.param


@pytest.fixture(params=["dr", "nat", "tun"])
def method(request: pytest.FixtureRequest) -> str:
    """Each method that sends packets on."""
    return request.param


def unwrapped(packet: Inet, method: str) -> Inet:
    """What came to the server, out of its tunnel."""
    return read(packet.payload) if method == "tun" else packet


def test_extension_headers_are_passed_over_and_kept(
    dual: Dual, method: str, chain: tuple[tuple[int, bytes], ...]
) -> None:
    dual.configure(V6, method)
    client = dual.admitted(V6)
    end = V6.rip() if method == "nat" else V6.vip
    kinds = [("ike", first(client, chain))]
    kinds += [("ike", later(client, chain)), ("esp", client.esp(extensions=chain))]
    if method != "nat":
        kinds.append(("ah", client.ah(extensions=chain)))
    for counter, sent in kinds:
        dual.expect(sent, **{counter: 1})
        got = unwrapped(dual.captures[0].one(), method)
        assert got.header[:7] + got.header[8:24] == sent[:7] + sent[8:24]
        assert (got.ttl, got.dst) == (63, end)
        assert got.header[40:] == read(sent).header[40:]
        if got.protocol == UDP:
            assert got.message == read(sent).message
        else:
            assert got.payload == read(sent).payload


def first(client: Client, chain: tuple[tuple[int, bytes], ...]) -> bytes:
    """IKE_SA_INIT behind extension headers."""
    return client.udp(500, ike(client.ispi), extensions=chain)


def later(client: Client, chain: tuple[tuple[int, bytes], ...]) -> bytes:
    """IKE_AUTH behind extension headers."""
    return client.udp(500, ike(client.ispi, client.rspi, 35), extensions=chain)


def test_a_server_may_use_extension_headers_too(
    dual: Dual, chain: tuple[tuple[int, bytes], ...]
) -> None:
    dual.configure(V6, "nat")
    client = dual.admitted(V6)
    for sent in (
        client.answer(V6.rip(), 500, ike(client.ispi, client.rspi), extensions=chain),
        client.esp_answer(V6.rip(), extensions=chain),
    ):
        dual.answers[0].send([sent])
        got = dual.back.one()
        assert (got.src, got.ttl) == (V6.vip, 63)
        assert got.header[40:] == read(sent).header[40:]
        assert got.payload[8:] == read(sent).payload[8:]


def test_too_many_extension_headers_are_none_of_ours(dual: Dual) -> None:
    """And of no one's: there is no such packet. It makes no entry and meets no server."""
    dual.configure(V6, "dr")
    client = dual.admitted(V6)
    with dual.counted(esp=1):
        dual.port.send([first(V6.client(2), (HOPS, *[OPTIONS] * 20)), client.esp()])
        dual.captures[0].one()
    assert len(dual.entries()) == 1


@pytest.mark.parametrize("number", [ESP, AH])
def test_without_entry_a_parameter_problem_points_at_the_header(
    dual: Dual, number: int, chain: tuple[tuple[int, bytes], ...]
) -> None:
    """Code 1, and where the number stands that nobody takes (RFC 4443 section 3.4)."""
    dual.configure(V6, "dr")
    client = V6.client()
    sent = (client.esp if number == ESP else client.ah)(extensions=chain)
    dual.expect(sent, **{"drop_esp_no_entry" if number == ESP else "drop_ah_no_entry": 1})
    answer = dual.back.one()
    assert (answer.src, answer.dst) == (V6.vip, client.address)
    assert answer.icmp == (PARAMETER, UNKNOWN_NEXT_HEADER)
    assert sent[answer.info] == number
    assert answer.info == 6 if not chain else 40 <= answer.info < len(read(sent).header)
    assert answer.quoted == sent
    dual.quiet()


def test_an_atomic_fragment_is_a_packet(dual: Dual, method: str) -> None:
    """RFC 6946: offset 0, and no more to come."""
    dual.configure(V6, method)
    client = dual.admitted(V6)
    dual.expect(first(client, (ATOMIC,)), later(client, (HOPS, ATOMIC)), ike=2)
    dual.expect(client.esp(extensions=(ATOMIC,)), esp=1)
    for packet in dual.captures[0].some(3):
        assert unwrapped(packet, method).protocol in (UDP, ESP)


def cut(packet: bytes, size: int) -> list[bytes]:
    """Fragments behind the hop-by-hop header that the packet begins with."""
    assert packet[6] == HOP_BY_HOP
    payload = packet[48:]
    pieces = []
    for at in range(0, len(payload), size):
        more = at + size < len(payload)
        head = (FRAGMENT, struct.pack("!BHI", 0, at | more, 0x77))
        part = payload[at : at + size]
        was = read(packet)
        pieces.append(ipv6(was.src, was.dst, packet[40], part, extensions=(HOPS, head)))
    return pieces


@pytest.mark.parametrize("size", [1232, 400, 8])
def test_fragments_of_any_size_are_put_together(dual: Dual, method: str, size: int) -> None:
    """8 bytes: the ports are in another fragment than the IKE header."""
    dual.configure(V6, method)
    client = dual.admitted(V6)
    body = bytes(range(250)) * (1 if size == 8 else 16)
    for sent in (
        client.udp(500, ike(client.ispi, body=body), extensions=(HOPS,)),
        client.udp(500, ike(client.ispi, client.rspi, 35, body=body), extensions=(HOPS,)),
        client.ip(ESP, esp(0xC0000001, body=body), extensions=(HOPS,)),
    ):
        with dual.moved(1):
            dual.port.send(reversed(cut(sent, size)))
        pieces = dual.captures[0].wait(1, "a packet")
        while sum(len(p.payload) for p in pieces) < len(read(sent).payload):
            pieces += dual.captures[0].wait(1, "the rest")
        got = whole(pieces)
        if method == "tun":
            got = read(got).payload
        else:
            assert max(len(p.payload) for p in pieces) <= max(size, 1232)
        assert got[8:] == read(sent).payload[8:]


def test_fragments_go_on_no_larger_than_they_came(dual: Dual) -> None:
    """The path in front of the initiator is not known to be wider (RFC 8200 section 5)."""
    dual.configure(V6, "dr")
    client = dual.admitted(V6)
    sent = client.ip(ESP, esp(0xC0000001, body=bytes(3000)))
    dual.port.send(fragments(sent, 1304))
    assert max(len(p.raw) for p in dual.captures[0].some(3)) <= 1352


@pytest.mark.parametrize("method", ["dr", "nat"])
def test_fragments_too_large_for_the_path_are_refused(dual: Dual, method: str) -> None:
    dual.configure(V6, method)
    client = dual.admitted(V6)
    sent = client.ip(ESP, esp(0xC0000001, body=bytes(3000)))
    with dual.mtu("s1", 1300):
        with dual.moved(1) as moved:
            dual.port.send(fragments(sent, 1400))
        assert moved["drop-mtu"] == 1
        answer = dual.back.one()
        assert (answer.icmp, answer.info) == ((TOO_BIG, 0), 1300)
        with dual.moved(1) as moved:
            dual.port.send(fragments(sent, 1200))
        assert moved["esp"] == 1
    dual.captures[0].some(3)


def test_overlapping_fragments_are_no_packet(dual: Dual) -> None:
    """RFC 5722; the director is not to be fooled about the ports."""
    dual.configure(V6, "dr")
    client = dual.admitted(V6)
    pieces = fragments(V6.client(2).first(body=bytes(2000)), 1000)
    again = fragments(V6.client(2).first(body=bytes([7]) * 2000), 1000)[1]
    shifted = again[:42] + struct.pack("!H", 992 | 1) + again[44:]
    with dual.counted(esp=1):
        dual.port.send([pieces[0], shifted, *pieces[1:], client.esp()])
        dual.captures[0].one()


def test_udp_without_checksum_keeps_none(dual: Dual) -> None:
    """Who ends it refuses it (RFC 8200 section 8.1), not the director."""
    dual.configure(V6, "nat")
    client = dual.admitted(V6)
    dual.port.send([client.udp(500, ike(client.ispi, client.rspi, 35), summed=False)])
    with pytest.raises(AssertionError, match="UDP checksum"):
        dual.captures[0].one()


def test_an_error_may_quote_extension_headers(
    dual: Dual, method: str, chain: tuple[tuple[int, bytes], ...]
) -> None:
    """From the initiator's side, and with nat from the server's."""
    dual.configure(V6, method)
    client = dual.admitted(V6)
    end = V6.rip() if method == "nat" else V6.vip
    about = [client.answer(a, 500, b"x" * 40, extensions=chain) for a in (V6.vip, end)]
    sent, right = (
        icmp_error(V6.near, to, UNREACHABLE, 4, 0, quoted)
        for to, quoted in zip((V6.vip, end), about, strict=True)
    )
    with dual.counted(icmp=1):
        dual.port.send([sent])
        assert unwrapped(dual.captures[0].one(), method).raw == aged(right)
    if method != "nat":
        return
    datagrams = [
        ipv6(
            client.address,
            to,
            UDP,
            udp(client.address, to, (500, 500), b"y" * 40),
            extensions=chain,
        )
        for to in (V6.rip(), V6.vip)
    ]
    sent = icmp_error(V6.rip(), client.address, EXCEEDED, 0, 0, datagrams[0])
    right = icmp_error(V6.vip, client.address, EXCEEDED, 0, 0, datagrams[1])
    with dual.counted(icmp=1):
        dual.answers[0].send([sent])
        assert dual.back.one().raw == aged(right)


def test_ah_in_a_chain_is_ah(dual: Dual) -> None:
    """ip_vs takes it for an extension header and sees what is behind."""
    dual.configure(V6, "dr")
    client = dual.admitted(V6)
    behind = client.ip(AH, ah(0xC0000002, body=udp(client.address, V6.vip, (500, 500), b"x" * 40)))
    dual.expect(behind, ah=1)
    assert dual.captures[0].one().raw == aged(behind)


@pytest.mark.parametrize("source", ["::", "::1", "ff02::1", "ff0e::1", "fe80::99"])
@pytest.mark.parametrize("method", ["dr", "nat", "tun"])
def test_a_source_that_is_nobodys_is_not_forwarded(dual: Dual, method: str, source: str) -> None:
    """RFC 4291 section 2.5.2, 2.5.3, 2.5.6, 2.7: no router forwards these."""
    dual.configure(V6, method)
    client = dual.admitted(V6)
    dual.port.send([client.at(address=source).first(), client.esp()])
    got = dual.captures[0].wait(1, "the good packet")
    assert [unwrapped(p, method).protocol for p in got] == [ESP]
    dual.quiet()
