#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The demonstration: two IKEv2 tunnels through one director to two gateways.

    c1 203.0.113.1 --+            +-- director 10.0.0.1, VIP 198.51.100.1
                     +-- router --+-- gw1 10.0.0.11
    c2 203.0.113.2 --+            +-- gw2 10.0.0.12

Each client brings a tunnel up to the VIP and pings through it. Counters on the
gateways tell which client's ESP reached which gateway. Exit status 0 only if
both tunnels carried every ping, each at one gateway, and both gateways worked.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kt.lab import VIP, Lab
from kt.strongswan import initiate_all, start_all
from kt.tool import Tool

PINGS = 20
STARTED = time.monotonic()


@dataclass
class Result:
    """What demo.json says."""

    tunnels: int = 0
    gateways_used: int = 0
    esp_packets: dict[str, dict[str, int]] = field(default_factory=dict)
    lost_pings: int = 0
    seconds: float = 0.0

    def complaints(self, clients: list[str]) -> list[str]:
        """What did not hold."""
        found = []
        if self.tunnels != len(clients):
            found.append(f"{self.tunnels} of {len(clients)} tunnels came up")
        if self.gateways_used != 2:
            found.append(f"{self.gateways_used} of 2 gateways were used")
        if self.lost_pings:
            found.append(f"{self.lost_pings} pings were lost")
        for client in clients:
            seen = {gw: n[client] for gw, n in self.esp_packets.items() if n.get(client)}
            if len(seen) != 1:
                found.append(f"ESP of {client} reached {len(seen)} gateways: {seen}")
            elif sum(seen.values()) < PINGS:
                found.append(f"only {seen} ESP packets of {client} were counted")
        return found


def say(text: str) -> None:
    """A line of progress."""
    print(f"[{time.monotonic() - STARTED:5.1f} s] {text}", flush=True)


def show(tool: Tool, *words: str) -> None:
    """A command of the director and what it prints."""
    print(f"\ndirector# ipvs-ipsec {' '.join(words)}\n{tool.run(*words).stdout}", flush=True)


def configure(tool: Tool, lab: Lab) -> None:
    """One service, both gateways."""
    tool.run("service", "add", VIP, "--scheduler", "rr")
    for gateway in lab.gateways:
        tool.run("server", "add", VIP, gateway.address, "--method", "dr")


def play(lab: Lab, result: Result) -> None:
    """Everything from the empty director to the counts."""
    tool = Tool(lab.director)
    say("starting an IKE daemon in each client and gateway")
    start_all(lab.daemons)
    say("configuring the director")
    configure(tool, lab)

    say(f"bringing up an IKEv2 tunnel from each client to {VIP}")
    initiate_all(client.charon for client in lab.clients)
    for client in lab.clients:
        sas = client.charon.list_sas()
        result.tunnels += any(sa["state"] == "ESTABLISHED" for sa in sas)
        say(f"{client.name}: tunnel up, inside address {client.charon.inside_addresses()[0]}")

    for client in lab.clients:
        lost = client.ping(PINGS, interval=0.05)
        result.lost_pings += lost
        say(f"{client.name}: {PINGS - lost} of {PINGS} pings answered through the tunnel")

    result.esp_packets = lab.esp_by_gateway()
    result.gateways_used = sum(1 for counted in result.esp_packets.values() if counted)
    for gateway, counted in result.esp_packets.items():
        told = ", ".join(f"{n} of {client}" for client, n in counted.items()) or "none"
        say(f"{gateway}: ESP packets that arrived: {told}")
    show(tool, "list")
    show(tool, "entry", "list")


def explain_failure(lab: Lab, error: BaseException) -> None:
    """What one wants to see when the tunnels do not come up."""
    print(f"\n{type(error).__name__}: {error}\n", file=sys.stderr)
    for daemon in lab.daemons:
        print(f"--- log of {daemon.ns.name}\n{daemon.log(25)}", file=sys.stderr)
    for words in (("ipvs-ipsec", "list"), ("ipvs-ipsec", "stats"), ("dmesg",)):
        shown = lab.director.run("sh", "-c", " ".join(words), check=False)
        print(f"--- {' '.join(words)}\n{(shown.stdout + shown.stderr)[-3000:]}", file=sys.stderr)


def verdict(result: Result, complaints: list[str]) -> str:
    """One paragraph."""
    if complaints:
        return "FAILED: " + "; ".join(complaints) + "."
    homes = ", ".join(
        f"{client} at {gateway} ({n} ESP packets)"
        for gateway, counted in result.esp_packets.items()
        for client, n in counted.items()
    )
    return (
        f"It works: {result.tunnels} IKEv2 tunnels to the virtual address {VIP} went through one "
        f"director to {result.gateways_used} gateways by direct routing. Each client's IKE and ESP "
        f"reached one gateway only: {homes}. No ping of {2 * PINGS} was lost. "
        f"This took {result.seconds:.0f} seconds."
    )


def main() -> int:
    """Play, judge, write demo.json."""
    result = Result()
    complaints: list[str] = []
    say("building clients, router, director and gateways, a network namespace each")
    with tempfile.TemporaryDirectory() as folder, Lab(Path(folder)) as lab:
        try:
            play(lab, result)
        except Exception as error:  # whatever went wrong, the logs are wanted
            explain_failure(lab, error)
            complaints.append(f"the demonstration did not come to its end ({type(error).__name__})")
        complaints += result.complaints([client.name for client in lab.clients])
    result.seconds = round(time.monotonic() - STARTED, 1)

    out = os.environ.get("OUT")
    if out:
        Path(out, "demo.json").write_text(json.dumps(asdict(result)) + "\n", encoding="utf-8")
    print(verdict(result, complaints), flush=True)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
