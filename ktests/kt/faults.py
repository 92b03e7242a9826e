# SPDX-License-Identifier: GPL-2.0
"""Allocations that fail on purpose: the kernel's failslab (Documentation/fault-injection).

Which ones is said in two ways: a share of all, or the nth that a thread makes. Either
can be confined to allocations made by the module, or by the kernel on its behalf: those
with a function of the module on the stack.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from kt import module

FAILSLAB = Path("/sys/kernel/debug/failslab")
FINIT_MODULE = 313


def _set(**attributes: object) -> None:
    for name, value in attributes.items():
        (FAILSLAB / name.replace("_", "-")).write_text(f"{value}\n", encoding="ascii")


def _text_size() -> int:
    """Bytes of the module's section .text."""
    data = module.file().read_bytes()
    (table,) = struct.unpack_from("<Q", data, 0x28)
    size, count, names = struct.unpack_from("<HHH", data, 0x3A)
    sections = [struct.unpack_from("<IIQQQQ", data, table + n * size) for n in range(count)]
    strings = sections[names][4]
    for name, _, _, _, _, length in sections:
        end = data.index(b"\0", strings + name)
        if data[strings + name : end] == b".text":
            return length
    raise LookupError(f"{module.file()} has no .text")


def _module_range() -> tuple[int, int]:
    """Where the module's code lies now."""
    sections = Path("/sys/module", module.NAME, "sections")
    start = int((sections / ".text").read_text(encoding="ascii"), 16)
    return start, start + _text_size()


def _function_range(name: str) -> tuple[int, int]:
    """Where a function of the kernel lies: up to the next one."""
    symbols = [
        line.split() for line in Path("/proc/kallsyms").read_text(encoding="ascii").splitlines()
    ]
    start = next(int(words[0], 16) for words in symbols if words[2] == name)
    end = min(address for words in symbols if (address := int(words[0], 16)) > start)
    return start, end


@contextlib.contextmanager
def confined_to(where: str) -> Iterator[None]:
    """Inside the block only what has this function, or the "module", on the stack may fail."""
    start, end = _module_range() if where == "module" else _function_range(where)
    _set(require_start=start, require_end=end)
    try:
        yield
    finally:
        _set(require_start=0, require_end=2**64 - 1)


def _for_sure[T](act: Callable[[], T]) -> T:
    """Try until it works: one who is meant to fail may fail at this too."""
    while True:
        with contextlib.suppress(OSError):
            return act()


@contextlib.contextmanager
def failing(percent: int, *, this_thread_only: bool = False) -> Iterator[Callable[[], int]]:
    """So many of all allocations fail inside the block, which may ask how many did."""
    lots = 1 << 30
    _set(verbose=0, ignore_gfp_wait="N", times=lots, task_filter="NY"[this_thread_only])
    mark = Path("/proc/thread-self/make-it-fail")

    def failed() -> int:
        return lots - int(_for_sure(lambda: (FAILSLAB / "times").read_text(encoding="ascii")))

    if this_thread_only:
        mark.write_text("1", encoding="ascii")
    _set(probability=percent)
    try:
        yield failed
    finally:
        _for_sure(lambda: _set(probability=0))
        if this_thread_only:
            mark.write_text("0", encoding="ascii")


def fail_nth(n: int, act: Callable[[], None]) -> bool:
    """Run `act` while the nth allocation of this thread fails; whether it made so many."""
    _set(verbose=0, ignore_gfp_wait="N", times=-1)
    fd = os.open("/proc/thread-self/fail-nth", os.O_RDWR)
    try:
        os.write(fd, str(n).encode())
        try:
            act()
        finally:
            left = int(os.pread(fd, 32, 0))
            os.pwrite(fd, b"0", 0)
    finally:
        os.close(fd)
    return left == 0


def each_failing(act: Callable[[], None], after: Callable[[int], None]) -> int:
    """Run `act` again and again while its 1st, 2nd, … allocation fails, and `after` each time.

    It ends when `act` gets by without as many; how many it made is given back.
    """
    n = 1
    while fail_nth(n, act):
        after(n)
        n += 1
    after(n)
    return n - 1


def insert_module() -> None:
    """insmod by this very thread."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(module.file(), os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.syscall(FINIT_MODULE, fd, b"", 0):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(fd)
