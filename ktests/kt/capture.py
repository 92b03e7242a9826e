# SPDX-License-Identifier: GPL-2.0
"""Raw frames out of and into a namespace."""

from __future__ import annotations

import ctypes
import ipaddress
import os
import socket
import struct
from collections.abc import Callable, Iterable

from kt.net import Ns
from kt.packets import Packet, parse
from kt.wait import wait_until

ETH_P_IP = 0x0800
SO_RCVBUFFORCE, SO_SNDBUFFORCE = 33, 32
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
BPF_LD_W_ABS, BPF_AND_K, BPF_JEQ_K, BPF_RET = 0x20, 0x54, 0x15, 0x06
BUFFER = 16 << 20


class Port:
    """Sends IPv4 packets out of a device to one MAC address, bytes untouched."""

    def __init__(self, ns: Ns, device: str, to: bytes) -> None:
        with ns.entered():
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self.sock.bind((device, ETH_P_IP))
        self.sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, BUFFER)
        self._head = to + ns.mac(device) + struct.pack("!H", ETH_P_IP)

    def send(self, packets: Iterable[bytes], processor: int = 0) -> int:
        """Send packets in order; how many they were.

        All from one processor: each has a queue of its own on the way to the
        other end of a veth, and a thread that moved would overtake itself.
        """
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {sorted(allowed)[processor % len(allowed)]})
        count = 0
        try:
            for packet in packets:
                self.sock.send(self._head + packet)
                count += 1
        finally:
            os.sched_setaffinity(0, allowed)
        return count

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()


class Capture:
    """The IPv4 packets that reach a device, as frames."""

    def __init__(self, ns: Ns, device: str) -> None:
        self.name = ns.name
        with ns.entered():
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP))
            self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
            self.sock.bind((device, ETH_P_IP))
        self.sock.setblocking(False)

    def frames(self) -> list[bytes]:
        """What has come since the last call."""
        found = []
        while True:
            try:
                frame, source = self.sock.recvfrom(1 << 16)
            except OSError:  # nothing there; or the device has gone
                return found
            if source[2] != socket.PACKET_OUTGOING:
                found.append(frame)

    def packets(self, wanted: Callable[[Packet], bool] = lambda _: True) -> list[Packet]:
        """The same without link-layer headers, those that are wanted."""
        return [p for p in (parse(frame[14:]) for frame in self.frames()) if wanted(p)]

    def wait(
        self,
        count: int,
        what: str,
        wanted: Callable[[Packet], bool] = lambda _: True,
        timeout: float = 5,
    ) -> list[Packet]:
        """Packets as they come, until there are `count`."""
        found: list[Packet] = []

        def enough() -> bool:
            found.extend(self.packets(wanted))
            return len(found) >= count

        wait_until(enough, timeout, lambda: f"{what} at {self.name}: {len(found)} of {count}")
        return found

    def pause(self) -> None:
        """Take nothing, at the least cost to whoever floods."""
        self._filter((BPF_RET, 0, 0, 0))

    def only_from(self, network: str) -> None:
        """Take only the packets from a network."""
        net = ipaddress.IPv4Network(network)
        self._filter(
            (BPF_LD_W_ABS, 0, 0, 26),  # the source address
            (BPF_AND_K, 0, 0, int(net.netmask)),
            (BPF_JEQ_K, 0, 1, int(net.network_address)),
            (BPF_RET, 0, 0, 0xFFFFFFFF),
            (BPF_RET, 0, 0, 0),
        )

    def _filter(self, *program: tuple[int, int, int, int]) -> None:
        words = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
        kept = ctypes.create_string_buffer(words)
        pointer = struct.pack("HL", len(program), ctypes.addressof(kept))
        self.sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, pointer)

    def resume(self) -> None:
        """Take all packets again, from now on."""
        self.sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        self.frames()

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()
