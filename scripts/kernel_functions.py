"""Which function of a kernel an address is in."""

from __future__ import annotations

import subprocess
from bisect import bisect
from pathlib import Path


class Functions:
    """Those of a file like /proc/kallsyms."""

    def __init__(self, file: Path) -> None:
        found = []
        for line in file.read_text(encoding="ascii").splitlines():
            address, kind, name, *_ = line.split()
            if kind in "tTwW":
                found.append((int(address, 16), name))
        found.sort()
        self._addresses = [address for address, _ in found]
        self._names = [name for _, name in found]

    def at(self, address: int) -> str:
        """The name of the function there."""
        place = bisect(self._addresses, address) - 1
        return self._names[place] if place >= 0 else "?"


def readable(names: list[str]) -> list[str]:
    """Names as Rust has them."""
    run = subprocess.run(
        ["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True
    )
    return run.stdout.splitlines()
