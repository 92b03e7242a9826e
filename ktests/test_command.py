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
from kt.wait import PATIENCE

VIP, VIP2, RIP, RIP2 = "198.51.100.1", "198.51.100.2", "10.2.1.1", "10.2.2.1"
RIP6 = "2001:db8:2::1"


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
    assert (second["address"], second["scheduler"], second["servers"]) == (VIP2, "wlc", [])
    text = tool.run("list").stdout
    assert text.splitlines()[3:] == [
        f"IPSEC {VIP} rr",
        f"  -> {RIP:<28} Route   1      0          0",
        f"  -> {RIP2:<28} Route   7      0          0",
        f"IPSEC {VIP2} wlc",
    ]


def test_a_service_with_all_options(tool: Tool) -> None:
    tool.run("service", "add", VIP, "-s", "sh", "-b", "sh-port", "-p", "-M", "255.255.255.0")
    (service,) = tool.services()
    assert service["scheduler_flags"] == ["port"]
    assert (service["persistence_timeout"], service["persistence_prefix"]) == (300, 24)
    line = f"IPSEC {VIP} sh (sh-port) persistent 300 mask 255.255.255.0"
    assert tool.run("list").stdout.splitlines()[3] == line
    tool.run("service", "set", VIP, "-b", "sh-fallback,sh-port")
    tool.run("service", "set", VIP, "-p", 60, "-M", 32)
    line = f"IPSEC {VIP} sh (sh-fallback,sh-port) persistent 60"
    assert tool.run("list").stdout.splitlines()[3] == line
    tool.run("service", "set", VIP, "-b", "none", "-p", 0)
    assert tool.run("list").stdout.splitlines()[3] == f"IPSEC {VIP} sh"
    assert tool.services()[0]["persistence_prefix"] == 32, "what is not said stays"


def test_a_service_with_timeouts_of_its_own(tool: Tool) -> None:
    tool.run("service", "add", VIP)
    (service,) = tool.services()
    keys = ("initial_timeout", "established_timeout", "soft_entries")
    assert [service[key] for key in keys] == [0, 0, 0]
    tool.run("service", "set", VIP, "--initial-timeout", 20, "--soft-entries", 65536)
    line = f"IPSEC {VIP} wlc initial-timeout 20 soft-entries 65536"
    assert tool.run("list").stdout.splitlines()[3] == line
    tool.run("service", "set", VIP, "-p", "--established-timeout", 2592000, "--soft-entries", 0)
    line = f"IPSEC {VIP} wlc persistent 300 initial-timeout 20 established-timeout 2592000"
    assert tool.run("list").stdout.splitlines()[3] == line
    (service,) = tool.services()
    assert [service[key] for key in keys] == [20, 2592000, 0]


def test_spis_that_name_servers(tool: Tool) -> None:
    tool.run("service", "add", VIP)
    spis = ("--ike-label", "0x0b00000000000000", "--ike-mask", "0xff00000000000000")
    tool.run("server", "add", VIP, RIP, *spis, "--esp-spis", "0xcb000000-0xcbffffff")
    tool.run("server", "add", VIP, RIP2)
    keys = ("ike_label", "ike_mask", "esp_spi_min", "esp_spi_max")

    def shown() -> list[list[str]]:
        return [[server[key] for key in keys] for server in tool.services()[0]["servers"]]

    none = ["0x" + "0" * 16] * 2 + ["0x" + "0" * 8] * 2
    assert shown() == [[spis[1], spis[3], "0xcb000000", "0xcbffffff"], none]
    assert tool.run("list", "--spis").stdout.splitlines()[4:] == [
        f"  -> {RIP:<28} {spis[1]} {spis[3]} 0xcb000000-0xcbffffff",
        f"  -> {RIP2:<28} {'none':<18} {'none':<18} none",
    ]
    tool.run("server", "set", VIP, RIP, "--ike-label", "0x0c00000000000000")
    tool.run("server", "set", VIP, RIP2, "--esp-spis", "256-0xffff")
    assert [server[0] for server in shown()] == ["0x0c00000000000000", none[0]]
    assert shown()[1] == [*none[:2], "0x00000100", "0x0000ffff"]
    tool.run("server", "set", VIP, RIP, "--ike-label", "none")
    tool.run("server", "set", VIP, RIP2, "--esp-spis", "none")
    assert shown() == [[*none[:2], "0xcb000000", "0xcbffffff"], none]
    assert "persistent" not in tool.run("list", "--spis").stdout


