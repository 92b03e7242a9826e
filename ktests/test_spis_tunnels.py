# SPDX-License-Identifier: GPL-2.0
"""strongSwan gateways that choose routable SPIs: tunnels outlive the director's entries.

    c1 esp, IKEv2 --+          +-- director, director2    10.0.0.1, .2
    c2 udp, IKEv2 --+          |
                    +- router -+-- gw1    IKE SPIs 0x0b..., ESP SPIs 0xcb......
    c3 esp, IKEv1 --+          |
    c4 udp, IKEv1 --+          +-- gw2    IKE SPIs 0x0c..., ESP SPIs 0xcc......

Clients 1 and 3 speak native ESP, 2 and 4 ESP in UDP. With dr the gateways answer
straight to the router; with nat by way of a director, and undo its translation,
so that no daemon detects a NAT.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kt import module
from kt.lab import INSIDE, ROUTER, VIP, Client, Lab, director_address
from kt.strongswan import CHILD, VIP_ONLY, Charon, client_conf, initiate_all, start_all
from kt.tool import Tool
from kt.tunnels import at_once, carrying, gateway_of, new_keys
from kt.undone import undo_translation
from kt.wait import INITIAL, wait_until

PINGS = 10
VERSIONS, IN_UDP = {"c1": 2, "c2": 2, "c3": 1, "c4": 1}, {"c2", "c4"}
MASK = "0xff00000000000000"


def label(gateway: int) -> str:
    """What the IKE SPIs of a gateway begin with."""
    return f"0x{0x0A + gateway:02x}00000000000000"


def esp_spis(gateway: int) -> tuple[str, str]:
    """The first and the last ESP SPI of a gateway."""
    return f"0x{0xCA + gateway:02x}000000", f"0x{0xCA + gateway:02x}ffffff"


def settings(gateway: int) -> str:
    """What its strongswan.conf says of SPIs."""
    low, high = esp_spis(gateway)
    return f"""{VIP_ONLY}
  spi_label = {label(gateway)}
  spi_mask = {MASK}
  spi_min = {low}
  spi_max = {high}"""


class Cluster:
    """The lab with its gateways reached by one method."""

    def __init__(self, lab: Lab, method: str) -> None:
        self.lab = lab
        self.method = method
        self.tools = [Tool(director) for director in lab.directors]
        for gateway in lab.gateways:
            pairs = [(gateway.address, VIP)] if method == "nat" else []
            undo_translation(gateway.ns, pairs)
        self.configure()
        self.go_by(1)

    def configure(self) -> None:
        """Both directors know the gateways, and their SPIs."""
        for tool in self.tools:
            tool.run("flush")
            tool.run("service", "add", VIP, "--scheduler", "rr", "--initial-timeout", INITIAL)
            for gateway in self.lab.gateways:
                number = gateway.number
                tool.run("server", "add", VIP, gateway.address, "--method", self.method)
                names = ("--ike-label", label(number), "--ike-mask", MASK)
                spis = ("--esp-spis", "-".join(esp_spis(number)))
                tool.run("server", "set", VIP, gateway.address, *names, *spis)

    def go_by(self, director: int, *, busy: bool = False) -> None:
        """Packets take their way by a director, numbered from 1; also while clients are busy."""
        self.lab.send_by(director)
        nat = self.method == "nat"
        if busy and nat:
            # Until it has an entry, answers are a stranger's to it and pass as they are.
            tool, clients = self.tools[director - 1], {c.address for c in self.lab.clients}
            wait_until(lambda: clients <= {e["client"] for e in tool.entries()}, 10, "entries")
        for gateway in self.lab.gateways:
            gateway.default_by(director_address(director) if nat else ROUTER)

    def dropped(self) -> dict[str, int]:
        """The counters of drops of both directors that are not 0."""
        return {
            f"director {number}: {name}": n
            for number, tool in enumerate(self.tools, 1)
            for name, n in tool.counters().items()
            if n and name.startswith("drop-")
        }

    def carries(self) -> None:
        """Every client's pings are answered by way of its own gateway, nothing is dropped."""
        with carrying(self.lab, PINGS):
            pass
        assert self.dropped() == {}


def conf(client: Client, *, dpd: int = 0) -> str:
    """Its form of ESP, its version of IKE."""
    return client_conf(
        client.address,
        VIP,
        client.name,
        f"{INSIDE}/32",
        version=VERSIONS[client.name],
        encap=client.name in IN_UDP,
        dpd=dpd,
    )


