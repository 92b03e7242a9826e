"""What two processors have to do with each other in the cases of a benchmark."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from kernel_functions import Functions, readable

LEAST = 0.2
"""Writes a packet that count. Less is the timer's, which ticks meanwhile."""
CONTROL, WRITER = "shared-quota", "nft_quota_eval"
"""The case in which processors share a counter, to show that this is seen, and who writes to it."""


class Sharing:
    """What plugins/sharing.c has counted: writes to cache lines that another processor uses, too."""

    def __init__(self, folder: Path) -> None:
        self.totals: dict[tuple[str, str, int], float] = {}
        self._functions: dict[str, dict[str, float]] = {}
        if not folder.exists():
            return
        found = json.loads((folder / "bench.json").read_text(encoding="utf-8"))
        sections: list[Counter[int]] = [Counter() for _ in found["packets"]]
        for line in (folder / "counted").read_text(encoding="ascii").splitlines():
            section, address, times = line.split()
            sections[int(section)][int(address, 16)] += int(times)
        for case, writes in zip(found["packets"], sections, strict=True):
            functions = Functions(folder / f"kallsyms-{case['case']}")
            names: Counter[str] = Counter()
            for address, times in writes.items():
                names[functions.at(address)] += times
            each = {name: times / found["packets_a_time"] for name, times in names.most_common()}
            each = {name: times for name, times in each.items() if times >= LEAST}
            self.totals[case["case"], case["traffic"], case["flows"]] = round(sum(each.values()), 2)
            self._functions[case["case"]] = each

    @property
    def is_blind(self) -> bool:
        """Whether what is certainly shared was not seen."""
        return bool(self._functions) and WRITER not in self._functions[CONTROL]

    def told(self) -> list[str]:
        """Lines that name who writes."""
        lines = ["", "cache lines of two processors: who writes to them, for a packet"]
        for case, functions in self._functions.items():
            each = zip(readable([*functions]), functions.values(), strict=True)
            named = ", ".join(f"{name} {times:.2f}" for name, times in each)
            lines.append(f"{case:26}  {named or 'none'}")
        return lines if self.totals else []
