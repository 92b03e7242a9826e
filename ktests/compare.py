#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""ip_vs and ours, side by side: the same clients, the same gateways, the same set-ups.

    lab "ipvs-": clients -- router -- director with ip_vs -- two gateways
    lab "ours-": clients -- router -- director with ours --- two gateways

Both labs (kt/compare_lab.py) are in one guest and play each row of kt/rows.py at
the same time; neither has anything configured at the other's director. Words on
the command line choose rows. Exit status 0 only if ours works in each; what ip_vs
does is told, and noted where it is not what was known.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import textwrap
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kt import module
from kt.compare_lab import CompareLab
from kt.play import Outcome, Play, Row
from kt.rivals import IpVs, Ours, Rival
from kt.rows import ROWS
from kt.strongswan import start_all

STARTED = time.monotonic()
WIDTHS = (3, 44, 48, 32)
TITLES = ("row", "set-up", "ip_vs", "ours")


def say(text: str) -> None:
    """A line of progress."""
    print(f"[{time.monotonic() - STARTED:5.1f} s] {text}", flush=True)


def play(rival: Rival, row: Row) -> Outcome:
    """A row; a play that breaks off is a failure, too."""
    try:
        return Play(rival.lab, rival, row).run()
    except Exception as error:  # the other rows are still wanted
        return Outcome(False, textwrap.shorten(repr(error), 100), traceback.format_exc())


def compare(rivals: list[Rival], row: Row) -> dict[str, Outcome]:
    """A row, with both at once."""
    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(lambda rival: play(rival, row), rivals))
    return {rival.name: outcome for rival, outcome in zip(rivals, outcomes, strict=True)}


def line(cells: tuple[str, ...]) -> str:
    """A row of the table, its cells broken into lines."""
    columns = [textwrap.wrap(cell, width) for cell, width in zip(cells, WIDTHS, strict=True)]
    height = max(map(len, columns))
    padded = [column + [""] * (height - len(column)) for column in columns]
    return "\n".join(
        "  ".join(f"{c:{w}}" for c, w in zip(cells, WIDTHS, strict=True)).rstrip()
        for cells in zip(*padded, strict=True)
    )


def table(results: list[tuple[Row, dict[str, Outcome]]]) -> str:
    """Both columns side by side."""
    rule = "  ".join("-" * width for width in WIDTHS)
    lines = [line(TITLES), rule]
    for row, outcomes in results:
        lines.append(line((row.number, row.text, str(outcomes["ip_vs"]), str(outcomes["ours"]))))
    return "\n".join(lines)


def as_json(results: list[tuple[Row, dict[str, Outcome]]]) -> str:
    """What compare.json says."""
    rows = [
        {
            "row": row.number,
            "set_up": row.text,
            **{name: {"works": o.works, "seen": o.seen} for name, o in outcomes.items()},
        }
        for row, outcomes in results
    ]
    return json.dumps(rows, indent=1) + "\n"


def surprises(row: Row, outcomes: dict[str, Outcome]) -> list[Outcome]:
    """Those that somebody will want to understand."""
    expected = {"ip_vs": row.ip_vs_works, "ours": True}
    return [o for name, o in outcomes.items() if o.works != expected[name]]


def run(rows: list[Row]) -> list[tuple[Row, dict[str, Outcome]]]:
    """Build the labs, play the rows."""
    results = []
    module.pin_hooks()
    with (
        tempfile.TemporaryDirectory() as folder,
        CompareLab(Path(folder), "ipvs-") as one,
        CompareLab(Path(folder), "ours-") as other,
    ):
        say("starting the IKE daemons")
        start_all([*one.daemons, *other.daemons])
        one.listen_to_both()
        other.listen_to_both()
        rivals: list[Rival] = [IpVs(one), Ours(other)]
        for row in rows:
            outcomes = compare(rivals, row)
            results.append((row, outcomes))
            told = "   ".join(f"{name} {outcome}" for name, outcome in outcomes.items())
            say(f"{row.number:3} {told}")
            for outcome in surprises(row, outcomes):
                print(outcome.evidence, file=sys.stderr, flush=True)
        for rival in rivals:
            rival.clear()
    return results


def main(numbers: list[str]) -> int:
    """Play, tell, write compare.json."""
    say("building two networks of clients, router, director and gateways")
    results = run([row for row in ROWS if not numbers or row.number in numbers])
    out = os.environ.get("OUT")
    if out:
        Path(out, "compare.json").write_text(as_json(results), encoding="utf-8")
    print(f"\nLinux {platform.release()}\n\n{table(results)}\n")
    for row, outcomes in results:
        if outcomes["ip_vs"].works != row.ip_vs_works:
            known = "work" if row.ip_vs_works else "fail"
            print(f"note: in row {row.number} ip_vs was known to {known}")
    failed = [row.number for row, outcomes in results if not outcomes["ours"].works]
    print(f"ours fails in: {', '.join(failed)}" if failed else "ours works in every row")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
