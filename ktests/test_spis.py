# SPDX-License-Identifier: GPL-2.0
"""Routable SPIs: a server is known by the SPIs it chooses, with no entry at all.

gen ---------- in   director   s1 ---- s1      IKE SPIs 0x01..., ESP SPIs 0x01......
plays clients       VIP on lo  s2 ---- s2      IKE SPIs 0x02..., ESP SPIs 0x02......
"""

from __future__ import annotations

import errno

import pytest

from kt.dual import Dual, Family
from kt.genl import Refused
from kt.inet import Client
from kt.packets import NON_ESP_MARKER, esp, ike

MASK = 0xFF << 56


def label(number: int) -> int:
    """What the IKE SPIs of a server begin with."""
    return number << 56


def names(number: int) -> dict[str, int]:
    """What a server's SPIs look like."""
    low = number << 24
    return {
        "ike_label": label(number),
        "ike_mask": MASK,
        "esp_spi_min": low,
        "esp_spi_max": low + 0xFFFFFF,
    }


def name_all(dual: Dual, side: Family) -> None:
    """Both servers are known by their SPIs."""
    for number in (1, 2):
        set_names(dual, side, number, **names(number))


def set_names(dual: Dual, side: Family, number: int, **values: int) -> None:
    """Change what a server's SPIs look like."""
    dual.genl.do("server-set", service=side.vip, address=side.rip(number), **values)


@pytest.fixture(params=["dr", "nat"])
def pair(dual: Dual, side: Family, request: pytest.FixtureRequest) -> Dual:
    """Two servers, each known by its SPIs."""
    dual.configure(side, request.param, side.rip(1), side.rip(2))
    name_all(dual, side)
    return dual


def reaches(dual: Dual, number: int, *packets: bytes, **verdict: int) -> None:
    """Packets go to this server and no other."""
    dual.expect(*packets, **verdict)
    dual.captures[number - 1].some(len(packets))
    dual.quiet()


def kinds(client: Client, number: int) -> dict[str, bytes]:
    """What an initiator sends that has a tunnel with a server."""
    natt = client.at(port=41_000)
    spi = (number << 24) + 7
    message = ike(client.ispi, label(number) + 99, 37)
    return {
        "ike": client.udp(500, message),
        "esp": client.esp(spi),
        "esp-in-udp": natt.udp(4500, esp(spi)),
        "esp-in-udp ": natt.udp(500, bytes(8) + esp(spi)),
        "ike ": natt.udp(4500, NON_ESP_MARKER + message),
    }


def test_packets_go_where_their_spis_say(pair: Dual, side: Family) -> None:
    for number in (2, 1, 2):
        for kind, packet in kinds(side.client(number), number).items():
            before = pair.genl.counters()["routed-by-spi"]
            reaches(pair, number, packet, **{kind.strip(): 1})
            assert pair.genl.counters()["routed-by-spi"] == before + 1


def test_only_what_goes_there_is_counted(pair: Dual, side: Family) -> None:
    """Not what is on its last hop, or cannot pass."""
    before = pair.genl.counters()["routed-by-spi"]
    pair.expect(side.client().esp((2 << 24) + 7, ttl=1), drop_ttl=1)
    assert pair.genl.counters()["routed-by-spi"] == before


def test_it_is_counted_once_by_a_director_that_has_just_begun(side: Family) -> None:
    """The server is the director itself, which knew of no packet before this one."""
    fresh = Dual("spis-")
    try:
        fresh.configure(side, "dr", side.towards(1))
        here = side.towards(1)
        fresh.genl.do("server-set", service=side.vip, address=here, **names(1))
        fresh.expect(side.client().esp((1 << 24) + 7), esp=1)
        assert fresh.genl.counters()["routed-by-spi"] == 1
    finally:
        fresh.close()


def test_ah_too(dual: Dual, side: Family) -> None:
    dual.configure(side, "dr", side.rip(1), side.rip(2))
    name_all(dual, side)
    reaches(dual, 2, side.client().ah((2 << 24) + 1), ah=1)


def test_no_entry_is_made_where_none_is_needed(dual: Dual, side: Family) -> None:
    dual.configure(side, "dr", side.rip(1), side.rip(2))
    name_all(dual, side)
    for packet in kinds(side.client(), 1).values():
        dual.send(packet)
    assert dual.entries() == []


def test_answers_are_translated_and_no_flood_fills_the_table(dual: Dual, side: Family) -> None:
    dual.configure(side, "nat", side.rip(1), side.rip(2))
    name_all(dual, side)
    client = side.client()
    for packet in kinds(client, 2).values():
        dual.send(packet)
    dual.forget(5)
    assert {e["state"] for e in dual.entries()} == {"initial"}
    assert {e["server"] for e in dual.entries()} == {side.rip(2)}
    wire = dual.answers[1]
    wire.send([client.answer(side.rip(2), 500, ike(client.ispi, label(2) + 99, 37))])
    assert dual.back.one().src == side.vip
    wire.send([client.esp_answer(side.rip(2))])
    assert dual.back.one().src == side.vip
    # Now the initiator has proved itself.
    dual.expect(kinds(client, 2)["ike"], ike=1)
    assert dual.entry(client)["state"] == "established"


