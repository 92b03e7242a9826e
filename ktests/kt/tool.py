# SPDX-License-Identifier: GPL-2.0
"""The command `ipvs-ipsec`, and the only place that knows the keys of its JSON."""

from __future__ import annotations

import json
from typing import Any

from kt.net import Ns

COMMAND = "ipvs-ipsec"


class Tool:
    """The command run in one namespace."""

    def __init__(self, ns: Ns) -> None:
        self.ns = ns

    def run(self, *words: object, check: bool = True):
        """Run it; words may be numbers."""
        return self.ns.run(COMMAND, *map(str, words), check=check)

    def json(self, *words: object) -> Any:
        """What it prints with --json."""
        return json.loads(self.run("--json", *words).stdout)

    def services(self) -> list[dict[str, Any]]:
        """`list`: services with their servers."""
        return self.json("list")["services"]

    def entries(self) -> list[dict[str, Any]]:
        """`entry list`."""
        return self.json("entry", "list")

    def counters(self) -> dict[str, int]:
        """`stats`: every counter, named as in the spec."""
        counters = self.json("stats")["counters"]
        return {name.replace("_", "-"): n for name, n in counters.items()}

    def refused(self, *words: object) -> str:
        """A command that the kernel must refuse: status 1, and what it says."""
        return self._fails(1, *words)

    def misused(self, *words: object) -> str:
        """A command line that is wrong: status 2, and what it says."""
        return self._fails(2, *words)

    def _fails(self, status: int, *words: object) -> str:
        done = self.run(*words, check=False)
        assert done.returncode == status, (
            f"{words}: exit status {done.returncode}, not {status}\n{done.stdout}{done.stderr}"
        )
        assert done.stdout == "" and done.stderr.startswith(f"{COMMAND}: ") or status == 2, done
        return done.stderr
