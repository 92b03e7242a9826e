# SPDX-License-Identifier: GPL-2.0
"""Netlink messages by the dice: each is answered as the specification says, and does no more.

    gen ------ director ------ s1, s2, s3
    clients    VIPs on lo      servers of some services; the others exist by name only

The messages are made from the YAML spec (kt/fuzz/maker.py), right, nearly right and
broken. A model of the configuration (kt/fuzz/model.py) says what each of them must be
answered, and what is configured after it. Meanwhile clients come, so that there are entries to
lose.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from kt.bench import SERVERS, VIP, VIP2, Bench, server_address
from kt.fuzz import Run
from kt.fuzz.line import Line
from kt.fuzz.maker import Maker
from kt.fuzz.model import LOOPBACK, Model
from kt.genl import Genl
from kt.memory import given_back, in_use
from kt.wait import PATIENCE

VIPS = [VIP, VIP2, *(f"198.51.100.{n}" for n in range(10, 16)), "2001:db8::1", "2001:db8::2"]
# The last one of each family is a service too.
RIPS = [server_address(n + 1) for n in range(SERVERS)]
RIPS += [*(f"10.9.9.{n}" for n in range(1, 13)), VIP]
RIPS += [*(f"2001:db8:9::{n}" for n in range(1, 9)), VIPS[-1]]
CLIENTS = range(200, 255)
TRAFFIC_EVERY = 20  # datagrams
# Those that can have a fast path, and one that nobody has.
DEVICES = ["in", *(f"s{n + 1}" for n in range(SERVERS))]
STRANGER = 0x7FFFFFFF


class Fuzzer:
    """The director's family between what is sent and what the model says."""

    def __init__(self, run: Run, bench: Bench, genl: Genl) -> None:
        self.run = run
        self.bench = bench
        family = bench.genl.find_family()
        devices = [bench.director.index(device) for device in DEVICES]
        self.model = Model(family, devices)
        self.maker = Maker(run.dice, family, VIPS, RIPS, [LOOPBACK, *devices, STRANGER])
        self.line = Line(genl)
        self.datagrams = 0

    def go_on(self, until: int) -> None:
        """Datagram after datagram, with a look at what is configured now and then."""
        while self.run.sent < until:
            datagram, messages = self.maker.datagram()
            expected = self.model.takes_in(datagram)
            if expected is None:  # by chance it is for another family
                continue
            self.run.record(datagram, messages)
            self.line.exchange(datagram, expected)
            self.datagrams += 1
            if self.datagrams % TRAFFIC_EVERY == 0:
                self._traffic()
            if self.run.checkpoint():
                assert self.bench.genl.everything() == self.model.configured()
                assert self._fast() == self.model.fast
                self.run.progress(self.line.shown)

    def _fast(self) -> set[int]:
        """The devices with a fast path."""
        return {row["ifindex"] for row in self.bench.genl.dump("fastpath-get")}

    def _traffic(self) -> None:
        """Two initiators get an entry, if a server is there just then."""
        packets: list[bytes] = []
        for vip in (VIP, VIP2):
            client = self.bench.client(self.run.dice.choice(CLIENTS), vip)
            packets += [client.first(), client.later(), client.esp()]
        self.bench.port.send(packets)

    def flush(self) -> None:
        """Nothing is configured."""
        self.bench.clear()
        self.model.services.clear()
        for index in self._fast():
            self.bench.genl.do("fastpath-del", ifindex=index)
        self.model.fast.clear()
        assert self.bench.genl.everything() == self.model.configured() == ([], [])


@contextlib.contextmanager
def unheard(bench: Bench) -> Iterator[None]:
    """What arrives does not matter, and costs time."""
    captures = (bench.back, *bench.captures)
    for capture in captures:
        capture.pause()
    yield
    for capture in captures:
        capture.resume()


def test_netlink_messages_by_the_dice(
    bench: Bench, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    run = Run(request, "fuzz-netlink", kept=64)
    with run.told():
        with unheard(bench), Genl(bench.director) as genl:
            fuzzer = Fuzzer(run, bench, genl)
            fuzzer.flush()
            fuzzer.go_on(until=run.total // 10)
            fuzzer.flush()
            before = in_use()
            fuzzer.go_on(until=run.total)
            fuzzer.flush()
        # The noise is below 200 kB; where checkers keep more, kmemleak looks closer.
        given_back(before, limit=int(400 * PATIENCE))
        bench.setup()
        client, server = bench.established()
        assert bench.server_of(client.esp()) == server
    record_property("ran", f"{run.sent:,} netlink messages")
