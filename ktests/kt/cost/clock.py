# SPDX-License-Identifier: GPL-2.0
"""The instruments: what the guest's clock tells, and how much it takes for that to be true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from kt.cost.cases import PROVING
from kt.cost.mark import mark

MOST = 16
"""Times after which it is no use to take more."""


@dataclass(frozen=True)
class Clock:
    """A way to measure."""

    name: str
    packets: Callable[[int], int]
    """How many of so many flows' packets are timed."""
    rounds: int = 1
    """How often every case has its turn. With more than one round all cases are there at once."""
    agreement: float = 0
    """How far apart two of a case's times may be; 0: one is taken as it is."""
    tables: bool = False
    """Whether it is for what tables take, too."""
    outside: bool = False
    """Whether somebody else counts all that is sent, and wants the addresses of the functions."""
    processors: int = 1
    """That send at the same time, if there are as many flows."""
    rest: float = 0
    """Seconds in which there must have been nothing to do before many flows are timed: for longer
    than the sweep lets entries alone that were just made."""
    marked: bool = False
    """Whether who counts from outside is told when."""

    def sample(self, time: Callable[[], float]) -> list[float]:
        """A round's times. What is done besides only adds, so that the least are right."""
        if self.marked:
            mark()
            took = time()
            mark()
            return [took]
        if not self.agreement:
            return [time()]
        times = [time()]
        while len(times) < MOST:
            times = sorted([*times, time()])
            for one, other in pairwise(times):
                if other - one <= one * self.agreement:
                    return [one, other]
        raise RuntimeError(f"no two of these agree: {times}")


CLOCKS = {
    clock.name: clock
    for clock in (
        # A QEMU that counts: a nanosecond is an instruction. Those of the timer are counted, too.
        Clock("instructions", lambda flows: 5120, agreement=0.001, tables=True),
        # The same, which is counted from outside: each packet counts.
        Clock("profile", lambda flows: 5120, outside=True),
        # What two processors have to do with each other.
        Clock("sharing", lambda flows: 20_480, outside=True, processors=2, marked=True),
        # A User Mode Linux: other processes are in the way now and then. Each flow has its turn,
        # so that the caches are as full as they would be.
        Clock("nanoseconds", lambda flows: max(flows, 100_000), rounds=5, rest=PROVING + 0.5),
    )
}
