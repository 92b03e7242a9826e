# SPDX-License-Identifier: GPL-2.0
"""libreswan through the director, as initiator and as gateway, with strongSwan at the other end.

    c1 libreswan --+            +-- director 10.0.0.1, VIP on lo
    c2 libreswan --+-- router --+-- gw1, gw2   strongSwan   10.0.0.11, .12
    c3 strongSwan -+            +-- gw3, gw4   libreswan    10.0.0.13, .14

The service has the gateways of one kind at a time. With nat these are behind a
NAT for the initiators, who go to port 4500 and speak ESP in UDP; with dr libreswan,
which does no MOBIKE unless it is told to, stays on port 500, and ESP is native.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kt import libreswan, module, strongswan
from kt.lab import INSIDE, ROUTER, VIP, Client, Gateway, Lab, director_address
from kt.libreswan import Pluto
from kt.strongswan import Charon, initiate_all, start_all
from kt.tool import Tool
from kt.tunnels import at_once, carrying, esp_since, gateway_of

PINGS = 10
NET = f"{INSIDE}/32"
ESP_V1 = "aes128gcm16"  # of the groups for Quick Mode libreswan knows old ones only


class SwanLab(Lab):
    """Everything drawn at the head of this file."""

    def _daemons(self, folder: Path, settings: Callable[[int], str]) -> None:
        for gateway in self.gateways[:2]:
            conf = strongswan.gateway_conf("%any", NET, gateway.pool, version=2)
            conf += strongswan.gateway_conf("%any", NET, "", name="ikev1", version=1, esp=ESP_V1)
            gateway.charon = Charon(gateway.ns, folder, conf)
        for gateway in self.gateways[2:]:
            pool = f"10.9.{gateway.number}.1-10.9.{gateway.number}.99"
            conf = libreswan.gateway_conf("vpn", VIP, NET, pool)
            conf += libreswan.gateway_conf("translated", gateway.address, NET, pool)
            gateway.charon = Pluto(gateway.ns, folder, conf)  # type: ignore[assignment]
        *clients, last = self.clients
        for client in clients:
            conf = libreswan.client_conf(client.address, VIP, client.name, NET)
            client.charon = Pluto(client.ns, folder, conf)  # type: ignore[assignment]
        conf = strongswan.client_conf(last.address, VIP, last.name, NET)
        last.charon = Charon(last.ns, folder, conf)


@dataclass
class Cluster:
    """The lab with a service of one kind of gateways."""

    lab: Lab
    method: str
    gateways: list[Gateway]
    clients: list[Client]

    @property
    def counters(self) -> dict[str, int]:
        """The director's counters that are not 0."""
        return {name: n for name, n in Tool(self.lab.director).counters().items() if n}

    def configure(self) -> None:
        """The service, and the gateways' way out."""
        tool = Tool(self.lab.director)
        tool.run("flush")
        tool.run("service", "add", VIP, "--scheduler", "rr")
        for gateway in self.gateways:
            tool.run("server", "add", VIP, gateway.address, "--method", self.method)
            gateway.default_by(director_address(1) if self.method == "nat" else ROUTER)

    def carries(self) -> None:
        """Pings of all clients, each by its gateway, in the form that the method brings about."""
        before = self.counters
        with carrying(self.lab, PINGS, self.clients):
            pass
        moved = {k: n - before.get(k, 0) for k, n in self.counters.items() if n != before.get(k)}
        sent = PINGS * len(self.clients)
        form = {"esp-in-udp": sent} if self.method == "nat" else {"esp": sent}
        assert {k: n for k, n in moved.items() if k.startswith(("esp", "drop-"))} == form


@pytest.fixture(scope="module")
def _lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    module.load()
    folder = Path(tmp_path_factory.mktemp("swan"))
    with SwanLab(folder, clients=3, gateways=4) as lab:
        lab.forwards(lab.director)
        start_all(lab.daemons)
        yield lab


@pytest.fixture(params=["dr", "nat"])
def method(request: pytest.FixtureRequest) -> str:
    """The forwarding methods whose packets differ."""
    return request.param


@pytest.fixture(params=["strongswan", "libreswan"])
def cluster(_lab: Lab, method: str, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A tunnel of each client; strongSwan to strongSwan is tested elsewhere."""
    module.load()
    if request.param == "strongswan":
        made = Cluster(_lab, method, _lab.gateways[:2], _lab.clients[:2])
    else:
        made = Cluster(_lab, method, _lab.gateways[2:], _lab.clients)
    made.configure()
    initiate_all(client.charon for client in made.clients)
    yield made
    at_once(lambda client: client.charon.terminate(), made.clients)


def test_tunnels_carry_and_change_their_keys(cluster: Cluster) -> None:
    homes = {gateway_of(cluster.lab, client).name for client in cluster.clients}
    assert homes == {gateway.name for gateway in cluster.gateways}, "rr"
    cluster.carries()
    at_once(lambda client: client.charon.rekey_child(), cluster.clients)
    cluster.carries()
    at_once(lambda client: client.charon.rekey_ike(), cluster.clients)
    cluster.carries()


def test_ikev1_works(_lab: Lab, method: str) -> None:
    """Without an inside address, for which libreswan would want XAUTH."""
    client = _lab.clients[0]
    cluster = Cluster(_lab, method, _lab.gateways[:2], [client])
    cluster.configure()
    client.charon.initiate(name="ikev1")
    form = "ike" if method == "nat" else "esp"  # where any UDP on 4500 is counted
    lost: list[int] = []
    seen = esp_since(_lab, lambda: lost.append(client.ping(PINGS)), form)
    client.charon.terminate("ikev1")
    assert lost == [0]
    came = [seen[g.name][client.address] for g in _lab.gateways if client.address in seen[g.name]]
    assert len(came) == 1 and came[0] >= PINGS
    assert not {name for name in cluster.counters if name.startswith("drop-")}
