# SPDX-License-Identifier: GPL-2.0
"""nat with --encap: the client speaks ESP, its server ESP in UDP.

    client esp --- router --- director --- gw1        all of it: kt/matrix.py
                 ESP                  UDP 4500

NAT detection (RFC 7296 section 2.23) is symmetric: each end learns of the NAT
from addresses that the other hashed, so strongSwan has UDP at both ends or at
none, and no option to ignore what it detected. Therefore IKE is real, and makes
the entry, but the keys are set by hand: without encapsulation at the client,
with it at the gateway, whose daemon keeps the socket on 4500.

libreswan has such an option, encapsulation=no. With leftikeport and rightikeport
4500 (it would stay on 500 otherwise, and the server's SA with it) a libreswan
4.10 client and a strongSwan server were seen to do the same without hands.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kt import module
from kt.genl import Genl
from kt.matrix import COUNTING, INSIDE, VIPS, Client, MatrixLab, Way, reset_counters

FAMILIES = [4, 6]
OWN = "10.9.9.1"  # the client's address inside
KEY = "reqid 1 flag af-unspec aead rfc4106(gcm(aes)) 0x" + "5a" * 20 + " 128"
ENCAP = "encap espinudp 4500 4500 0.0.0.0"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MatrixLab]:
    """The lab, the client counting what reaches it."""
    module.load()
    with MatrixLab(Path(tmp_path_factory.mktemp("charon"))) as made:
        client = made.clients[0]
        client.ns.run("nft", "-f", "-", input=COUNTING)
        client.ns.ip(f"addr add {OWN}/32 dev lo")
        yield made


def configure(lab: MatrixLab, family: int, encap: int) -> None:
    """The first gateway alone, by nat."""
    lab.configure(Way("nat", family, family))
    service = VIPS[family]
    with Genl(lab.director.ns) as genl:
        genl.do("server-del", service=service, address=lab.gateways[1].addresses[family])
        genl.do(
            "server-set", service=service, address=lab.gateways[0].addresses[family], encap=encap
        )


def exchange(client: Client, family: int) -> None:
    """IKE from the beginning to the end; the entry stays."""
    client.charon.initiate(name=f"vpn{family}")
    client.charon.terminate(f"vpn{family}")


def key_by_hand(lab: MatrixLab, family: int) -> None:
    """The same two keys at both ends, each as its end sees the addresses."""
    client, gateway = lab.clients[0], lab.gateways[0]
    for host, mine, other, encap in (
        (client, client.addresses[family], VIPS[family], ""),
        (gateway, gateway.addresses[family], client.addresses[family], ENCAP),
    ):
        there, back = ("out", "in") if host is client else ("in", "out")
        outwards, inwards = (f"src {a} dst {b}" for a, b in ((mine, other), (other, mine)))
        to_inside, from_inside = (outwards, inwards) if host is client else (inwards, outwards)
        host.ns.ip(
            f"xfrm state add {to_inside} proto esp spi 0x1001 mode tunnel {KEY} {encap}",
            f"xfrm state add {from_inside} proto esp spi 0x1002 mode tunnel {KEY} {encap}",
            f"xfrm policy add src {OWN} dst {INSIDE} dir {there} "
            f"tmpl {to_inside} proto esp mode tunnel reqid 1",
            f"xfrm policy add src {INSIDE} dst {OWN} dir {back} "
            f"tmpl {from_inside} proto esp mode tunnel reqid 1",
        )
    client.ns.ip(f"route replace {INSIDE} via 203.0.113.254 src {OWN}")


@pytest.fixture
def clean(lab: MatrixLab) -> Iterator[MatrixLab]:
    """The lab; no keys are left in it."""
    yield lab
    client = lab.clients[0]
    client.ns.run("ip", "route", "del", INSIDE, check=False)
    for host in (client, lab.gateways[0]):
        host.ns.ip("xfrm state flush", "xfrm policy flush")


@pytest.mark.parametrize("family", FAMILIES, ids=["IPv4", "IPv6"])
def test_esp_becomes_esp_in_udp_and_back(clean: MatrixLab, family: int) -> None:
    client, gateway = clean.clients[0], clean.gateways[0]
    configure(clean, family, encap=1)
    exchange(client, family)
    key_by_hand(clean, family)
    reset_counters(client.ns)
    gateway.reached()
    before = clean.counters()
    answered, told = client.ping(5)
    here, there = reset_counters(client.ns), gateway.reached()
    seen = [(counts["esp"], counts["udp"]) for counts in (here, there)]
    assert (answered, seen) == (5, [(5, 0), (0, 5)]), told
    client.transfer("256K")
    moved = {k: n - before[k] for k, n in clean.counters().items() if n != before[k]}
    assert moved["esp"] > 5 and "esp-in-udp" not in moved and moved["out"] > 5, moved
    assert {name for name in moved if name.startswith("drop-")} <= {"drop-mtu"}, moved


@pytest.mark.parametrize("family", FAMILIES, ids=["IPv4", "IPv6"])
def test_without_encap_the_gateway_gets_what_it_cannot_read(clean: MatrixLab, family: int) -> None:
    client, gateway = clean.clients[0], clean.gateways[0]
    configure(clean, family, encap=0)
    exchange(client, family)
    key_by_hand(clean, family)
    gateway.reached()
    answered, _ = client.ping(3, "-W", "0.5")
    there = gateway.reached()
    assert (answered, there["esp"], there["udp"]) == (0, 3, 0)


@pytest.mark.parametrize("family", FAMILIES, ids=["IPv4", "IPv6"])
def test_a_client_with_nat_traversal_is_left_alone(lab: MatrixLab, family: int) -> None:
    client, gateway = lab.clients[0], lab.gateways[0]
    configure(lab, family, encap=1)
    client.charon.initiate(name=f"vpn{family}")
    try:
        reset_counters(client.ns)
        gateway.reached()
        answered, told = client.ping(5)
        assert answered == 5, told
        here, there = reset_counters(client.ns), gateway.reached()
        assert [(c["esp"], c["udp"]) for c in (here, there)] == [(0, 5), (0, 5)]
        client.transfer("256K")
    finally:
        client.charon.terminate(f"vpn{family}")
