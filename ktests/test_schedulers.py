# SPDX-License-Identifier: GPL-2.0
"""What each scheduler does with new initiators.

gen 10.1.0.1 ------ director ------ s1 10.2.1.1
plays clients       VIP on lo       s2, s3 alike
192.0.2.0/24

rr and wrr are in test_sched.py, and the arithmetic of all in src/sched/.
"""

from __future__ import annotations

import pytest

from kt.bench import VIP, Bench, server_address

ALL = ["rr", "wrr", "lc", "wlc", "sed", "nq", "sh", "mh", "fo", "ovf", "twos"]
HASHES = ["sh", "mh"]


def test_lc_evens_out_entries_whatever_the_weights(bench: Bench) -> None:
    bench.setup("lc", [1, 5, 100])
    assert bench.spread(range(1, 61)) == [20, 20, 20]


def test_wlc_evens_out_entries_by_weight(bench: Bench) -> None:
    bench.setup("wlc", [1, 2, 3])
    assert bench.spread(range(1, 61)) == [10, 20, 30]
    assert bench.spread(range(61, 121), established=True) == [10, 20, 30]


@pytest.mark.parametrize("scheduler", ["lc", "wlc"])
def test_an_established_entry_weighs_as_many_initial_ones(bench: Bench, scheduler: str) -> None:
    bench.setup(scheduler)
    _, server = bench.established()
    counted = bench.spread(range(2, 42))
    assert counted.pop(server - 1) == 0 and counted == [20, 20]


def test_sed_prefers_the_strong(bench: Bench) -> None:
    bench.setup("sed", [1, 2, 3])
    assert bench.spread(range(1, 4), established=True) == [0, 1, 2]
    assert bench.spread(range(4, 58), established=True) == [9, 18, 27]


def test_nq_prefers_the_idle(bench: Bench) -> None:
    bench.setup("nq", [1, 2, 3])
    assert bench.spread(range(1, 4), established=True) == [1, 1, 1]
    assert bench.spread(range(4, 58), established=True) == [8, 18, 28]


def test_fo_uses_the_greatest_weight_only(bench: Bench) -> None:
    bench.setup("fo", [1, 3, 2])
    assert bench.spread(range(1, 21)) == [0, 20, 0]
    bench.set_server(2, weight=0)
    assert bench.spread(range(21, 41)) == [0, 0, 20]
    bench.set_server(3, upper_threshold=21)
    assert bench.spread(range(41, 51)) == [9, 0, 1]


def test_ovf_fills_one_after_the_other(bench: Bench) -> None:
    """The weight is a number of established entries; as with ip_vs one more fits."""
    bench.setup("ovf", [1, 2, 3])
    servers = [bench.established(n)[1] for n in range(1, 10)]
    assert servers == [3, 3, 3, 3, 2, 2, 2, 1, 1]
    bench.expect(bench.client(10).first(), drop_no_server=1)


def test_twos_spreads(bench: Bench) -> None:
    bench.setup("twos", [1, 1, 1])
    assert all(30 <= n <= 50 for n in bench.spread(range(1, 121)))
    bench.setup("twos", [1, 0, 4])
    few, none, many = bench.spread(range(1, 121))
    assert none == 0 and 10 <= few <= 40 < many


def owners(bench: Bench, clients: range, ports: range = range(500, 501)) -> dict[object, int]:
    """The server of each flow; every entry is forgotten."""
    flows = [bench.client(n).at(port=port, ispi=n << 16 | port) for n in clients for port in ports]
    bench.expect(*(flow.first() for flow in flows), ike=len(flows))
    rips = {server_address(n): n for n in (1, 2, 3)}
    found = {(e["client"], e["client-port"]): rips[e["server"]] for e in bench.entries()}
    assert len(found) == len(flows)
    return found


@pytest.mark.parametrize("scheduler", HASHES)
def test_a_hash_says_the_same_again_and_follows_weights(bench: Bench, scheduler: str) -> None:
    clients = range(1, 241)
    bench.setup(scheduler, [1, 1, 2])
    before = owners(bench, clients)
    counted = [list(before.values()).count(n) for n in (1, 2, 3)]
    assert all(35 <= n <= 85 for n in counted[:2]) and 90 <= counted[2] <= 150, counted
    bench.setup(scheduler, [1, 1, 2])
    assert owners(bench, clients) == before


@pytest.mark.parametrize("scheduler", HASHES)
def test_a_hash_looks_at_the_port_if_it_shall(bench: Bench, scheduler: str) -> None:
    clients, ports = range(1, 2), range(20_000, 20_090)
    bench.setup(scheduler)
    assert len(set(owners(bench, clients, ports).values())) == 1
    bench.setup(scheduler)
    bench.genl.do("service-set", address=VIP, scheduler_flags={"port"})
    found = list(owners(bench, clients, ports).values())
    assert all(15 <= found.count(n) <= 45 for n in (1, 2, 3))


@pytest.mark.parametrize("scheduler", HASHES)
def test_a_hash_falls_back_if_it_shall(bench: Bench, scheduler: str) -> None:
    clients = range(1, 61)
    bench.setup(scheduler)
    found = owners(bench, clients)
    of_two = [n for n in clients if found[bench.client(n).address, 500] == 2]
    bench.setup(scheduler)
    bench.set_server(2, upper_threshold=1)
    assert bench.spread(of_two[:1]) == [0, 1, 0]
    rest = of_two[1:]
    bench.expect(*(bench.client(n).first() for n in rest), drop_no_server=len(rest))
    bench.genl.do("service-set", address=VIP, scheduler_flags={"fallback"})
    one, two, three = bench.spread(rest)
    assert two == 0 and one > 0 < three


def test_mh_moves_hardly_anybody_else(bench: Bench) -> None:
    clients = range(1, 241)
    bench.setup("mh")
    before = owners(bench, clients)
    bench.setup("mh", [1, 1])
    after = owners(bench, clients)
    stay = [flow for flow, server in before.items() if server != 3]
    assert sum(before[flow] != after[flow] for flow in stay) <= len(stay) // 10


@pytest.mark.parametrize("scheduler", ALL)
def test_weight_zero_gets_nobody_new(bench: Bench, scheduler: str) -> None:
    bench.setup(scheduler, [100, 100, 100])
    client, server = bench.established()
    bench.set_server(server, weight=0)
    counted = bench.spread(range(2, 32))
    assert counted.pop(server - 1) == 0 and sum(counted) == 30
    assert bench.server_of(client.later(), client.esp()) == server
    for number in (1, 2, 3):
        bench.set_server(number, weight=0)
    bench.expect(bench.client(40).first(), drop_no_server=1)
    bench.set_server(server, weight=1)
    assert bench.server_of(bench.client(40).first()) == server
