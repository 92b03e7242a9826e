# SPDX-License-Identifier: GPL-2.0
"""The entry and its two states, seen with hand-made IKE packets.

    gen 10.1.0.1 ------ director ------ s1 10.2.1.1
    plays clients       VIP on lo  ---- s2 10.2.2.1
    192.0.2.0/24        rr         ---- s3 10.2.3.1

One entry per flow CIP:CPORT -> VIP:500 or VIP:4500, INITIAL for 10 s, then
ESTABLISHED for 28,800 s; 4500 goes where the same IKE SPI went on 500.
"""

from __future__ import annotations

from kt.bench import VIP, VIP2, Bench, server_address
from kt.packets import INFORMATIONAL
from kt.wait import SHORT, wait_until

INITIAL_MS, ESTABLISHED_MS = 10_000, 28_800_000


def test_first_ike_packet_makes_an_initial_entry(bench: Bench) -> None:
    client = bench.client()
    server = bench.server_of(client.first())
    (entry,) = bench.entries()
    expires = entry.pop("expires")
    assert entry == {
        "client": client.address,
        "client-port": 500,
        "service": VIP,
        "service-port": 500,
        "protocol": 17,
        "server": server_address(server),
        "method": "dr",
        "state": "initial",
        "initiator-spi": client.ispi,
        "responder-spi": 0,
    }
    assert INITIAL_MS - 2_000 < expires <= INITIAL_MS


def test_responder_spi_establishes_the_entry(bench: Bench) -> None:
    client = bench.client()
    moved = bench.expect(client.first(), client.later(), ike=2)
    assert (moved["entries-created"], moved["entries-established"]) == (1, 1)
    entry = bench.entry(client)
    assert entry["state"] == "established"
    assert entry["responder-spi"] == client.rspi
    assert ESTABLISHED_MS - 2_000 < entry["expires"] <= ESTABLISHED_MS


def test_retransmission_keeps_the_server_and_restarts_the_timer(bench: Bench) -> None:
    client = bench.client()
    server = bench.server_of(client.first())
    left = bench.age(client)
    assert bench.server_of(*[client.first()] * 7) == server
    assert bench.entry(client)["expires"] > left
    assert len(bench.entries()) == 1


def test_restarted_client_keeps_its_server(bench: Bench) -> None:
    client, server = bench.established()
    left = bench.age(client)
    reborn = client.at(ispi=0x7777)
    assert bench.server_of(reborn.first()) == server
    entry = bench.entry(client)
    assert entry["state"] == "established"
    assert entry["expires"] > left


def test_later_ike_restarts_the_established_timer(bench: Bench) -> None:
    client, server = bench.established()
    left = bench.age(client)
    # Rekeying changes the SPIs of both sides.
    rekeyed = client.at(ispi=0x8888, rspi=0x9999)
    assert bench.server_of(rekeyed.later(INFORMATIONAL)) == server
    assert bench.entry(client)["expires"] > left


def test_ike_with_responder_spi_and_no_entry_is_dropped(bench: Bench) -> None:
    client = bench.client()
    bench.expect(client.later(), client.natt_later(), drop_ike_no_entry=2)
    bench.nothing_forwarded()
    bench.no_icmp()
    assert bench.entries() == []


def test_port_4500_goes_to_the_server_of_port_500(bench: Bench) -> None:
    for number in range(1, 31):
        client, server = bench.established(number)
        # A NAT between gives the second flow another port, and the answer comes late or never:
        # the scheduler's turn must not matter.
        other = client.at(port=20_000 + number)
        assert bench.server_of(other.natt_later()) == server
        assert bench.entry(other, 4500)["state"] == "established"
    assert len(bench.entries()) == 60


def test_port_4500_takes_over_from_an_initial_entry(bench: Bench) -> None:
    """As strongSwan does: IKE_SA_INIT on 500, everything else on 4500."""
    client = bench.client()
    server = bench.server_of(client.first())
    natt = client.at(port=4500)
    assert bench.server_of(natt.natt_later()) == server
    assert bench.entry(natt, 4500)["state"] == "established"
    # Native ESP of this address may pass now, to the same server.
    assert bench.server_of(client.esp()) == server


def test_port_4500_inherits_the_state_too(bench: Bench) -> None:
    """A message of the IKE SA that tells nothing of the responder: the flow to 500 did."""
    client, server = bench.established()
    natt = client.at(port=20_000)
    assert bench.server_of(natt.natt_first(), natt.esp_in_udp()) == server
    assert bench.entry(natt, 4500)["state"] == "established"


def test_another_address_inherits_the_server_only(bench: Bench) -> None:
    """Until it shows the responder's SPI: the initiator's alone may have been overheard."""
    client, server = bench.established()
    moved = client.at(address="192.0.2.77")
    assert bench.server_of(moved.first()) == server
    assert bench.entry(moved)["state"] == "initial"
    bench.expect(moved.esp(), drop_not_established=1)
    assert bench.server_of(moved.later(), moved.esp()) == server


def test_a_flow_follows_its_ike_sa_to_another_server(bench: Bench) -> None:
    """Behind a NAT the entry on 500 runs out while that on 4500 lives; the client begins anew."""
    bench.director.sysctl("net/ipvs_ipsec/isakmp_initial_timeout", SHORT)
    client = bench.client().at(port=31_000)
    natt = client.at(port=32_000)
    old = bench.server_of(client.first())
    assert bench.server_of(natt.natt_later(), natt.esp_in_udp()) == old
    wait_until(lambda: len(bench.entries()) == 1, 4, "the end of the entry on 500")
    reborn = {"ispi": 0xABCD, "rspi": 0xBCDE}
    new = bench.server_of(client.at(**reborn).first())
    assert new != old, "rr goes on; the director cannot know who this is"
    assert bench.server_of(natt.at(**reborn).natt_later(), natt.esp_in_udp()) == new


