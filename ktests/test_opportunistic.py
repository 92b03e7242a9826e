# SPDX-License-Identifier: GPL-2.0
"""Opportunistic encryption by libreswan, with hosts that know nothing of each other.

    c1 203.0.113.1 --+            +-- director 10.0.0.1, VIP on lo
                     +-- router --+-- gw1 10.0.0.11    dr, VIP on lo
    c2 203.0.113.2 --+            +-- gw2 10.0.0.12

For the clients the VIP is in the policy group private-or-clear, for the gateways the
clients' network is in clear-or-private. The first packet to the VIP makes a client
begin, with AUTH_NULL (RFC 7619), and is held back until its gateway has agreed;
what follows goes in ESP, from address to address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kt import module
from kt.lab import VIP, Client, Lab
from kt.libreswan import Pluto, opportunistic_conf
from kt.strongswan import start_all
from kt.tool import Tool
from kt.tunnels import at_once, esp_since
from kt.wait import wait_until

PINGS = 20


class OpportunisticLab(Lab):
    """Everything drawn at the head of this file."""

    def _daemons(self, folder: Path, settings: Callable[[int], str]) -> None:
        for gateway in self.gateways:
            conf = opportunistic_conf("clear-or-private", VIP, begins=False)
            groups = {"clear-or-private": "203.0.113.0/24"}
            gateway.charon = Pluto(gateway.ns, folder, conf, groups)  # type: ignore[assignment]
        for client in self.clients:
            conf = opportunistic_conf("private-or-clear", client.address, begins=True)
            groups = {"private-or-clear": f"{VIP}/32"}
            client.charon = Pluto(client.ns, folder, conf, groups)  # type: ignore[assignment]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One service, two gateways, clients that have yet to send something."""
    module.load()
    with OpportunisticLab(Path(tmp_path_factory.mktemp("swan"))) as lab:
        tool = Tool(lab.director)
        tool.run("service", "add", VIP, "--scheduler", "rr")
        for gateway in lab.gateways:
            tool.run("server", "add", VIP, gateway.address)
        start_all(lab.daemons)
        yield lab


def pluto(client: Client) -> Pluto:
    """The client's daemon."""
    return client.charon  # type: ignore[return-value]


def waits_for_packets(client: Client) -> bool:
    """Its policy is in the kernel."""
    return "routed-ondemand" in pluto(client).whack("--connectionstatus")


def test_the_first_packet_brings_ipsec_about(lab: Lab) -> None:
    for client in lab.clients:
        wait_until(lambda client=client: waits_for_packets(client), 20, "the policy group")  # type: ignore[misc]
        assert pluto(client).esp_spis() == []
    at_once(lambda client: client.ping(1, address=VIP), lab.clients)
    for client in lab.clients:
        wait_until(lambda client=client: pluto(client).esp_spis(), 20, pluto(client).log)  # type: ignore[misc]

    lost: list[int] = []
    seen = esp_since(
        lab, lambda: lost.extend(at_once(lambda c: c.ping(PINGS, address=VIP), lab.clients))
    )
    assert lost == [0, 0]
    # Each gateway has one client, rr, and all of its ESP.
    assert [list(counted.values()) for counted in seen.values()] == [[PINGS], [PINGS]]
    assert {address for counted in seen.values() for address in counted} == {
        client.address for client in lab.clients
    }
    counters = Tool(lab.director).counters()
    assert counters["esp"] >= PINGS * len(lab.clients)
    assert {name for name, n in counters.items() if n and name.startswith("drop-")} == set()
