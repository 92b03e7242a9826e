# SPDX-License-Identifier: GPL-2.0
"""Where packets are timed: for each case a road from a generator over a director to a sink.

          gen                          director                           sink
    eth0 192.168.1.1 ------ in 192.168.1.254   out 192.168.2.254 ------ eth0 192.168.2.1
    plays 10.0.0.0/8           VIP 198.51.100.1 on lo                   drops at ingress

203.0.113.1 is behind the sink. The roads of all cases can be there at the same time, so that rounds
take turns; a director knows nothing of what another remembers.
"""

from __future__ import annotations

import time
from itertools import count

from kt.cost.pktgen import FOLDER, Pktgen, Stream
from kt.net import Network, permanent_neighbours

VIP, BEYOND = "198.51.100.1", "203.0.113.1"
GEN, SERVER = "192.168.1.1", "192.168.2.1"

DROP = """
add table netdev sink
add chain netdev sink end { type filter hook ingress device eth0 priority 0; policy drop; }
"""


class Road:
    """A case's own namespaces and their links."""

    def __init__(self, network: Network, number: int, processors: int) -> None:
        self._processors = processors
        self.director = network.ns(f"director{number}")
        gen, sink = network.ns(f"gen{number}"), network.ns(f"sink{number}")
        for ns in (gen, self.director, sink):
            for which in ("all", "default"):
                ns.sysctl(f"net/ipv6/conf/{which}/disable_ipv6", 1)
        network.link(gen, "eth0", self.director, "in")
        network.link(self.director, "out", sink, "eth0")
        self.director.ip(
            "addr add 192.168.1.254/24 dev in",
            "addr add 192.168.2.254/24 dev out",
            f"addr add {VIP}/32 dev lo",
            f"route add 10.0.0.0/8 via {GEN}",
            f"route add {BEYOND}/32 via {SERVER}",
        )
        permanent_neighbours(self.director, "in", [(GEN, gen.mac("eth0"))])
        permanent_neighbours(self.director, "out", [(SERVER, sink.mac("eth0"))])
        self.director.sysctl("net/ipv4/ip_forward", 1)
        sink.run("nft", "-f", "-", input=DROP)
        self.clients = Pktgen(gen, "eth0", self.director, "in")
        self.server = Pktgen(sink, "eth0", self.director, "out")
        self._turns = count()

    def turn(self) -> int:
        """A number that is one more each time."""
        return next(self._turns)

    def flood(self, stream: Stream, number: int, arrive: bool = True) -> float:
        """The same by all processors that are to send, each for flows of its own."""
        return self.send(stream, number, arrive, self._processors)

    def send(self, stream: Stream, number: int, arrive: bool = True, processors: int = 1) -> float:
        """Send to the sink; nanoseconds a packet. A case that loses packets would look cheap."""
        before = self._left()
        took = self.clients.send(stream, number, processors)
        left = self._left() - before
        if left != (number if arrive else 0):
            raise RuntimeError(f"{self.director}: of {number} packets {left} left it")
        return took

    def _left(self) -> int:
        """How many packets the director has sent to the sink."""
        with self.director.entered():
            text = (FOLDER.parent / "dev").read_text()
        (line,) = (line for line in text.splitlines() if line.strip().startswith("out:"))
        return int(line.split(":")[1].split()[9])


class Lab:
    """The roads of some cases; `processors` of them send at the same time."""

    def __init__(self, processors: int = 1) -> None:
        self._processors = processors
        self._network = Network("cost-")
        self._numbers = count(1)

    def road(self) -> Road:
        """Another road."""
        return Road(self._network, next(self._numbers), self._processors)

    def close(self) -> None:
        """Remove everything. The kernel does so later, and must not while others are timed."""
        self._network.close()
        time.sleep(1)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
