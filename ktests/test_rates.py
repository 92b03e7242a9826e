# SPDX-License-Identifier: GPL-2.0
"""Rates: averages of what was counted, renewed every two seconds.

gen 10.1.0.1 ------ director ------ s1 10.2.1.1
plays clients       VIP on lo       s2, s3 alike
192.0.2.0/24

As ip_vs has it, an average is a quarter what the last two seconds brought, the rest what it was.
"""

from __future__ import annotations

import time

import pytest

from kt.bench import VIP, Bench
from kt.wait import wait_until

RATES = ("cps", "in-pps", "in-bps", "out-pps", "out-bps")
LENGTH = 20 + 8 + 28 + 64
CLIENTS = 160


def rates(bench: Bench) -> tuple[int, ...]:
    """Those of the service, when they are not just being renewed, one after the other."""
    while True:
        twice = [bench.genl.do("service-get", address=VIP) for _ in range(2)]
        one, two = (tuple(shown[name] for name in RATES) for shown in twice)
        if one == two:
            return one


def test_a_burst_rises_and_decays(bench: Bench) -> None:
    assert rates(bench) == (0, 0, 0, 0, 0)
    clients = [bench.client(n) for n in range(1, CLIENTS + 1)]
    packets = [packet for c in clients for packet in (c.first(), c.later(), c.esp())]
    bench.expect(*packets, ike=2 * CLIENTS, esp=CLIENTS)
    seen = [rates(bench)]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not 0 < seen[-1][0] <= max(s[0] for s in seen) // 3:
        time.sleep(0.05)
        if (now := rates(bench)) != seen[-1]:
            seen.append(now)
    most = max(s[0] for s in seen)
    # Of a burst within one period a quarter counts at its end; of one in two, three quarters of it.
    whole = CLIENTS / 2 / 4
    assert 0.7 * whole <= most <= whole + 1
    top = [s[0] for s in seen].index(most)
    for earlier, later in zip(seen[top:], seen[top + 1 :], strict=False):
        assert later[0] == pytest.approx(earlier[0] * 0.75, abs=1), "a quarter less each time"
    for cps, pps, bps, out_pps, out_bps in seen[top:]:
        assert pps == pytest.approx(3 * cps, abs=3)
        # ESP is 28 bytes shorter than IKE in UDP here.
        assert 0.8 * LENGTH * (pps - 1) <= bps <= LENGTH * (pps + 1)
        assert (out_pps, out_bps) == (0, 0), "replies of dr do not pass the director"


def test_steady_traffic_comes_near_its_rate(bench: Bench) -> None:
    client, server = bench.established()
    began, sent = time.monotonic(), 0
    while time.monotonic() < began + 10:
        sent += bench.port.send([client.esp()] * 20)
        time.sleep(0.1)
    rate = sent / (time.monotonic() - began)
    _, pps, bps, _, _ = rates(bench)
    # After four periods or more of five seconds: 1 - (3/4)^4.
    assert 0.5 * rate < pps < 1.2 * rate
    size = len(client.esp())
    assert bps == pytest.approx(pps * size, rel=0.1)
    shown = {n: bench.server(n) for n in (1, 2, 3)}
    assert shown.pop(server)["in-pps"] == pytest.approx(pps, rel=0.1)
    assert all(other["in-pps"] == 0 for other in shown.values())


def test_rates_end(bench: Bench) -> None:
    bench.spread(range(1, 5))
    wait_until(lambda: rates(bench)[0] > 0, 10, "a rate")
    wait_until(lambda: rates(bench)[:2] == (0, 0), 20, "its end")
    assert bench.genl.do("service-get", address=VIP)["conns"] == 4
