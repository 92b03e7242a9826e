# SPDX-License-Identifier: GPL-2.0
"""/proc/sys/net/ipvs_ipsec/: defaults, ranges, a value per namespace, and what it does.

gen 10.1.0.1 ------ director ------ s1 10.2.1.1
plays clients       VIP on lo       s2, s3 alike

What expire_nodest_conn does is in test_service.py, tcp_timeout in test_tcp.py.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator

import pytest

from kt.bench import DEFAULTS as bench_defaults
from kt.bench import Bench
from kt.net import Network, Ns
from kt.wait import PATIENCE, SHORT, wait_until

FOLDER = "net/ipvs_ipsec"
INITIAL = f"{FOLDER}/isakmp_initial_timeout"
ESTABLISHED = f"{FOLDER}/isakmp_established_timeout"
EXPIRE = f"{FOLDER}/expire_nodest_conn"
SLOPPY = f"{FOLDER}/sloppy"
ESP_REFRESHES = f"{FOLDER}/esp_refreshes"
TCP_TIMEOUT = f"{FOLDER}/tcp_timeout"
SHARED = {f"{FOLDER}/netns_entries_max", f"{FOLDER}/netns_entries_max_total"}
DEFAULTS = {f"{FOLDER}/{name}": str(value) for name, value in bench_defaults.items()}
RANGES = {
    INITIAL: (1, 3_600),
    ESTABLISHED: (1, 2_592_000),
    EXPIRE: (0, 1),
    SLOPPY: (0, 1),
    ESP_REFRESHES: (0, 1),
    TCP_TIMEOUT: (1, 2_592_000),
}


@pytest.fixture
def fresh(bench: Bench) -> Iterator[Ns]:
    """A namespace that nobody has touched."""
    with Network("sysctl-") as network:
        yield network.ns("fresh")


def test_defaults(fresh: Ns) -> None:
    assert {key: fresh.read_sysctl(key) for key in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize("key", DEFAULTS)
def test_values_in_range_are_taken(fresh: Ns, key: str) -> None:
    least, largest = RANGES[key]
    for value in {least, least + 1, largest - 1, largest}:
        fresh.sysctl(key, value)
        assert fresh.read_sysctl(key) == str(value)


@pytest.mark.parametrize(
    "value", ["least-1", "-1", "largest+1", "4294967297", "18446744073709551617", "ten", "", "1.5"]
)
@pytest.mark.parametrize("key", DEFAULTS)
def test_other_values_are_refused(fresh: Ns, key: str, value: str) -> None:
    least, largest = RANGES[key]
    value = {"least-1": str(least - 1), "largest+1": str(largest + 1)}.get(value, value)
    with pytest.raises(OSError) as refused:
        fresh.sysctl(key, value)
    assert refused.value.errno == errno.EINVAL
    assert fresh.read_sysctl(key) == DEFAULTS[key]


def test_each_namespace_has_its_own_values(bench: Bench, fresh: Ns) -> None:
    fresh.sysctl(INITIAL, 77)
    fresh.sysctl(ESTABLISHED, 777)
    assert {key: bench.director.read_sysctl(key) for key in DEFAULTS} == DEFAULTS
    bench.director.sysctl(INITIAL, 33)
    assert fresh.read_sysctl(INITIAL) == "77"
    client = bench.client()
    bench.expect(client.first(), ike=1)
    assert 30_000 < bench.entry(client)["expires"] <= 33_000


def test_nothing_else_is_there(fresh: Ns) -> None:
    """A setting without a test and a page in the documentation is none."""
    listed = fresh.run("ls", f"/proc/sys/{FOLDER}").stdout.split()
    # Those that all namespaces have together are in test_bounds.py.
    assert sorted(f"{FOLDER}/{name}" for name in listed) == sorted({*DEFAULTS, *SHARED})


def gone(bench: Bench) -> bool:
    """Whether the table is empty."""
    return bench.entries() == []


def test_an_entry_lives_as_long_as_its_timeout_says(bench: Bench) -> None:
    """A second is a second, whatever the kernel's HZ; so is what `expires` tells."""
    seconds = 2 * SHORT
    bench.director.sysctl(INITIAL, seconds)
    client = bench.client()
    began = time.monotonic()
    bench.expect(client.first(), ike=1)
    told = bench.entry(client)["expires"]
    asked = time.monotonic()
    wait_until(lambda: time.monotonic() > asked + seconds / 4, seconds, "a quarter of it")
    fell, passed = told - bench.entry(client)["expires"], time.monotonic() - asked
    assert fell / 1000 == pytest.approx(passed, rel=0.2), "milliseconds"
    wait_until(lambda: gone(bench), 4, "the entry's end")
    assert seconds - 0.1 < time.monotonic() - began < seconds + 1.5 * PATIENCE


