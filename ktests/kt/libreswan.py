# SPDX-License-Identifier: GPL-2.0
"""libreswan daemons, one per namespace, driven by whack.

libreswan cannot be installed beside strongSwan. Each daemon gets a mount namespace
in which what was unpacked of it lies over the guest's /usr, and folders of its own
for all that it writes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from kt.net import Ns, Process
from kt.strongswan import GATEWAY_ID, SECRET, inside_addresses
from kt.unpacked import LIBRESWAN, over_usr
from kt.wait import wait_until

PLUTO = "/usr/libexec/ipsec/pluto"
IKE_PROPOSAL, ESP_PROPOSAL = "aes128-sha2_256;dh31", "aes_gcm128;dh31"
ESP_PROPOSAL_V1 = "aes_gcm128"  # the groups that it knows for Quick Mode are of another age

IPSEC_CONF = """
config setup
    ikev1-policy=accept
    dnssec-enable=no

conn %default
    authby=secret
    ike={ike}
    esp={esp}
    retransmit-interval=1500ms
    retransmit-timeout=20s
    rekey=no
{conns}
"""

CLIENT_CONF = """
conn vpn
    left={address}
    leftid=@{identity}
    leftmodecfgclient=yes
    leftsubnet=0.0.0.0/0
    narrowing=yes
    right={vip}
    rightid=@{gateway_id}
    rightsubnet={inside}
    auto=add

conn ikev1
    keyexchange=ikev1
    esp={esp_v1}
    pfs=no
    left={address}
    leftid=@{identity}
    right={vip}
    rightid=@{gateway_id}
    rightsubnet={inside}
    auto=add
"""

GATEWAY_CONF = """
conn {name}
    left={address}
    leftid=@{gateway_id}
    leftsubnet={inside}
    leftmodecfgserver=yes
    right=%any
    rightaddresspool={pool}
    auto=add
"""

OPPORTUNISTIC_CONF = """
conn {group}
    left={address}
    authby=null
    leftid=%null
    rightid=%null
    right=%opportunisticgroup
    negotiationshunt=hold
    failureshunt=passthrough
    auto={auto}
