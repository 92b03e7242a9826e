# SPDX-License-Identifier: GPL-2.0
"""The kernel's log: what must never stand in it."""

from __future__ import annotations

import os
import re

BAD = re.compile(
    r"WARNING:|\bBUG\b|\bOops\b|KASAN|KCSAN|UBSAN|general protection|Call Trace"
    r"|possible circular locking|possible recursive locking|inconsistent lock state"
    r"|suspicious RCU usage|held lock freed|lock held when returning"
    r"|rcu.*(stall|detected)|soft lockup|hard LOCKUP|blocked for more than"
    r"|scheduling while atomic|sleeping function called|refcount_t"
    r"|unregister_netdevice: waiting|kmemleak: \d+ new|double free|slab-"
    r"|panicked at|ODEBUG|still has objects|netns.*leak",
    re.IGNORECASE,
)


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


def bad_lines(lines: list[str]) -> list[str]:
    """Those that say something is broken."""
    return [line for line in lines if BAD.search(line)]


def excerpt(lines: list[str], limit: int = 80) -> str:
    """The log from shortly before the first bad line."""
    first = next(i for i, line in enumerate(lines) if BAD.search(line))
    return "\n".join(lines[max(0, first - 5) : first + limit])
