# SPDX-License-Identifier: GPL-2.0
"""YNL of the kernel's source, given our spec, works with the module.

one namespace, "director", without links
"""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from kt.genl import Genl, known, spec, spec_file
from kt.net import Ns
from kt.tool import Tool

VIP, RIP = "198.51.100.1", "10.2.1.1"


def ynl_folder() -> Path:
    """Where the kernel source's YNL lies: beside the tests, or below them."""
    named = os.environ.get("IPVS_IPSEC_YNL")
    places = [Path(named)] if named else []
    places += [Path(__file__).resolve().parents[1] / "ynl", Path("/opt/ip_vs_ipsec/ynl")]
    for place in places:
        if (place / "pyynl" / "cli.py").is_file():
            return place
    pytest.fail(f"no pyynl/cli.py in {places}")


def ynl(director: Ns, *words: str) -> str:
    """YNL's command-line tool with our spec."""
    return director.run(
        sys.executable,
        ynl_folder() / "pyynl" / "cli.py",
        "--spec",
        spec_file(),
        "--no-schema",
        *words,
    ).stdout


def as_ynl_shows(group: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Our rows; YNL makes words of the numbers that the spec wants in hexadecimal."""
    return [
        {n: hex(value) if known(group, n).hexadecimal else value for n, value in row.items()}
        for row in rows
    ]


def test_ynl_cli_adds_a_service_and_dumps_it(director: Ns, tool: Tool) -> None:
    ynl(director, "--do", "service-new", "--json", f'{{"address": "{VIP}", "scheduler": "rr"}}')
    ynl(
        director,
        "--do",
        "server-new",
        "--json",
        f'{{"service": "{VIP}", "address": "{RIP}", "method": "dr", "weight": 5}}',
    )
    services = json.loads(ynl(director, "--dump", "service-get", "--output-json"))
    assert [(s["address"], s["scheduler"], s["servers"]) for s in services] == [(VIP, "rr", 1)]
    servers = json.loads(ynl(director, "--dump", "server-get", "--output-json"))
    assert [(s["service"], s["address"], s["method"], s["weight"]) for s in servers] == [
        (VIP, RIP, "dr", 5)
    ]
    assert tool.services()[0]["servers"][0]["weight"] == 5


def test_ynl_library_agrees_with_ours(director: Ns) -> None:
    sys.path.insert(0, str(ynl_folder()))
    from pyynl.lib import NlError, YnlFamily

    with director.entered():
        family = YnlFamily(str(spec_file()), schema="")
    try:
        family.do("service-new", {"address": VIP, "scheduler": "rr"})
        spis = {"ike-label": 0xA1, "ike-mask": 0xFF, "esp-spi-min": 256, "esp-spi-max": 511}
        family.do("server-new", {"service": VIP, "address": RIP, "weight": 2, **spis})
        with Genl(director) as genl:
            assert family.dump("service-get", {}) == genl.dump("service-get")
            servers = genl.dump("server-get")
            assert family.dump("server-get", {}) == as_ynl_shows("server", servers)
            assert {name: servers[0][name] for name in spis} == spis
            assert family.do("status-get", {}) == genl.do("status-get")
        with pytest.raises(NlError) as refused:
            family.do("service-new", {"address": VIP})
        assert refused.value.error == errno.EEXIST
        assert refused.value.nl_msg.extack["msg"]
    finally:
        family.sock.close()


def test_the_kernels_policy_is_the_specs(director: Ns) -> None:
    """What the loaded module checks is what the spec in the tree says: not stale."""
    sys.path.insert(0, str(ynl_folder()))
    from pyynl.lib import YnlFamily

    with director.entered():
        family = YnlFamily(str(spec_file()), schema="")
        policy = family.get_policy("server-new", "do").to_dict()
    family.sock.close()
    assert policy["weight"]["max-value"] == 65535
    assert policy["method"]["max-value"] == 3
    assert policy["tunnel-type"]["max-value"] == 2
    assert policy["tunnel-flags"]["mask"] == 1
    assert policy["encap"]["max-value"] == 1
    # The kernel tells of no policy for numbers in network byte order (net/netlink/policy.c); of
    # those with 64 bits it does not know that they are.
    assert set(policy) == set(spec()["takes"]["server-new", "do"]) - {"tunnel-port"}
