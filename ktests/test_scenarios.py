# SPDX-License-Identifier: GPL-2.0
"""Scenarios of strongSwan's own test suite, the VIP in place of its gateway "moon".

                                deep -- nat2 --+
    c1     c2     h1     h2     crowd          |
    |      |      +------+------+---- nat1 ----+
    +------+-------------+
                      router
                         +----- director, gw1, gw2      all of it: kt/scenarios.py

In each, tunnels come up, pings go through them, and every packet of IKE, ESP and AH that a client
sent reached one and the same gateway, once. The director drops nothing but what a scenario
explains. A table at the end tells what became of each, by forwarding method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kt import module
from kt.genl import Genl
from kt.matrix import INSIDE, VIPS, Way, together
from kt.roads import CROWD, CROWD_NET, INSIDE6, INSIDE_OTHER, SITE
from kt.scenarios import Client, ScenarioLab
from kt.story import RESULTS, Story, scene, while_pinging, works
from kt.wait import SHORT, wait_until

WAYS = {"dr": Way("dr"), "nat": Way("nat"), "tun": Way("tun", shim="ipip")}
LARGE = 2500  # bytes, that no packet of Ethernet holds


def by(*names: str) -> pytest.MarkDecorator:
    """A test for each of these ways."""
    return pytest.mark.parametrize("lab", names, indirect=True, scope="module")


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScenarioLab]:
    """The lab, no tunnel up."""
    module.load()
    with ScenarioLab(Path(tmp_path_factory.mktemp("charon"))) as made:
        yield made


@pytest.fixture(scope="module")
def lab(daemons: ScenarioLab, request: pytest.FixtureRequest) -> ScenarioLab:
    """The same, with one way to the gateways."""
    daemons.use(WAYS[request.param])
    return daemons


def up(name: str, *clients: Client) -> None:
    """Tunnels side by side."""
    together(lambda client: client.up(name), list(clients))


def spread(story: Story, *clients: Client) -> None:
    """They work, and both gateways have some."""
    homes = [works(story, client).name for client in clients]
    assert set(homes) == {"gw1", "gw2"}, homes


@by("dr", "nat", "tun")
def test_rw_psk(lab: ScenarioLab) -> None:
    with scene(lab, "rw-psk") as story:
        up("vpn", lab.c1, lab.c2)
        spread(story, lab.c1, lab.c2)


@by("dr", "nat", "tun")
def test_rw_cert(lab: ScenarioLab) -> None:
    with scene(lab, "rw-cert") as story:
        up("cert", lab.c1, lab.c2)
        spread(story, lab.c1, lab.c2)


@by("dr", "nat")
def test_large_certificates(lab: ScenarioLab) -> None:
    """IKE_AUTH in parts: those of IKE itself (RFC 7383), and those of IP."""
    with scene(lab, "large-certificates") as story:
        before = {client: len(client.charon.received()) for client in (lab.c1, lab.c2)}
        lab.c1.up("large")
        lab.c2.up("large-in-ip")
        sizes = {client: client.charon.received()[n:] for client, n in before.items()}
        assert sum(sizes[lab.c1]) > LARGE > max(sizes[lab.c1]) and len(sizes[lab.c1]) > 3
        assert max(sizes[lab.c2]) > LARGE
        spread(story, lab.c1, lab.c2)
        story.tell(f"{max(sizes[lab.c2])} bytes")


@by("dr", "nat")
def test_net2net(lab: ScenarioLab) -> None:
    """Both nets reach the other."""
    with scene(lab, "net2net") as story:
        lab.c1.up("site")
        home = works(story, lab.c1, "-I", SITE)
        answered, told = home.ping(5, "-I", INSIDE, to=SITE)
        assert answered == 5, told
        assert story.home(lab.c1) is home


@by("dr", "tun")
def test_host2host_transport(lab: ScenarioLab) -> None:
    """Not with nat: it changes what transport mode protects."""
    with scene(lab, "host2host-transport") as story:
        lab.c1.up("host")
        (child,) = lab.c1.sa()["child-sas"].values()
        assert child["mode"] == "TRANSPORT"
        works(story, lab.c1, to=VIPS[4])


@by("dr", "nat")
def test_nat_rw(lab: ScenarioLab) -> None:
    """Two behind one address."""
    with scene(lab, "nat-rw") as story:
        up("vpn", lab.h1, lab.h2)
        spread(story, lab.h1, lab.h2)
        assert story.forms(lab.h1) == story.forms(lab.h2) == {"ike", "udp"}


@by("dr", "nat")
def test_double_nat(lab: ScenarioLab) -> None:
    with scene(lab, "double-nat") as story:
        up("vpn", lab.deep, lab.h1)
        spread(story, lab.deep, lab.h1)


@by("dr", "nat", "tun")
def test_force_udp_encap(lab: ScenarioLab) -> None:
    with scene(lab, "force-udp-encap") as story:
        lab.c1.up("udp")
        works(story, lab.c1)
        assert story.forms(lab.c1) == {"ike", "udp"}


@by("dr", "tun")
def test_ah(lab: ScenarioLab) -> None:
    with scene(lab, "ah") as story:
        lab.c1.up("ah")
        works(story, lab.c1)
        assert story.forms(lab.c1) == {"ike", "ah"}


@by("dr", "nat")
def test_ikev1_aggressive(lab: ScenarioLab) -> None:
    with scene(lab, "ikev1-aggressive") as story:
        lab.c1.up("aggressive")
        assert "generating AGGRESSIVE request" in lab.c1.charon.log(40)
        works(story, lab.c1)


@by("dr", "nat")
def test_invalid_ke(lab: ScenarioLab) -> None:
    """A first message sent again with the group that the gateway wants."""
    with scene(lab, "invalid-ke") as story:
        lab.c1.up("other-group")
        assert "N(INVAL_KE)" in lab.c1.charon.log(40)
        works(story, lab.c1)


@by("dr", "nat")
def test_cookies(lab: ScenarioLab) -> None:
    """Each gateway has a half-open IKE SA, and from others wants its cookie back (RFC 7296 2.6)."""
    with scene(lab, "cookies") as story:
        with lab.h1.held_up(), lab.h2.held_up():
            for client in (lab.h1, lab.h2):
                client.charon.vici("initiate", ike="vpn", child="net", timeout=-1)
            wait_until(lambda: all(g.charon.list_sas() for g in lab.gateways), 10, "half-open SAs")
            lab.c1.up("vpn")
            assert "N(COOKIE)" in lab.c1.charon.log(40)
        works(story, lab.c1)
        wait_until(lambda: all(c.charon.esp_spis() for c in (lab.h1, lab.h2)), 15, "the others")
        spread(story, lab.h1, lab.h2)


@by("dr", "nat")
def test_two_children(lab: ScenarioLab) -> None:
    """One IKE SA, two nets."""
    with scene(lab, "two-children") as story:
        lab.c1.up("two")
        lab.c1.up("two", child="other")
        assert len(lab.c1.sa()["child-sas"]) == 2
        assert works(story, lab.c1) is works(story, lab.c1, to=INSIDE_OTHER)
        used = {mark[:4].hex() for form, mark in story.sent(lab.c1) if form != "ike"}
        assert used == set(lab.c1.charon.esp_spis())


@by("dr", "nat")
def test_rekey(lab: ScenarioLab) -> None:
    """New keys, asked for by either side, while pings go on."""
    with scene(lab, "rekey") as story:
        lab.c1.up("vpn")
        home = works(story, lab.c1)
        for end in (lab.c1.charon, home.charon):
            assert while_pinging(story, lab.c1, end.rekey_child) == 0
            assert while_pinging(story, lab.c1, end.rekey_ike) == 0
        assert works(story, lab.c1) is home


@by("dr", "nat")
def test_reauth(lab: ScenarioLab) -> None:
    """A new IKE SA: before the old one ends (c1), after it (c2), and as IKEv1 has it (h1)."""
    with scene(lab, "reauth") as story:
        names = {lab.c1: "vpn", lab.c2: "vpn", lab.h1: "v1"}
        clients = list(names)
        together(lambda client: client.up(names[client]), clients)
        homes = [works(story, client) for client in clients]
        together(lambda client: client.charon.rekey_ike(names[client], reauth=True), clients)
        for client in clients:
            wait_until(lambda c=client: len(c.charon.esp_spis()) == 1, 10, "its child")
        assert [works(story, client) for client in clients] == homes


@by("dr", "nat")
def test_dpd(lab: ScenarioLab) -> None:
    """Its probes keep the entry; and when the gateway dies and is taken away, it begins anew."""
    client, life = lab.c2, 2 + SHORT
    with scene(lab, "dpd", timeouts=(life, life)) as story:
        client.up("dpd")
        works(story, client)
        began = story.moved()["ike"]
        # A second from one to the next.
        wait_until(lambda: story.moved()["ike"] >= began + 5, 15, "five probes")
        home = works(story, client)
        (old,) = client.charon.ike_spis()
        try:
            home.charon.kill()
            with Genl(lab.director.ns) as genl:
                genl.do("server-del", service=VIPS[4], address=home.addresses[4])
            wait_until(
                lambda: client.charon.esp_spis() and old not in client.charon.ike_spis(),
                20,
                "another tunnel",
            )
            # Its probes, until it gave up.
            lost = story.missing(client)
            assert lost and {form for form, _ in lost} == {"ike"}
            story.drops["drop-ike-no-entry"] = lost.total()
            assert works(Story(lab), client) is not home
        finally:
            home.charon.start()


@by("dr", "nat")
def test_mobike(lab: ScenarioLab) -> None:
    """The client gets another address and loses its own; it loses no packet that it sends."""
    client, new = lab.c1, "203.0.113.61"
    old = client.addresses[4]
    with scene(lab, "mobike") as story:
        client.up("anywhere")
        home = works(story, client)
        try:
            client.ns.ip(f"addr add {new}/24 dev wan")
            lost = while_pinging(story, client, lambda: client.ns.ip(f"addr del {old}/24 dev wan"))
            moved = ("local-host", new)
            wait_until(
                lambda: any(moved in sa.items() for sa in client.charon.list_sas()),
                10,
                "another address",
            )
            assert works(story, client) is home
            assert story.home(client, source=new) is home
        finally:
            client.charon.terminate_all()
            client.ns.ip(f"addr add {old}/24 dev wan", f"addr del {new}/24 dev wan")
        story.tell(f"{lost} lost by the client")


@by("dr", "nat")
def test_mobike_nat_mappings(lab: ScenarioLab) -> None:
    """The NAT forgets, and what comes from another port first is ESP."""
    with scene(lab, "mobike-nat-mappings") as story:
        lab.h1.up("vpn")
        home = works(story, lab.h1)
        lab.nat1.forget()
        # Until the gateway knows of it, its answers go to the old port.
        wait_until(lambda: lab.h1.loses(1, "-W", "0.3") == 0, 10, lambda: f"{story.moved()}")
        assert works(story, lab.h1) is home
        lab.h1.charon.rekey_ike()
        assert works(story, lab.h1) is home


@by("dr", "nat")
def test_both_initiate(lab: ScenarioLab) -> None:
    """Client and gateway at the same time; the client has been there before."""
    with scene(lab, "both-initiate") as story:
        lab.c1.up("peer")
        home = works(story, lab.c1)
        lab.c1.charon.terminate_all()
        # Who comes late finds that there is a tunnel, and makes no other.
        acts: list[Callable[[], object]] = [
            lambda: lab.c1.up("peer"),
            lambda: home.charon.initiation_fails(20, name=f"peer-{lab.way.method}"),
        ]
        together(lambda act: act(), acts)
        assert works(story, lab.c1) is home
        assert home.ping(5, "-I", INSIDE, to=lab.c1.addresses[4])[0] == 5


@by("dr", "nat")
def test_reboot(lab: ScenarioLab) -> None:
    """A client that lost power is back at its gateway."""
    client = lab.c1
    with scene(lab, "reboot") as story:
        client.up("vpn")
        home = works(story, client)
        client.charon.kill()
        client.charon.start()
        client.up("vpn")
        assert works(story, client) is home


@by("dr", "nat", "tun")
def test_ipv6(lab: ScenarioLab) -> None:
    """IPv6 in IPv6, and IPv4 in IPv6."""
    with scene(lab, "ipv6", family=6) as story:
        lab.c1.up("v6-in-v6")
        lab.c2.up("v4-in-v6")
        assert works(story, lab.c1, to=INSIDE6) is not works(story, lab.c2)


@by("dr", "nat")
def test_crowd(lab: ScenarioLab) -> None:
    """Thirty behind one address, by weight."""
    with scene(lab, "crowd", "wrr", (2, 1)) as story:
        for host in CROWD:
            lab.crowd.charon.vici("initiate", ike=f"crowd{host}", child="net", timeout=-1)
        wait_until(lambda: len(lab.crowd.charon.esp_spis()) == len(CROWD), 60, "thirty tunnels")
        for sa in lab.crowd.charon.list_sas():
            (inside,) = sa["local-vips"]
            assert lab.crowd.loses(2, "-I", inside) == 0, inside
        homes = [story.home(lab.crowd, f"{CROWD_NET}.{host}").name for host in CROWD]
        shares = tuple(homes.count(gateway.name) for gateway in lab.gateways)
        assert shares == (20, 10)
        story.tell(f"{shares[0]} and {shares[1]}")


def test_every_scenario_is_known(daemons: ScenarioLab, capsys: pytest.CaptureFixture) -> None:
    """And printed."""
    names = dict.fromkeys(name for name, _ in RESULTS)
    ways = [way.name for way in WAYS.values()]
    lines = [f"{'scenario':22}" + "".join(f" {way:36}" for way in ways)]
    for name in names:
        lines.append(f"{name:22}" + "".join(f" {RESULTS.get((name, w), ''):36}" for w in ways))
    with capsys.disabled():
        print("\n\n" + "\n".join(line.rstrip() for line in lines) + "\n")
    assert "FAILED" not in RESULTS.values()