def test_a_late_first_packet_does_not_hide_the_ike_sa(bench: Bench) -> None:
    client, server = bench.established()
    assert bench.server_of(client.first()) == server
    entry = bench.entry(client)
    assert (entry["initiator-spi"], entry["responder-spi"]) == (client.ispi, client.rspi)
    # That of another IKE SA does: its responder is not known yet.
    assert bench.server_of(client.at(ispi=0x5555).first()) == server
    entry = bench.entry(client)
    assert (entry["initiator-spi"], entry["responder-spi"]) == (0x5555, 0)


def test_another_responder_spi_from_a_new_port_is_dropped(bench: Bench) -> None:
    client, _ = bench.established()
    liar = client.at(port=20_000, rspi=0xDEAD)
    bench.expect(liar.natt_later(), drop_ike_responder_spi=1)
    assert len(bench.entries()) == 1


def test_port_4500_alone_makes_an_entry(bench: Bench) -> None:
    """RFC 7296 section 2: an initiator may begin on 4500."""
    client = bench.client().at(port=4500)
    server = bench.server_of(client.natt_first())
    assert bench.entry(client, 4500)["state"] == "initial"
    assert bench.server_of(client.natt_later(), client.esp_in_udp(), client.esp()) == server


def test_a_client_without_nat_keeps_its_server_on_the_other_port(bench: Bench) -> None:
    """It begins another IKE SA on 4500 at once: the flow from port 500 tells who it is."""
    for number in range(1, 7):
        client, server = bench.established(number)
        natt = client.at(port=4500, ispi=0xF000 + number)
        assert bench.server_of(natt.natt_first()) == server


def test_flows_of_one_address_are_told_apart_by_port(bench: Bench) -> None:
    servers = set()
    for number in range(3):
        client = bench.client().at(port=30_000 + number, ispi=0xC000 + number)
        servers.add(bench.server_of(client.first(), client.later()))
    assert servers == {1, 2, 3}
    assert len(bench.entries()) == 3


def test_keepalive_without_entry_is_dropped(bench: Bench) -> None:
    client, _ = bench.established()  # an entry on 500 is none on 4500
    bench.expect(client.keepalive(), drop_keepalive_no_entry=1)
    bench.no_icmp()


def test_keepalive_leaves_the_initial_timer_alone(bench: Bench) -> None:
    client = bench.client().at(port=4500)
    server = bench.server_of(client.natt_first())
    left = bench.age(client, 4500)
    assert bench.server_of(client.keepalive()) == server
    entry = bench.entry(client, 4500)
    assert entry["expires"] <= left
    assert entry["state"] == "initial"


def test_keepalive_restarts_the_established_timer(bench: Bench) -> None:
    client = bench.client().at(port=4500)
    server = bench.server_of(client.natt_first(), client.natt_later())
    left = bench.age(client, 4500)
    assert bench.server_of(client.keepalive()) == server
    assert bench.entry(client, 4500)["expires"] > left


def test_two_services_do_not_share_entries(bench: Bench) -> None:
    bench.genl.do("service-new", address=VIP2, scheduler="rr")
    bench.genl.do("server-new", service=VIP2, address=server_address(3))
    one, server = bench.established(1)
    other = one.at(vip=VIP2)
    bench.expect(other.later(), other.esp(), drop_ike_no_entry=1, drop_esp_no_entry=1)
    assert bench.server_of(other.first(), other.later()) == 3
    assert bench.server_of(one.later()) == server
    assert {e["service"] for e in bench.entries()} == {VIP, VIP2}


def test_counters_of_service_and_server_are_what_was_forwarded(bench: Bench) -> None:
    bench.setup("rr", [1])
    client = bench.client()
    packets = [client.first(), client.later(), client.esp(), client.ah(), client.esp()]
    bench.expect(*packets, ike=2, esp=2, ah=1)
    bench.expect(bench.client(2).esp(), drop_esp_no_entry=1)
    expected = {"conns": 1, "in-packets": 5, "in-bytes": sum(map(len, packets))}
    (service,) = bench.genl.dump("service-get")
    (server,) = bench.genl.dump("server-get")
    for row in (service, server):
        assert {k: row[k] for k in expected} == expected
    assert (server["established"], server["initial"]) == (1, 0)
    bench.expect(bench.client(2).first(), ike=1)
    (server,) = bench.genl.dump("server-get", service=VIP)
    assert (server["established"], server["initial"], server["conns"]) == (1, 1, 2)
    status = bench.genl.do("status-get")
    assert (status["entries"], status["initial"]) == (2, 1)


def test_thousands_of_entries_are_found_and_listed(bench: Bench) -> None:
    """The table grows while it is used; the dump takes many messages."""
    clients = [
        bench.client(1 + n % 400).at(port=1024 + n, ispi=0x5000_0000 + n) for n in range(3000)
    ]
    for start in range(0, len(clients), 500):
        some = clients[start : start + 500]
        bench.expect(*(c.first() for c in some), *(c.later() for c in some), ike=2 * len(some))
    listed = bench.entries()
    seen = {(e["client"], e["client-port"]) for e in listed}
    assert seen == {(c.address, c.port) for c in clients}
    assert len(listed) == len(clients)
    homes = {(e["client"], e["client-port"]): e["server"] for e in listed}
    bench.drain()
    bench.expect(*(c.later() for c in clients), ike=len(clients))
    got = {
        (p.src, p.ports[0]): server_address(n)
        for n, packets in enumerate(bench.arrived(), 1)
        for p in packets
    }
    assert got == homes
