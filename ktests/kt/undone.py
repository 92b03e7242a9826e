# SPDX-License-Identifier: GPL-2.0
"""Gateways that undo the director's address translation.

What the director wrote is written back before the gateway's daemon and its IPsec
see it, without connection tracking: NAT detection finds no NAT, and initiators
go on with native ESP and AH.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from kt.net import Ns

TABLE = """
destroy table inet asvip
table inet asvip {{
  chain in {{
    type filter hook prerouting priority -300;
    {incoming}
  }}
  chain out {{
    type filter hook postrouting priority 300;
    {outgoing}
  }}
}}
"""
OURS = "meta l4proto { 17, 50, 51 }"


def undo_translation(ns: Ns, pairs: Iterable[tuple[str, str]]) -> None:
    """The daemon sees the VIP where the director has written the server's address.

    For each pair of these, server's address first; none to leave it translated.
    """
    incoming, outgoing = [], []
    for rip, vip in pairs:
        ip = "ip" if ipaddress.ip_address(rip).version == 4 else "ip6"
        incoming.append(f"{ip} daddr {rip} {OURS} {ip} daddr set {vip}")
        outgoing.append(f"{ip} saddr {vip} {OURS} {ip} saddr set {rip}")
    rules = TABLE.format(incoming="\n    ".join(incoming), outgoing="\n    ".join(outgoing))
    ns.run("nft", "-f", "-", input=rules)
