# SPDX-License-Identifier: GPL-2.0
"""Loading and unloading the module under test."""

from __future__ import annotations

import os
from pathlib import Path

from kt.net import sh

NAME = "ip_vs_ipsec"

# Netfilter patches the kernel's code when a hook is the first of its kind or was the last. QEMU
# with several processors and without KVM may run what was there before once more ("Oops: int3").
# Chains that nobody uses keep the code as it is while modules come and go under a flood.
HOOKED = "".join(
    f"add table {family} pinned\n"
    + "".join(
        f"add chain {family} pinned {hook} {{ type filter hook {hook} priority 0; }}\n"
        for hook in ("input", "forward", "output")
    )
    for family in ("ip", "ip6")
)
HOOKED += """add table netdev pinned
add chain netdev pinned ingress { type filter hook ingress device lo priority 0; }
"""


def file() -> Path:
    """The module's file: IPVS_IPSEC_KO, or the build folder of a source tree."""
    named = os.environ.get("IPVS_IPSEC_KO")
    return Path(named or Path(__file__).resolve().parents[2] / "build" / f"{NAME}.ko")


def loaded() -> bool:
    """Whether it is in the kernel."""
    return Path("/sys/module", NAME).is_dir()


def allow_entries(count: int) -> None:
    """Have each namespace hold so many, whatever the others have."""
    for name in ("netns_entries_max", "netns_entries_max_total"):
        Path("/proc/sys/net/ipvs_ipsec", name).write_text(f"{count}\n", encoding="ascii")


def users(name: str = NAME) -> int:
    """How many references hold a module, which may not be loaded."""
    count = Path("/sys/module", name, "refcnt")
    return int(count.read_text(encoding="ascii")) if count.exists() else 0


def load() -> None:
    """insmod, unless it is loaded."""
    if not loaded():
        sh("insmod", file())


def unload() -> None:
    """rmmod, if it is loaded."""
    if loaded():
        sh("rmmod", NAME)


def pin_hooks() -> None:
    """Have netfilter's hooks in use whatever is loaded."""
    sh("nft", "-f", "-", input=HOOKED)
