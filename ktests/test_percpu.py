# SPDX-License-Identifier: GPL-2.0
"""An SA for each processor (RFC 9611): ESP in UDP from ports on which there is no IKE.

    c1 203.0.113.1 --+            +-- director 10.0.0.1, VIP on lo
                     +-- router --+-- gw1 10.0.0.11    VIP on lo
    c2 203.0.113.2 --+            +-- gw2 10.0.0.12

strongSwan's `per_cpu_sas = encap` sends each of these SAs from a UDP port of its own,
taken by chance; IKE stays on 4500. A packet that a policy wants encrypted has its
processor's SA negotiated, and is lost itself if there is no other. strongSwan can do
so since 6.0.2, so that these daemons are not the installed ones.

The gateways do likewise. With nat all of what they send comes from the VIP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kt import module
from kt.lab import INSIDE, ROUTER, VIP, Client, Lab, director_address
from kt.strongswan import CHILD, Charon, client_conf, gateway_conf, start_all
from kt.tool import Tool
from kt.tunnels import at_once
from kt.unpacked import STRONGSWAN
from kt.wait import wait_until

PROCESSORS = (0, 1)
PINGS = 30
SAS = 1 + len(PROCESSORS)  # with the one that is for any processor
PER_CPU = "per_cpu_sas = encap"


OTHERS = f"""
table ip others {{
  counter others {{ }}
  chain in {{
    type filter hook prerouting priority -400;
    meta l4proto udp ip saddr != {VIP} counter name others
  }}
}}
"""


class PerCpuLab(Lab):
    """Everything drawn at the head of this file."""

    def __init__(self, folder: Path, method: str) -> None:
        self.method = method
        super().__init__(folder)

    def _daemons(self, folder: Path, settings: Callable[[int], str]) -> None:
        for gateway in self.gateways:
            conf = gateway_conf("%any", f"{INSIDE}/32", "", more_child=PER_CPU)
            gateway.charon = Charon(gateway.ns, folder, conf, unpacked=STRONGSWAN)
        for client in self.clients:
            conf = client_conf(
                client.address,
                VIP,
                client.name,
                f"{INSIDE}/32",
                encap=True,
                mobike=False,
                vips="",
                more_child=f"{PER_CPU}\n        start_action = trap",
            )
            client.charon = Charon(client.ns, folder, conf, unpacked=STRONGSWAN)


def fetches_its_sas(client: Client) -> None:
    """Each processor has sent something, and has its SA."""
    for cpu in PROCESSORS:
        wait_until(lambda cpu=cpu: client.ping(1, cpu=cpu) == 0, 20, client.charon.log)  # type: ignore[misc]
    wait_until(lambda: len(client.charon.esp_spis()) == SAS, 20, client.charon.log)


@pytest.fixture(scope="module", params=["dr", "nat"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One service, two gateways, clients that have their SAs."""
    module.load()
    with PerCpuLab(Path(tmp_path_factory.mktemp("charon")), request.param) as lab:
        tool = Tool(lab.director)
        tool.run("service", "add", VIP, "--scheduler", "rr")
        lab.forwards(lab.director)
        for gateway in lab.gateways:
            tool.run("server", "add", VIP, gateway.address, "--method", lab.method)
            gateway.default_by(director_address(1) if lab.method == "nat" else ROUTER)
        # Flows on which there is no IKE stay initial, and shall outlive the tests.
        lab.director.sysctl("net/ipvs_ipsec/isakmp_initial_timeout", 600)
        for client in lab.clients:
            client.ns.run("nft", "-f", "-", input=OTHERS)
        start_all(lab.daemons)
        at_once(fetches_its_sas, lab.clients)
        yield lab


def carries(lab: Lab) -> None:
    """All processors of all clients ping at once; nothing is lost or dropped."""
    tool = Tool(lab.director)
    before = tool.counters()["esp-in-udp"]
    started = [(c, c.pinging(PINGS, cpu=cpu)) for c in lab.clients for cpu in PROCESSORS]
    assert [client.missing(process) for client, process in started] == [0] * len(started)
    counters = tool.counters()
    assert counters["esp-in-udp"] == before + PINGS * len(started)
    assert {name for name, n in counters.items() if n and name.startswith("drop-")} == set()
    for client in lab.clients:
        told = client.ns.run("nft", "list", "counter", "ip", "others", "others").stdout
        assert "packets 0 " in told, told


def entries(lab: Lab, client: Client) -> list[dict[str, Any]]:
    """The client's flows to port 4500."""
    found = (e for e in Tool(lab.director).entries() if e["client"] == client.address)
    return [entry for entry in found if entry["service_port"] == 4500]


def test_all_processors_of_a_client_are_at_one_gateway(lab: Lab) -> None:
    carries(lab)
    homes, others = [], 0
    for client in lab.clients:
        flows = entries(lab, client)
        ports = {flow["client_port"] for flow in flows}
        # The SA for any processor may have had nothing to send.
        assert 4500 in ports and len(ports) > len(PROCESSORS)
        others += len(ports) - 1
        assert {f["client_port"] for f in flows if f["state"] == "established"} == {4500}
        (home,) = {flow["server"] for flow in flows}
        came = {g.address for g in lab.gateways if client.address in g.counts()["ike"]}
        assert came == {home}
        homes.append(home)
    assert len(set(homes)) == len(lab.clients), "rr"
    assert Tool(lab.director).counters()["entries-moved"] == others


def test_new_keys_come_with_new_ports(lab: Lab) -> None:
    before = {client.name: entries(lab, client) for client in lab.clients}
    for client in lab.clients:
        old = set(client.charon.esp_spis())
        client.charon.swanctl("--rekey", "--child", CHILD)

        def renewed(client: Client = client, old: set[str] = old) -> bool:
            now = set(client.charon.esp_spis())
            return len(now) == SAS and not now & old

        wait_until(renewed, 20, client.charon.log)
    carries(lab)
    for client in lab.clients:
        flows = entries(lab, client)
        assert len(flows) > len(before[client.name])
        assert len({flow["server"] for flow in flows}) == 1
