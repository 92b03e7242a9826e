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
from dataclasses import dataclass
from pathlib import Path

from kt.net import Ns
from kt.wait import wait_until

# /proc/net is that of the process's first thread.
FOLDER = Path("/proc/thread-self/net/pktgen")
THREAD = "kpktgend_0"

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
        # Each namespace has a thread for each processor. It sends from all devices that it has.
        with ns.entered():
            _tell(THREAD, f"add_device {device}")

    def send(self, stream: Stream, count: int) -> float:
        """Send so many; nanoseconds a packet, by the guest's clock."""
        self._shape(stream.rule)
        with self._ns.entered():
            _tell(self._device, *stream.lines(self._to, count))
            _tell("pgctrl", "start")
            # Told to start, it does so within an eighth of a second, or later than is waited for.
            found = wait_until(self._result, 300, "pktgen to end")
        if int(found[2]) != count:
            raise RuntimeError(f"pktgen sent {found[2]} packets of {count}")
        return int(found[1]) * 1000 / count

    def _result(self) -> re.Match[str] | None:
        """Microseconds and packets of the last run, once it has ended."""
        told = (FOLDER / self._device).read_text(encoding="ascii")
        return re.search(r"Result: OK: (\d+)\(.*\) usec, (\d+) ", told)

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