def test_a_mark_is_a_service_in_each_family(tool: Tool) -> None:
    tool.run("service", "add", "fwmark:0x10")
    tool.run("service", "add", "fwmark6:16", "-p", 60, "-M", "/64")
    tool.run("server", "add", "fwmark:16", RIP)
    tool.run("server", "add", "fwmark6:16", RIP6)
    services = {service["family"]: service for service in tool.services()}
    assert {family: service["fwmark"] for family, service in services.items()} == {
        "inet": 16,
        "inet6": 16,
    }
    assert all("address" not in service for service in services.values())
    assert [s["address"] for s in services["inet"]["servers"]] == [RIP]
    assert [s["address"] for s in services["inet6"]["servers"]] == [RIP6]
    assert tool.run("list", "fwmark:16").stdout.splitlines()[3:] == [
        "FWM  16 wlc",
        f"  -> {RIP:<28} Route   1      0          0",
    ]
    assert tool.run("list", "fwmark6:16").stdout.splitlines()[3:] == [
        "FWM  16 IPv6 wlc persistent 60 mask 64",
        f"  -> {RIP6:<28} Route   1      0          0",
    ]
    tool.run("server", "del", "fwmark6:16", RIP6)
    tool.run("service", "del", "fwmark:16")
    (service,) = tool.services()
    assert (service["family"], service["servers"]) == ("inet6", [])


def test_a_server_with_all_options(tool: Tool) -> None:
    tool.run("service", "add", VIP)
    gue = ("--tun-type", "gue", "--tun-port", 6081, "--tun-csum")
    tool.run("server", "add", VIP, RIP, "-m", "tun", *gue)
    tool.run("server", "add", VIP, RIP2, "-m", "nat", "--encap", "-x", 100, "-y", 75)
    tun, nat = tool.services()[0]["servers"]
    assert tun["tunnel"] == {"type": "gue", "port": 6081, "flags": ["csum"]}
    assert "tunnel" not in nat
    assert (tun["encap"], nat["encap"]) == (False, True)
    assert (nat["upper_threshold"], nat["lower_threshold"]) == (100, 75)
    assert tool.run("list").stdout.splitlines()[4:] == [
        f"  -> {RIP:<28} Tunnel  1      0          0",
        f"  -> {RIP2:<28} Masq    1      0          0",
    ]
    assert tool.run("list", "--thresholds").stdout.splitlines()[4:] == [
        f"  -> {RIP:<28} 0          0          0          0",
        f"  -> {RIP2:<28} 100        75         0          0",
    ]
    tool.run("server", "set", VIP, RIP, "--tun-type", "gre", "--tun-nocsum")
    tool.run("server", "set", VIP, RIP2, "--no-encap", "-x", 0, "-y", 0)
    tun, nat = tool.services()[0]["servers"]
    assert (tun["tunnel"]["type"], tun["tunnel"]["flags"]) == ("gre", [])
    assert (nat["encap"], nat["upper_threshold"], nat["lower_threshold"]) == (False, 0, 0)


