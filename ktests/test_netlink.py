# SPDX-License-Identifier: GPL-2.0
"""The netlink family: what is asked for is done, and shown.

one namespace, "director", without links; its neighbour "other" must not see it
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kt.genl import Genl, Refused, spec
from kt.net import Ns

VIP, VIP2, RIP, RIP2 = "198.51.100.1", "198.51.100.2", "10.2.1.1", "10.2.2.1"


# What a new service and a new server have, whatever was asked for.
NOTHING_YET = {
    **dict.fromkeys(("conns", "in-packets", "in-bytes", "out-packets", "out-bytes"), 0),
    **dict.fromkeys(("cps", "in-pps", "in-bps", "out-pps", "out-bps"), 0),
    "drops": {},
}


@pytest.fixture
def genl(director: Ns) -> Iterator[Genl]:
    """A socket at a director with one service and one server."""
    with Genl(director) as made:
        made.do("service-new", address=VIP, scheduler="rr")
        made.do("server-new", service=VIP, address=RIP, method="dr", weight=3)
        yield made


def test_a_service_is_added_shown_changed_removed(genl: Genl) -> None:
    genl.do("service-new", address=VIP2, scheduler="rr")
    assert {s["address"] for s in genl.dump("service-get")} == {VIP, VIP2}
    shown = genl.do("service-get", address=VIP2)
    assert shown == {
        "address": VIP2,
        "scheduler": "rr",
        "scheduler-flags": set(),
        "persistence-timeout": 0,
        "persistence-prefix": 32,
        "initial-timeout": 0,
        "established-timeout": 0,
        "soft-entries": 0,
        "servers": 0,
        **NOTHING_YET,
    }
    genl.do("service-set", address=VIP2, scheduler="wrr")
    assert genl.do("service-get", address=VIP2)["scheduler"] == "wrr"
    assert genl.do("service-get", address=VIP)["scheduler"] == "rr"
    genl.do("service-del", address=VIP2)
    assert [s["address"] for s in genl.dump("service-get")] == [VIP]


def test_a_server_is_added_shown_changed_removed(genl: Genl) -> None:
    genl.do("server-new", service=VIP, address=RIP2, method="dr", weight=65535)
    assert {s["address"] for s in genl.dump("server-get", service=VIP)} == {RIP, RIP2}
    assert genl.do("service-get", address=VIP)["servers"] == 2
    shown = genl.do("server-get", service=VIP, address=RIP2)
    assert shown == {
        "service": VIP,
        "address": RIP2,
        "method": "dr",
        "weight": 65535,
        "upper-threshold": 0,
        "lower-threshold": 0,
        "ike-label": 0,
        "ike-mask": 0,
        "esp-spi-min": 0,
        "esp-spi-max": 0,
        "established": 0,
        "initial": 0,
        "persistent": 0,
        **NOTHING_YET,
    }
    for weight in (0, 1, 65535):
        genl.do("server-set", service=VIP, address=RIP2, weight=weight)
        assert genl.do("server-get", service=VIP, address=RIP2)["weight"] == weight
    assert genl.do("server-get", service=VIP, address=RIP)["weight"] == 3
    genl.do("server-del", service=VIP, address=RIP2)
    assert [s["address"] for s in genl.dump("server-get")] == [RIP]


def test_defaults_are_wlc_dr_and_weight_one(genl: Genl) -> None:
    genl.do("service-new", address=VIP2)
    genl.do("server-new", service=VIP2, address=RIP)
    assert genl.do("service-get", address=VIP2)["scheduler"] == "wlc"
    shown = genl.do("server-get", service=VIP2, address=RIP)
    assert (shown["method"], shown["weight"]) == ("dr", 1)


def test_one_server_may_serve_two_services(genl: Genl) -> None:
    genl.do("service-new", address=VIP2, scheduler="wrr")
    genl.do("server-new", service=VIP2, address=RIP, weight=9)
    assert genl.do("server-get", service=VIP, address=RIP)["weight"] == 3
    assert [s["weight"] for s in genl.dump("server-get", service=VIP2)] == [9]
    genl.do("service-del", address=VIP2)
    assert [s["service"] for s in genl.dump("server-get")] == [VIP]


def test_hundreds_are_dumped_over_many_messages(genl: Genl) -> None:
    genl.do("flush")
    vips = [f"198.51.{n // 100}.{n % 100 + 1}" for n in range(150)]
    for vip in vips:
        genl.do("service-new", address=vip)
    rips = [f"10.3.{n // 100}.{n % 100 + 1}" for n in range(300)]
    for rip in rips:
        genl.do("server-new", service=vips[7], address=rip)
    for vip in vips[100:110]:
        genl.do("server-new", service=vip, address=RIP)
    assert sorted(s["address"] for s in genl.dump("service-get")) == sorted(vips)
    assert sorted(s["address"] for s in genl.dump("server-get", service=vips[7])) == sorted(rips)
    assert len(genl.dump("server-get")) == 310
    genl.do("flush")
    assert genl.everything() == ([], [])


def test_status_names_version_and_every_counter(genl: Genl) -> None:
    status = genl.do("status-get")
    assert status["version"]
    assert status["table-size"] >= 1 and status["table-size"] & (status["table-size"] - 1) == 0
    assert (status["entries"], status["initial"]) == (0, 0)
    assert status["counters"].keys() == spec()["sets"]["counters"].keys()


def test_namespaces_do_not_see_each_other(genl: Genl, other: Ns) -> None:
    with Genl(other) as there:
        assert there.everything() == ([], [])
        there.do("service-new", address=VIP, scheduler="wrr")
        there.do("service-new", address=VIP2)
        assert genl.do("service-get", address=VIP)["scheduler"] == "rr"
        with pytest.raises(Refused):
            genl.do("service-get", address=VIP2)
        there.do("flush")
        assert there.everything() == ([], [])
    assert len(genl.dump("server-get")) == 1
    with Genl() as initial:
        assert initial.everything() == ([], [])
