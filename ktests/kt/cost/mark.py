# SPDX-License-Identifier: GPL-2.0
"""Tells a plugin of QEMU (scripts/plugins/sharing.c) when to count."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from functools import cache

# An instruction of no effect that it looks for, and the return.
CODE = b"\x0f\x1f\x80shar\xc3"


@cache
def _code() -> tuple[mmap.mmap, Callable[[], None]]:
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(CODE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return page, ctypes.CFUNCTYPE(None)(address)


def mark() -> None:
    """Once to begin, once to end."""
    _code()[1]()
