# SPDX-License-Identifier: GPL-2.0
"""The rows of the comparison with ip_vs.

`ip_vs_works` is what was measured and read in Linux 7.3. With rr on several
services ip_vs works while their pointers happen to run in step; one stray
packet to port 500 ends that, so where rr is meant one is sent.
"""

from __future__ import annotations

from kt import events
from kt.play import Row
from kt.rivals import Setup

BEHIND_NAT = ("n1", "n2")
SHORT = 3  # seconds of ip_vs's UDP timeout, 300 by default

ONLY_500 = Setup(ports=(500,))
ANY_PORT = Setup(ports=(0,), persistent=True)

ROWS = [
    Row(
        "1",
        "dr, service on UDP 500 only, mobike off",
        True,
        ONLY_500,
        mobike=False,
        event=events.esp_and_the_timer,
    ),
    Row(
        "2",
        f"the same; silence for longer than ip_vs's UDP timeout (here {SHORT} s)",
        False,
        Setup(ports=(500,), udp_timeout=SHORT),
        clients=("c1",),
        mobike=False,
        event=events.silence,
    ),
    Row("3", "service on UDP 500 only, strongSwan's default (mobike)", False, ONLY_500),
    Row(
        "4",
        "mobike, sh: IKE stays active on 4500 until the entry on 500 expires; plain ESP",
        False,
        Setup("sh", udp_timeout=SHORT),
        dpd=1,
        event=events.end_of_500,
    ),
    Row(
        "5",
        "rr on 500 and on 4500, two servers, a stray packet to 500 after the first client",
        False,
        clients=("c1", "c2", "n1"),
        stray_before="c2",
    ),
    Row(
        "6a",
        "persistence on each of the two services, a stray packet",
        False,
        Setup(persistent=True),
        stray_before="c1",
    ),
    Row("6b", "firewall mark without persistence", False, Setup(mark=True)),
    Row("7a", "sh on both services", True, Setup("sh")),
    Row("7b", "port 0 with persistence", True, ANY_PORT),
    Row("7c", "firewall mark with persistence", True, Setup(mark=True, persistent=True)),
    Row(
        "8a",
        "two clients behind one NAT, rr, a stray packet",
        False,
        Setup(),
        BEHIND_NAT,
        stray_before="n1",
    ),
    Row("8b", "two clients behind one NAT, sh", True, Setup("sh"), BEHIND_NAT),
    Row("9", "nat with 4500, one server", True, Setup(method="nat", servers=1)),
    Row(
        "10",
        "nat, two servers, rr, a stray packet",
        False,
        Setup(method="nat"),
        stray_before="c1",
    ),
    Row(
        "11",
        "a client gets another address (MOBIKE); port 0 with persistence",
        False,
        ANY_PORT,
        event=events.new_address,
    ),
    Row(
        "12",
        "a client's NAT mapping changes; port 0 with persistence",
        True,
        ANY_PORT,
        BEHIND_NAT,
        dpd=1,
        event=events.new_mapping,
    ),
    Row("13", "a client reboots; port 0 with persistence", True, ANY_PORT, event=events.power_cut),
]
