# SPDX-License-Identifier: GPL-2.0
"""The two that are compared, behind one interface: ip_vs and ours at the same director."""

from __future__ import annotations

import ipaddress
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from kt import module
from kt.compare_lab import CompareLab
from kt.lab import VIP
from kt.net import sh
from kt.tool import Tool

MARK = 1
PERSISTENT = 300  # seconds, the default of both

MARKING = f"""
table ip marks {{
  chain in {{
    type filter hook prerouting priority mangle;
    ip daddr {VIP} udp dport {{ 500, 4500 }} meta mark set {MARK}
    ip daddr {VIP} ip protocol {{ esp, ah }} meta mark set {MARK}
  }}
}}
"""


@dataclass(frozen=True)
class Setup:
    """What an administrator wants of a director."""

    scheduler: str = "rr"
    ports: tuple[int, ...] = (500, 4500)
    """What ip_vs has a service for each of; ours has one for all."""
    mark: bool = False
    """The service is a firewall mark, not an address."""
    persistent: bool = False
    method: str = "dr"
    servers: int = 2
    udp_timeout: int = 300
    """Seconds after which ip_vs forgets a flow. Ours keeps its own timeouts."""


@dataclass(frozen=True)
class Flow:
    """An entry of either, as far as both have it."""

    client: str
    port: int
    """Of the service."""
    seconds: float
    """Until it expires."""


class Rival(ABC):
    """A load balancer at the director of a lab."""

    name: str
    esp_restarts_timer: bool

    def __init__(self, lab: CompareLab) -> None:
        self.lab = lab
        self.director = lab.director

    def set_up(self, setup: Setup) -> None:
        """Do as wanted, with no memory of anything before."""
        self.clear()
        marking = MARKING if setup.mark else ""
        self.director.run("nft", "-f", "-", input=f"destroy table ip marks\n{marking}")
        self.configure(setup, [gateway.address for gateway in self.lab.gateways[: setup.servers]])

    @abstractmethod
    def clear(self) -> None:
        """Neither services nor entries."""

    @abstractmethod
    def configure(self, setup: Setup, servers: list[str]) -> None:
        """The services, with these servers."""

    @abstractmethod
    def flows(self) -> list[Flow]:
        """Its table."""

    @abstractmethod
    def told(self) -> str:
        """What it says of itself, for somebody who looks for a fault."""

    def flow(self, client: str, port: int) -> Flow | None:
        """The entry of a client's address on a port of the service."""
        flows = self.flows()
        return next((f for f in flows if (f.client, f.port) == (client, port)), None)


class IpVs(Rival):
    """Mainline ip_vs. Only its modules' end makes it forget its connections."""

    name = "ip_vs"
    esp_restarts_timer = True
    _modules = ("ip_vs_rr", "ip_vs_sh", "ip_vs")

    def clear(self) -> None:
        if Path("/sys/module/ip_vs").is_dir():
            self.director.run("ipvsadm", "-C")
            sh("modprobe", "-r", *self._modules)

    def configure(self, setup: Setup, servers: list[str]) -> None:
        sh("modprobe", "-a", *self._modules)
        services = [f"-f {MARK}"] if setup.mark else [f"-u {VIP}:{port}" for port in setup.ports]
        persistent = f" -p {PERSISTENT}" if setup.persistent else ""
        method = {"dr": "-g", "nat": "-m"}[setup.method]
        lines = []
        for service in services:
            lines.append(f"-A {service} -s {setup.scheduler}{persistent}")
            lines += [f"-a {service} -r {server} {method}" for server in servers]
        self.director.run("ipvsadm", "-R", input="\n".join(lines) + "\n")
        self.director.run("ipvsadm", "--set", "0", "0", str(setup.udp_timeout))

    def flows(self) -> list[Flow]:
        listed = self.director.run("cat", "/proc/net/ip_vs_conn").stdout.splitlines()[1:]
        rows = [line.split() for line in listed]
        return [
            Flow(str(ipaddress.ip_address(int(row[1], 16))), int(row[4], 16), float(row[8]))
            for row in rows
        ]

    def told(self) -> str:
        return self.director.run("ipvsadm", "-Lnc").stdout


class Ours(Rival):
    """The module of this repository."""

    name = "ours"
    esp_restarts_timer = False

    def __init__(self, lab: CompareLab) -> None:
        super().__init__(lab)
        module.load()
        self.tool = Tool(self.director)

    def clear(self) -> None:
        self.tool.run("flush")

    def configure(self, setup: Setup, servers: list[str]) -> None:
        service = f"fwmark:{MARK}" if setup.mark else VIP
        persistent = ("-p", PERSISTENT) if setup.persistent else ()
        self.tool.run("service", "add", service, "-s", setup.scheduler, *persistent)
        for server in servers:
            self.tool.run("server", "add", service, server, "-m", setup.method)

    def flows(self) -> list[Flow]:
        return [
            Flow(entry["client"], entry["service_port"], entry["expires_ms"] / 1000)
            for entry in self.tool.entries()
        ]

    def told(self) -> str:
        return "".join(self.tool.run(*words).stdout for words in (["entry", "list"], ["stats"]))
