# SPDX-License-Identifier: GPL-2.0
"""strongSwan through the director: tunnels of several clients to two gateways.

    c1 203.0.113.1 --+                +-- director 10.0.0.1, VIP on lo
    c2 203.0.113.2 --+-- router ------+-- gw1 10.0.0.11, gives 10.9.1.x
    c3 ...           |                +-- gw2 10.0.0.12, gives 10.9.2.x
    c4 203.0.113.4 --+                    both: VIP and 10.9.0.1 on lo
    c5, c6: late, without a tunnel until they are called

Gateways answer straight to the router. strongSwan does IKE_SA_INIT on port 500
and everything after on 4500 (MOBIKE); ESP is native, as there is no NAT.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kt import module
from kt.genl import Genl
from kt.lab import INSIDE, VIP, Client, Gateway, Lab
from kt.strongswan import client_conf, initiate_all, start_all
from kt.tunnels import esp_since, gateway_of
from kt.wait import PATIENCE, wait_until

CLIENTS, LATE = 4, 2


@pytest.fixture(scope="module")
def _lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    module.load()
    with Lab(Path(tmp_path_factory.mktemp("charon")), clients=CLIENTS + LATE) as lab:
        start_all(lab.daemons)
        yield lab


@pytest.fixture
def lab(_lab: Lab) -> Iterator[Lab]:
    """The lab, both gateways willing, every client with a tunnel."""
    module.load()
    with Genl(_lab.director) as genl:
        services, servers = genl.everything()
        if len(services) != 1 or [s["weight"] for s in servers] != [1, 1]:
            genl.do("flush")
            genl.do("service-new", address=VIP, scheduler="rr")
            for gateway in _lab.gateways:
                genl.do("server-new", service=VIP, address=gateway.address)
    _lab.director.sysctl("net/ipvs_ipsec/isakmp_initial_timeout", 10)
    down = [client for client in regular(_lab) if client.ping(1) > 0]
    for client in down:
        client.charon.terminate()
    initiate_all(client.charon for client in down)
    yield _lab


def regular(lab: Lab) -> list[Client]:
    """The clients that have a tunnel in every test."""
    return lab.clients[:CLIENTS]


def works_at(lab: Lab, client: Client, gateway: Gateway, pings: int = 5) -> None:
    """Pings go through, all of the client's ESP to this gateway."""

    def ping() -> None:
        assert client.ping(pings) == 0, f"{client.name}\n{client.charon.log(20)}"

    seen = esp_since(lab, ping)
    there = {
        name: counted[client.address] for name, counted in seen.items() if client.address in counted
    }
    assert there.keys() == {gateway.name} and there[gateway.name] >= pings