def test_initial_entry_vanishes_after_its_timeout(bench: Bench) -> None:
    bench.director.sysctl(INITIAL, 2 * SHORT)
    client = bench.client()
    before = bench.genl.counters()["entries-expired"]
    bench.expect(client.first(), ike=1)
    assert 0 < bench.entry(client)["expires"] <= 2000 * SHORT
    wait_until(lambda: gone(bench), 4, "the entry's end")
    bench.expect(client.later(), drop_ike_no_entry=1)
    # The entry is swept away, not only out of sight.
    wait_until(lambda: bench.genl.counters()["entries-expired"] == before + 1, 10, "the sweep")
    status = bench.genl.do("status-get")
    assert (status["entries"], status["initial"]) == (0, 0)


def test_established_entry_vanishes_after_its_timeout(bench: Bench) -> None:
    bench.director.sysctl(ESTABLISHED, 2 * SHORT)
    client = bench.client()
    bench.expect(client.first(), client.later(), ike=2)
    assert 0 < bench.entry(client)["expires"] <= 2000 * SHORT
    bench.expect(client.esp(), esp=1)
    wait_until(lambda: gone(bench), 4, "the entry's end")
    bench.drain()
    bench.expect(client.esp(), client.later(), drop_esp_no_entry=1, drop_ike_no_entry=1)
    bench.nothing_forwarded()
    bench.icmp()


def test_an_entry_outlives_its_timeout_by_ike_not_by_esp(bench: Bench) -> None:
    bench.director.sysctl(ESTABLISHED, 2 * SHORT)
    client = bench.client()
    bench.expect(client.first(), client.later(), ike=2)
    for _ in range(5):
        wait_until(lambda: bench.entry(client)["expires"] < 1500 * SHORT, 2, "the timer runs")
        bench.expect(client.later(), ike=1)
    wait_until(lambda: bench.send(client.esp())["drop-esp-no-entry"], 5, "the end under ESP")


def test_a_new_timeout_counts_from_the_next_packet(bench: Bench) -> None:
    client, _ = bench.established()
    bench.director.sysctl(ESTABLISHED, 60)
    assert bench.entry(client)["expires"] > 60_000
    bench.expect(client.later(), ike=1)
    assert 50_000 < bench.entry(client)["expires"] <= 60_000


def test_only_a_timers_end_counts_as_expired(bench: Bench) -> None:
    """The spec: "Entries whose timer ended"; a removed server's are none of these."""
    bench.established()
    before = bench.genl.counters()["entries-expired"]
    bench.clear()
    assert bench.genl.counters()["entries-expired"] == before


def test_sloppy_takes_who_comes_in_the_middle(bench: Bench) -> None:
    """With dr, where nobody sees the replies, a responder SPI is proof enough, as ever."""
    bench.director.sysctl(SLOPPY, 1)
    client = bench.client()
    server = bench.server_of(client.later(), client.esp())
    assert bench.entry(client)["state"] == "established"
    natt = client.at(port=41_000)
    assert bench.server_of(natt.natt_later(), natt.esp_in_udp()) == server
    bench.expect(bench.client(2).esp(), drop_esp_no_entry=1)
    bench.director.sysctl(SLOPPY, 0)
    bench.expect(bench.client(3).later(), drop_ike_no_entry=1)


@pytest.mark.parametrize("refreshes", [0, 1])
def test_esp_restarts_timers_only_where_it_is_to(bench: Bench, refreshes: int) -> None:
    bench.director.sysctl(ESP_REFRESHES, refreshes)
    client, _ = bench.established()
    natt = bench.client(2).at(port=4500)
    bench.expect(natt.natt_first(), natt.natt_later(), ike=2)
    for flow, port, packet in (
        (client, 500, client.esp()),
        (client, 500, client.ah()),
        (natt, 4500, natt.esp_in_udp()),
    ):
        left = bench.age(flow, port)
        bench.send(packet)
        assert (bench.entry(flow, port)["expires"] > left) == bool(refreshes)


def test_esp_on_an_initial_entry_refreshes_nothing(bench: Bench) -> None:
    bench.director.sysctl(ESP_REFRESHES, 1)
    client = bench.client()
    bench.expect(client.first(), ike=1)
    left = bench.entry(client)["expires"]
    bench.expect(client.esp(), drop_not_established=1)
    assert bench.entry(client)["expires"] <= left