"""


def client_conf(address: str, vip: str, identity: str, inside: str) -> str:
    """Connections of an initiator: vpn, which asks for an inside address, and ikev1."""
    return CLIENT_CONF.format(
        address=address,
        vip=vip,
        identity=identity,
        inside=inside,
        gateway_id=GATEWAY_ID,
        esp_v1=ESP_PROPOSAL_V1,
    )


def gateway_conf(name: str, address: str, inside: str, pool: str) -> str:
    """A connection of a responder that hands out inside addresses of `pool`."""
    return GATEWAY_CONF.format(
        name=name, address=address, inside=inside, pool=pool, gateway_id=GATEWAY_ID
    )


def opportunistic_conf(group: str, address: str, *, begins: bool) -> str:
    """What a host does with the networks of a policy group: it begins, or it is asked."""
    return OPPORTUNISTIC_CONF.format(
        group=group, address=address, auto="ondemand" if begins else "add"
    )


class Pluto:
    """One IKE daemon in one namespace."""

    def __init__(
        self, ns: Ns, folder: Path, conns: str, groups: dict[str, str] | None = None
    ) -> None:
        """`groups` are the policy groups, with the network in each."""
        self.ns = ns
        self.folder = folder / ns.name
        self.log_file = self.folder / "pluto.log"
        self._process: Process | None = None
        for name in ("run", "nss", "ipsec.d/policies"):
            (self.folder / name).mkdir(parents=True)
        text = IPSEC_CONF.format(ike=IKE_PROPOSAL, esp=ESP_PROPOSAL, conns=conns)
        self._write("ipsec.conf", text)
        self._write("ipsec.secrets", f': PSK "{SECRET}"\n')
        for name, network in (groups or {}).items():
            self._write(f"ipsec.d/policies/{name}", f"{network}\n")
        self._env = dict(
            os.environ,
            IPSEC_CONF=str(self.folder / "ipsec.conf"),
            IPSEC_CONFDDIR=str(self.folder / "ipsec.d"),
            IPSEC_NSSDIR=str(self.folder / "nss"),
            IPSEC_RUNDIR=str(self.folder / "run"),
        )

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def start(self) -> None:
        """Start the daemon; it loads its configuration itself."""
        options = (
            f"--config {self.folder}/ipsec.conf --secretsfile {self.folder}/ipsec.secrets "
            f"--ipsecdir {self.folder}/ipsec.d --nssdir {self.folder}/nss "
            f"--rundir {self.folder}/run --logfile {self.log_file} --nhelpers 1"
        )
        script = (
            f"{over_usr(LIBRESWAN)} && ipsec initnss && exec {PLUTO} --nofork --no-dnssec {options}"
        )
        with open(self.folder / "stderr", "a", encoding="utf-8") as told:
            self._process = self.ns.start(
                *("unshare", "-m", "--propagation", "private", "sh", "-c", script),
                env=self._env,
                stdout=told,
                stderr=told,
            )
        wait_until(self._listens, 60, lambda: f"pluto of {self.ns.name}: {self.log()}")

    def _listens(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"pluto of {self.ns.name} ended:\n{self.log()}")
        return "loading secrets" in self.log(1000)

    def whack(self, *words: str, check: bool = True, timeout: float = 40) -> str:
        """Ask this daemon something, or for something; what it says."""
        assert self._process is not None
        within = ("nsenter", "-t", str(self._process.pid), "-m")
        whack = ("/usr/libexec/ipsec/whack", "--rundir", f"{self.folder}/run")
        return self.ns.run(*within, *whack, *words, check=check, timeout=timeout).stdout

    def initiate(self, name: str = "vpn") -> None:
        """Bring the tunnel up; the log is part of the error when it does not."""
        told = self.whack("--initiate", "--name", name, check=False, timeout=60)
        if not re.search("Child SA|IPsec SA established", told):
            raise AssertionError(f"{self.ns.name}: no tunnel\n{told}\n{self.log()}")

    def terminate(self, name: str = "vpn") -> None:
        """Take the tunnel down with a DELETE."""
        self.whack("--terminate", "--name", name, check=False)
        wait_until(
            lambda: not self.whack("--showstates").strip(), 10, f"{self.ns.name}: the tunnel's end"
        )

    def rekey_ike(self) -> None:
        """Ask for new keys of the IKE SA; wait for the new SA."""
        self._rekey("--rekey-ike", self.ike_sas)

    def rekey_child(self) -> None:
        """Ask for new keys of the CHILD SA; wait for the new SA."""
        self._rekey("--rekey-child", self.esp_spis)

    def _rekey(self, what: str, sas: Callable[[], list[str]]) -> None:
        before = sas()
        told = self.whack(what, "--name", "vpn", check=False)
        wait_until(
            lambda: len(sas()) == 1 and sas() != before,
            15,
            lambda: f"{self.ns.name}: {what}: {told}\n{self.log()}",
        )

    def ike_sas(self) -> list[str]:
        """The numbers of the IKE SAs that are up."""
        return re.findall(r"#(\d+): .* ESTABLISHED_IKE_SA", self.whack("--showstates"))

    def esp_spis(self) -> list[str]:
        """Outgoing SPI of each CHILD SA that is up."""
        return re.findall(r"#\d+: .*? esp\.([0-9a-f]+)@", self.whack("--showstates"))

    def inside_addresses(self) -> list[str]:
        """The inside addresses this initiator was given and has."""
        return inside_addresses(self.ns)

    def log(self, lines: int = 60) -> str:
        """The end of the daemon's log."""
        text = ""
        for file in (self.folder / "stderr", self.log_file):
            if file.exists():
                text += file.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])
