# SPDX-License-Identifier: GPL-2.0
"""Network namespaces, the links between them, and the processes in them.

A namespace is entered by the calling thread only (setns), so a socket or a
child made inside `with ns.entered():` belongs to it, and no helper process is
needed. Addresses of links and bridges are fixed: a bridge that changes its MAC
when a port goes looks like a dead neighbour.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kt.wait import PATIENCE

NETNS_FOLDER = Path("/run/netns")

Process = subprocess.Popen[str]


def sh(*command: str | Path, check: bool = True, timeout: float = 60, **more: Any):
    """Run a command to its end; its output is text and part of the error."""
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=timeout * PATIENCE,
        check=False,
        **more,
    )
    if check and done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(map(str, command))}: exit status {done.returncode}\n"
            f"{done.stdout}{done.stderr}"
        )
    return done


class Ns:
    """A network namespace with its processes; `close()` ends both."""

    def __init__(self, name: str) -> None:
        sh("ip", "netns", "add", name)
        self.name = name
        self._fd: int | None = os.open(NETNS_FOLDER / name, os.O_RDONLY | os.O_CLOEXEC)
        self._processes: list[Process] = []
        self.ip("link set lo up")

    def __repr__(self) -> str:
        return f"Ns({self.name})"

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is in the namespace inside the `with` block."""
        if self._fd is None:
            raise RuntimeError(f"{self.name} is gone")
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.setns(self._fd, os.CLONE_NEWNET)
            yield
        finally:
            os.setns(home, os.CLONE_NEWNET)
            os.close(home)

    def run(self, *command: str | Path, check: bool = True, timeout: float = 60, **more: Any):
        """Run a command in the namespace to its end."""
        with self.entered():
            return sh(*command, check=check, timeout=timeout, **more)

    def start(self, *command: str | Path, **more: Any) -> Process:
        """Start a process that lives until `stop`, or until the namespace ends."""
        more.setdefault("stdin", subprocess.DEVNULL)
        more.setdefault("stdout", subprocess.DEVNULL)
        more.setdefault("stderr", subprocess.DEVNULL)
        with self.entered():
            process = subprocess.Popen(
                [str(word) for word in command], text=True, start_new_session=True, **more
            )
        self._processes.append(process)
        return process

    def finish(self, process: Process, timeout: float = 60) -> str:
        """Wait for the end of a process of `start` that has a pipe; what it printed."""
        told, _ = process.communicate(timeout=timeout * PATIENCE)
        self._processes.remove(process)
        return told

    def stop(self, process: Process) -> None:
        """End a process of `start`, with its children."""
        if process in self._processes:
            self._processes.remove(process)
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5 * PATIENCE)
                return

    def ip(self, *lines: str) -> None:
        """Run lines of `ip` commands in one go."""
        sh("ip", "-n", self.name, "-batch", "-", input="\n".join(lines) + "\n")

    def sysctl(self, key: str, value: object) -> None:
        """Write below /proc/sys as this namespace sees it."""
        with self.entered():
            Path("/proc/sys", key).write_text(f"{value}\n", encoding="ascii")

    def read_sysctl(self, key: str) -> str:
        """Read below /proc/sys as this namespace sees it."""
        with self.entered():
            return Path("/proc/sys", key).read_text(encoding="ascii").strip()

    def mac(self, device: str) -> bytes:
        """The link-layer address of a device."""
        with self.entered():
            # /sys shows the namespace it was mounted in: ask the kernel instead.
            import fcntl
            import struct

            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                request = struct.pack("256s", device.encode())
                return fcntl.ioctl(sock, 0x8927, request)[18:24]  # SIOCGIFHWADDR

    def index(self, device: str) -> int:
        """The number of a device."""
        with self.entered():
            return socket.if_nametoindex(device)

    def close(self) -> None:
        """End the processes and remove the namespace."""
        if self._fd is None:
            return
        for process in list(self._processes):
            self.stop(process)
        os.close(self._fd)
        self._fd = None
        sh("ip", "netns", "del", self.name, check=False)


class Network:
    """The namespaces of a topology, made and removed together."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.namespaces: dict[str, Ns] = {}
        self._macs = 0

    def ns(self, name: str) -> Ns:
        """A new namespace, `prefix` before its name."""
        made = Ns(self.prefix + name)
        self.namespaces[name] = made
        return made

    def next_mac(self) -> str:
        """A locally administered address that no other link here has."""
        self._macs += 1
        seed = sum(self.prefix.encode()) & 0xFF
        return f"02:{seed:02x}:00:00:{self._macs >> 8:02x}:{self._macs & 0xFF:02x}"

    def link(self, one: Ns, one_device: str, other: Ns, other_device: str, mtu: int = 1500) -> None:
        """A veth pair between two namespaces, both ends up, MACs fixed.

        The segmentation offloads are off: what the far end captures is then
        what was on the wire, checksums included.
        """
        one.ip(
            f"link add {one_device} address {self.next_mac()} mtu {mtu} type veth "
            f"peer name {other_device} netns {other.name} address {self.next_mac()} mtu {mtu}",
            f"link set {one_device} up",
        )
        other.ip(f"link set {other_device} up")

    def bridge(self, ns: Ns, device: str, *addresses: str) -> None:
        """A bridge made inside its namespace, its MAC fixed, forwarding at once."""
        ns.ip(
            f"link add {device} address {self.next_mac()} type bridge "
            "forward_delay 0 mcast_snooping 0",
            f"link set {device} up",
            *(f"addr add {address} dev {device}" for address in addresses),
        )

    def close(self) -> None:
        """Remove everything."""
        for made in reversed(self.namespaces.values()):
            made.close()
        self.namespaces.clear()

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def permanent_neighbours(ns: Ns, device: str, known: Iterable[tuple[str, bytes]]) -> None:
    """Fix the MAC addresses of neighbours, so that no test waits for ARP."""
    ns.ip(
        *(
            f"neigh replace {address} lladdr {mac.hex(':')} nud permanent dev {device}"
            for address, mac in known
        )
    )
