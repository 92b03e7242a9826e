# SPDX-License-Identifier: GPL-2.0
"""The cases that are timed, each a kind of director.

A case configures its director, makes it remember its flows, and is sent ESP then.
"""

from __future__ import annotations

from dataclasses import replace

from kt import module
from kt.cost import traffic as ike
from kt.cost.lab import BEYOND, SERVER, VIP, Road
from kt.cost.pktgen import Addresses
from kt.cost.traffic import CLIENTS, SPIS, UDP4500, Traffic
from kt.net import sh
from kt.tool import Tool

DAY = 86400
PROVING = 2
"""Seconds that an initiator of ours has to prove itself. Then the sweep looks at all that were made
in that time, once, which takes a while of a million and is not what is timed."""
BLOCK = 1 << 15
"""Initiators at a time. They may wait for each other's answers: half of what a namespace has room
for."""

INGRESS = """
add table netdev way
add chain netdev way begin {{ type filter hook ingress device in priority 0; }}
add rule netdev way begin {}
"""
DROPPED = INGRESS.format("drop")
TO_SERVER = f"fwd ip to {SERVER} device out"
REDIRECTED = INGRESS.format(TO_SERVER)
LISTED = f"""
add table netdev way
add set netdev way listed {{ type ipv4_addr; size {1 << 20}; }}
{INGRESS.format(f"ip saddr @listed {TO_SERVER}")}
"""
QUOTA = f"""{INGRESS.format("quota over 1000000 mbytes drop")}
add rule netdev way begin {TO_SERVER}
"""
DNAT = f"""
add table ip way
add chain ip way begin {{ type nat hook prerouting priority dstnat; }}
add rule ip way begin ip daddr {VIP} dnat to {SERVER}
"""
FLOWTABLE = f"""{DNAT}
add flowtable ip way fast {{ hook ingress priority 0; devices = {{ in, out }}; }}
add chain ip way middle {{ type filter hook forward priority 0; }}
add rule ip way middle flow add @fast
"""


class Case:
    """A director that is timed."""

    loaded = False
    """Whether our module is in the kernel."""
    usual = True
    """Whether it is measured without being named."""
    dump: tuple[str, ...] = ()
    """The command that prints its table, if it has one."""

    def __init__(self, name: str) -> None:
        self.name = name

    def carries(self, traffic: Traffic) -> bool:
        """Whether it can."""
        return True

    def configure(self, road: Road) -> None:
        """Make the director what the case is about."""

    def remember(self, road: Road, traffic: Traffic, flows: int) -> None:
        """Have the director know these flows."""

    def send(self, road: Road, traffic: Traffic, flows: int, count: int) -> float:
        """Send these flows' traffic; nanoseconds a packet."""
        return road.flood(traffic.stream(flows, VIP, road.turn()), count)


class Plain(Case):
    """Nothing but what every router does."""

    def send(self, road: Road, traffic: Traffic, flows: int, count: int) -> float:
        return road.flood(traffic.stream(flows, BEYOND, road.turn()), count)


class Nft(Case):
    """Rules of nftables."""

    def __init__(self, name: str, rules: str) -> None:
        super().__init__(name)
        self._rules = rules

    def configure(self, road: Road) -> None:
        road.director.run("nft", "-f", "-", input=self._rules)


class Listed(Nft):
    """A redirect of those whose address is in a set, of which it knows nothing but that: what one
    look-up takes of so many, of which each packet wants another."""

    def carries(self, traffic: Traffic) -> bool:
        return traffic.known

    def remember(self, road: Road, traffic: Traffic, flows: int) -> None:
        for start in range(0, flows, BLOCK):
            clients = Addresses(CLIENTS, flows).part(start, BLOCK)
            script = f"add element netdev way listed {{ {', '.join(clients.each())} }}\n"
            road.director.run("nft", "-f", "-", input=script)


class Generator(Nft):
    """What the source costs: dropped as soon as the director has it."""

    def send(self, road: Road, traffic: Traffic, flows: int, count: int) -> float:
        return road.flood(traffic.stream(flows, VIP, road.turn()), count, arrive=False)


class Control(Nft):
    """What an instrument must see, or it sees nothing."""

    usual = False


class Conntrack(Nft):
    """Connection tracking, which knows a connection by its first packet."""

    dump = ("conntrack", "-L")

    def configure(self, road: Road) -> None:
        super().configure(road)
        # These are the first namespace's, whose table all others share.
        for name, value in (("max", 1 << 21), ("buckets", 1 << 20)):
            sh("sysctl", "-qw", f"net.netfilter.nf_conntrack_{name}={value}")
        for name in ("udp_timeout", "generic_timeout"):
            road.director.sysctl(f"net/netfilter/nf_conntrack_{name}", DAY)

    def remember(self, road: Road, traffic: Traffic, flows: int) -> None:
        self.send(road, traffic, flows, flows)


