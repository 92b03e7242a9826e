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
from kt.wait import INITIAL

SPI, OTHER_SPI = 0xC0001234, 0xC0005678


@pytest.fixture
def nat(dual: Dual, side: Family) -> Dual:
    """One server, its address translated."""
    dual.configure(side, "nat")
    return dual


@pytest.fixture(params=["dr", "nat"])
def pair(dual: Dual, side: Family, request: pytest.FixtureRequest) -> Dual:
    """Two servers."""
    dual.configure(side, request.param, side.rip(1), side.rip(2))
    return dual


def moved(dual: Dual) -> int:
    """Flows that were made for initiators known from others."""
    return dual.genl.counters()["entries-moved"]


def home(dual: Dual, client: Client) -> str:
    """The server of an initiator's flow to port 4500."""
    return str(dual.entry(client, 4500)["server"])


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
    anew = client.at(address=side.client(77).address, port=4500)
    pair.expect(anew.esp_in_udp(OTHER_SPI), drop_esp_in_udp_no_entry=1)
    pair.expect(anew.esp_in_udp(SPI), anew.esp_in_udp(OTHER_SPI), esp_in_udp=2)
    pair.forget(2)
    assert home(pair, anew) == home(pair, client)
    # What is seen there is known only when IKE has proved that it is the initiator.
    third = side.client(78, port=4500)
    pair.expect(third.esp_in_udp(OTHER_SPI), drop_esp_in_udp_no_entry=1)
    pair.expect(anew.natt_later(), anew.esp_in_udp(OTHER_SPI), ike=1, esp_in_udp=1)
    pair.expect(third.esp_in_udp(OTHER_SPI), esp_in_udp=1)
    pair.forget(3)
    assert home(pair, third) == home(pair, client)


def test_a_moved_flow_is_initial_until_ike_proves_it(pair: Dual, side: Family) -> None:
    """ESP proves nothing, but keeps it alive."""
    client = tunnels(pair, side)
    anew = client.at(port=42_000)
    pair.expect(anew.esp_in_udp(SPI), esp_in_udp=1)
    assert pair.entry(anew, 4500)["state"] == "initial"
    left = pair.age(anew, 4500)
    pair.expect(anew.esp_in_udp(OTHER_SPI), esp_in_udp=1)
    assert left < pair.entry(anew, 4500)["expires"] <= 10_000
    pair.expect(anew.natt_later(), ike=1)
    pair.forget(3)
    assert pair.entry(anew, 4500)["state"] == "established"


def test_an_ike_sa_rekeyed_unseen_is_passed_on(nat: Dual, side: Family) -> None:
    """And established by what the server answers."""
    client = tunnels(nat, side)
    anew = client.at(address=side.client(77).address, ispi=0xABCD, rspi=0xBCDE)
    nat.expect(anew.esp_in_udp(SPI), anew.natt_later(37), esp_in_udp=1, ike=1)
    assert nat.entry(anew, 4500)["state"] == "initial"
    nat.forget(2)
    answer = NON_ESP_MARKER + ike(anew.ispi, anew.rspi, 37, flags=0x20)
    nat.answers[0].send([anew.answer(side.rip(), 4500, answer)])
    nat.back.one()
    nat.expect(anew.natt_later(37), ike=1)
    assert nat.entry(anew, 4500)["state"] == "established"


def test_answers_find_the_new_port(nat: Dual, side: Family) -> None:
    tunnels(nat, side)
    anew = side.client(77, port=42_000)
    nat.expect(anew.esp_in_udp(SPI), esp_in_udp=1)
    nat.forget(1)
    nat.answers[0].send([anew.answer(side.rip(), 4500, bytes.fromhex("c0000009") + bytes(60))])
    assert nat.back.one().src == side.vip


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


def test_whoever_knows_an_spi_cannot_fill_the_table(pair: Dual, side: Family) -> None:
    """What he makes is initial: there is a bound, and it goes by itself."""
    client = tunnels(pair, side)
    pair.genl.do("service-set", address=side.vip, initial_timeout=INITIAL)
    strangers = [side.client(100 + n % 100, port=30_000 + n) for n in range(500)]
    pair.send(*(stranger.esp_in_udp(SPI) for stranger in strangers))
    status = pair.genl.do("status-get")
    assert status is not None
    assert (status["entries"], status["initial"]) == (501, 500)
    pair.expect(client.esp_in_udp(SPI), esp_in_udp=1)
