# SPDX-License-Identifier: GPL-2.0
"""pktgen, the kernel's own generator, and what netfilter makes of its datagrams.

pktgen sends UDP with a payload of its own, a magic number and a sequence number, then zeros. A rule
at the ingress hook of the far end of its link, before any other there, writes over some of it: so
native ESP and the IKE messages of a million initiators come from the same loop in the kernel. Only
at ingress may a rule write what it likes.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from pathlib import Path

from kt.net import Ns
from kt.wait import wait_until

# /proc/net is that of the process's first thread.
FOLDER = Path("/proc/thread-self/net/pktgen")
THREAD = "kpktgend_{}"

UNSHAPED = "destroy table netdev shape-{device}\n"
SHAPED = """
add table netdev shape-{device}
add chain netdev shape-{device} shape {{ type filter hook ingress device {device} priority -500; }}
add rule netdev shape-{device} shape {rule}
"""


@dataclass(frozen=True)
class Addresses:
    """Addresses that follow one another."""

    first: str
    count: int = 1

    @property
    def last(self) -> str:
        """The last of them."""
        return str(ipaddress.ip_address(self.first) + self.count - 1)

    def each(self) -> list[str]:
        """All of them."""
        first = ipaddress.ip_address(self.first)
        return [str(first + number) for number in range(self.count)]

    def part(self, start: int, most: int) -> Addresses:
        """Some of them, from one on."""
        first = ipaddress.ip_address(self.first) + start
        return Addresses(str(first), min(most, self.count - start))


@dataclass(frozen=True)
class Stream:
    """Datagrams, one address after the other, and the rule that makes of them what is wanted."""

    src: Addresses
    dst: Addresses
    port: int
    """Source and destination port."""
    size: int
    """With the Ethernet header."""
    rule: str

    def parts(self, number: int) -> list[Stream]:
        """So many streams, or as many as it has sources, each with sources of its own."""
        number = min(number, self.src.count)
        each = -(-self.src.count // number)
        return [replace(self, src=self.src.part(n * each, each)) for n in range(number)]

    def lines(self, to: bytes, count: int) -> list[str]:
        """What pktgen is told."""
        return [
            f"count {count}",
            f"pkt_size {self.size}",
            f"dst_mac {to.hex(':')}",
            f"src_min {self.src.first}",
            f"src_max {self.src.last}",
            f"dst_min {self.dst.first}",
            f"dst_max {self.dst.last}",
            *(
                f"udp_{end}_{limit} {self.port}"
                for end in ("src", "dst")
                for limit in ("min", "max")
            ),
            # The clock of a User Mode Linux is a system call of its host.
            "flag NO_TIMESTAMP",
            # As from a real device: nobody else has the packet, which may so be written to.
            "flag !SHARED",
        ]


class Pktgen:
    """A generator at one end of a link."""

    def __init__(self, ns: Ns, device: str, far: Ns, far_device: str) -> None:
        self._ns, self._device = ns, device
        self._far, self._far_device = far, far_device
        self._to = far.mac(far_device)
        self._rule = ""
        self._senders = 0
        # A sender has memory for 65,536 flows, which is none of a director's tables.
        with ns.entered():
            self._engage(1)

    def send(self, stream: Stream, count: int, processors: int = 1) -> float:
        """Send so many, by so many processors; nanoseconds a packet, by the guest's clock."""
        self._shape(stream.rule)
        parts = stream.parts(processors)
        each = count // len(parts)
        with self._ns.entered():
            self._engage(len(parts))
            for number, part in enumerate(parts):
                _tell(self._sender(number), *part.lines(self._to, each))
            _tell("pgctrl", "start")
            took = max(self._ended(self._sender(number), each) for number in range(len(parts)))
        return took * 1000 / (each * len(parts))

    def _sender(self, number: int) -> str:
        """What pktgen calls the device for one of its threads."""
        return f"{self._device}@{number}"

    def _engage(self, senders: int) -> None:
        """Each namespace has a thread for each processor. It sends from all devices that it has."""
        while self._senders > senders:
            self._senders -= 1
            _tell(THREAD.format(self._senders), "rem_device_all")
        while self._senders < senders:
            _tell(THREAD.format(self._senders), f"add_device {self._sender(self._senders)}")
            self._senders += 1

    def _ended(self, sender: str, count: int) -> int:
        """Microseconds that it took. Told to start, pktgen does so within an eighth of a second, or
        later than is waited for."""
        file = FOLDER / sender

        def result() -> re.Match[str] | None:
            told = file.read_text(encoding="ascii")
            return re.search(r"Result: OK: (\d+)\(.*\) usec, (\d+) ", told)

        found = wait_until(result, 300, "pktgen to end")
        if int(found[2]) != count:
            raise RuntimeError(f"pktgen sent {found[2]} packets of {count}")
        return int(found[1])

    def _shape(self, rule: str) -> None:
        """A rule stays until another is wanted: nft takes longer than many packets."""
        if rule != self._rule:
            script = UNSHAPED + SHAPED if rule else UNSHAPED
            script = script.format(device=self._far_device, rule=rule)
            self._far.run("nft", "-f", "-", input=script)
            self._rule = rule


def _tell(file: str, *lines: str) -> None:
    for line in lines:
        (FOLDER / file).write_text(f"{line}\n", encoding="ascii")
