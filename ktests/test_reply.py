# SPDX-License-Identifier: GPL-2.0
"""What a server of method nat sends to a client of its own leaves with the VIP, or not at all.

    gen ---------- in   director   s1 ---- s1
    plays clients       VIP on lo  s2 ---- s2

That is IKE, ESP, IKE in TCP, and ICMP about them; from the ports of IKE to whichever port
of an initiator that has proved itself, and for a minute after the end of its entry. What
a server says to others, or by another protocol, is its own.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kt.dual import Dual, Family
from kt.inet import Client, aged, fragments, icmp_error, ip, read
from kt.packets import ESP, NON_ESP_MARKER, TCP, esp, ike, tcp
from kt.wait import SHORT, wait_until

MASK = 0xFF << 56


def segment(client: Client, rip: str, size: int = 0) -> bytes:
    """One of a server's, from the port of IKE."""
    return ip(rip, client.address, TCP, tcp(4500, client.port, bytes(size)))


def sent_by(client: Client, rip: str) -> dict[str, bytes]:
    """Whatever a server may send to an initiator of its own, on ports of IKE that both have."""
    request = ike(0x5E << 48, 0, 34)
    return {
        "an answer": client.answer(rip, 500, ike(client.ispi, client.rspi)),
        "an answer on 4500": client.answer(rip, 4500, NON_ESP_MARKER + ike(client.ispi, 5)),
        "an IKE SA of its own": client.at(port=4500).answer(rip, 4500, NON_ESP_MARKER + request),  # type: ignore[attr-defined]
        "a keepalive": client.answer(rip, 4500, b"\xff"),
        "ESP in UDP": client.answer(rip, 4500, esp(0xC0000001)),
        "ESP": client.esp_answer(rip),
        "TCP": segment(client, rip),
    }


def refused_by(side: Family, client: Client, rip: str) -> dict[str, bytes]:
    """ICMP of a server about what it got."""
    error = (3, 3, 0) if side.version == 4 else (1, 4, 0)
    at_server = client.at(vip=rip)
    return {
        "about IKE": icmp_error(rip, client.address, *error, at_server.later()),
        "about ESP in UDP": icmp_error(rip, client.address, *error, at_server.esp_in_udp()),
        "about ESP": icmp_error(rip, client.address, *error, at_server.esp()),
    }


def comes_from_the_vip(dual: Dual, side: Family, server: int, packet: bytes) -> None:
    """A server's packet reaches the initiator as the service's."""
    dual.answers[server - 1].send([packet])
    got = dual.back.one()
    assert (got.src, got.dst) == (side.vip, read(packet).dst)
    assert side.rip(server) not in (read(got.quoted).dst if got.is_icmp else "")


def does_not_leave(dual: Dual, server: int, *packets: bytes) -> None:
    """Nor does the server's address."""
    for packet in packets:
        with dual.counted(drop_reply_removed=1):
            dual.answers[server - 1].send([packet])
    dual.quiet()


def passes_untouched(dual: Dual, server: int, *packets: bytes) -> None:
    """What is between a server and its peer."""
    with dual.counted(out=0):
        for packet in packets:
            dual.answers[server - 1].send([packet])
            assert dual.back.one().raw == aged(packet)


# A server that is named by SPIs, while the flow has an entry at another.


def named(number: int) -> dict[str, int]:
    """How the SPIs of a server look."""
    low = number << 24
    return {
        "ike_label": number << 56,
        "ike_mask": MASK,
        "esp_spi_min": low,
        "esp_spi_max": low + 0xFFFFFF,
    }


@pytest.fixture
def bound(dual: Dual, side: Family) -> tuple[Client, int]:
    """An initiator with entries on both ports at one server; and the other, which has a name."""
    dual.configure(side, "nat", side.rip(1), side.rip(2))
    client = dual.admitted(side)
    dual.expect(client.at(port=4500).natt_later(), ike=1)
    dual.forget(1)
    other = 2 if dual.entry(client)["server"] == side.rip(1) else 1
    dual.genl.do("server-set", service=side.vip, address=side.rip(other), **named(other))
    return client, other


def test_both_servers_of_a_flow_answer_from_the_vip(
    dual: Dual, side: Family, bound: tuple[Client, int]
) -> None:
    client, other = bound
    natt = client.at(port=4500)
    spi, rip = (other << 24) + 7, side.rip(other)
    message = ike(client.ispi, (other << 56) + 9, 37)
    for _ in range(2):
        for packet, answer in (
            (client.udp(500, message), client.answer(rip, 500, message)),
            (client.esp(spi), client.esp_answer(rip)),
            (natt.udp(4500, esp(spi)), natt.answer(rip, 4500, esp(8))),  # type: ignore[attr-defined]
        ):
            dual.send(packet)
            assert dual.captures[other - 1].one().dst == rip
            comes_from_the_vip(dual, side, other, answer)
    for error in refused_by(side, client, rip).values():
        comes_from_the_vip(dual, side, other, error)
    # Its own server has lost nothing. (ESP follows who was established last.)
    dual.expect(client.later(), natt.esp_in_udp(), ike=1, esp_in_udp=1)  # type: ignore[attr-defined]
    dual.captures[2 - other].some(2)
    own = side.rip(3 - other)
    comes_from_the_vip(dual, side, 3 - other, client.answer(own, 500, ike(client.ispi, 1)))
    comes_from_the_vip(dual, side, 3 - other, client.esp_answer(own))
    flows = [(e["client-port"], e["server"]) for e in dual.entries()]
    assert sorted(flows) == sorted((p, s) for p in (500, 4500) for s in (rip, own))