def test_each_client_is_at_one_gateway_and_both_are_used(lab: Lab) -> None:
    for client in regular(lab):
        works_at(lab, client, gateway_of(lab, client), pings=10)
    at = [len(gateway.charon.peers()) for gateway in lab.gateways]
    assert at == [CLIENTS // 2] * 2, "rr"


def test_tunnels_on_the_fast_path(lab: Lab) -> None:
    with Genl(lab.director) as genl:
        key = {"ifindex": lab.director.index("lan")}
        genl.do("fastpath-new", **key)
        try:
            before = genl.counters()
            for client in regular(lab):
                works_at(lab, client, gateway_of(lab, client), pings=20)
            moved = {name: n - before[name] for name, n in genl.counters().items()}
        finally:
            genl.do("fastpath-del", **key)
    # A neighbour that was not heard of for a while is asked by a packet on the normal path.
    assert moved["esp"] >= moved["fastpath"] > 20, moved
    assert not any(n for name, n in moved.items() if name.startswith("drop-")), moved


def test_ike_and_esp_never_reached_the_other_gateway(lab: Lab) -> None:
    for client in regular(lab):
        home = gateway_of(lab, client)
        for gateway in lab.gateways:
            counts = gateway.counts()
            for kind in ("ike", "esp"):
                assert (client.address in counts[kind]) == (gateway is home), (kind, gateway.name)


def test_every_tunnel_carries_at_once(lab: Lab) -> None:
    processes = [
        client.ns.start("ping", "-q", "-c", "100", "-i", "0.01", "-W", "2", INSIDE)
        for client in regular(lab)
    ]
    assert [process.wait(timeout=30 * PATIENCE) for process in processes] == [0] * CLIENTS


def test_the_director_shows_the_flows(lab: Lab) -> None:
    with Genl(lab.director) as genl:
        entries = genl.dump("entry-get")
        counters = genl.counters()
    for client in regular(lab):
        home = gateway_of(lab, client).address
        natt = [e for e in entries if (e["client"], e["service-port"]) == (client.address, 4500)]
        assert [(e["server"], e["state"]) for e in natt] == [(home, "established")]
        (sa,) = client.charon.list_sas()
        assert natt[0]["initiator-spi"] == int(sa["initiator-spi"], 16)
        assert natt[0]["responder-spi"] == int(sa["responder-spi"], 16)
        assert {e["server"] for e in entries if e["client"] == client.address} == {home}
    assert counters["esp"] > 0 and counters["ike"] > 0
    assert counters["drop-no-route"] == counters["drop-no-memory"] == 0


def test_rekeying_the_child_sa_keeps_the_tunnel(lab: Lab) -> None:
    client = lab.clients[0]
    home = gateway_of(lab, client)
    client.charon.rekey_child()
    works_at(lab, client, home)


def test_rekeying_the_ike_sa_keeps_the_tunnel(lab: Lab) -> None:
    client = lab.clients[1]
    home = gateway_of(lab, client)
    for _ in range(2):
        client.charon.rekey_ike()
        works_at(lab, client, home)
    client.charon.rekey_child()
    works_at(lab, client, home)


def test_the_gateway_may_rekey_too(lab: Lab) -> None:
    """Its requests do not pass the director; the client's answers do."""
    client = lab.clients[2]
    home = gateway_of(lab, client)
    before = client.charon.esp_spis()
    home.charon.vici("rekey", child="net")
    wait_until(lambda: client.charon.esp_spis() not in ([], before), 15, "new keys")
    works_at(lab, client, home)


def test_a_client_that_lost_power_comes_back_to_its_gateway(lab: Lab) -> None:
    client = lab.clients[0]
    home = gateway_of(lab, client)
    for _ in range(2):  # rr would have gone elsewhere
        client.charon.kill()
        client.charon.start()
        client.charon.initiate()
        assert gateway_of(lab, client) is home
        works_at(lab, client, home)
    assert sum(client.name in g.charon.peers() for g in lab.gateways) == 1


def test_a_delete_reaches_the_right_gateway(lab: Lab) -> None:
    client = lab.clients[3]
    home = gateway_of(lab, client)
    assert client.name in home.charon.peers()
    client.charon.terminate()
    wait_until(lambda: client.name not in home.charon.peers(), 10, "the SA's end at the gateway")


def test_esp_passes_when_only_the_entry_on_4500_is_left(lab: Lab) -> None:
    """What fails with ip_vs: its entry on 500 runs out, and ESP is lost."""
    lab.director.sysctl("net/ipvs_ipsec/isakmp_initial_timeout", 1)
    client = lab.clients[0]
    client.charon.terminate()
    client.charon.initiate()
    with Genl(lab.director) as genl:

        def ports() -> set[int]:
            return {
                e["service-port"] for e in genl.dump("entry-get") if e["client"] == client.address
            }

        wait_until(lambda: ports() == {4500}, 10, lambda: f"the end of the entry on 500: {ports()}")
    works_at(lab, client, gateway_of(lab, client))


def reconfigured(lab: Lab, client: Client, **options: object) -> Client:
    """The client with another configuration, its tunnel up."""
    client.charon.reconfigure(
        client_conf(client.address, VIP, client.name, f"{INSIDE}/32", **options)  # type: ignore[arg-type]
    )
    client.charon.initiate()
    return client


@pytest.fixture
def odd_client(lab: Lab) -> Iterator[Client]:
    """A client that may be configured otherwise; afterwards it is as the others."""
    client = lab.clients[1]
    client.charon.terminate()
    yield client
    client.charon.terminate()
    client.charon.reconfigure(client_conf(client.address, VIP, client.name, f"{INSIDE}/32"))


def test_esp_in_udp_follows_ike_on_4500(lab: Lab, odd_client: Client) -> None:
    client = reconfigured(lab, odd_client, encap=True)
    home = gateway_of(lab, client)
    with Genl(lab.director) as genl:
        before = genl.counters()
        seen = esp_since(lab, lambda: client.ping(10), "ike")  # any UDP on 500 and 4500
        moved = genl.counters()["esp-in-udp"] - before["esp-in-udp"]
    assert client.ping(3) == 0
    assert moved == 10
    assert [name for name, counted in seen.items() if client.address in counted] == [home.name]
    assert seen[home.name][client.address] >= 10
    assert esp_since(lab, lambda: client.ping(5)) == {g.name: {} for g in lab.gateways}


def test_without_mobike_everything_stays_on_500(lab: Lab, odd_client: Client) -> None:
    client = reconfigured(lab, odd_client, mobike=False)
    works_at(lab, client, gateway_of(lab, client))
    client.charon.rekey_ike()
    works_at(lab, client, gateway_of(lab, client))
    (sa,) = client.charon.list_sas()
    assert sa["remote-port"] == "500"


def test_a_gateway_with_another_address_keeps_its_clients_at_the_vip(
    lab: Lab, odd_client: Client
) -> None:
    """Its daemon, which speaks MOBIKE, is kept from telling them."""
    client = reconfigured(lab, odd_client)
    home = gateway_of(lab, client)
    home.ns.ip("addr add 10.0.0.77/24 dev lan")
    # charon would tell after 0.1 s, and be asked from there then.
    assert client.ping(50) == 0
    client.charon.rekey_ike()
    (sa,) = client.charon.list_sas()
    assert sa["remote-host"] == VIP
    works_at(lab, client, home)


def test_ikev1_works(lab: Lab, odd_client: Client) -> None:
    client = reconfigured(lab, odd_client, version=1)
    (sa,) = client.charon.list_sas()
    assert sa["version"] == "1"
    works_at(lab, client, gateway_of(lab, client))


def test_ah_follows_ike(lab: Lab, odd_client: Client) -> None:
    client = reconfigured(lab, odd_client, ah=True)
    home = gateway_of(lab, client)
    lost: list[int] = []
    seen = esp_since(lab, lambda: lost.append(client.ping(10)), "ah")
    assert lost == [0]
    there = {n: c[client.address] for n, c in seen.items() if client.address in c}
    assert there == {home.name: 10}


def test_a_drained_gateway_keeps_its_clients_and_gets_no_new_ones(lab: Lab) -> None:
    stays = lab.clients[0]
    drained = gateway_of(lab, stays)
    other = next(g for g in lab.gateways if g is not drained)
    with Genl(lab.director) as genl:
        genl.do("server-set", service=VIP, address=drained.address, weight=0)
        works_at(lab, stays, drained)
        stays.charon.rekey_ike()
        stays.charon.rekey_child()
        works_at(lab, stays, drained)
        late = lab.clients[CLIENTS:]  # rr would give one to each gateway
        initiate_all(client.charon for client in late)
        for client in late:
            works_at(lab, client, other)
            client.charon.terminate()
        genl.do("server-set", service=VIP, address=drained.address, weight=1)


def test_a_removed_gateways_clients_find_the_other(lab: Lab) -> None:
    client = lab.clients[0]
    gone = gateway_of(lab, client)
    other = next(g for g in lab.gateways if g is not gone)
    with Genl(lab.director) as genl:
        before = genl.counters()
        genl.do("server-del", service=VIP, address=gone.address)
        assert esp_since(lab, lambda: client.ping(2)) == {g.name: {} for g in lab.gateways}
        assert genl.counters()["drop-esp-no-entry"] >= before["drop-esp-no-entry"] + 2
    # Its keys are for a gateway that is not there: it begins anew.
    client.charon.kill()
    client.charon.start()
    client.charon.initiate()
    assert gateway_of(lab, client) is other
    works_at(lab, client, other)