@pytest.mark.parametrize(
    "view, columns",
    [
        ("--stats", "Conns InPkts OutPkts InBytes OutBytes"),
        ("--rate", "CPS InPPS OutPPS InBPS OutBPS"),
        ("--thresholds", "Uthreshold Lthreshold ActiveConn InActConn"),
        ("--spis", "IkeLabel IkeMask EspSpis"),
        ("--drops", "Packets Reason"),
    ],
)
def test_views_of_the_list(tool: Tool, view: str, columns: str) -> None:
    tool.run("service", "add", VIP)
    tool.run("server", "add", VIP, RIP)
    lines = tool.run("list", view).stdout.splitlines()
    assert lines[1].split() == ["Prot", "LocalAddress", *columns.split()]
    assert lines[2] == "  -> RemoteAddress"
    assert [line.split()[1] for line in lines[3:]] == [VIP, RIP]
    assert tool.json("list", view) == tool.json("list")


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
    tool.run("server", "add", VIP, RIP2, "--ike-label", "0x3", "--ike-mask", "0xf")
    tool.run("server", "set", VIP, RIP2, "--esp-spis", "256-511")
    old, new = {"service": VIP, "address": RIP2}, {"service": VIP, "address": RIP}
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
            (
                ("server", "set", VIP, RIP2, "--ike-label", "0x10"),
                "server-set",
                {**old, "ike-label": 0x10},
            ),
            (
                ("server", "set", VIP, RIP2, "--ike-mask", "0x1"),
                "server-set",
                {**old, "ike-mask": 1},
            ),
            (
                ("server", "add", VIP, RIP, "--ike-label", "0x13", "--ike-mask", "0xff"),
                "server-new",
                {**new, "ike-label": 0x13, "ike-mask": 0xFF},
            ),
            (
                ("server", "add", VIP, RIP, "--esp-spis", "511-512"),
                "server-new",
                {**new, "esp-spi-min": 511, "esp-spi-max": 512},
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
        ("service", "add", "fwmark:0"),
        ("service", "add", "-p", VIP),
        ("service", "add", VIP, "-p", "2678401"),
        ("service", "add", VIP, "-M", "33"),
        ("service", "add", VIP, "-b", "sh-port"),
        ("server", "add", VIP),
        ("server", "add", VIP, RIP, "--weight", "65536"),
        ("server", "add", VIP, RIP, "--method", "magic"),
        ("server", "add", VIP, RIP, "--tun-type", "gre"),
        ("server", "add", VIP, RIP, "--method", "dr", "--encap"),
        ("service", "add", VIP, "--initial-timeout", "3601"),
        ("service", "add", VIP, "--soft-entries", "-1"),
        ("server", "add", VIP, RIP, "--ike-label", "0x1"),
        ("server", "add", VIP, RIP, "--ike-label", "0x2", "--ike-mask", "0x1"),
        ("server", "add", VIP, RIP, "--esp-spis", "255-300"),
        ("list", "--stats", "--rate"),
        ("entry", "flush", VIP),
        ("entry", "list", "--client", RIP, "--service", RIP6),
        ("flush", "now"),
        ("sing",),
    ],
    ids=" ".join,
)
def test_wrong_usage_has_status_two(tool: Tool, words: tuple[str, ...]) -> None:
    assert tool.misused(*words)


def test_entries_that_are_not_there_are_flushed_in_silence(tool: Tool) -> None:
    for words in ((), ("--client", RIP), ("--service", VIP), ("--client", RIP6, "--service", RIP6)):
        done = tool.run("entry", "flush", *words)
        assert (done.stdout, done.stderr) == ("", "")
        assert tool.json("entry", "list", *words) == []


def test_the_sweep_tells_how_it_keeps_up(tool: Tool) -> None:
    told = tool.json("stats")
    lines = dict(line.split() for line in tool.run("stats").stdout.splitlines() if line)
    for key in ("sweep_step_us", "sweep_lag_ms"):
        assert told[key] >= 0
        assert int(lines[key.replace("_", "-")]) >= told[key], "the worst there was"


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
        assert churning.result(timeout=10 * PATIENCE) > 0


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
