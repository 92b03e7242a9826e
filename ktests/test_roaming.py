# SPDX-License-Identifier: GPL-2.0
"""An initiator whose address or port changes is known by its SPIs.

    gen ---------- in   director   s1 ---- s1
    plays clients       VIP on lo  s2 ---- s2      rr: who is not known goes elsewhere

By the IKE SPIs where it speaks IKE (MOBIKE, RFC 4555), by an ESP SPI where it sends
ESP in UDP (its NAT has forgotten the mapping); and a port beside others of its
address by these (an SA for each CPU, RFC 9611).
"""

from __future__ import annotations

import pytest

from kt.dual import Dual, Family
from kt.inet import Client
from kt.packets import NON_ESP_MARKER, ike

SPI, OTHER_SPI = 0xC0001234, 0xC0005678


@pytest.fixture(params=["dr", "nat"])
def pair(dual: Dual, side: Family, request: pytest.FixtureRequest) -> Dual:
    """Two servers."""
    dual.configure(side, request.param, side.rip(1), side.rip(2))
    return dual


def moved(dual: Dual) -> int:
    """Flows that were made for initiators known from others."""
    return dual.genl.counters()["entries-moved"]


def home(dual: Dual, client: Client) -> str:
    """The server of an established initiator's flow to port 4500."""
    (entry,) = (
        e
        for e in dual.entries()
        if (e["client"], e["client-port"], e["service-port"]) == (client.address, client.port, 4500)
    )
    assert entry["state"] == "established"
    return entry["server"]


def tunnels(dual: Dual, side: Family) -> Client:
    """An initiator behind a NAT, with ESP in UDP."""
    client = dual.admitted_natt(side, 1, port=41_000)
    dual.expect(client.esp_in_udp(SPI), esp_in_udp=1)
    dual.forget(1)
    return client


def test_a_new_port_is_known_by_its_esp(pair: Dual, side: Family) -> None:
    client = tunnels(pair, side)
    before = moved(pair)
    for number in range(1, 4):  # rr would change servers
        anew = client.at(port=42_000 + number)
        pair.expect(anew.esp_in_udp(SPI), anew.keepalive(), esp_in_udp=1, keepalive=1)
        pair.forget(2)
        assert home(pair, anew) == home(pair, client)
    assert moved(pair) == before + 3


def test_a_new_address_is_known_by_its_esp(pair: Dual, side: Family) -> None:
    client = tunnels(pair, side)
    anew = side.client(77, port=4500)
    pair.expect(anew.esp_in_udp(OTHER_SPI), drop_esp_in_udp_no_entry=1)
    pair.expect(anew.esp_in_udp(SPI), anew.esp_in_udp(OTHER_SPI), esp_in_udp=2)
    pair.forget(2)
    assert home(pair, anew) == home(pair, client)
    # And from there to a third: what was seen on the second flow is known too.
    third = side.client(78, port=4500)
    pair.expect(third.esp_in_udp(OTHER_SPI), esp_in_udp=1)
    pair.forget(1)
    assert home(pair, third) == home(pair, client)


def test_a_moved_flow_lives_no_longer_than_the_one_it_comes_from(pair: Dual, side: Family) -> None:
    """ESP proves nothing; IKE from there does."""
    pair.director.sysctl("net/ipvs_ipsec/isakmp_established_timeout", 100)
    client = tunnels(pair, side)
    pair.director.sysctl("net/ipvs_ipsec/isakmp_established_timeout", 28_800)
    anew = client.at(port=42_000)
    pair.expect(anew.esp_in_udp(SPI), esp_in_udp=1)
    assert pair.entry(anew, 4500)["expires"] <= 100_000
    pair.expect(anew.natt_later(), ike=1)
    pair.forget(2)
    assert pair.entry(anew, 4500)["expires"] > 28_000_000


def test_answers_find_the_new_port(dual: Dual, side: Family) -> None:
    dual.configure(side, "nat")
    tunnels(dual, side)
    anew = side.client(77, port=42_000)
    dual.expect(anew.esp_in_udp(SPI), esp_in_udp=1)
    dual.forget(1)
    dual.answers[0].send([anew.answer(side.rip(), 4500, bytes.fromhex("c0000009") + bytes(60))])
    assert dual.back.one().src == side.vip


