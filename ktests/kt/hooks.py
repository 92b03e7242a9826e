# SPDX-License-Identifier: GPL-2.0
"""The hooks of a namespace that are ours, as nfnetlink_hook shows them."""

from __future__ import annotations

import re

from kt.net import Ns


def registered(ns: Ns) -> tuple[set[str], set[str]]:
    """Where they are, in IPv4 and in IPv6. They come and go together, but not in one moment."""
    found: dict[str, set[str]] = {"ip": set(), "ip6": set()}
    family = where = ""
    for line in ns.run("nft", "list", "hooks").stdout.splitlines():
        if words := re.match(r"family (\w+)", line):
            family = words[1]
        elif words := re.match(r"\s*hook (\w+)", line):
            where = words[1]
        elif "[ip_vs_ipsec]" in line:
            found[family].add(where)
    return found["ip"], found["ip6"]


def at_ingress(ns: Ns, device: str) -> bool:
    """Whether one is at the ingress of a device."""
    told = ns.run("nft", "list", "hooks", "netdev", "device", device).stdout
    return "[ip_vs_ipsec]" in told
