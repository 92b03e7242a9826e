# SPDX-License-Identifier: GPL-2.0
"""The command `ipvs-ipsec`: what it does, what it prints, what it returns.

one namespace, "director", without links
"""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from kt import module
from kt.genl import Genl, Refused
from kt.net import Ns
from kt.tool import Tool

VIP, VIP2, RIP, RIP2 = "198.51.100.1", "198.51.100.2", "10.2.1.1", "10.2.2.1"


def test_the_empty_table(tool: Tool) -> None:
    assert tool.services() == []
    assert tool.entries() == []
    assert len(tool.run("list").stdout.splitlines()) == 3, (
        "two lines of head, as ipvsadm's, or three"
    )
    assert set(tool.counters().values()) == {0}


def test_what_is_configured_is_listed(tool: Tool) -> None:
    tool.run("service", "add", VIP, "--scheduler", "rr")
    tool.run("server", "add", VIP, RIP)
    tool.run("server", "add", VIP, RIP2, "--method", "dr", "--weight", 7)
    tool.run("service", "add", VIP2)
    first, second = tool.services()
    assert (first["address"], first["scheduler"]) == (VIP, "rr")
    assert [(s["address"], s["method"], s["weight"]) for s in first["servers"]] == [
        (RIP, "dr", 1),
        (RIP2, "dr", 7),
    ]
    assert (second["address"], second["scheduler"], second["servers"]) == (VIP2, "wrr", [])
    text = tool.run("list").stdout
    for word in (VIP, VIP2, RIP, RIP2, "rr", "wrr"):
        assert word in text


def test_changes_and_removals(tool: Tool) -> None:
    tool.run("service", "add", VIP, "--scheduler", "rr")
    tool.run("server", "add", VIP, RIP)
    tool.run("service", "set", VIP, "--scheduler", "wrr")
    tool.run("server", "set", VIP, RIP, "--weight", 0)
    (service,) = tool.services()
    assert service["scheduler"] == "wrr" and service["servers"][0]["weight"] == 0
    tool.run("server", "del", VIP, RIP)
    assert tool.services()[0]["servers"] == []
    tool.run("service", "del", VIP)
    tool.run("service", "add", VIP2)
    tool.run("flush")
    assert tool.services() == []


def test_refusals_have_status_one_and_the_kernels_words(tool: Tool) -> None:
    tool.run("service", "add", VIP)
    with Genl(tool.ns) as genl:
        for words, op, values in (
            (("service", "add", VIP), "service-new", {"address": VIP}),
            (("service", "del", VIP2), "service-del", {"address": VIP2}),
            (("server", "add", VIP2, RIP), "server-new", {"service": VIP2, "address": RIP}),
            (("server", "del", VIP, RIP), "server-del", {"service": VIP, "address": RIP}),
            (
                ("service", "add", VIP2, "--scheduler", "nonesuch"),
                "service-new",
                {"address": VIP2, "scheduler": "nonesuch"},
            ),
        ):
            with pytest.raises(Refused) as refused:
                genl.do(op, **values)
            assert refused.value.text in tool.refused(*words)
    assert len(tool.services()) == 1


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("service",),
        ("service", "add"),
        ("service", "add", "vpn.example"),
        ("server", "add", VIP),
        ("server", "add", VIP, RIP, "--weight", "65536"),
        ("server", "add", VIP, RIP, "--method", "magic"),
        ("flush", "now"),
        ("sing",),
    ],
    ids=" ".join,
)
def test_wrong_usage_has_status_two(tool: Tool, words: tuple[str, ...]) -> None:
    assert tool.misused(*words)


def test_parallel_commands_lose_nothing(tool: Tool) -> None:
    tool.run("service", "add", VIP)
    rips = [f"10.4.0.{n}" for n in range(1, 41)]

    def add(rip: str) -> None:
        tool.run("server", "add", VIP, rip)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, rips))
    assert sorted(s["address"] for s in tool.services()[0]["servers"]) == sorted(rips)


def test_of_two_equal_commands_one_wins(tool: Tool) -> None:
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: tool.run("service", "add", VIP, check=False), range(16)))
    assert sorted(d.returncode for d in done) == [0] + [1] * 15
    assert len(tool.services()) == 1


def test_lists_hold_still_while_the_table_changes(director: Ns) -> None:
    """Adding and removing beside dumps: every dump is whole, or says it was interrupted."""
    stop = False

    def churn() -> int:
        rounds = 0
        with Genl(director) as genl:
            while not stop:
                genl.do("service-new", address=VIP2)
                for n in range(1, 20):
                    genl.do("server-new", service=VIP2, address=f"10.5.0.{n}")
                genl.do("service-del", address=VIP2)
                rounds += 1
        return rounds

    with Genl(director) as genl:
        genl.do("service-new", address=VIP)
        genl.do("server-new", service=VIP, address=RIP)
    with ThreadPoolExecutor(1) as pool:
        churning = pool.submit(churn)
        try:
            with Genl(director) as genl:
                for _ in range(150):
                    assert VIP in {s["address"] for s in genl.dump("service-get")}
                    assert VIP in {s["service"] for s in genl.dump("server-get")}
        finally:
            stop = True
        assert churning.result(timeout=10) > 0


def test_it_says_when_the_module_is_not_loaded(tool: Tool) -> None:
    module.unload()
    try:
        assert "not loaded" in tool.refused("list")
    finally:
        module.load()


def test_output_to_a_closed_pipe_is_no_error(tool: Tool) -> None:
    tool.run("service", "add", VIP)
    done = tool.ns.run("sh", "-c", "ipvs-ipsec list | true")
    assert done.returncode == 0 and done.stderr == ""
    with open("/dev/full", "w", encoding="ascii") as full, tool.ns.entered():
        failed = subprocess.run(
            ["ipvs-ipsec", "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert failed.returncode == 1 and "No space left" in failed.stderr