def test_so_they_do_where_the_method_was_another(dual: Dual, side: Family) -> None:
    dual.configure(side, "dr", side.rip(1))
    client = dual.admitted(side)
    dual.genl.do(
        "server-set", service=side.vip, address=side.rip(1), method="nat", **named(1)
    )
    message = ike(client.ispi, (1 << 56) + 9, 37)
    dual.expect(client.udp(500, message), ike=1)
    assert dual.captures[0].one().dst == side.rip(1)
    comes_from_the_vip(dual, side, 1, client.answer(side.rip(1), 500, message))


# A server whose initiator has no entry for it any more.


def swept(dual: Dual, left: int = 0) -> None:
    """The timers of all entries but so many end, and the sweep has seen that."""

    def is_swept() -> bool:
        status = dual.genl.do("status-get")
        return status is not None and status["entries"] == left

    wait_until(is_swept, SHORT + 5, "the end of the entries")


def test_an_answer_to_the_port_of_ike_sa_init_comes_from_the_vip(dual: Dual, side: Family) -> None:
    """The initiator went on from port 4500, and its entry on port 500 has ended."""
    dual.configure(side, "nat")
    client, rip = side.client(81), side.rip()
    dual.director.sysctl("net/ipvs_ipsec/isakmp_initial_timeout", SHORT)
    dual.expect(client.first(), ike=1)
    dual.forget(1)
    natt = client.at(port=4500)
    dual.admitted_natt(side, 81)
    swept(dual, left=1)
    assert dual.entry(natt, 4500)["state"] == "established"
    for packet in sent_by(client, rip).values():
        comes_from_the_vip(dual, side, 1, packet)
    for packet in refused_by(side, client, rip).values():
        comes_from_the_vip(dual, side, 1, packet)


def timed_out(dual: Dual, side: Family) -> Client:
    """Its timers have ended."""
    dual.director.sysctl("net/ipvs_ipsec/isakmp_established_timeout", SHORT)
    client = dual.admitted(side, 82)
    swept(dual)
    return client


def flushed(dual: Dual, side: Family) -> Client:
    """The administrator has removed its entries."""
    client = dual.admitted(side, 83)
    dual.genl.do("entry-flush")
    assert dual.entries() == []
    return client


def without_service(dual: Dual, side: Family) -> Client:
    """There is no service any more."""
    client = dual.admitted(side, 88)
    dual.genl.do("service-del", address=side.vip)
    swept(dual)
    return client


def moved(dual: Dual, side: Family) -> Client:
    """Its flow has gone to another server."""
    client = dual.admitted(side, 84)
    where = dual.entry(client)["server"]
    # Another IKE SA of the same address, which is begun on another port and goes on on that one.
    other = client.at(port=40_000, ispi=0x77, rspi=0x78)
    while True:
        dual.expect(other.first(), ike=1)
        dual.forget(1)
        if dual.entry(other)["server"] != where:  # type: ignore[arg-type]
            break
        other = other.at(port=other.port + 1, ispi=other.ispi + 1)
    rip = dual.entry(other)["server"]  # type: ignore[arg-type]
    wire = dual.answers[int(rip != side.rip(1))]
    wire.send([other.answer(rip, 500, ike(other.ispi, other.rspi))])  # type: ignore[attr-defined]
    dual.back.one("the answer")
    dual.expect(other.later(), other.at(port=500).later(), ike=2)
    dual.forget(2)
    assert dual.entry(client)["server"] == rip != where
    return client


ENDS: list[Callable[[Dual, Family], Client]] = [timed_out, flushed, without_service, moved]


@pytest.mark.parametrize("end", ENDS)
def test_nothing_leaves_when_the_entry_has_ended(
    dual: Dual, side: Family, end: Callable[[Dual, Family], Client]
) -> None:
    dual.configure(side, "nat", side.rip(1), side.rip(2))
    client = end(dual, side)
    # rr begins with the first.
    number, rip = 1, side.rip(1)
    if end is moved:
        number = 2 if dual.entry(client)["server"] == rip else 1
        rip = side.rip(number)
    for packets in (sent_by(client, rip), refused_by(side, client, rip)):
        does_not_leave(dual, number, *packets.values())
    passes_untouched(dual, number, client.answer(rip, 53, b"a name"))


