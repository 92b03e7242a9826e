# SPDX-License-Identifier: GPL-2.0
"""strongSwan daemons, one per namespace, configured by swanctl and driven by vici.

charon's pid file lies in /run, whose name is compiled in, so each daemon gets a
mount namespace with a /run of its own. Its vici socket exists before charon
listens on it: the first commands are retried.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from kt.net import Ns, sh
from kt.unpacked import over_usr
from kt.vici import Vici
from kt.wait import PATIENCE, SHORT, wait_until

CHARON = "/usr/lib/ipsec/charon"
PLUGINS = (
    "random nonce drbg openssl aesni gcm pem pkcs1 x509 pubkey constraints "
    "kernel-netlink socket-default vici counters"
)
SECRET = "one secret for all tests"
GATEWAY_ID = "vpn.example"
IKE_PROPOSAL = "aes128-sha256-x25519"
ESP_PROPOSAL, AH_PROPOSAL = "aes128gcm16-x25519", "sha256-x25519"
VICI_PATIENCE = 40 * PATIENCE
# Seconds. Who is asked for a cookie (RFC 7296 2.6) and has just sent its request once more may take
# the answer to the one for that to the other, and is refused.
RETRANSMIT = max(1.5, SHORT)
CHILD = "net"  # name of the CHILD_SA in every configuration

STRONGSWAN_CONF = """
charon {{
  load = {plugins}
  threads = 8
  install_virtual_ip_on = lo
  retransmit_timeout = {retransmit}
  retransmit_tries = 4
  {settings}
  delete_rekeyed_delay = 1
  plugins {{
    vici {{ socket = {socket} }}
  }}
  filelog {{
    file {{ path = {log}
           default = 1
           flush_line = yes
           time_format = %H:%M:%S }}
  }}
}}
swanctl {{ load = {plugins} }}
"""

# For a gateway's daemon that knows the VIP only, as the admin guide has it: with MOBIKE it would
# tell its clients of every address that appears on the LAN, and they would go there.
VIP_ONLY = "interfaces_use = lo\n  install_routes = no"

CLIENT_CONF = """
connections {{
  {name} {{
    version = {version}
    local_addrs = {address}
    remote_addrs = {vip}
    {vips}
    proposals = {proposals}
    fragmentation = {fragmentation}
    send_cert = always
    encap = {encap}
    mobike = {mobike}
    dpd_delay = {dpd}
    keyingtries = 1
    rekey_time = 0
    {more}
    local {{
      auth = {auth}
      id = {identity}
      {certificate}
    }}
    remote {{
      auth = {auth}
      id = {gateway_id}
    }}
    children {{
{children}    }}
  }}
}}
secrets {{
  ike {{ secret = "{secret}" }}
}}
"""

CLIENT_CHILD = """
      {child} {{
        remote_ts = {inside}
        {protocol}
        rekey_time = 0
        {more_child}
      }}
"""

GATEWAY_CONF = """
connections {{
  {name} {{
    version = {version}
    local_addrs = {vip}
    proposals = {proposals}
    fragmentation = {fragmentation}
    mobike = {mobike}
    send_cert = always
    {pools}
    unique = replace
    rekey_time = 0
    {more}
    local {{
      auth = {auth}
      id = {gateway_id}
      {certificate}
    }}
    remote {{
      auth = {auth}
      id = {identity}
    }}
    children {{
{children}    }}
  }}
}}
pools {{
{pool_sections}}}
secrets {{
  ike {{ secret = "{secret}" }}
}}
"""


GATEWAY_CHILD = """
      {child} {{
        local_ts = {inside}
        esp_proposals = {esp}
        ah_proposals = {ah}
        rekey_time = 0
        {more_child}
      }}
