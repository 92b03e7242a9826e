# SPDX-License-Identifier: GPL-2.0
"""Persistence: a client, or a prefix of clients, finds its server again.

gen 10.1.0.1 ------ director ------ s1 10.2.1.1
plays clients       VIP on lo       s2, s3 alike
192.0.2.0/24 and
203.0.113.0/24

That it covers all addresses of a mark is in test_mark.py.
"""

from __future__ import annotations

import itertools

import pytest

from kt.bench import VIP, Bench, server_address
from kt.packets import Initiator
from kt.wait import SHORT, wait_until

INITIAL = "net/ipvs_ipsec/isakmp_initial_timeout"
ESTABLISHED = "net/ipvs_ipsec/isakmp_established_timeout"

PORTS = itertools.cycle(range(20_000, 30_000))


def anew(client: Initiator) -> Initiator:
    """The same client with a flow and an IKE SA that nobody has seen."""
    port = next(PORTS)
    return client.at(port=port, ispi=(client.ispi << 16 | port) & (1 << 64) - 1)


def tied(bench: Bench) -> list[int]:
    """How many clients persistence ties to each server."""
    return [bench.server(n)["persistent"] for n in (1, 2, 3)]


def found(bench: Bench, client: Initiator, times: int = 6) -> set[int]:
    """The servers that so many new flows of a client get."""
    return {bench.server_of(anew(client).first()) for _ in range(times)}


@pytest.fixture
def bench(bench: Bench) -> Bench:
    """The service is persistent."""
    bench.genl.do("service-set", address=VIP, persistence_timeout=300)
    return bench


def short_lived(bench: Bench, seconds: int) -> None:
    """Entries live for a second, what persistence knows outlives them by so many."""
    bench.genl.do("service-set", address=VIP, persistence_timeout=seconds)
    bench.director.sysctl(INITIAL, 1)
    bench.director.sysctl(ESTABLISHED, 1)


def test_a_client_stays_with_its_server(bench: Bench) -> None:
    client, server = bench.established()
    assert found(bench, client) == {server}
    assert found(bench, bench.client(2)) == {server % 3 + 1}
    expected = [0, 0, 0]
    expected[server - 1] = expected[server % 3] = 1
    assert tied(bench) == expected


def test_without_persistence_it_does_not(bench: Bench) -> None:
    bench.setup("rr")
    client, _ = bench.established()
    assert found(bench, client) == {1, 2, 3}
    assert tied(bench) == [0, 0, 0]


def test_a_prefix_stays_with_its_server(bench: Bench) -> None:
    bench.genl.do("service-set", address=VIP, persistence_prefix=24)
    servers = {bench.server_of(bench.client(n).first()) for n in range(1, 10)}
    assert len(servers) == 1
    others = {bench.server_of(bench.client(n).first()) for n in range(256, 260)}
    assert len(others) == 1 and others != servers
    assert sorted(tied(bench)) == [0, 1, 1]


def test_a_shorter_prefix_joins_them(bench: Bench) -> None:
    bench.genl.do("service-set", address=VIP, persistence_prefix=1)
    clients = [bench.client(n) for n in (1, 2, 256, 257)]  # 192.0.2.0 and 203.0.113.0
    assert len({bench.server_of(c.first()) for c in clients}) == 1
    assert sum(tied(bench)) == 1


def test_it_outlives_the_entries_by_the_timeout(bench: Bench) -> None:
    short_lived(bench, seconds=2 * SHORT)
    client, server = bench.established()
    # Nobody new gets there, so whoever does is known.
    bench.set_server(server, weight=0)
    wait_until(lambda: not bench.entries(), 5, "the entry's end")
    assert tied(bench)[server - 1] == 1
    assert bench.server_of(anew(client).first()) == server
    wait_until(lambda: not bench.entries(), 5, "the second entry's end")
    assert bench.server_of(anew(client).first()) == server, "its end counts, not the first one's"
    wait_until(lambda: tied(bench) == [0, 0, 0], 8, "persistence's end")
    assert bench.entries() == []
    assert bench.server_of(anew(client).first()) != server


def test_it_lasts_as_long_as_an_entry(bench: Bench) -> None:
    bench.genl.do("service-set", address=VIP, persistence_timeout=1)
    client, server = bench.established()
    bench.set_server(server, weight=0)
    wait_until(lambda: bench.entry(client)["expires"] < 28_797_000, 5, "three seconds")
    assert bench.server_of(anew(client).first()) == server


def test_first_messages_alone_leave_nothing(bench: Bench) -> None:
    bench.director.sysctl(INITIAL, SHORT)
    client = bench.client()
    server = bench.server_of(client.first())
    assert found(bench, client) == {server}, "as long as there is one"
    wait_until(lambda: tied(bench) == [0, 0, 0], 5, "the end of what nobody proved")
    bench.set_server(server, weight=0)
    assert server not in found(bench, client)


def test_a_removed_server_is_forgotten(bench: Bench) -> None:
    client, server = bench.established()
    bench.genl.do("server-del", service=VIP, address=server_address(server))
    (another,) = found(bench, client)
    assert another != server
    bench.genl.do("server-new", service=VIP, address=server_address(server))
    assert bench.server(server)["persistent"] == 0
    assert found(bench, client) == {another}


def test_a_removed_server_is_forgotten_even_if_its_entries_live_on(bench: Bench) -> None:
    bench.director.sysctl("net/ipvs_ipsec/expire_nodest_conn", 0)
    client, server = bench.established()
    bench.genl.do("server-del", service=VIP, address=server_address(server))
    assert server not in found(bench, client)
    assert bench.server_of(client.later()) == server


def test_a_removed_service_is_forgotten(bench: Bench) -> None:
    client, server = bench.established()
    bench.setup("rr")
    bench.genl.do("service-set", address=VIP, persistence_timeout=300)
    assert tied(bench) == [0, 0, 0]
    bench.set_server(server, weight=0)
    assert server not in found(bench, client)


def test_timeout_0_ends_it(bench: Bench) -> None:
    client, server = bench.established()
    bench.set_server(server, weight=0)
    assert found(bench, client) == {server}
    bench.genl.do("service-set", address=VIP, persistence_timeout=0)
    assert found(bench, client) == {1, 2, 3} - {server}


def test_weight_zero_keeps_who_is_known(bench: Bench) -> None:
    """As ip_vs does, unless it is told to expire quiescent templates."""
    client, server = bench.established()
    bench.set_server(server, weight=0)
    assert found(bench, client) == {server}
    assert server not in found(bench, bench.client(2))


def test_another_method_counts_for_new_entries(bench: Bench) -> None:
    client, server = bench.established()
    bench.set_server(server, method="nat")
    again = anew(client)
    assert bench.server_of(again.first()) == server
    assert (bench.entry(client)["method"], bench.entry(again)["method"]) == ("dr", "nat")
    assert tied(bench)[server - 1] == 1
