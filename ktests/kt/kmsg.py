# SPDX-License-Identifier: GPL-2.0
"""The kernel's log: what must never stand in it.

As a program it prints a log without what `without_races_of_others` leaves out.
"""

from __future__ import annotations

import os
import re
import sys
import time
from itertools import pairwise
from pathlib import Path

BAD = re.compile(
    r"WARNING:|\bBUG\b|\bOops\b|KASAN|KCSAN|UBSAN|general protection|Call Trace"
    r"|possible circular locking|possible recursive locking|inconsistent lock state"
    r"|suspicious RCU usage|held lock freed|lock held when returning"
    r"|rcu.*(stall|detected)|soft lockup|hard LOCKUP|blocked for more than"
    r"|scheduling while atomic|sleeping function called|refcount_t"
    r"|unregister_netdevice: waiting|kmemleak: \d+ new|double free|slab-"
    r"|panicked at|ODEBUG|still has objects|netns.*leak|ref_tracker: .*(leaked|users at)"
    r"|ASSERTION FAILED",
    re.IGNORECASE,
)


KMEMLEAK = Path("/sys/kernel/debug/kmemleak")
# Younger objects are not looked at (mm/kmemleak.c, MSECS_MIN_AGE).
KMEMLEAK_AGE = 5

KCSAN = Path("/sys/kernel/debug/kcsan")
KCSAN_BEGINS, KCSAN_ENDS = "BUG: KCSAN", "=================================="
# Under it stands the function that did it, then who called that.
KCSAN_ACCESS = re.compile(r" to 0x[0-9a-f]+ of \d+ bytes by ")
OURS = "ip_vs_ipsec"


class KernelLog:
    """Reads the log from where it stands now."""

    def __init__(self) -> None:
        self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(self._fd, 0, os.SEEK_END)

    def news(self) -> list[str]:
        """The lines since the last call."""
        lines = []
        while True:
            try:
                record = os.read(self._fd, 8192).decode(errors="replace")
            except BlockingIOError:
                return lines
            except BrokenPipeError:
                lines.append("(some lines were overwritten before they were read)")
                continue
            head, _, text = record.partition(";")
            stamp = int(head.split(",")[2]) / 1e6
            lines.append(f"[{stamp:12.6f}] {text.splitlines()[0]}")


def without_races_of_others(lines: list[str]) -> list[str]:
    """The log without KCSAN's reports in which neither access is ours: the kernel has its own."""
    kept: list[str] = []
    report: list[str] | None = None
    for line in lines:
        if KCSAN_BEGINS in line:
            report = []
        if report is None:
            kept.append(line)
            continue
        report.append(line)
        if KCSAN_ENDS in line:
            pairs = pairwise(report)
            ours = any(KCSAN_ACCESS.search(access) and OURS in by for access, by in pairs)
            kept += report if ours else []
            report = None
    return kept + (report or [])


def bad_lines(lines: list[str]) -> list[str]:
    """Those that say something is broken."""
    return [line for line in without_races_of_others(lines) if BAD.search(line)]


def excerpt(lines: list[str], limit: int = 80) -> str:
    """The log from shortly before the first bad line."""
    lines = without_races_of_others(lines)
    first = next(i for i, line in enumerate(lines) if BAD.search(line))
    return "\n".join(lines[max(0, first - 5) : first + limit])


def checks_nothing() -> bool:
    """Whether the kernel has KCSAN, and it is not on."""
    return KCSAN.exists() and "enabled: 1" not in KCSAN.read_text(encoding="utf-8")


def memory_leaks() -> list[str]:
    """What kmemleak finds, where the kernel has it: memory that nothing points to."""
    if not KMEMLEAK.exists():
        return []
    time.sleep(KMEMLEAK_AGE + 1)
    # What is on its way from one place to another is missed by one scan, hardly by two.
    for _ in range(2):
        KMEMLEAK.write_text("scan", encoding="ascii")
    return KMEMLEAK.read_text(encoding="utf-8", errors="replace").splitlines()


if __name__ == "__main__":
    text = sys.stdin.buffer.read().decode(errors="replace")
    print(*without_races_of_others(text.splitlines()), sep="\n")