def test_a_name_goes_before_an_entry(dual: Dual, side: Family) -> None:
    """After a restart of the director an initiator may be bound anew, while its old SAs go on."""
    dual.configure(side, "dr", side.rip(1), side.rip(2))
    client = dual.admitted(side)
    reaches(dual, 1, client.esp(), esp=1)
    name_all(dual, side)
    for packet in kinds(client, 2).values():
        dual.send(packet)
    dual.captures[1].some(5)
    reaches(dual, 1, client.esp(), client.later(), esp=1, ike=1)


def test_what_has_no_name_goes_its_way(pair: Dual, side: Family) -> None:
    client = side.client()
    pair.expect(client.later(), client.esp(), drop_ike_no_entry=1, drop_esp_no_entry=1)
    pair.expect(client.at(port=4500).esp_in_udp(), drop_esp_in_udp_no_entry=1)


def test_the_initiators_spi_names_nobody(pair: Dual, side: Family) -> None:
    """It chose that itself; but in an IKE SA that the server began it is the server's."""
    client = side.client(ispi=label(2) + 5)
    packet = client.udp(500, ike(client.ispi, 0x7700_0000_0000_0000, 37))
    pair.expect(packet, drop_ike_no_entry=1)
    answer = ike(client.ispi, 0x7700_0000_0000_0000, 37, flags=0x20)
    reaches(pair, 2, client.udp(500, answer), ike=1)


def test_initiators_begin_as_ever(pair: Dual, side: Family) -> None:
    for number in (1, 2):
        reaches(pair, number, side.client(number).first(), ike=1)
    assert len(pair.entries()) == 2


def test_a_drained_server_keeps_its_name(pair: Dual, side: Family) -> None:
    pair.genl.do("server-set", service=side.vip, address=side.rip(2), weight=0)
    reaches(pair, 2, kinds(side.client(), 2)["esp"], esp=1)


def test_a_removed_server_has_none(pair: Dual, side: Family) -> None:
    pair.genl.do("server-del", service=side.vip, address=side.rip(2))
    pair.expect(kinds(side.client(), 2)["esp"], drop_esp_no_entry=1)
    pair.back.one("ICMP")
    reaches(pair, 1, kinds(side.client(), 1)["esp"], esp=1)


REFUSED = [
    ({"ike_label": label(3)}, errno.EINVAL),
    ({"ike_label": 1, "ike_mask": MASK}, errno.EINVAL),
    ({"esp_spi_min": 255, "esp_spi_max": 300}, errno.EINVAL),
    ({"esp_spi_min": 300, "esp_spi_max": 299}, errno.EINVAL),
    ({"esp_spi_max": 300}, errno.EINVAL),
    ({"ike_label": label(1), "ike_mask": MASK}, errno.EEXIST),
    ({"ike_label": 0, "ike_mask": 1}, errno.EEXIST),
    ({"esp_spi_min": 0x1FFFFFF, "esp_spi_max": 0x7000000}, errno.EEXIST),
]


@pytest.mark.parametrize(("values", "error"), REFUSED)
def test_names_that_are_refused(
    dual: Dual, side: Family, values: dict[str, int], error: int
) -> None:
    dual.configure(side, "dr", side.rip(1), side.rip(2))
    set_names(dual, side, 1, **names(1))
    before = dual.genl.everything()
    with pytest.raises(Refused) as refused:
        set_names(dual, side, 2, **values)
    assert refused.value.errno == error and refused.value.text
    assert dual.genl.everything() == before


def test_names_are_shown_changed_and_taken_away(dual: Dual, side: Family) -> None:
    dual.configure(side, "dr", side.rip(1), side.rip(2))

    def shown() -> tuple[int, ...]:
        server = dual.genl.do("server-get", service=side.vip, address=side.rip(1))
        assert server is not None
        return tuple(server[name.replace("_", "-")] for name in names(1))

    assert shown() == (0, 0, 0, 0)
    set_names(dual, side, 1, **names(1))
    assert shown() == tuple(names(1).values())
    set_names(dual, side, 1, ike_label=label(9))
    assert shown() == (label(9), *tuple(names(1).values())[1:])
    set_names(dual, side, 1, ike_label=0, ike_mask=0)
    assert shown() == (0, 0, *tuple(names(1).values())[2:])
    set_names(dual, side, 1, esp_spi_min=0, esp_spi_max=0)
    assert shown() == (0, 0, 0, 0)
    set_names(dual, side, 2, **names(1))
