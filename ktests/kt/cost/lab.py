# SPDX-License-Identifier: GPL-2.0
"""Where packets are timed: a generator, a director for each case, a sink.

       gen                       director, one for each case                        sink
    g1 192.168.1.1 ------- in 192.168.1.254   out 192.168.2.254 ------- s1 192.168.2.1
    g2 192.168.1.1 ------- in ...             out ...           ------- s2 192.168.2.1
    plays 10.0.0.0/8          VIP 198.51.100.1 on lo                    drops at ingress

203.0.113.1 is behind the sink. The links of all cases are there at the same time, so that rounds
can take turns; a director knows nothing of what another remembers.
"""

from __future__ import annotations

import time
from itertools import count

from kt.cost.pktgen import FOLDER, Pktgen, Stream
from kt.net import Network, Ns, permanent_neighbours

VIP, BEYOND = "198.51.100.1", "203.0.113.1"
GEN, SERVER = "192.168.1.1", "192.168.2.1"

DROP = """
table netdev {name} {{
  chain end {{ type filter hook ingress device {device} priority 0; policy drop; }}
}}
"""


class Road:
    """A case's own director and its links."""

    def __init__(self, lab: Lab, number: int) -> None:
        self.director = lab.network.ns(f"director{number}")
        quiet(self.director)
        self._gen, self._sink = f"g{number}", f"s{number}"
        lab.network.link(lab.gen, self._gen, self.director, "in")
        lab.network.link(self.director, "out", lab.sink, self._sink)
        self.director.ip(
            "addr add 192.168.1.254/24 dev in",
            "addr add 192.168.2.254/24 dev out",
            f"addr add {VIP}/32 dev lo",
            f"route add 10.0.0.0/8 via {GEN}",
            f"route add {BEYOND}/32 via {SERVER}",
        )
        permanent_neighbours(self.director, "in", [(GEN, lab.gen.mac(self._gen))])
        permanent_neighbours(self.director, "out", [(SERVER, lab.sink.mac(self._sink))])
        self.director.sysctl("net/ipv4/ip_forward", 1)
        lab.sink.run("nft", "-f", "-", input=DROP.format(name=self._sink, device=self._sink))
        self.clients = Pktgen(lab.gen, self._gen, self.director, "in")
        self.server = Pktgen(lab.sink, self._sink, self.director, "out")
        self._turns = count()

    def turn(self) -> int:
        """A number that is one more each time."""
        return next(self._turns)

    def send(self, stream: Stream, number: int, arrive: bool = True) -> float:
        """Send to the sink; nanoseconds a packet. A case that loses packets would look cheap."""
        before = self._left()
        took = self.clients.send(stream, number)
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
    """The generator and the sink."""

    def __init__(self) -> None:
        self.network = Network("cost-")
        self.gen, self.sink = self.network.ns("gen"), self.network.ns("sink")
        quiet(self.gen)
        quiet(self.sink)
        self._roads = 0

    def road(self) -> Road:
        """Another director."""
        self._roads += 1
        return Road(self, self._roads)

    def close(self) -> None:
        """Remove everything. The kernel does so later, and must not while others are timed."""
        self.network.close()
        time.sleep(1)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def quiet(ns: Ns) -> None:
    """No packet that is not asked for."""
    for which in ("all", "default"):
        ns.sysctl(f"net/ipv6/conf/{which}/disable_ipv6", 1)
