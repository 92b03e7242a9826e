# SPDX-License-Identifier: GPL-2.0
"""Which server a new initiator gets, and what happens to it when servers change.

What each scheduler does is in test_schedulers.py.

gen 10.1.0.1 ------ director ------ s1 10.2.1.1
plays clients       VIP on lo  ---- s2 10.2.2.1
192.0.2.0/24        rr, wrr    ---- s3 10.2.3.1
"""

from __future__ import annotations

import socket

import pytest

from kt.bench import DIRECTOR, VIP, Bench, server_address, verdicts
from kt.packets import ICMP


def test_rr_takes_turns_whatever_the_weights(bench: Bench) -> None:
    bench.setup("rr", [1, 5, 100])
    assert bench.spread(range(1, 31)) == [10, 10, 10]


def test_wrr_follows_the_weights(bench: Bench) -> None:
    bench.setup("wrr", [1, 2, 3])
    assert bench.spread(range(1, 61)) == [10, 20, 30]


def test_a_new_weight_counts_for_new_clients(bench: Bench) -> None:
    bench.setup("wrr", [1, 1, 1])
    assert bench.spread(range(1, 31)) == [10, 10, 10]
    bench.genl.do("server-set", service=VIP, address=server_address(1), weight=4)
    assert bench.spread(range(31, 91)) == [40, 10, 10]


def test_a_new_scheduler_counts_for_new_clients(bench: Bench) -> None:
    bench.setup("rr", [1, 2, 3])
    assert bench.spread(range(1, 31)) == [10, 10, 10]
    bench.genl.do("service-set", address=VIP, scheduler="wrr")
    assert bench.spread(range(31, 91)) == [10, 20, 30]


@pytest.mark.parametrize("scheduler", ["rr", "wrr"])
def test_weight_zero_gets_no_new_clients_and_keeps_the_old(bench: Bench, scheduler: str) -> None:
    bench.setup(scheduler, [1, 1, 1])
    client, server = bench.established()
    bench.genl.do("server-set", service=VIP, address=server_address(server), weight=0)
    counted = bench.spread(range(2, 42))
    assert counted.pop(server - 1) == 0
    assert counted == [20, 20]
    # Its client lives on: IKE, ESP, the flow to 4500, a restart.
    assert bench.server_of(client.later(), client.esp(), client.first()) == server
    assert bench.server_of(client.at(port=4500).natt_later()) == server
    bench.genl.do("server-set", service=VIP, address=server_address(server), weight=1)
    assert bench.spread(range(42, 102)) == [20, 20, 20]


@pytest.mark.parametrize("weights", [[], [0], [0, 0, 0]])
@pytest.mark.parametrize("scheduler", ["rr", "wrr"])
def test_without_a_willing_server_new_clients_are_dropped(
    bench: Bench, scheduler: str, weights: list[int]
) -> None:
    bench.setup(scheduler, weights)
    client = bench.client()
    bench.expect(client.first(), client.at(port=4500).natt_first(), drop_no_server=2)
    bench.nothing_forwarded()
    assert bench.entries() == []


def test_an_added_server_takes_its_share(bench: Bench) -> None:
    bench.setup("rr", [1])
    assert bench.spread(range(1, 6)) == [5, 0, 0]
    bench.genl.do("server-new", service=VIP, address=server_address(2))
    assert bench.spread(range(6, 26)) == [10, 10, 0]


def test_a_removed_servers_entries_are_dead_at_once(bench: Bench) -> None:
    client, server = bench.established()
    stays, other = bench.established(2)
    assert other != server
    bench.genl.do("server-del", service=VIP, address=server_address(server))
    assert [e["client"] for e in bench.entries()] == [stays.address]
    bench.drain()
    bench.expect(client.later(), client.esp(), drop_ike_no_entry=1, drop_esp_no_entry=1)
    bench.nothing_forwarded()
    bench.icmp()
    # A new IKE SA finds another server; who is elsewhere noticed nothing.
    assert bench.server_of(client.first()) != server
    assert bench.server_of(stays.later(), stays.esp()) == other


def test_a_server_that_comes_back_begins_without_entries(bench: Bench) -> None:
    client, server = bench.established()
    bench.genl.do("server-del", service=VIP, address=server_address(server))
    bench.genl.do("server-new", service=VIP, address=server_address(server))
    bench.expect(client.later(), drop_ike_no_entry=1)
    assert bench.entries() == []


def test_a_removed_services_entries_are_dead_at_once(bench: Bench) -> None:
    client, server = bench.established()
    bench.genl.do("service-del", address=VIP)
    assert bench.entries() == []
    # The VIP is an address like any other now: nobody listens there.
    bench.drain()
    before = verdicts(bench.genl.counters())
    bench.port.send([client.later()])
    (answer,) = bench.icmp()
    assert answer.icmp == (3, 3), "port unreachable, by the director's own stack"
    bench.nothing_forwarded()
    assert verdicts(bench.genl.counters()) == before
    # Nor do they come back with it.
    bench.genl.do("service-new", address=VIP, scheduler="rr")
    bench.genl.do("server-new", service=VIP, address=server_address(server))
    bench.expect(client.later(), drop_ike_no_entry=1)


def test_flush_removes_everything(bench: Bench) -> None:
    bench.established()
    bench.genl.do("flush")
    assert bench.genl.everything() == ([], [])
    assert bench.entries() == []


def test_a_server_without_route_is_a_counted_drop(bench: Bench) -> None:
    bench.setup("rr", [])
    bench.genl.do("server-new", service=VIP, address="172.31.0.1")
    bench.expect(bench.client().first(), drop_no_route=1)
    bench.nothing_forwarded()


def test_a_server_that_is_the_director_is_reached_as_it_is(bench: Bench) -> None:
    """As with ip_vs, which delivers locally what its route leads back to the director."""
    bench.setup("rr", [])
    bench.genl.do("server-new", service=VIP, address=DIRECTOR)
    with bench.director.entered():
        daemon = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with daemon:
        daemon.bind((VIP, 500))
        daemon.settimeout(5)
        client = bench.client()
        # One after the other, as an initiator sends: the first may have waited for the hooks, and
        # goes on from another CPU than the one that the second comes in by.
        for sent in (client.first(ttl=1), client.later()):
            bench.expect(sent, ike=1)
            data, source = daemon.recvfrom(4096)
            assert (data, source) == (sent[28:], (client.address, client.port))
    bench.nothing_forwarded()
    assert bench.back.packets(lambda p: p.protocol == ICMP) == []
    assert bench.entry(client)["state"] == "established"
