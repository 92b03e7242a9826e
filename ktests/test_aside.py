# SPDX-License-Identifier: GPL-2.0
"""IKE that says nothing about its IKE SA: it passes where there is one, and moves nothing.

    gen ---------- in   director   s1 ---- s1
    plays clients       VIP on lo  s2 ---- s2

Exchanges for private use (240 to 255), as Windows' AuthIP has them, and notifications of
IKEv1 in clear from who does not know the responder's cookie.
"""

from __future__ import annotations

import pytest

from kt.bench import Bench
from kt.dual import Dual, Family
from kt.packets import (
    IKE_PORT,
    KEEPALIVE,
    NATT_PORT,
    NON_ESP_MARKER,
    TCP,
    V1,
    Initiator,
    framed,
    ike,
    tcp,
)


def asides(ispi: int, rspi: int) -> dict[str, bytes]:
    """Such messages, of an IKE SA with these SPIs."""
    return {
        "AuthIP": ike(ispi, rspi, 243, version=V1),
        "the last private exchange of IKEv2": ike(ispi, rspi, 255),
        "a private exchange that would begin an IKE SA": ike(ispi, 0, 240, version=V1),
        "a notification": ike(ispi, 0, 5, version=V1),
    }


CASES = list(asides(0, 0))


def aside(client: Initiator, case: str, **changes: int) -> bytes:
    """One of them, to port 500."""
    spis = {"ispi": client.ispi, "rspi": client.rspi, **changes}
    return client.udp(IKE_PORT, asides(**spis)[case])


@pytest.mark.parametrize("case", CASES)
def test_without_an_ike_sa_it_is_dropped(bench: Bench, case: str) -> None:
    client = bench.client()
    bench.director.sysctl("net/ipvs_ipsec/sloppy", 1)
    bench.expect(aside(client, case), drop_ike_exchange=1)
    bench.nothing_forwarded()
    assert bench.entries() == []


@pytest.mark.parametrize("case", CASES)
def test_an_established_entry_stays_as_it_is(bench: Bench, case: str) -> None:
    client, server = bench.established()
    left = bench.age(client)
    before = {**bench.entry(client), "expires": 0}
    # The second may be of an IKE SA that was made anew inside the first.
    for sent in (aside(client, case), aside(client, case, ispi=77, rspi=78)):
        assert bench.server_of(sent) == server
    after = bench.entry(client)
    assert after["expires"] <= left
    assert {**after, "expires": 0} == before
    assert len(bench.entries()) == 1


@pytest.mark.parametrize("case", CASES)
def test_an_initial_entry_stays_initial(bench: Bench, case: str) -> None:
    client = bench.client()
    server = bench.server_of(client.first())
    left = bench.age(client)
    assert bench.server_of(aside(client, case)) == server
    bench.expect(aside(client, case, ispi=77), drop_ike_exchange=1)
    entry = bench.entry(client)
    assert (entry["state"], entry["initiator-spi"]) == ("initial", client.ispi)
    assert (entry["responder-spi"], entry["expires"] <= left) == (0, True)


@pytest.mark.parametrize("case", CASES)
def test_from_elsewhere_it_reaches_its_ike_sa_and_makes_no_entry(bench: Bench, case: str) -> None:
    client, server = bench.established()
    assert bench.server_of(aside(client.at(port=40_000), case)) == server
    assert len(bench.entries()) == 1


@pytest.mark.parametrize("case", CASES)
def test_in_a_stream_it_moves_nothing(bench: Bench, case: str) -> None:
    client = bench.client().at(port=40_000)
    server = bench.server_of(client.connect())
    message = framed(NON_ESP_MARKER + asides(client.ispi, client.rspi)[case])
    assert bench.server_of(client.ip(TCP, tcp(40_000, NATT_PORT, message))) == server
    assert bench.entry(client, NATT_PORT)["state"] == "initial"


@pytest.mark.parametrize("case", CASES)
def test_with_nat_its_flow_needs_an_entry(dual: Dual, side: Family, case: str) -> None:
    """Else what the server says to it came from the server's own address."""
    dual.configure(side, "nat")
    client = dual.admitted(side)
    dual.expect(aside(client.at(port=40_000), case), drop_ike_exchange=1)
    dual.expect(aside(client, case), ike=1)
    assert dual.captures[0].one().dst == side.rip()
    dual.quiet()


@pytest.mark.parametrize("case", CASES)
def test_with_nat_a_servers_passes_and_tells_nothing(dual: Dual, side: Family, case: str) -> None:
    dual.configure(side, "nat")
    client = side.client()
    dual.expect(client.first(), ike=1)
    dual.forget(1)
    for ispi in (client.ispi, 0x77):
        message = asides(ispi, client.rspi)[case]
        with dual.counted(out=1):
            dual.answers[0].send([client.answer(side.rip(), 500, message)])
            assert dual.back.one().message == message
    # The server has not answered yet, nor begun anything itself.
    dual.expect(client.later(), drop_ike_responder_spi=1)
    begun = client.udp(IKE_PORT, ike(0x77, 0x78, 37, flags=0))
    dual.expect(begun, drop_ike_responder_spi=1)


@pytest.mark.parametrize("case", ["AuthIP", "the last private exchange of IKEv2"])
def test_a_name_alone_is_no_ike_sa_with_nat(dual: Dual, side: Family, case: str) -> None:
    dual.configure(side, "nat")
    mask = 0xFF << 56
    names = {"ike_label": 1 << 56, "ike_mask": mask}
    dual.genl.do("server-set", service=side.vip, address=side.rip(), **names)
    client = side.client(rspi=(1 << 56) + 9)
    dual.expect(aside(client, case), drop_ike_exchange=1)
    assert dual.entries() == []


def test_a_keepalive_may_be_to_port_500(bench: Bench) -> None:
    """The drafts of NAT traversal had all of it there."""
    client = bench.client()
    sent = client.udp(IKE_PORT, KEEPALIVE)
    bench.expect(sent, drop_keepalive_no_entry=1)
    client, server = bench.established()
    left = bench.age(client)
    assert bench.server_of(sent) == server
    bench.expect(sent, keepalive=1)
    assert bench.entry(client)["expires"] > left
