# SPDX-License-Identifier: GPL-2.0
"""What somebody can do with a few packets of his own, or in another's name.

    gen ---------- in   director   s1 ---- s1
    plays clients       VIP on lo  s2 ---- s2

Nobody's tunnel ends by it, no table fills, and no gateway loses a peer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kt.dual import Dual, Family
from kt.inet import Client, aged
from kt.packets import IKE_AUTH, esp, ike
from kt.wait import SHORT, wait_until

TOTAL = Path("/proc/sys/net/ipvs_ipsec/netns_entries_max_total")
TURNS = 100


def elsewhere(dual: Dual, client: Client, server: str) -> Client:
    """A first message in the client's name, from another port, has made an entry at another server."""
    other = client.at(port=40_000, ispi=0xB1, rspi=0xB2)
    while True:
        dual.send(other.first())  # type: ignore[arg-type]
        if dual.entry(other)["server"] != server:  # type: ignore[arg-type]
            return other  # type: ignore[return-value]
        other = other.at(port=other.port + 1, ispi=other.ispi + 1)


@pytest.mark.parametrize("method", ["dr", "nat"])
def test_first_messages_end_nobodys_tunnel(dual: Dual, side: Family, method: str) -> None:
    """Not even with the SPI of an IKE SA that the same address has at another server."""
    dual.configure(side, method, side.rip(1), side.rip(2))
    victim = dual.admitted(side, 77)
    where = dual.entry(victim)["server"]
    other = elsewhere(dual, victim, str(where))
    dual.expect(victim.at(ispi=other.ispi).first(), ike=1)  # type: ignore[attr-defined]
    entry = dual.entry(victim)
    assert (entry["state"], entry["server"]) == ("established", where)
    dual.expect(victim.later(37), victim.esp(), ike=1, esp=1)


@pytest.fixture
def narrow() -> Iterator[None]:
    """All namespaces but the first may have few entries, dead or alive."""
    before = TOTAL.read_text(encoding="ascii")
    yield
    TOTAL.write_text(before, encoding="ascii")


def test_two_ike_sas_that_take_turns_on_a_flow_leave_little(
    dual: Dual, side: Family, narrow: None
) -> None:
    """Each turn ends an entry, which stays for the answers of its server: once for each server."""
    dual.configure(side, "nat", side.rip(1), side.rip(2))
    one = dual.admitted(side, 77, port=40_000)
    other = elsewhere(dual, one.at(port=50_000), str(dual.entry(one)["server"]))  # type: ignore[arg-type]
    rip = str(dual.entry(other)["server"])
    wire = dual.answers[int(rip != side.rip(1))]
    wire.send([other.answer(rip, 500, ike(other.ispi, other.rspi))])
    dual.back.one()
    dual.expect(other.later(), ike=1)
    # What there is, and a few more.
    TOTAL.write_text("12\n", encoding="ascii")
    flow = one.at(port=41_000)
    turns = [
        flow.udp(500, ike(sa.ispi, sa.rspi, IKE_AUTH)) for _ in range(TURNS) for sa in (one, other)
    ]
    moved = dual.send(*turns)
    assert moved["drop-table-full"] == 0, moved
    dual.expect(side.client(78).first(), ike=1)


def test_a_gateway_keeps_its_own_peer(dual: Dual, side: Family) -> None:
    """One first message in the name of a host that the gateway talks to by itself."""
    dual.configure(side, "nat")
    peer, rip = side.client(90), side.rip()
    dual.director.sysctl("net/ipvs_ipsec/isakmp_initial_timeout", SHORT)
    dual.expect(peer.at(ispi=0x1234).first(), ike=1)  # type: ignore[attr-defined]
    dual.forget(1)
    wait_until(lambda: dual.genl.do("status-get")["entries"] == 0, SHORT + 5, "its end")
    natt = peer.at(port=4500)
    for own in (
        peer.answer(rip, 500, ike(0x99, 0x98, 37)),
        natt.answer(rip, 4500, esp(0xC0000001)),  # type: ignore[attr-defined]
    ):
        dual.answers[0].send([own])
        assert dual.back.one().raw == aged(own)
    # What answers that message does not leave with the gateway's address.
    with dual.counted(drop_reply_removed=1):
        dual.answers[0].send([peer.answer(rip, 500, ike(0x1234, 0x98))])
    dual.quiet()