def test_an_initiator_that_had_not_proved_itself_is_known_by_its_ports(
    dual: Dual, side: Family
) -> None:
    """Anybody can send a first message with the address of a peer of the server's."""
    dual.configure(side, "nat")
    client, rip = side.client(85, port=40_000), side.rip()
    dual.director.sysctl("net/ipvs_ipsec/isakmp_initial_timeout", SHORT)
    dual.expect(client.first(), ike=1)
    dual.forget(1)
    peer = client.at(port=500)
    its_own = [
        peer.answer(rip, 500, ike(1, 2)),  # type: ignore[attr-defined]
        client.answer(rip, 4500, NON_ESP_MARKER + ike(1, 2)),
        segment(peer, rip),  # type: ignore[arg-type]
    ]
    passes_untouched(dual, 1, *its_own)
    comes_from_the_vip(dual, side, 1, client.answer(rip, 500, ike(client.ispi, 5)))
    swept(dual)
    does_not_leave(dual, 1, client.answer(rip, 500, ike(client.ispi, 5)))
    passes_untouched(dual, 1, *its_own, client.esp_answer(rip))


def test_a_new_entry_takes_the_place_of_one_that_has_ended(dual: Dual, side: Family) -> None:
    dual.configure(side, "nat")
    client = timed_out(dual, side)
    dual.expect(client.first(), ike=1)
    dual.forget(1)
    answer = client.answer(side.rip(), 500, ike(client.ispi, client.rspi))
    comes_from_the_vip(dual, side, 1, answer)
    dual.expect(client.later(), ike=1)
    dual.forget(1)
    comes_from_the_vip(dual, side, 1, client.esp_answer(side.rip()))


def test_no_fragment_of_a_stream_leaves_alone(dual: Dual, side: Family) -> None:
    """A later one has no ports."""
    dual.configure(side, "nat")
    client = dual.admitted(side)
    dual.answers[0].send(fragments(segment(client, side.rip(), 3000), 1400))
    assert {piece.src for piece in dual.back.some(3)} == {side.vip}


def test_with_encap_what_has_ended_does_not_leave_either(dual: Dual, side: Family) -> None:
    dual.configure(side, "nat", encap=1)
    client = timed_out(dual, side)
    dual.expect(side.client(86).first(), ike=1)  # one whose server wants it so
    dual.forget(1)
    does_not_leave(dual, 1, client.at(port=4500).answer(side.rip(), 4500, esp(9)))  # type: ignore[attr-defined]


def in_fragments(client: Client, rip: str) -> list[bytes]:
    """An answer of a server, as it leaves in pieces."""
    message = ike(client.ispi, 5, body=bytes(2500))
    return fragments(client.answer(rip, 500, message), 1200)


def test_no_fragment_leaves_when_an_initial_entry_has_ended(dual: Dual, side: Family) -> None:
    dual.configure(side, "nat")
    client = side.client(85)
    dual.director.sysctl("net/ipvs_ipsec/isakmp_initial_timeout", SHORT)
    dual.expect(client.first(), ike=1)
    dual.forget(1)
    swept(dual)
    with dual.counted(drop_reply_removed=1):
        dual.answers[0].send(in_fragments(client, side.rip()))
    dual.quiet()


def test_no_fragment_leaves_when_the_last_service_has_gone(dual: Dual, side: Family) -> None:
    """Those of IPv6 are reassembled as long as an entry may want it."""
    dual.configure(side, "nat")
    client = without_service(dual, side)
    with dual.counted(drop_reply_removed=1):
        dual.answers[0].send(in_fragments(client, side.rip()))
    dual.quiet()


@pytest.mark.parametrize("which", [0, 1])
def test_an_error_about_a_fragment_does_not_name_the_server(
    dual: Dual, side: Family, which: int
) -> None:
    """One about the first comes from the VIP; a later one does not tell what it was part of."""
    dual.configure(side, "nat")
    client, rip = dual.admitted(side, 89), side.rip()
    sent = client.at(vip=rip).udp(500, ike(client.ispi, client.rspi, 35, body=bytes(2500)))
    quoted = fragments(sent, 1200)[which]
    error = (3, 13, 0) if side.version == 4 else (1, 1, 0)
    packet = icmp_error(rip, client.address, *error, quoted[:600])
    if which == 0:
        comes_from_the_vip(dual, side, 1, packet)
    else:
        does_not_leave(dual, 1, packet)


def test_esp_of_this_kind_is_not_mistaken(dual: Dual, side: Family) -> None:
    """Another server's ESP to the same initiator is between the two."""
    dual.configure(side, "nat", side.rip(1))
    client = dual.admitted(side, 87)
    passes_untouched(dual, 2, ip(side.rip(2), client.address, ESP, esp(7)))
