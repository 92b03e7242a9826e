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
import sys
from pathlib import Path
from typing import Any

from kt import module
from kt.cost.cases import CASES, Case
from kt.cost.clock import CLOCKS, Clock
from kt.cost.lab import Lab, Road
from kt.cost.traffic import TRAFFIC, Traffic
from kt.net import sh


class Play:
    """The cases side by side, with some flows of one kind."""

    def __init__(self, lab: Lab, clock: Clock, cases: list[Case], traffic: Traffic, flows: int):
        self._clock, self._traffic, self._flows = clock, traffic, flows
        self._roads: dict[Case, Road] = {case: lab.road() for case in cases}
        self.times: dict[Case, list[float]] = {case: [] for case in cases}

    def run(self) -> None:
        """Every round, with and without our module: it ends what it knows when it goes."""
        module.unload()
        bare = [case for case in self._roads if not case.loaded]
        ours = [case for case in self._roads if case.loaded]
        self._prepare(bare)
        for _ in range(self._clock.rounds):
            self._measure(bare)
            if ours:
                module.load()
                self._prepare(ours)
                self._measure(ours)
                module.unload()

    def _prepare(self, cases: list[Case]) -> None:
        for case in cases:
            case.configure(self._roads[case])
            case.remember(self._roads[case], self._traffic, self._flows)
            self._send(case)

    def _measure(self, cases: list[Case]) -> None:
        for case in cases:
            self.times[case] += self._clock.sample(lambda case=case: self._send(case))

    def _send(self, case: Case) -> float:
        count = self._clock.packets(self._flows)
        return case.send(self._roads[case], self._traffic, self._flows, count)


def packets(
    clock: Clock, cases: list[Case], traffic: list[Traffic], flows: list[int]
) -> list[dict[str, Any]]:
    """The times of all packets."""
    found = []
    for some in flows:
        for kind in traffic:
            print(f"\n{some:,} {'flow' if some == 1 else 'flows'} of {kind.name}", flush=True)
            able = [case for case in cases if case.carries(kind)]
            for group in [able] if clock.rounds > 1 else [[case] for case in able]:
                for name, times in timed(clock, group, kind, some).items():
                    print(f"{name:18}", *(f"{time:9,.1f}" for time in times), flush=True)
                    found.append(
                        {"case": name, "flows": some, "traffic": kind.name, "times": times}
                    )
    return found


def timed(clock: Clock, cases: list[Case], traffic: Traffic, flows: int) -> dict[str, list[float]]:
    """The times of some cases, in a lab of their own."""
    with Lab() as lab:
        play = Play(lab, clock, cases, traffic, flows)
        play.run()
    return {case.name: times for case, times in play.times.items()}


def arguments() -> argparse.Namespace:
    """Which of all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clock", choices=CLOCKS, required=True)
    parser.add_argument("--flows", type=int, nargs="+", default=[1, 256, 51_200])
    parser.add_argument("--traffic", choices=TRAFFIC, nargs="+", default=list(TRAFFIC))
    names = [case.name for case in CASES]
    parser.add_argument("--cases", choices=names, nargs="+", default=names, metavar="CASE")
    return parser.parse_args()


def main() -> int:
    """Measure, tell, write bench.json."""
    asked = arguments()
    sh("modprobe", "pktgen")
    cases = [case for case in CASES if case.name in asked.cases]
    traffic = [TRAFFIC[name] for name in asked.traffic]
    result = {
        "kernel": platform.release(),
        "clock": asked.clock,
        "packets": packets(CLOCKS[asked.clock], cases, traffic, asked.flows),
    }
    text = json.dumps(result, indent=1) + "\n"
    Path(os.environ["OUT"], "bench.json").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