def test_a_new_address_is_known_by_its_ike(pair: Dual, side: Family) -> None:
    client = tunnels(pair, side)
    before = moved(pair)
    anew = side.client(77, port=4500, ispi=client.ispi, rspi=client.rspi)
    pair.expect(anew.natt_later(37), anew.esp_in_udp(OTHER_SPI), ike=1, esp_in_udp=1)
    pair.forget(2)
    assert home(pair, anew) == home(pair, client)
    assert moved(pair) == before + 1
    liar = side.client(78, port=4500, ispi=client.ispi, rspi=1)
    pair.expect(liar.natt_later(37), drop_ike_responder_spi=1)


def test_after_rekeying_the_new_spis_count(pair: Dual, side: Family) -> None:
    client = tunnels(pair, side)
    new = {"ispi": 0xABCD, "rspi": 0xBCDE}
    rekeyed = client.at(**new)
    pair.expect(rekeyed.natt_later(37), rekeyed.esp_in_udp(OTHER_SPI), ike=1, esp_in_udp=1)
    anew = side.client(77, port=4500, **new)
    pair.expect(anew.natt_later(37), ike=1)
    also = side.client(78, port=4500)
    pair.expect(also.esp_in_udp(OTHER_SPI), esp_in_udp=1)
    pair.forget(4)
    assert home(pair, anew) == home(pair, also) == home(pair, client)


def test_esp_of_a_flow_that_proved_nothing_is_not_known(pair: Dual, side: Family) -> None:
    client = side.client(1, port=41_000)
    pair.expect(client.udp(4500, NON_ESP_MARKER + ike(client.ispi)), ike=1)
    pair.expect(client.esp_in_udp(SPI), drop_not_established=1)
    pair.expect(client.at(port=42_000).esp_in_udp(SPI), drop_esp_in_udp_no_entry=1)


def test_esp_is_forgotten_with_its_entry(pair: Dual, side: Family) -> None:
    client = tunnels(pair, side)
    pair.genl.do("entry-flush", client=client.address)
    pair.expect(side.client(77, port=4500).esp_in_udp(SPI), drop_esp_in_udp_no_entry=1)


def test_of_many_spis_some_are_known(pair: Dual, side: Family) -> None:
    """Four, and one of them gives way once a second: many SAs cost no more than one."""
    client = tunnels(pair, side)
    spis = range(SPI + 1, SPI + 30)
    pair.expect(*(client.esp_in_udp(spi) for spi in spis), esp_in_udp=len(spis))
    pair.forget(len(spis))
    known = 0
    for number, spi in enumerate((SPI, *spis)):
        anew = side.client(100 + number, port=4500)
        known += pair.send(anew.esp_in_udp(spi))["esp-in-udp"]
    assert 4 <= known <= 5


def test_ports_of_one_address_belong_together(pair: Dual, side: Family) -> None:
    """SAs for each CPU: ESP is all that comes from their ports."""
    client = tunnels(pair, side)
    ports = [client.at(port=50_000 + number) for number in range(16)]
    packets = [p.esp_in_udp(SPI + 1 + number) for number, p in enumerate(ports)]
    pair.expect(*packets, esp_in_udp=16)
    pair.forget(16)
    assert {home(pair, port) for port in ports} == {home(pair, client)}


def test_where_one_address_has_two_servers_a_port_is_nobodys(pair: Dual, side: Family) -> None:
    client = tunnels(pair, side)
    other = pair.admitted_natt(side, 2, port=43_000, address=client.address)
    assert home(pair, other) != home(pair, client)
    pair.expect(client.at(port=50_000).esp_in_udp(OTHER_SPI), drop_esp_in_udp_no_entry=1)


def test_one_address_does_not_fill_the_table(pair: Dual, side: Family) -> None:
    client = tunnels(pair, side)
    packets = [client.at(port=30_000 + n).esp_in_udp(0xD0000000 + n) for n in range(1_000)]
    pair.send(*packets)
    assert len(pair.entries()) <= 300
