#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What a packet costs, case by case: the guest's half of `make bench`.

The cases are those of kt/cost/cases.py, the topology is that of kt/cost/lab.py; kt/cost/clock.py
has what differs between the two guests in which this runs. The figures go to $OUT/bench.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from kt import module
from kt.cost.cases import CASES, Case
from kt.cost.clock import CLOCKS, Clock
from kt.cost.lab import Lab, Road
from kt.cost.rest import rest
from kt.cost.tables import weigh
from kt.cost.traffic import TRAFFIC, Traffic
from kt.net import sh

NEW = 5120
"""New initiators at a time. A table must have room for those of all times."""
STARTED = time.monotonic()
GREAT = 50_000
"""Flows from which on it tells something what a table takes, and what is deferred takes long enough
to be seen."""


def say(text: str) -> None:
    """A line of progress."""
    print(f"[{time.monotonic() - STARTED:5.1f} s] {text}", flush=True)


class Play:
    """The cases side by side, with some flows of one kind."""

    def __init__(self, lab: Lab, clock: Clock, cases: list[Case], traffic: Traffic, flows: int):
        self._clock, self._traffic, self._flows = clock, traffic, flows
        self._roads: dict[Case, Road] = {case: lab.road() for case in cases}
        self.times: dict[Case, list[float]] = {case: [] for case in cases}
        self.tables: dict[Case, dict[str, Any]] = {}

    def run(self) -> None:
        """Every round, with and without our module: it ends what it knows when it goes."""
        module.unload()
        bare = [case for case in self._roads if not case.loaded]
        ours = [case for case in self._roads if case.loaded]
        self._prepare(bare)
        for number in range(self._clock.rounds):
            if number:
                say(f"{number} of {self._clock.rounds} rounds")
            self._measure(bare)
            if ours:
                module.load()
                self._prepare(ours)
                self._measure(ours)
                module.unload()

    def _prepare(self, cases: list[Case]) -> None:
        for case in cases:
            road, some = self._roads[case], (self._traffic, self._flows)
            if self._clock.tables and case.dump and self._flows >= GREAT:
                self.tables[case] = weigh(case, road, *some)
            else:
                case.configure(road)
                if self._traffic.known:
                    case.remember(road, *some)
            self._send(case)
        if self._clock.rest and self._flows >= GREAT:
            rest(self._clock.rest)

    def _measure(self, cases: list[Case]) -> None:
        for case in cases:
            self.times[case] += self._clock.sample(lambda case=case: self._send(case))
            if self._clock.outside:
                shutil.copy("/proc/kallsyms", f"{os.environ['OUT']}/kallsyms-{case.name}")

    def _send(self, case: Case) -> float:
        some = (self._roads[case], self._traffic, self._flows)
        number = self._clock.packets(self._flows)
        if self._traffic.known:
            return case.send(*some, number)
        # Each time they are others, and new.
        times = number // self._flows if self._clock.outside else 1
        return sum(case.send(*some, self._flows) for _ in range(times)) / times


class Bench:
    """Everything that is measured."""

    def __init__(self, clock: Clock, cases: list[Case]) -> None:
        self._clock, self._cases = clock, cases
        self.packets: list[dict[str, Any]] = []
        self.tables: list[dict[str, Any]] = []

    def play(self, traffic: Traffic, flows: int) -> None:
        """All cases with some traffic; alone, or at once so that their rounds can take turns."""
        say(f"{traffic.name}, {flows:,} {'flow' if flows == 1 else 'flows'}")
        able = [case for case in self._cases if case.carries(traffic)]
        for group in [able] if self._clock.rounds > 1 else [[case] for case in able]:
            with Lab(self._clock.processors) as lab:
                play = Play(lab, self._clock, group, traffic, flows)
                play.run()
            self.tables += play.tables.values()
            for case, times in play.times.items():
                print(f"{case.name:18}", *(f"{each:9,.1f}" for each in times), flush=True)
                self.packets.append(
                    {"case": case.name, "flows": flows, "traffic": traffic.name, "times": times}
                )


def arguments() -> argparse.Namespace:
    """Which of all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clock", choices=CLOCKS, required=True)
    parser.add_argument("--flows", type=int, nargs="+", default=[1, 256, 51_200])
    parser.add_argument("--traffic", choices=TRAFFIC, nargs="+", default=list(TRAFFIC))
    names = [case.name for case in CASES]
    usual = [case.name for case in CASES if case.usual]
    parser.add_argument("--cases", choices=names, nargs="+", default=usual, metavar="CASE")
    parser.add_argument("--packets", type=int, help="how many are timed at a time")
    parser.add_argument("--rounds", type=int, help="how often every case has its turn")
    return parser.parse_args()


def main() -> int:
    """Measure, tell, write bench.json."""
    asked = arguments()
    sh("modprobe", "pktgen")
    clock = CLOCKS[asked.clock]
    if asked.packets:
        clock = replace(clock, packets=lambda flows: asked.packets)
    if asked.rounds:
        clock = replace(clock, rounds=asked.rounds)
    bench = Bench(clock, [case for case in CASES if case.name in asked.cases])
    for name in asked.traffic:
        traffic = TRAFFIC[name]
        for flows in asked.flows if traffic.known else [NEW]:
            bench.play(traffic, flows)
    result = {
        "kernel": platform.release(),
        "clock": clock.name,
        "packets_a_time": clock.packets(1),
        "packets": bench.packets,
        "tables": bench.tables,
    }
    text = json.dumps(result, indent=1) + "\n"
    Path(os.environ["OUT"], "bench.json").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
