# SPDX-License-Identifier: GPL-2.0
"""How long entries live: what a service has in place of the sysctls, soft entries, the sweep.

gen 10.1.0.1 ------ director ------ s1 10.2.1.1
plays clients       VIP on lo       s2, s3 alike
"""

from __future__ import annotations

import pytest

from kt.bench import VIP, Bench
from kt.genl import Refused
from kt.packets import Initiator
from kt.wait import INITIAL, SHORT, wait_until

ATTRIBUTES = ("initial-timeout", "established-timeout", "soft-entries")


def plan(bench: Bench, **values: int) -> None:
    """Change the service."""
    bench.genl.do("service-set", address=VIP, **values)


def shown(bench: Bench) -> dict[str, int]:
    """What the service shows of it."""
    service = bench.genl.do("service-get", address=VIP)
    assert service is not None
    return {name: service[name] for name in ATTRIBUTES}


def alive(bench: Bench) -> set[str]:
    """The initiators that have an entry in the table, or are not swept yet."""
    return {entry["client"] for entry in bench.entries()}


def count(bench: Bench) -> int:
    """Entries in the table, whether visible or not."""
    status = bench.genl.do("status-get")
    assert status is not None
    return int(status["entries"])


def test_a_service_has_timeouts_of_its_own(bench: Bench) -> None:
    assert shown(bench) == dict.fromkeys(ATTRIBUTES, 0)
    plan(bench, initial_timeout=77, established_timeout=7_777)
    client = bench.client()
    bench.expect(client.first(), ike=1)
    assert 75_000 < bench.entry(client)["expires"] <= 77_000
    bench.expect(client.later(), ike=1)
    assert 7_775_000 < bench.entry(client)["expires"] <= 7_777_000
    plan(bench, established_timeout=0)
    assert shown(bench) == {"initial-timeout": 77, "established-timeout": 0, "soft-entries": 0}
    bench.expect(client.later(), ike=1)
    assert bench.entry(client)["expires"] > 28_798_000


def test_a_shorter_timeout_is_kept_too(bench: Bench) -> None:
    """The sweep has marked a later time, and must hear of the earlier one."""
    client, _ = bench.established()
    plan(bench, established_timeout=SHORT)
    bench.expect(client.later(), ike=1)
    wait_until(lambda: count(bench) == 0, 3, "the entry's end")


@pytest.mark.parametrize(
    ("name", "largest"),
    [("initial_timeout", 3_600), ("established_timeout", 2_592_000), ("soft_entries", 65_536)],
)
def test_limits(bench: Bench, name: str, largest: int) -> None:
    plan(bench, **{name: largest})
    assert shown(bench)[name.replace("_", "-")] == largest
    with pytest.raises(Refused):
        plan(bench, **{name: largest + 1})
    assert shown(bench)[name.replace("_", "-")] == largest


def established(bench: Bench, number: int) -> Initiator:
    """A client with an established entry."""
    client = bench.client(number)
    bench.expect(client.first(), client.later(), ike=2)
    return client


def in_turn(bench: Bench, numbers: range) -> list[Initiator]:
    """Clients that are established one after the other, some milliseconds apart."""
    clients = []
    for number in numbers:
        clients.append(established(bench, number))
        bench.age(clients[-1], by=20)
    return clients


def test_soft_entries_outlive_their_timers(bench: Bench) -> None:
    plan(bench, established_timeout=SHORT, soft_entries=3)
    clients = in_turn(bench, range(1, 4))
    swept = bench.genl.counters()["entries-expired"]
    wait_until(lambda: all(e["expires"] == 0 for e in bench.entries()), 5, "the timers' end")
    assert alive(bench) == {c.address for c in clients}
    for client in clients:
        assert bench.entry(client)["state"] == "established"
    bench.expect(*(c.esp() for c in clients), esp=3)
    assert bench.genl.counters()["entries-expired"] == swept


def test_of_soft_entries_who_waits_longest_goes_first(bench: Bench) -> None:
    plan(bench, established_timeout=SHORT, soft_entries=2)
    clients = in_turn(bench, range(1, 6))
    latest = {c.address for c in clients[-2:]}
    wait_until(lambda: alive(bench) == latest, 5, lambda: f"the end of the others: {alive(bench)}")
    bench.expect(clients[0].esp(), drop_esp_no_entry=1)
    # Who is heard of again takes nobody's place, and makes room for nobody who is gone.
    plan(bench, established_timeout=100)
    bench.expect(clients[3].later(), ike=1)
    plan(bench, established_timeout=SHORT)
    late = established(bench, 7)
    wait_until(lambda: bench.entry(late)["expires"] == 0, 3, "the timer's end")
    wait_until(lambda: bench.genl.counters()["entries-expired"] > 0, 3, "a sweep")
    assert alive(bench) == latest | {late.address}


def test_fewer_soft_entries_end_at_once(bench: Bench) -> None:
    plan(bench, established_timeout=SHORT, soft_entries=4)
    clients = in_turn(bench, range(1, 5))
    wait_until(lambda: all(e["expires"] == 0 for e in bench.entries()), 5, "the timers' end")
    plan(bench, soft_entries=1)
    wait_until(lambda: alive(bench) == {clients[-1].address}, 3, "the others' end")
    plan(bench, soft_entries=0)
    wait_until(lambda: count(bench) == 0, 3, "the last's end")


def test_initial_entries_are_never_soft(bench: Bench) -> None:
    plan(bench, initial_timeout=1, soft_entries=10)
    bench.expect(bench.client().first(), ike=1)
    wait_until(lambda: count(bench) == 0, 3, "the entry's end")


def test_a_removed_server_keeps_no_soft_entry(bench: Bench) -> None:
    bench.setup("rr", [1])
    plan(bench, established_timeout=SHORT, soft_entries=10)
    client = established(bench, 1)
    wait_until(lambda: bench.entry(client)["expires"] == 0, 3, "the timer's end")
    bench.genl.do("server-del", service=VIP, address="10.2.1.1")
    assert bench.entries() == []
    wait_until(lambda: count(bench) == 0, 3, "the sweep")


def test_flushed_entries_are_gone_and_no_others(bench: Bench) -> None:
    clients = [established(bench, number) for number in range(1, 7)]
    flushed = bench.genl.counters()["entries-flushed"]
    bench.genl.do("entry-flush", client=clients[2].address)
    assert alive(bench) == {c.address for c in clients if c is not clients[2]}
    bench.expect(clients[2].esp(), drop_esp_no_entry=1)
    bench.expect(clients[3].esp(), esp=1)
    bench.genl.do("entry-flush", service="198.51.100.9")
    assert len(alive(bench)) == 5
    bench.genl.do("entry-flush", service=VIP, client=clients[3].address)
    assert len(alive(bench)) == 4
    bench.genl.do("entry-flush")
    assert bench.entries() == [] and count(bench) == 0
    assert bench.genl.counters()["entries-flushed"] == flushed + 6
    server = bench.server(1)
    assert (server["established"], server["initial"]) == (0, 0)


def test_thousands_are_flushed(bench: Bench) -> None:
    """The table grows to its size meanwhile."""
    # None ends before the last has come, which takes longer than ten seconds under KASAN.
    plan(bench, initial_timeout=INITIAL)
    some = [bench.client(1 + n % 400).at(port=2000 + n, ispi=0x5000 + n) for n in range(2000)]
    bench.expect(*(c.first() for c in some), ike=len(some))
    bench.genl.do("entry-flush")
    assert bench.entries() == [] and count(bench) == 0
