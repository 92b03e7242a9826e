# SPDX-License-Identifier: GPL-2.0
"""A device towards a server of IPv6 goes, and nothing of ours holds it.

client 2001:db8:1::1 ------ director ------ server 2001:db8:2::1
                            VIP on lo

What IPv4 remembers of a device is taken from it when it goes. A route of IPv6 that was looked up
with FLOWI_FLAG_KNOWN_NH is a copy, and keeps the route it was copied from, which keeps the device.
"""

from __future__ import annotations

import pytest

from kt import module
from kt.genl import Genl
from kt.net import Network, permanent_neighbours
from kt.packets import ike
from kt.wait import wait_until
from test_mark import bound

VIP, RIP, CLIENT = "2001:db8::1", "2001:db8:2::1", "2001:db8:1::1"


@pytest.mark.parametrize("method", ["tun", "nat", "dr"])
def test_a_device_that_goes_is_not_held(method: str) -> None:
    module.load()
    with Network("gone-") as network:
        client, director, server = (network.ns(name) for name in ("client", "director", "server"))
        network.link(client, "out", director, "in")
        network.link(server, "eth0", director, "away")
        client.ip(f"addr add {CLIENT}/64 dev out nodad", "route add default via 2001:db8:1::fe")
        director.ip(
            "addr add 2001:db8:1::fe/64 dev in nodad",
            "addr add 2001:db8:2::fe/64 dev away nodad",
            f"addr add {VIP}/128 dev lo nodad",
        )
        server.ip(f"addr add {RIP}/64 dev eth0 nodad")
        permanent_neighbours(client, "out", [("2001:db8:1::fe", director.mac("in"))])
        permanent_neighbours(director, "away", [(RIP, server.mac("eth0"))])
        with Genl(director) as genl:
            genl.do("service-new", address=VIP)
            genl.do("server-new", service=VIP, address=RIP, method=method)
            with bound(client, CLIENT) as sock:
                sock.sendto(ike(1), (VIP, 500))
            wait_until(lambda: genl.counters()["ike"] == 1, 5, "the packet")
        deletion = director.start("ip", "link", "del", "away")
        wait_until(lambda: deletion.poll() == 0, 5, "the end of the device")
