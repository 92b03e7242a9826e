# SPDX-License-Identifier: GPL-2.0
"""Which way a packet goes through a director that has a fast path."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from kt.bench import Bench
from kt.dual import Dual, Family
from kt.inet import Client, Inet


@contextlib.contextmanager
def fast_path(dual: Dual | Bench, device: str = "in") -> Iterator[None]:
    """What comes in by a device of the director takes it inside the block."""
    index = dual.director.index(device)
    dual.genl.do("fastpath-new", ifindex=index)
    try:
        yield
    finally:
        dual.genl.do("fastpath-del", ifindex=index)


@contextlib.contextmanager
def takes(dual: Dual, count: int) -> Iterator[None]:
    """So many packets are taken while the block sends them and sees what becomes of them."""
    before = dual.genl.counters()["fastpath"]
    yield
    assert dual.genl.counters()["fastpath"] - before == count, "packets that the fast path took"


def taken(dual: Dual, packet: bytes, **verdict: int) -> Inet:
    """Send a packet, which the fast path takes; what s1 gets."""
    with takes(dual, 1):
        dual.expect(packet, **verdict)
        return dual.captures[0].one()


def normal(dual: Dual, packet: bytes, **verdict: int) -> Inet:
    """Send a packet, which goes the normal way; what s1 gets."""
    with takes(dual, 0):
        dual.expect(packet, **verdict)
        return dual.captures[0].one()


def refused(dual: Dual, packet: bytes, **verdict: int) -> None:
    """Send a packet, which no server gets."""
    with takes(dual, 0):
        dual.expect(packet, **verdict)
    for capture in dual.captures:
        assert capture.packets() == [], f"at {capture.name}"


def flows(dual: Dual, side: Family, method: str = "dr", **options: Any) -> tuple[Client, Client]:
    """A service with s1, and initiators whose native ESP and whose ESP in UDP can be taken."""
    dual.configure(side, method, **options)
    client, natt = dual.admitted(side, 1), dual.admitted_natt(side, 2, port=40_001)
    dual.expect(natt.esp_in_udp(), esp_in_udp=1)
    dual.forget(1)
    return client, natt
