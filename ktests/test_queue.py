# SPDX-License-Identifier: GPL-2.0
"""Packets that come back from user space (NFQUEUE), where a program before us looks at all of them.

An inline Suricata is such a program. What it lets go on comes to our hooks from a process and not
from a device, in its order, and as if it had never been away.
"""

from __future__ import annotations

import contextlib
import platform
import select
import threading
from collections.abc import Iterable, Iterator

import pytest
from netfilterqueue import NetfilterQueue

from kt.dual import Dual, Family
from kt.genl import Refused
from kt.net import Ns, sh
from kt.wait import PATIENCE

KERNEL = f"/lib/modules/{platform.release()}/modules.dep"
pytestmark = pytest.mark.needs(KERNEL, "nfnetlink_queue")

NUMBER = 7
CLIENTS, BURST = 10, 50
ESP_SIZE = 72
RULES = f"""
table inet seen {{
    chain input {{
        type filter hook input priority 0
        iifname "in" queue to {NUMBER}
    }}
    chain forward {{
        type filter hook forward priority 0
        queue to {NUMBER}
    }}
}}
"""


class Program:
    """Lets all go on that it is asked about, and counts it."""

    def __init__(self, ns: Ns) -> None:
        self.seen = 0
        with ns.entered():
            self._queue = NetfilterQueue()
            self._queue.bind(NUMBER, self._look, max_len=4096)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _look(self, packet) -> None:  # type: ignore[no-untyped-def]
        self.seen += 1
        packet.accept()

    def _run(self) -> None:
        while not self._done.is_set():
            if select.select([self._queue.get_fd()], [], [], 0.05)[0]:
                self._queue.run(block=False)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._queue.unbind()


@contextlib.contextmanager
def queued(dual: Dual) -> Iterator[Program]:
    """All that comes in or goes by has been in user space inside the block."""
    sh("modprobe", "-a", "nfnetlink_queue", "nft_queue")
    with Program(dual.director) as program:
        dual.director.run("nft", "-f", "-", input=RULES)
        try:
            yield program
        finally:
            dual.director.run("nft", "delete", "table", "inet", "seen")


def test_what_waits_is_not_lost_by_a_command_that_is_refused(dual: Dual, side: Family) -> None:
    """A hook that goes takes with it what waits in its namespace."""
    label = {"ike_label": 1 << 56, "ike_mask": 0xFF << 56}
    dual.configure(side, "dr", **label)
    sh("modprobe", "-a", "nfnetlink_queue", "nft_queue")
    with dual.director.entered():
        queue = NetfilterQueue()
        queue.bind(NUMBER, lambda packet: packet.accept(), max_len=4096)
    dual.director.run("nft", "-f", "-", input=RULES)
    try:
        with dual.counted(ike=CLIENTS, entries_created=CLIENTS):
            dual.port.send([side.client(n).first() for n in range(1, CLIENTS + 1)])
            assert select.select([queue.get_fd()], [], [], 5 * PATIENCE)[0]
            with pytest.raises(Refused):
                server = {"service": side.vip, "address": side.rip(2)}
                dual.genl.do("server-new", **server, method="nat", **label)
            queue.run(block=False)
    finally:
        dual.director.run("nft", "delete", "table", "inet", "seen")
        queue.unbind()


def tails(packets: Iterable[bytes]) -> list[bytes]:
    """Their ESP: what is behind all headers that forwarding changes."""
    return [packet[-ESP_SIZE:] for packet in packets]


@pytest.mark.parametrize("method", ["dr", "nat", "tun"])
def test_what_comes_back_goes_its_way(dual: Dual, side: Family, method: str) -> None:
    dual.configure(side, method)
    with queued(dual) as program:
        for number in range(1, CLIENTS + 1):
            client = dual.admitted(side, number)
            sent = [client.esp(0xC0000001 + n) for n in range(BURST)]
            dual.expect(*sent, esp=BURST)
            got = dual.captures[0].some(BURST)
            assert tails(p.raw for p in got) == tails(sent)
            if method == "nat":
                answers = [client.esp_answer(side.rip(), bytes([n]) * 64) for n in range(BURST)]
                dual.answers[0].send(answers)
                back = dual.back.some(BURST)
                assert {p.src for p in back} == {side.vip}
                assert tails(p.raw for p in back) == tails(answers)
        # Two messages of IKE and ESP; answers to both, where the director sees them.
        wanted = 2 * BURST + 3 if method == "nat" else BURST + 2
        assert program.seen == CLIENTS * wanted
