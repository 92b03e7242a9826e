# SPDX-License-Identifier: GPL-2.0
"""Path MTU discovery of what is in a tunnel, through a hop of 1,400 bytes.

                before                 dr or beyond
    client --- r1 ====== r2 --- director ====== gateway     all of it: kt/pmtu.py
                           \\____________________/

Beyond the director it is the director that tells the client (dr), or a router,
whose message the director passes on (nat) or says anew (tun). Before it, routers
tell the client of its packets and the service's address of the gateway's, and
the director passes the latter on to the gateway.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kt import module
from kt.pmtu import INSIDE, PmtuLab
from kt.wait import wait_until

MTU = 1400
ICMP = 28  # headers of an inner ping
IP_MTU = 14  # linux/in.h; module socket has it not

METHODS = [("dr", ""), ("nat", ""), ("tun", "ipip"), ("tun", "gre"), ("tun", "gue")]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PmtuLab]:
    """The lab, no tunnel up."""
    module.load()
    with PmtuLab(Path(tmp_path_factory.mktemp("charon"))) as made:
        yield made


def inner_mtu(lab: PmtuLab) -> int:
    """What the client takes for the longest packet that its tunnel carries."""
    with lab.client.ns.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((INSIDE, 9))
        return probe.getsockopt(socket.IPPROTO_IP, IP_MTU)


def discover(lab: PmtuLab) -> list[int]:
    """Sizes of an inner packet that must not be cut, from the first to one that passes."""
    sizes = [1500]

    def passes() -> bool:
        mtu = inner_mtu(lab)
        if mtu != sizes[-1]:
            sizes.append(mtu)
        answered, _ = lab.client.ping(1, "-M", "do", "-s", mtu - ICMP, "-W", "1")
        return answered == 1

    # An error may fall victim to a rate limit: being told nothing is no reason to give up.
    wait_until(passes, 20, lambda: f"a ping that passes: {sizes}")
    return sizes


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("hop", ["before", "beyond"])
@pytest.mark.parametrize("method", METHODS, ids=lambda pair: "-".join(filter(None, pair)))
def test_a_narrow_hop(lab: PmtuLab, method: tuple[str, str], hop: str, family: int) -> None:
    name, shim = method
    lab.configure(name, family, shim)
    lab.narrow("dr" if (name, hop) == ("dr", "beyond") else hop, MTU)
    ike = f"vpn{family}"
    lab.client.charon.initiate(name=ike)
    try:
        sizes = discover(lab)
        room = {4: 20, 6: 40}[family]
        around = {"": 0, "ipip": room, "gre": room + 4, "gue": room + 12}[shim]
        around = MTU - around if hop == "beyond" else min(MTU, 1500 - around)
        # ESP has no more than 100 bytes of its own.
        assert around - 110 <= sizes[-1] < around - 40, sizes
        # This teaches the gateway its path too. In IPv6 a long ping would not: Linux learns nothing
        # from an error that quotes a fragment of ESP, though it reaches the gateway.
        lab.client.transfer("256K")
        answered, told = lab.client.ping(3, "-M", "dont", "-s", 1500 - ICMP)
        assert answered == 3, told
    finally:
        lab.client.charon.terminate(ike)
