# SPDX-License-Identifier: GPL-2.0
"""The way to a server changes under the director's feet.

    gen ------ director ---- s1 10.2.1.1 ---- (10.50.0.1, a server that two
               VIP on lo --- s2 10.2.2.1 ---- routers lead to)
               new ========= a link that comes and goes, 10.60.0.2

The director may remember ways; it must notice when one is no longer good, and
must not hold a device that is to be removed.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kt.bench import VIP, Bench, server_address
from kt.capture import Capture
from kt.wait import wait_until

FAR = "10.50.0.1"
NEW, NEW_PEER = "10.60.0.1", "10.60.0.2"


@pytest.fixture
def far(bench: Bench) -> Iterator[Bench]:
    """One server, behind s1."""
    bench.setup("rr", [])
    bench.genl.do("server-new", service=VIP, address=FAR)
    bench.director.ip(f"route replace {FAR} via {server_address(1)}")
    yield bench
    bench.director.ip(f"route replace {FAR} via {server_address(1)}", f"route del {FAR}")


def test_a_changed_route_is_followed_by_the_next_packet(far: Bench) -> None:
    client = far.client()
    assert far.server_of(client.first(), client.later(), client.esp()) == 1
    for router in (2, 3, 1):
        far.director.ip(f"route replace {FAR} via {server_address(router)}")
        assert far.server_of(client.later(), client.esp()) == router


def test_a_lost_route_is_a_counted_drop_and_the_entry_lives_on(far: Bench) -> None:
    client = far.client()
    assert far.server_of(client.first(), client.later()) == 1
    far.director.ip(f"route del {FAR}")
    far.expect(client.esp(), client.later(), drop_no_route=2)
    far.director.ip(f"route add {FAR} via {server_address(2)}")
    assert far.server_of(client.esp(), client.later()) == 2


def test_an_unreachable_route_is_a_counted_drop(far: Bench) -> None:
    client = far.client()
    assert far.server_of(client.first(), client.later()) == 1
    for kind in ("unreachable", "prohibit", "blackhole"):
        far.director.ip(f"route replace {kind} {FAR}")
        far.expect(client.esp(), drop_no_route=1)
        far.director.ip(f"route del {kind} {FAR}")
    far.director.ip(f"route replace {FAR} via {server_address(1)}")
    assert far.server_of(client.esp()) == 1


def link(bench: Bench) -> Capture:
    """The link that comes and goes: another device in the director and in s3."""
    bench.network.link(bench.director, "new", bench.servers[2], "new")
    bench.director.ip(f"addr add {NEW}/24 dev new")
    bench.servers[2].ip(f"addr add {NEW_PEER}/24 dev new")
    return Capture(bench.servers[2], "new")


def test_a_device_in_use_can_be_removed(bench: Bench) -> None:
    """A held device shows as "unregister_netdevice: waiting" in the kernel's log."""
    bench.setup("rr", [])
    bench.genl.do("server-new", service=VIP, address=NEW_PEER)
    client = bench.client()
    first = True
    for _ in range(3):
        capture = link(bench)
        try:
            bench.expect(
                *([client.first()] if first else []),
                client.later(),
                client.esp(),
                ike=1 + first,
                esp=1,
            )
            capture.wait(2 + first, "packets over the new link")
        finally:
            capture.close()
            bench.director.run("ip", "link", "del", "new", timeout=8)
        wait_until(
            lambda: "new" not in bench.director.run("ip", "-br", "link").stdout,
            5,
            "the device's end",
        )
        bench.expect(client.esp(), drop_no_route=1)
        first = False


def test_a_device_that_is_down_is_a_counted_drop_until_it_is_up(bench: Bench) -> None:
    bench.setup("rr", [1])
    client, _ = bench.established()
    peer = bench.servers[0].mac("eth0").hex(":")
    bench.director.ip("link set s1 down")
    try:
        bench.expect(client.esp(), drop_no_route=1)
    finally:
        bench.director.ip(
            "link set s1 up",
            f"neigh replace {server_address(1)} lladdr {peer} nud permanent dev s1",
        )
    assert bench.server_of(client.esp()) == 1
