# SPDX-License-Identifier: GPL-2.0
"""Cookie check: who shows the responder SPI that a reply had is established, nobody else.

    gen ---------- in   director   s1 ---- s1
    plays clients       VIP on lo          answers by way of the director

With nat and local every reply passes the director. With dr and tun it need not,
but what passes is held against what the initiator shows.
"""

from __future__ import annotations

import pytest

from kt.dual import Dual, Family
from kt.inet import Client, fragments
from kt.packets import NON_ESP_MARKER, ike

WRONG = 0xDEAD_0000_0000_0001


@pytest.fixture
def nat(dual: Dual, side: Family) -> Dual:
    """One server, its address translated."""
    dual.configure(side, "nat")
    return dual


@pytest.fixture(params=["dr", "tun"])
def routed(dual: Dual, side: Family, request: pytest.FixtureRequest) -> Dual:
    """One server whose replies come from the VIP, and may pass the director."""
    dual.configure(side, request.param)
    if side.version == 4:  # whose source is the director's own address
        dual.director.sysctl("net/ipv4/conf/s1/accept_local", 1)
    return dual


def first(dual: Dual, client: Client, count: int = 1) -> None:
    """First messages reach the server."""
    dual.expect(*[client.first()] * count, ike=count)
    dual.captures[0].some(count)


def reply(dual: Dual, client: Client, server: str, rspi: int, **more: int) -> None:
    """The server answers with this responder SPI, and the initiator gets it."""
    dual.answers[0].send([client.answer(server, 500, ike(more.get("ispi", client.ispi), rspi))])
    dual.back.one()


def shows(client: Client, rspi: int) -> bytes:
    """The next message, IKE_AUTH."""
    return client.udp(500, ike(client.ispi, rspi, 35))


def refused(dual: Dual, *packets: bytes) -> None:
    """Nothing of it reaches the server."""
    dual.expect(*packets, drop_ike_responder_spi=len(packets))
    dual.quiet()


def established(dual: Dual, client: Client) -> None:
    """The right responder SPI opens the way, for ESP too."""
    dual.expect(shows(client, client.rspi), client.esp(), ike=1, esp=1)
    dual.captures[0].some(2)


def test_only_what_the_reply_had_establishes(nat: Dual, side: Family) -> None:
    client = side.client()
    first(nat, client)
    refused(nat, shows(client, client.rspi))  # nobody has answered yet
    reply(nat, client, side.rip(), client.rspi)
    refused(nat, shows(client, WRONG))
    nat.expect(client.esp(), drop_not_established=1)
    established(nat, client)


def test_established_initiators_may_show_another(nat: Dual, side: Family) -> None:
    """They rekey the IKE SA, and begin anew after a reboot."""
    client = nat.admitted(side)
    again = side.client(2).at(address=client.address)
    nat.expect(shows(client, WRONG), shows(again, WRONG), again.first(), client.esp(), ike=3, esp=1)
    nat.captures[0].some(4)


def test_a_reply_to_somebody_else_tells_nothing(nat: Dual, side: Family) -> None:
    client, other = side.client(), side.client(2)
    first(nat, client)
    first(nat, other)
    reply(nat, other, side.rip(), client.rspi)
    reply(nat, client, side.rip(), client.rspi, ispi=other.ispi)
    refused(nat, shows(client, client.rspi), shows(other, other.rspi))


def test_the_rounds_before_an_sa(nat: Dual, side: Family) -> None:
    """COOKIE and INVALID_KE_PAYLOAD (RFC 7296 section 2.6), retransmissions of both sides."""
    client = side.client()
    first(nat, client, 2)
    reply(nat, client, side.rip(), 0)
    refused(nat, shows(client, client.rspi))
    first(nat, client)
    reply(nat, client, side.rip(), WRONG)
    first(nat, client)
    reply(nat, client, side.rip(), client.rspi)
    reply(nat, client, side.rip(), client.rspi)
    first(nat, client)
    refused(nat, shows(client, WRONG))
    established(nat, client)


def test_who_begins_anew_is_answered_anew(nat: Dual, side: Family) -> None:
    client = side.client()
    first(nat, client)
    reply(nat, client, side.rip(), WRONG)
    anew = side.client(2).at(address=client.address)
    first(nat, anew)
    refused(nat, shows(anew, WRONG))
    reply(nat, anew, side.rip(), anew.rspi)
    established(nat, anew)


def test_ike_moves_to_4500_with_the_reply_of_500(nat: Dual, side: Family) -> None:
    client = side.client()
    float_ = client.at(port=40_001)
    first(nat, client)
    refused(nat, float_.natt_later())
    reply(nat, client, side.rip(), client.rspi)
    refused(nat, float_.udp(4500, NON_ESP_MARKER + ike(client.ispi, WRONG, 35)))
    assert len(nat.genl.dump("entry-get")) == 1
    nat.expect(float_.natt_later(), float_.esp_in_udp(), ike=1, esp_in_udp=1)
    nat.captures[0].some(2)


def test_large_replies_tell_by_their_first_fragment(routed: Dual, side: Family) -> None:
    client = side.client()
    first(routed, client)
    big = client.answer(side.vip, 500, ike(client.ispi, client.rspi, body=bytes(3000)))
    routed.answers[0].send(fragments(big, 1400))
    routed.back.some(3)
    refused(routed, shows(client, WRONG))
    established(routed, client)


def test_one_way_any_responder_spi_proves_an_answer(routed: Dual, side: Family) -> None:
    client = side.client()
    first(routed, client)
    established(routed, client)


def test_a_reply_that_passes_counts(routed: Dual, side: Family) -> None:
    client = side.client()
    first(routed, client)
    reply(routed, client, side.vip, client.rspi)
    refused(routed, shows(client, WRONG))
    established(routed, client)


def test_the_server_may_begin_at_the_same_time(nat: Dual, side: Family) -> None:
    """Simultaneous initiation: who answers the server shows the SPI that it began with."""
    client = side.client()
    theirs = 0xC0FFEE
    first(nat, client)
    nat.answers[0].send([client.answer(side.rip(), 500, ike(theirs))])
    assert nat.back.one().src == side.vip
    answer = ike(theirs, client.ispi, flags=0x20)
    refused(nat, client.udp(500, ike(WRONG, client.ispi, flags=0x20)))
    nat.expect(client.udp(500, answer), client.esp(), ike=1, esp=1)
    nat.captures[0].some(2)
    # The IKE SA that the initiator began goes on, too.
    nat.expect(shows(client, client.rspi), ike=1)
    nat.captures[0].one()