@pytest.fixture(scope="module")
def _lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    module.load()
    folder = Path(tmp_path_factory.mktemp("charon"))
    with Lab(folder, clients=len(VERSIONS), directors=2, settings=settings) as lab:
        for director in lab.directors:
            lab.forwards(director)
        start_all(lab.daemons)
        yield lab


@pytest.fixture(scope="module", params=["dr", "nat"])
def cluster(_lab: Lab, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Every client has a tunnel by the first director."""
    module.load()
    made = Cluster(_lab, request.param)
    at_once(lambda client: client.charon.reconfigure(conf(client)), _lab.clients)
    initiate_all(client.charon for client in _lab.clients)
    yield made
    at_once(lambda client: client.charon.terminate(), _lab.clients)


def test_the_gateways_choose_spis_as_they_are_told(cluster: Cluster) -> None:
    cluster.carries()
    assert {gateway_of(cluster.lab, client).number for client in cluster.lab.clients} == {1, 2}
    for client in cluster.lab.clients:
        gateway = gateway_of(cluster.lab, client).number
        (sa,) = client.charon.list_sas()
        (child,) = sa["child-sas"].values()
        assert int(sa["responder-spi"], 16) >> 56 == 0x0A + gateway
        assert int(child["spi-out"], 16) >> 24 == 0xCA + gateway
        assert sa["version"] == str(VERSIONS[client.name])
        assert (child.get("encap") == "yes") == (client.name in IN_UDP)


def test_tunnels_outlive_their_entries(cluster: Cluster) -> None:
    (tool, _) = cluster.tools
    for _ in range(3):
        tool.run("entry", "flush")
        cluster.carries()
    by_spi = tool.counters()["routed-by-spi"]
    assert by_spi >= 3 * PINGS * len(VERSIONS)
    made = {e["server"] for e in tool.entries()}
    wanted = {gateway.address for gateway in cluster.lab.gateways}
    assert made == (wanted if cluster.method == "nat" else set())


def test_tunnels_outlive_the_module(cluster: Cluster) -> None:
    module.unload()
    module.load()
    cluster.configure()
    assert cluster.tools[0].entries() == []
    cluster.carries()


def test_another_director_takes_over(cluster: Cluster) -> None:
    """While pings are on their way; it has never seen the clients, and is not told of them."""
    (first, second) = cluster.tools
    for number, tool in ((2, second), (1, first)):
        before = tool.counters()["routed-by-spi"]
        with carrying(cluster.lab, 100):
            cluster.go_by(number, busy=True)
        assert cluster.dropped() == {}
        assert tool.counters()["routed-by-spi"] > before


def test_clients_change_keys_at_a_director_that_never_saw_them(cluster: Cluster) -> None:
    lab = cluster.lab
    cluster.tools[1].run("entry", "flush")
    cluster.go_by(2)
    at_once(lambda client: client.charon.rekey_child(), lab.clients)
    cluster.carries()
    # IKEv1 begins another IKE SA instead, whose first message has no SPI that names a gateway.
    rekeying = [client for client in lab.clients if VERSIONS[client.name] == 2]
    at_once(lambda client: client.charon.rekey_ike(), rekeying)
    cluster.carries()


def test_gateways_change_keys_then(cluster: Cluster) -> None:
    """The keys of IKEv1 itself excepted: a Main Mode that a gateway begins needs its entry."""
    lab = cluster.lab

    def children() -> None:
        for gateway in lab.gateways:
            gateway.charon.swanctl("--rekey", "--child", CHILD)

    def ike() -> None:
        for gateway in lab.gateways:
            for sa in gateway.charon.list_sas():
                if sa["version"] == "2":
                    gateway.charon.swanctl("--rekey", "--ike-id", sa["uniqueid"])

    new_keys(lab.clients, Charon.esp_spis, children)
    cluster.carries()
    new_keys([c for c in lab.clients if VERSIONS[c.name] == 2], Charon.ike_spis, ike)
    cluster.carries()


def test_dead_peer_detection_needs_no_entry(cluster: Cluster) -> None:
    lab = cluster.lab
    at_once(lambda client: client.charon.terminate(), lab.clients)
    at_once(lambda client: client.charon.reconfigure(conf(client, dpd=1)), lab.clients)
    initiate_all(client.charon for client in lab.clients)
    for tool in cluster.tools:
        tool.run("entry", "flush")
    before = [len(client.charon.received()) for client in lab.clients]

    def answered() -> bool:
        now = [len(client.charon.received()) for client in lab.clients]
        return all(n >= old + 2 for n, old in zip(now, before, strict=True))

    wait_until(answered, 20, "answers to R_U_THERE and INFORMATIONAL")
    cluster.carries()