"""


def client_conf(
    address: str,
    vip: str,
    identity: str,
    inside: str | dict[str, str],
    *,
    name: str = "vpn",
    vips: str = "0.0.0.0",
    version: int = 2,
    encap: bool = False,
    mobike: bool = True,
    ah: bool = False,
    auth: str = "psk",
    proposals: str = IKE_PROPOSAL,
    fragmentation: bool = True,
    certificate: str = "",
    dpd: int = 0,
    more: str = "",
    more_child: str = "",
) -> str:
    """swanctl.conf of an initiator that asks for an inside address, or for none (`vips`).

    `inside` is what it reaches, or that by the name of the CHILD SA; `dpd` are seconds of silence
    after which it asks whether the peer is there, 0 is never; `more` and `more_child` are further
    lines of the connection and of its children.
    """
    protocol = f"ah_proposals = {AH_PROPOSAL}" if ah else f"esp_proposals = {ESP_PROPOSAL}"
    return CLIENT_CONF.format(
        name=name,
        address=address,
        vip=vip,
        identity=identity,
        version=version,
        vips=f"vips = {vips}" if vips else "",
        encap="yes" if encap else "no",
        mobike="yes" if mobike else "no",
        dpd=dpd,
        auth=auth,
        proposals=proposals,
        fragmentation="yes" if fragmentation else "no",
        gateway_id=GATEWAY_ID,
        certificate=f"certs = {certificate}" if certificate else "",
        children=_children(CLIENT_CHILD, inside, protocol=protocol, more_child=more_child),
        more=more,
        secret=SECRET,
    )


def _children(form: str, inside: str | dict[str, str], **values: str) -> str:
    named = inside if isinstance(inside, dict) else {CHILD: inside}
    return "".join(form.format(child=child, inside=net, **values) for child, net in named.items())


def gateway_conf(
    vip: str,
    inside: str | dict[str, str],
    pool: str | dict[str, str],
    *,
    name: str = "vpn",
    identity: str = "%any",
    version: int = 0,
    mobike: bool = False,
    auth: str = "psk",
    fragmentation: bool = True,
    certificate: str = "",
    esp: str = ESP_PROPOSAL,
    more: str = "",
    more_child: str = "",
) -> str:
    """swanctl.conf of a responder that hands out inside addresses of its pool or pools, if any."""
    pools = pool if isinstance(pool, dict) else {"inside": pool} if pool else {}
    return GATEWAY_CONF.format(
        name=name,
        identity=identity,
        version=version,
        mobike="yes" if mobike else "no",
        auth=auth,
        proposals=IKE_PROPOSAL,
        fragmentation="yes" if fragmentation else "no",
        vip=vip,
        pools=f"pools = {', '.join(pools)}" if pools else "",
        pool_sections="".join(f"  {n} {{ addrs = {addrs} }}\n" for n, addrs in pools.items()),
        gateway_id=GATEWAY_ID,
        certificate=f"certs = {certificate}" if certificate else "",
        children=_children(GATEWAY_CHILD, inside, esp=esp, ah=AH_PROPOSAL, more_child=more_child),
        more=more,
        secret=SECRET,
    )


class Charon:
    """One IKE daemon in one namespace."""

    def __init__(
        self, ns: Ns, folder: Path, conf: str, settings: str = "", unpacked: str = ""
    ) -> None:
        """Not the strongSwan that is installed, if there is a folder with one `unpacked`."""
        self.ns = ns
        self._over = f"{over_usr(unpacked)} && " if unpacked else ""
        self.folder = folder / ns.name
        self.log_file = self.folder / "charon.log"
        self._socket = self.folder / "charon.vici"
        self._process: subprocess.Popen[str] | None = None
        self._permanent: list[str] = []
        (self.folder / "run").mkdir(parents=True, exist_ok=True)
        self._env = dict(
            os.environ,
            STRONGSWAN_CONF=str(self.folder / "strongswan.conf"),
            SWANCTL_DIR=str(self.folder),
        )
        (self.folder / "strongswan.conf").write_text(
            STRONGSWAN_CONF.format(
                plugins=PLUGINS,
                socket=f"unix://{self._socket}",
                log=self.log_file,
                retransmit=RETRANSMIT,
                settings=settings,
            ),
            encoding="utf-8",
        )
        self._write(conf)

    def _write(self, conf: str) -> None:
        (self.folder / "swanctl.conf").write_text(conf, encoding="utf-8")

    def start(self) -> None:
        """Start the daemon and give it its configuration."""
        self._permanent = self.inside_addresses()
        script = f"{self._over}mount --bind {self.folder}/run /run && exec {CHARON}"
        with open(self.folder / "stderr", "a", encoding="utf-8") as errors:
            self._process = self.ns.start(
                "unshare",
                "-m",
                "--propagation",
                "private",
                "sh",
                "-c",
                script,
                env=self._env,
                stderr=errors,
            )

        wait_until(self._listens, 30, lambda: f"charon of {self.ns.name}: {self.log()}")
        self.swanctl("--load-all", "--noprompt")

    def _listens(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"charon of {self.ns.name} ended:\n{self.log()}")
        try:
            self.vici("version")
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End the daemon as a power cut would: no DELETE is sent, its SAs are gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self.ns.stop(self._process)
            self._process = None
        self._socket.unlink(missing_ok=True)
        (self.folder / "run" / "charon.pid").unlink(missing_ok=True)
        self.ns.ip("xfrm state flush", "xfrm policy flush", "route flush table 220")
        for address in set(self.inside_addresses()) - set(self._permanent):
            self.ns.ip(f"addr del {address}/32 dev lo")

    def swanctl(self, *words: str, check: bool = True, timeout: float = 40):
        """Run a swanctl command against this daemon."""
        return sh(
            "swanctl",
            *words,
            "--uri",
            f"unix://{self._socket}",
            env=self._env,
            check=check,
            timeout=timeout,
        )

    def vici(self, name: str, event: str = "", **values: object):
        """A command without swanctl: its answer, and the events before it."""
        with Vici(self._socket, VICI_PATIENCE) as vici:
            return vici.stream(name, event, **values)

    def initiate(self, timeout: int = 20, name: str = "vpn", child: str = CHILD) -> None:
        """Bring the tunnel up; the log is part of the error when it does not."""
        milliseconds = int(timeout * 1000 * PATIENCE)
        answer, _ = self.vici("initiate", child=child, ike=name, timeout=milliseconds)
        if answer["success"] != "yes":
            raise AssertionError(f"{self.ns.name}: no tunnel: {answer.get('errmsg')}\n{self.log()}")

    def initiation_fails(self, timeout: int, name: str = "vpn") -> bool:
        """Whether the tunnel does not come up within so many seconds."""
        answer, _ = self.vici("initiate", child=CHILD, ike=name, timeout=timeout * 1000)
        return answer["success"] != "yes"

    def terminate(self, name: str = "vpn") -> None:
        """Take the tunnel down with a DELETE; without waiting for an answer after two seconds."""
        self.vici("terminate", ike=name, timeout=2000, force="yes")
        wait_until(lambda: not self.list_sas(), 10, f"{self.ns.name}: the tunnel's end")

    def terminate_all(self) -> None:
        """Take down every tunnel, side by side."""
        told: set[str] = set()

        def all_gone() -> bool:
            # One that is just being worked on may be missing in the list; it is counted still.
            for name in {sa["name"] for sa in self.list_sas()} - told:
                self.vici("terminate", ike=name, timeout=-1, force="yes")
                told.add(name)
            return self.vici("stats")[0]["ikesas"]["total"] == "0"

        wait_until(all_gone, 10, f"{self.ns.name}: the tunnels' end")

    def give(self, kind: str, *files: Path) -> None:
        """Put keys (`private`) or certificates (`x509`, `x509ca`) where swanctl loads them."""
        to = self.folder / kind
        to.mkdir(exist_ok=True)
        for file in files:
            (to / file.name).write_bytes(file.read_bytes())

    def reconfigure(self, conf: str) -> None:
        """Another swanctl.conf, for the next tunnel."""
        self._write(conf)
        self.swanctl("--load-all", "--noprompt")

    def rekey_ike(self, name: str = "vpn", reauth: bool = False, timeout: float = 15) -> None:
        """Ask for new keys of the IKE SA, or for a new one; wait for the new SA."""
        before = self.ike_spis()
        self.vici("rekey", ike=name, **({"reauth": "yes"} if reauth else {}))
        wait_until(
            lambda: self.ike_spis() not in ([], before) and len(self.ike_spis()) == 1,
            timeout,
            f"{self.ns.name}: a new IKE SA",
        )

    def rekey_child(self, timeout: float = 15) -> None:
        """Ask for new keys of the CHILD SA; wait for the new SA."""
        before = self.esp_spis()
        self.vici("rekey", child=CHILD)
        wait_until(
            lambda: self.esp_spis() not in ([], before), timeout, f"{self.ns.name}: a new CHILD SA"
        )

    def list_sas(self) -> list[dict[str, Any]]:
        """The IKE SAs with their children."""
        _, events = self.vici("list-sas", "list-sa")
        return [{**sa, "name": name} for event in events for name, sa in event.items()]

    def ike_spis(self) -> list[str]:
        """Initiator and responder SPI of each IKE SA that is up."""
        return sorted(
            f"{sa['initiator-spi']}:{sa['responder-spi']}"
            for sa in self.list_sas()
            if sa["state"] == "ESTABLISHED"
        )

    def esp_spis(self) -> list[str]:
        """Outgoing SPI of each CHILD SA that is up."""
        return sorted(
            child["spi-out"]
            for sa in self.list_sas()
            for child in sa.get("child-sas", {}).values()
            if child["state"] == "INSTALLED"
        )

    def peers(self) -> set[str]:
        """Identities of the peers with an established IKE SA."""
        return {sa["remote-id"] for sa in self.list_sas() if sa["state"] == "ESTABLISHED"}

    def inside_addresses(self) -> list[str]:
        """The inside addresses this initiator was given and has."""
        return inside_addresses(self.ns)

    def received(self) -> list[int]:
        """Sizes of the IKE messages that its log says it received."""
        text = self.log_file.read_text(encoding="utf-8", errors="replace")
        return [int(size) for size in re.findall(r"received packet: .*\((\d+) bytes\)", text)]

    def log(self, lines: int = 60) -> str:
        """The end of the daemon's log."""
        text = ""
        for file in (self.folder / "stderr", self.log_file):
            if file.exists():
                text += file.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])


def inside_addresses(ns: Ns) -> list[str]:
    """The inside addresses that a daemon has put on lo."""
    text = ns.run("ip", "-4", "-o", "addr", "show", "dev", "lo").stdout
    return re.findall(r"inet (10\.9\.\d+\.\d+)/32", text)


def start_all(daemons: Iterable[Charon]) -> None:
    """Start daemons side by side."""
    _together(lambda daemon: daemon.start(), daemons)


def initiate_all(daemons: Iterable[Charon]) -> None:
    """Bring the tunnels of several initiators up side by side."""
    _together(lambda daemon: daemon.initiate(), daemons)


def _together(act: Any, daemons: Iterable[Charon]) -> None:
    listed = list(daemons)
    with ThreadPoolExecutor(max_workers=max(1, len(listed))) as pool:
        for future in [pool.submit(act, daemon) for daemon in listed]:
            future.result()
