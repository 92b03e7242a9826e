# SPDX-License-Identifier: GPL-2.0
"""Packets and configurations that nobody should make, by every forwarding method.

    gen ---------- in   director   s1 ---- s1 RIP 1
    plays clients       VIP on lo

Above all the kernel's log stays clean (conftest.py) and the next good packet
passes.
"""

from __future__ import annotations

import pytest

from kt.dual import V4, V6, Dual, Family
from kt.genl import Refused
from kt.inet import Client, Inet, aged, check_sums, ip, read
from kt.packets import ESP, UDP, ike


@pytest.fixture(params=["dr", "nat", "tun"])
def method(request: pytest.FixtureRequest) -> str:
    """Each method that sends packets on."""
    return request.param


def inner(packet: Inet, method: str) -> Inet:
    """What came to the server, out of its tunnel."""
    return check_sums(read(packet.payload)) if method == "tun" else packet


def still_works(dual: Dual, client: Client, method: str) -> None:
    """ESP of an established initiator passes."""
    dual.expect(client.esp(), esp=1)
    dual.captures[0].one()


def test_a_loopback_source_is_refused_even_where_routing_lets_it_in(
    dual: Dual, method: str
) -> None:
    dual.configure(V4, method)
    client = dual.admitted(V4)
    dual.director.sysctl("net/ipv4/conf/in/route_localnet", 1)
    try:
        dual.expect(client.at(address="127.0.0.5").first(), drop_source=1)
    finally:
        dual.director.sysctl("net/ipv4/conf/in/route_localnet", 0)
    dual.quiet()
    still_works(dual, client, method)


@pytest.mark.parametrize("source", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"])
def test_martian_sources_meet_no_server(dual: Dual, method: str, source: str) -> None:
    dual.configure(V4, method)
    client = dual.admitted(V4)
    dual.port.send([client.at(address=source).first()])
    still_works(dual, client, method)


def test_the_services_own_address_as_source_does_no_harm(
    dual: Dual, side: Family, method: str
) -> None:
    dual.configure(side, method)
    client = dual.admitted(side)
    dual.port.send([client.at(address=a).first() for a in (side.vip, side.rip(), side.director)])
    dual.expect(client.later(), ike=1)


OPTIONS = {
    "router-alert": b"\x94\x04\x00\x00",
    "record-route": b"\x07\x0b\x04" + bytes(9),
    "timestamp": b"\x44\x0c\x05\x00" + bytes(8),
    "all-40": b"\x01" * 40,
}


@pytest.mark.parametrize("name", OPTIONS)
def test_ip_options_stay(dual: Dual, method: str, name: str) -> None:
    dual.configure(V4, method)
    client = dual.admitted(V4)
    options = OPTIONS[name]
    dual.expect(client.esp(options=options), esp=1)
    got = inner(dual.captures[0].one(), method)
    assert len(got.header) == 20 + len(options)
    assert got.header[20:21] == options[:1]
    assert got.payload == read(client.esp()).payload
    sent = client.udp(500, ike(client.ispi, client.rspi, 35), options=options)
    dual.expect(sent, ike=1)
    assert inner(dual.captures[0].one(), method).message == read(sent).message
    if method == "nat":
        answer = client.esp_answer(V4.rip(), options=options)
        dual.answers[0].send([answer])
        assert dual.back.one().payload == read(answer).payload


def test_a_source_route_is_not_followed(dual: Dual, method: str) -> None:
    dual.configure(V4, method)
    client = dual.admitted(V4)
    loose = b"\x83\x07\x04" + bytes([10, 2, 2, 1]) + b"\0"
    dual.port.send([client.esp(options=loose)])
    still_works(dual, client, method)
    dual.back.packets()


def test_a_dr_server_on_the_director_itself_gets_it_here(dual: Dual, side: Family) -> None:
    dual.configure(side, "dr", side.towards(1))
    dual.expect(side.client().first(), ike=1)
    assert dual.back.one().icmp == ((3, 3) if side.version == 4 else (1, 4))


def test_nat_to_loopback_is_refused(dual: Dual, side: Family) -> None:
    dual.configure(side, "nat", "127.0.0.1" if side.version == 4 else "::1")
    dual.expect(side.client().first(), drop_local=1)
    dual.quiet()


def test_addresses_that_no_server_has_are_refused(dual: Dual, side: Family, method: str) -> None:
    dual.configure(side, method)
    wrong = ["0.0.0.0", "224.0.0.1", "255.255.255.255"] if side.version == 4 else ["::", "ff02::1"]
    for address in [*wrong, side.vip]:
        with pytest.raises(Refused):
            dual.genl.do("server-new", service=side.vip, address=address, method=method)


def test_an_initiator_that_is_its_own_server_does_no_harm(
    dual: Dual, side: Family, method: str
) -> None:
    client = side.client()
    dual.configure(side, method, client.address)
    dual.expect(client.first(), ike=1)
    dual.back.one()  # nat finds in it an answer to itself as well


@pytest.mark.parametrize("mtu", [576, 300, 68])
def test_narrow_links_get_what_fits(dual: Dual, mtu: int) -> None:
    for method in ("dr", "nat"):
        dual.configure(V4, method)
        client = dual.admitted(V4)
        with dual.mtu("s1", mtu):
            dual.expect(client.ip(ESP, b"spi!" + bytes(700), df=True), drop_mtu=1)
            assert dual.back.one().info == mtu
            dual.expect(client.ip(ESP, b"spi!" + bytes(700)), esp=1)
            room = (mtu - 20) // 8 * 8
            dual.captures[0].some(-(-704 // room))


def test_a_link_without_ipv6_is_no_way(dual: Dual, method: str) -> None:
    """Below 1,280 bytes the kernel takes IPv6 off the link."""
    dual.configure(V6, method)
    client = dual.admitted(V6)
    with dual.mtu("s1", 1200):
        dual.expect(client.esp(), drop_no_route=1)
    dual.back.one()
    still_works(dual, client, method)


def test_answers_cut_short_do_no_harm(dual: Dual, side: Family) -> None:
    """A datagram without all of its header, ESP without all of its own."""
    dual.configure(side, "nat")
    client = dual.admitted(side)
    whole = read(client.answer(side.rip(), 500, b"")).payload
    for number, bytes_ in ((UDP, whole), (ESP, bytes(8))):
        for length in range(9):
            packet = ip(side.rip(), client.address, number, bytes_[:length])
            dual.answers[0].send([packet])
    dual.answers[0].send([client.esp_answer(side.rip(), b"the last")])
    found: list[bytes] = []
    while not found or not found[-1].endswith(b"the last"):
        found += [p.raw for p in dual.back.wait(1, "the last answer")]


def test_changing_the_method_under_traffic(dual: Dual, side: Family) -> None:
    """Entries go on as they began; new ones follow."""
    dual.configure(side, "dr")
    first = dual.admitted(side, 1)
    for number, method in enumerate(("nat", "tun", "dr"), 2):
        dual.genl.do("server-set", service=side.vip, address=side.rip(), method=method)
        dual.expect(first.esp(), esp=1)
        assert dual.captures[0].one().raw == aged(first.esp())
        client = side.client(number)
        dual.expect(client.first(), ike=1)
        got = dual.captures[0].one()
        assert got.dst == (side.vip if method == "dr" else side.rip())
        assert inner(got, method).message == read(client.first()).message
