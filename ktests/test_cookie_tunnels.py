# SPDX-License-Identifier: GPL-2.0
"""Cookie check with strongSwan, where what dr servers answer passes the director.

                          bridged                      routed

    c1, c2 -- router ---- director ---- gw1   or   router --+-- director
                          a bridge ---- gw2                 +-- gw1, gw2

Bridged, the gateways answer straight to the router, and their frames pass the
director's bridge, where br_netfilter shows them to FORWARD. Routed, the director
is the gateways' default router; accept_local lets it take in what comes from the
VIP, its own address.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kt import module
from kt.capture import Port
from kt.lab import VIP, Client, Lab, director_address
from kt.net import sh
from kt.packets import Initiator
from kt.strongswan import start_all
from kt.tool import Tool
from kt.tunnels import at_once, carrying, gateway_of
from kt.wait import wait_until

WRONG = 0xDEAD_0000_0000_0001

# IKE_AUTH, the first message on port 4500, does not leave the client for the time being.
HELD = """
table ip held {
  chain out { type filter hook output priority 0; udp dport 4500 drop; }
}
"""


@pytest.fixture(scope="module", params=["bridged", "routed"])
def _lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    module.load()
    bridged = request.param == "bridged"
    if bridged:
        sh("modprobe", "br_netfilter")
    folder = Path(tmp_path_factory.mktemp("charon"))
    with Lab(folder, clients=2, bridged=bridged) as lab:
        if bridged:
            lab.director.sysctl("net/bridge/bridge-nf-call-iptables", 1)
            lab.director.sysctl("net/bridge/bridge-nf-call-ip6tables", 1)
        else:
            lab.forwards(lab.director)
            lab.director.sysctl("net/ipv4/conf/lan/accept_local", 1)
            for gateway in lab.gateways:
                gateway.default_by(director_address(1))
        start_all(lab.daemons)
        yield lab
    if bridged:
        sh("modprobe", "--remove", "br_netfilter")


@pytest.fixture
def lab(_lab: Lab) -> Lab:
    """One service, the gateways by dr, no tunnel and no entry."""
    module.load()
    at_once(lambda client: client.charon.terminate(), _lab.clients)
    tool = Tool(_lab.director)
    tool.run("flush")
    tool.run("service", "add", VIP, "--scheduler", "rr", "--initial-timeout", 60)
    for gateway in _lab.gateways:
        tool.run("server", "add", VIP, gateway.address, "--method", "dr")
    return _lab


def learnt(tool: Tool, client: Client) -> dict[str, Any] | None:
    """The client's entry, when the director has seen what its gateway answered."""
    entries = (e for e in tool.entries() if e["client"] == client.address)
    return next((e for e in entries if int(e["responder_spi"], 16)), None)


def lies(lab: Lab, client: Client) -> None:
    """A message of the client's IKE SA with another responder SPI goes no further, by any port."""

    def came() -> list[int]:
        return [gateway.counts()["ike"].get(client.address, 0) for gateway in lab.gateways]

    tool = Tool(lab.director)
    entry = wait_until(lambda: learnt(tool, client), 20, "a reply to learn from")
    assert entry["state"] == "initial"
    liar = Initiator(client.address, VIP, ispi=int(entry["initiator_spi"], 16), rspi=WRONG)
    before, refused = came(), tool.counters()["drop-ike-responder-spi"]
    port = Port(client.ns, "wan", lab.router.mac("wan"))
    port.send([liar.later(), liar.at(port=4500).natt_later()])
    port.close()
    wait_until(
        lambda: tool.counters()["drop-ike-responder-spi"] == refused + 2, 10, "both are refused"
    )
    assert came() == before


def test_a_wrong_responder_spi_is_refused_and_the_tunnels_come_up(lab: Lab) -> None:
    for client in lab.clients:
        client.ns.run("nft", "-f", "-", input=HELD)
    with ThreadPoolExecutor() as pool:
        tunnels = [pool.submit(client.charon.initiate, 40) for client in lab.clients]
        for client in lab.clients:
            lies(lab, client)
            client.ns.run("nft", "delete", "table", "ip", "held")
    for tunnel in tunnels:
        tunnel.result()
    with carrying(lab, 20):
        pass
    assert {gateway_of(lab, client).name for client in lab.clients} == {"gw1", "gw2"}
    counters = Tool(lab.director).counters()
    dropped = {name: n for name, n in counters.items() if n and name.startswith("drop-")}
    assert dropped == {"drop-ike-responder-spi": 2 * len(lab.clients)}