class Flowtable(Conntrack):
    """Connections that bypass the stack from their second packet on; there are none of ESP."""

    dump = ()

    def carries(self, traffic: Traffic) -> bool:
        return traffic == UDP4500

    def remember(self, road: Road, traffic: Traffic, flows: int) -> None:
        for _ in range(2):
            super().remember(road, traffic, flows)


class IpVs(Case):
    """ip_vs, which knows a connection by any first packet, and ESP by a connection to port 500."""

    dump = ("ipvsadm", "-Lcn")
    TAB_BITS = 20
    METHODS = {"dr": "-g", "nat": "-m", "tun": "-i"}

    def __init__(self, method: str) -> None:
        super().__init__(f"ipvs-{method}")
        self._method = self.METHODS[method]

    def configure(self, road: Road) -> None:
        sh("modprobe", "ip_vs", f"conn_tab_bits={self.TAB_BITS}")
        lines = []
        for service in (f"{VIP}:500", f"{VIP}:4500"):
            lines += [f"-A -u {service} -s rr", f"-a -u {service} -r {SERVER} {self._method}"]
        road.director.run("ipvsadm", "-R", input="\n".join(lines) + "\n")
        road.director.run("ipvsadm", "--set", "0", "0", str(DAY))

    def remember(self, road: Road, traffic: Traffic, flows: int) -> None:
        udp = replace(UDP4500, port=traffic.port)
        self.send(road, udp, flows, flows)


class Ours(Case):
    """Our module, which knows an initiator by its IKE."""

    loaded = True
    dump = ("ipvs-ipsec", "entry", "list")

    def __init__(self, method: str) -> None:
        super().__init__(f"ours-{method}")
        self._method = method

    def configure(self, road: Road) -> None:
        serve(road, self._method)

    def remember(self, road: Road, traffic: Traffic, flows: int) -> None:
        road.director.sysctl("net/ipvs_ipsec/isakmp_initial_timeout", PROVING)
        # Where the director sees replies it wants to see one; else one message does.
        sees_replies = self._method == "nat"
        block = BLOCK if sees_replies else flows
        for start in range(0, flows, block):
            clients = Addresses(CLIENTS, flows).part(start, block)
            said = traffic.port, start // block + 1
            if sees_replies:
                road.send(ike.first(clients, VIP, *said), clients.count)
                road.server.send(ike.reply(SERVER, clients, *said), clients.count)
            road.send(ike.later(clients, VIP, *said), clients.count)
        if traffic == UDP4500:
            self.send(road, SPIS, flows, flows)


class Fast(Ours):
    """The same, with a fast path."""

    def __init__(self, method: str) -> None:
        super().__init__(method)
        self.name = f"ours-fast-{method}"

    def configure(self, road: Road) -> None:
        super().configure(road)
        Tool(road.director).run("fastpath", "add", "in")


class Loaded(Ours):
    """Our module is there, and has a service and entries; these packets are not for it."""

    dump = ()

    def __init__(self) -> None:
        super().__init__("dr")
        self.name = "forwarding-loaded"

    def send(self, road: Road, traffic: Traffic, flows: int, count: int) -> float:
        return road.flood(traffic.stream(flows, BEYOND, road.turn()), count)


class Idle(Plain):
    """Our module is there, and nobody has configured it."""

    loaded = True


def serve(road: Road, method: str) -> None:
    """A service of ours."""
    module.allow_entries(1 << 21)
    road.director.sysctl("net/ipvs_ipsec/sloppy", 1)
    tool = Tool(road.director)
    tool.run("service", "add", VIP, "-s", "rr")
    tool.run("server", "add", VIP, SERVER, "-m", method)


CASES: list[Case] = [
    Generator("generator", DROPPED),
    Plain("forwarding"),
    Nft("floor", REDIRECTED),
    Listed("floor-set", LISTED),
    IpVs("dr"),
    IpVs("nat"),
    IpVs("tun"),
    Conntrack("nft-dnat", DNAT),
    Flowtable("nft-flowtable", FLOWTABLE),
    Loaded(),
    Idle("forwarding-idle"),
    Ours("dr"),
    Ours("nat"),
    Ours("tun"),
    Fast("dr"),
    Fast("nat"),
    # Its counter is every processor's.
    Control("shared-quota", QUOTA),
]
