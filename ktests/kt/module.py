# SPDX-License-Identifier: GPL-2.0
"""Loading and unloading the module under test."""

from __future__ import annotations

import os
from pathlib import Path

from kt.net import sh

NAME = "ip_vs_ipsec"


def file() -> Path:
    """The module's file: IPVS_IPSEC_KO, or the build folder of a source tree."""
    named = os.environ.get("IPVS_IPSEC_KO")
    return Path(named or Path(__file__).resolve().parents[2] / "build" / f"{NAME}.ko")


def loaded() -> bool:
    """Whether it is in the kernel."""
    return Path("/sys/module", NAME).is_dir()


def users() -> int:
    """How many references hold it."""
    return int(Path("/sys/module", NAME, "refcnt").read_text(encoding="ascii"))


def load() -> None:
    """insmod, unless it is loaded."""
    if not loaded():
        sh("insmod", file())


def unload() -> None:
    """rmmod, if it is loaded."""
    if loaded():
        sh("rmmod", NAME)
