# SPDX-License-Identifier: GPL-2.0
"""How much memory the kernel has in use."""

from __future__ import annotations

from pathlib import Path

from kt.wait import wait_until

CHECKERS = ("debug_objects_cache", "kmemleak_object", "kmemleak_scan_area")


def in_use() -> int:
    """Kernel memory in kB that does not come back by itself."""
    # Empty slabs are kept for later; KASAN keeps freed objects back to see who touches them.
    for cache in Path("/sys/kernel/slab").iterdir():
        if not cache.is_symlink():
            (cache / "shrink").write_text("1", encoding="ascii")
    kinds = ("SUnreclaim", "VmallocUsed", "Percpu")
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    used = sum(int(line.split()[1]) for line in lines if line.startswith(kinds))
    return used - _of_checkers()


def _of_checkers() -> int:
    """What checkers remember of every address they have ever seen, in kB: it only grows."""
    pages = 0
    for line in Path("/proc/slabinfo").read_text(encoding="ascii").splitlines():
        words = line.split()
        if words[0] in CHECKERS:
            pages += int(words[5]) * int(words[14])  # a slab's, and number of slabs
    return pages * 4


def given_back(before: int, limit: int) -> None:
    """The kernel has no more in use than before, but for the noise of its caches."""
    wait_until(lambda: in_use() - before < limit, 10, lambda: f"{in_use() - before} kB are gone")
