# SPDX-License-Identifier: GPL-2.0
"""Upper and lower threshold: how many entries a server has before and after it is full.

gen 10.1.0.1 ------ director ------ s1 10.2.1.1
plays clients       VIP on lo       s2, s3 alike
192.0.2.0/24
"""

from __future__ import annotations

import operator
from concurrent.futures import ThreadPoolExecutor

import pytest

from kt.bench import VIP, Bench, server_address
from kt.genl import Genl
from kt.wait import SHORT, wait_until

INITIAL = "net/ipvs_ipsec/isakmp_initial_timeout"


def takes(bench: Bench, number: int) -> bool:
    """Whether a new client finds a server."""
    moved = bench.send(bench.client(number).first())
    assert moved["ike"] + moved["drop-no-server"] == 1, moved
    return bool(moved["ike"])


def filled(bench: Bench, stay: int, upper: int, lower: int) -> None:
    """A single server that was full, and keeps so many established entries."""
    bench.setup("rr", [1])
    bench.set_server(1, upper_threshold=upper, lower_threshold=lower)
    bench.spread(range(1, stay + 1), established=True)
    bench.director.sysctl(INITIAL, SHORT)
    bench.spread(range(stay + 1, upper + 1))
    bench.expect(bench.client(200).first(), drop_no_server=1)
    wait_until(lambda: bench.server(1)["initial"] == 0, 10, "the end of the others")
    bench.director.sysctl(INITIAL, 60)
    assert bench.server(1)["established"] == stay


def test_a_full_server_gets_no_new_entries(bench: Bench) -> None:
    bench.set_server(1, upper_threshold=5)
    assert bench.spread(range(1, 26)) == [5, 10, 10]
    bench.set_server(1, upper_threshold=0)
    assert sorted(bench.spread(range(26, 56))) == [10, 10, 10]


def test_who_is_bound_to_a_full_server_stays(bench: Bench) -> None:
    bench.setup("rr", [1])
    bench.set_server(1, upper_threshold=1)
    client, server = bench.established()
    assert not takes(bench, 2)
    # The flow to port 4500 is an entry more, but nobody new.
    packets = client.at(port=4500).natt_later(), client.first(), client.esp()
    assert bench.server_of(*packets) == server
    assert bench.server(1)["established"] == 2


@pytest.mark.parametrize(
    "upper, lower, stay, again",
    [
        (4, 0, 3, False),  # three quarters of four are three
        (4, 0, 2, True),
        (4, 2, 2, False),
        (4, 2, 1, True),
        (4, 4, 3, True),
        (4, 1, 1, False),
    ],
)
def test_a_server_that_was_full_takes_some_again(
    bench: Bench, upper: int, lower: int, stay: int, again: bool
) -> None:
    filled(bench, stay, upper, lower)
    assert takes(bench, 201) == again


def test_a_server_that_is_full_no_more_is_filled_to_the_upper_threshold(bench: Bench) -> None:
    filled(bench, stay=1, upper=4, lower=2)
    assert bench.spread(range(101, 104)) == [3, 0, 0]
    assert not takes(bench, 104)


def test_who_is_established_makes_no_room(bench: Bench) -> None:
    """An entry that changes its state is still one."""
    bench.setup("rr", [1])
    bench.set_server(1, upper_threshold=4, lower_threshold=3)
    bench.spread(range(1, 3), established=True)
    bench.director.sysctl(INITIAL, 600)
    late = bench.client(3)
    bench.expect(late.first(), ike=1)
    bench.director.sysctl(INITIAL, SHORT)
    bench.expect(bench.client(4).first(), ike=1)
    assert not takes(bench, 5)
    wait_until(lambda: bench.server(1)["initial"] == 1, 10, "the end of the fourth")
    assert not takes(bench, 5), "three are not less than three"
    bench.expect(late.later(), ike=1)
    assert (bench.server(1)["established"], bench.server(1)["initial"]) == (3, 0)
    assert not takes(bench, 5), "nor are they now"


def test_another_weight_makes_no_room(bench: Bench) -> None:
    filled(bench, stay=3, upper=4, lower=0)
    bench.set_server(1, weight=5)
    assert not takes(bench, 201)
    bench.set_server(1, upper_threshold=4)
    assert not takes(bench, 201), "the same threshold"


def test_new_thresholds_count_at_once(bench: Bench) -> None:
    bench.setup("rr", [1])
    bench.spread(range(1, 6))
    bench.set_server(1, upper_threshold=3)
    assert not takes(bench, 6)
    bench.set_server(1, upper_threshold=6)
    assert takes(bench, 6)
    assert not takes(bench, 7)
    bench.set_server(1, upper_threshold=0)
    assert takes(bench, 7)


def test_thresholds_are_each_servers_own(bench: Bench) -> None:
    bench.set_server(2, upper_threshold=2)
    bench.set_server(3, upper_threshold=4)
    assert bench.spread(range(1, 17)) == [10, 2, 4]
    bench.genl.do("server-del", service=VIP, address=server_address(2))
    bench.genl.do("server-new", service=VIP, address=server_address(2), upper_threshold=1)
    assert bench.server(2)["initial"] == 0
    counted = bench.spread(range(17, 27))
    assert counted[1:] == [1, 0]


def test_two_who_change_a_server_at_once_lose_nothing(bench: Bench) -> None:
    """Each of two sets a threshold of its own, and finds what it has set."""
    server = {"service": VIP, "address": server_address(1)}

    def lost(name: str, first: int) -> int:
        count = 0
        with Genl(bench.director) as genl:
            for start in range(first, first + 4000, 20):
                values = range(start, start + 20)
                requests = (
                    (("server-set", server | {f"{name}_threshold": value}), ("server-get", server))
                    for value in values
                )
                shown = genl.together(*(request for pair in requests for request in pair))
                count += sum(map(operator.ne, (s[f"{name}-threshold"] for s in shown), values))
        return count

    bench.set_server(1, upper_threshold=100_000, lower_threshold=1)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lost, ("upper", "lower"), (100_000, 1))) == [0, 0]
