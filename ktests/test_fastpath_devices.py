# SPDX-License-Identifier: GPL-2.0
"""The devices with a fast path: how they get it, and how they lose it.

director        other
wan -- far      empty       no packets, but where a packet is drawn:

gen ------- in.7 on in   director   s1 ---- s1
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from kt import module
from kt.dual import V4, Dual
from kt.fastpath import fast_path, flows, takes
from kt.genl import Genl, Refused
from kt.net import Network, Ns, permanent_neighbours, sh
from kt.tool import Tool

UNSUPPORTED = "only devices like Ethernet"


@pytest.fixture
def director(director: Ns) -> Iterator[Ns]:
    """The director with a device, `wan`."""
    director.ip("link add wan type veth peer name far", "link set wan up")
    yield director
    director.run("ip", "link", "del", "wan", check=False)


def listed(tool: Tool) -> list[str]:
    """The devices, told alike in both ways."""
    names = tool.run("fastpath", "list").stdout.split()
    told = tool.json("fastpath", "list")
    assert [row["device"] for row in told] == names
    return names


def test_a_device_is_added_listed_removed(tool: Tool, director: Ns) -> None:
    assert listed(tool) == []
    assert tool.run("fastpath", "add", "wan").stdout == ""
    tool.run("fastpath", "add", "far")
    assert sorted(listed(tool)) == ["far", "wan"]
    assert {"device": "wan", "ifindex": director.index("wan")} in tool.json("fastpath", "list")
    tool.run("flush")
    assert sorted(listed(tool)) == ["far", "wan"], "no service's"
    tool.run("fastpath", "del", "wan")
    assert listed(tool) == ["far"]
    director.ip("link set far name away")
    assert listed(tool) == ["away"]
    tool.run("fastpath", "del", "away")
    assert listed(tool) == []


def test_what_is_refused_and_why(tool: Tool, director: Ns, genl: Genl) -> None:
    assert "no such device: eth99" in tool.refused("fastpath", "add", "eth99")
    assert "no such device: eth99" in tool.refused("fastpath", "del", "eth99")
    assert "has no fast path" in tool.refused("fastpath", "del", "wan")
    tool.run("fastpath", "add", "wan")
    assert "already" in tool.refused("fastpath", "add", "wan")
    assert UNSUPPORTED in tool.refused("fastpath", "add", "lo")
    assert "not a name" in tool.misused("fastpath", "add", "eth0:1")
    index = director.index("wan")
    for op, values, number in (
        ("fastpath-new", {"ifindex": index}, errno.EEXIST),
        ("fastpath-new", {"ifindex": 1}, errno.EOPNOTSUPP),
        ("fastpath-new", {"ifindex": 999_999}, errno.ENODEV),
        ("fastpath-new", {"ifindex": 0x8000_0001}, errno.ENODEV),
        ("fastpath-new", {"ifindex": 0}, errno.ERANGE),
        ("fastpath-new", {}, errno.EINVAL),
        ("fastpath-del", {"ifindex": 1}, errno.ENOENT),
        ("fastpath-del", {"ifindex": 0}, errno.ERANGE),
        ("fastpath-del", {}, errno.EINVAL),
    ):
        with pytest.raises(Refused) as refused:
            genl.do(op, **values)
        assert refused.value.errno == number, (op, values, str(refused.value))
    assert listed(tool) == ["wan"]


def test_devices_that_are_not_like_ethernet(tool: Tool, director: Ns) -> None:
    director.ip("link add tnl type ipip local 10.9.9.1 remote 10.9.9.2")
    try:
        assert UNSUPPORTED in tool.refused("fastpath", "add", "tnl")
    finally:
        director.ip("link del tnl")


def test_a_bridge_and_not_its_ports(tool: Tool, director: Ns) -> None:
    director.ip("link add br0 type bridge", "link set wan master br0")
    try:
        assert "name that" in tool.refused("fastpath", "add", "wan")
        tool.run("fastpath", "add", "br0")
        assert listed(tool) == ["br0"]
    finally:
        director.ip("link del br0")
    assert listed(tool) == []
    tool.run("fastpath", "add", "wan")


def test_a_vrf_and_its_devices(tool: Tool, director: Ns) -> None:
    sh("modprobe", "vrf")
    tool.run("fastpath", "add", "wan")
    director.ip("link add vrf0 type vrf table 7", "link set wan master vrf0")
    try:
        assert listed(tool) == []
        for device in ("wan", "vrf0"):
            assert "VRF" in tool.refused("fastpath", "add", device)
    finally:
        director.ip("link del vrf0")


def test_a_device_that_becomes_a_port_loses_it(tool: Tool, director: Ns) -> None:
    director.ip("link add br0 type bridge", "link add upper link wan type vlan id 7")
    try:
        tool.run("fastpath", "add", "wan")
        director.ip("link set upper up")
        assert listed(tool) == ["wan"], "a VLAN on top does not take its packets"
        tool.run("fastpath", "add", "far")
        director.ip("link set wan master br0")
        assert listed(tool) == ["far"]
        director.ip("link set wan nomaster")
        assert listed(tool) == ["far"], "it is not given back"
        tool.run("fastpath", "add", "wan")
    finally:
        director.ip("link del br0", "link del upper")
        tool.run("fastpath", "del", "far")


def test_a_device_that_goes_takes_it_along(tool: Tool, director: Ns) -> None:
    for _ in range(3):
        tool.run("fastpath", "add", "wan")
        tool.run("fastpath", "add", "far")
        director.ip("link del wan")
        assert listed(tool) == []
        director.ip("link add wan type veth peer name far")
        assert listed(tool) == [], "another of the same name"


def test_a_device_that_moves_loses_it(tool: Tool, director: Ns, other: Ns) -> None:
    there = Tool(other)
    tool.run("fastpath", "add", "wan")
    director.ip(f"link set wan netns {other.name}")
    assert (listed(tool), listed(there)) == ([], [])
    there.run("fastpath", "add", "wan")
    assert (listed(tool), listed(there)) == ([], ["wan"])
    assert "no such device" in tool.refused("fastpath", "del", "wan")
    other.ip("link del wan")
    assert listed(there) == []


def test_a_namespace_ends_with_it(tool: Tool, director: Ns) -> None:
    for _ in range(3):
        with Network("doomed-") as network:
            one, two = network.ns("one"), network.ns("two")
            network.link(one, "wan", two, "far")
            for ns, device in ((one, "wan"), (two, "far")):
                Tool(ns).run("fastpath", "add", device)
    assert listed(tool) == []


def test_it_does_not_outlive_the_module(tool: Tool, director: Ns) -> None:
    for _ in range(3):
        tool.run("fastpath", "add", "wan")
        assert module.users() == 0, "it does not hold the module"
        module.unload()
        module.load()
        assert listed(tool) == []


def test_of_two_equal_commands_one_wins(tool: Tool, director: Ns) -> None:
    def ask(verb: str) -> int:
        return tool.run("fastpath", verb, "wan", check=False).returncode

    with ThreadPoolExecutor(8) as pool:
        for verb in ("add", "del"):
            assert sorted(pool.map(ask, [verb] * 12)) == [0] + [1] * 11


def test_devices_come_and_go_beside_commands(tool: Tool, director: Ns) -> None:
    """Whatever meets whatever: done or refused, and nothing is left."""
    stop = False

    def churn() -> int:
        done = 0
        with Genl(director) as genl:
            while not stop:
                try:
                    genl.do("fastpath-new", ifindex=director.index("wan"))
                    genl.dump("fastpath-get")
                    done += 1
                    genl.do("fastpath-del", ifindex=director.index("wan"))
                except (OSError, Refused):
                    continue
        return done

    with ThreadPoolExecutor(2) as pool:
        churning = [pool.submit(churn) for _ in range(2)]
        try:
            for _ in range(20):
                director.ip("link del wan", "link add wan type veth peer name far")
        finally:
            stop = True
        assert sum(c.result(timeout=30) for c in churning) > 0
    director.ip("link del wan")
    assert listed(tool) == []


def test_a_vlan_is_a_device_of_its_own(dual: Dual) -> None:
    """Tagged packets are not those of the device below."""
    client, _ = flows(dual, V4)
    dual.director.ip(
        "link add link in name in.7 type vlan id 7",
        "link set in.7 up",
        "addr add 10.1.7.254/24 dev in.7",
        f"route add {client.address} dev in.7",
    )
    permanent_neighbours(dual.director, "in.7", [(client.address, dual.gen.mac("out"))])
    head = dual.director.mac("in") + dual.gen.mac("out") + struct.pack("!HHH", 0x8100, 7, 0x0800)
    try:
        for device, count in (("in", 0), ("in.7", 1)):
            with fast_path(dual, device), takes(dual, count):
                with dual.moved(1):
                    dual.port.sock.send(head + client.esp())
                dual.captures[0].one()
    finally:
        dual.director.ip("link del in.7")
