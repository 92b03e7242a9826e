# SPDX-License-Identifier: GPL-2.0
"""A director behind network cards, whose packets are as an Ethernet driver makes them.

A veth hands on what another namespace has made: its IP headers are aligned, and
nothing is merged. The driver here is tun's, as a tap: IP is at 2 modulo 4, since
NET_IP_ALIGN is 0, and packets come in by NAPI and GRO, which merges datagrams
where `rx-udp-gro-forwarding` is on. What would be the wire is this program.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import select
import struct
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from kt.dual import ETH_P_IP, ETH_P_IPV6, FAMILIES, SERVERS, Dual, Tap
from kt.genl import Genl
from kt.net import Ns, sh
from kt.wait import wait_until

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NAPI, IFF_NAPI_FRAGS, IFF_NO_PI = 0x0002, 0x0010, 0x0020, 0x1000
ETH_LEN = 14
NAPI_WEIGHT = 64

_numbers = itertools.count(1)


class Nic(Tap):
    """A card of a namespace. Sends into it as a `Wire` does, captures as a `Tap` at the far end.

    Packets of one `send` come in by one run of NAPI: a thread of the kernel's polls the card, and
    waits for the processor until all are written. With `frags`, each comes by itself, and its
    memory is pages but for the link-layer header.
    """

    def __init__(self, ns: Ns, device: str, frags: bool = False) -> None:
        self.name, self.device, self.frags = ns.name, device, frags
        first = f"nic{next(_numbers)}"
        sh("modprobe", "tun")
        # Blocking: else tun makes packets whose owner GRO forgets when it steals their heads (it
        # calls no skb_prepare_for_gro), so that the file's socket is never freed.
        self._fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        self._readable = select.poll()
        self._readable.register(self._fd, select.POLLIN)
        # Between a frame seen and read no other thread reads it: the read would wait for ever.
        self._reading = threading.Lock()
        try:
            flags = IFF_TAP | IFF_NO_PI | IFF_NAPI | (IFF_NAPI_FRAGS if frags else 0)
            fcntl.ioctl(self._fd, TUNSETIFF, struct.pack("16sH22x", first.encode(), flags))
            if not frags:
                Path("/sys/class/net", first, "threaded").write_text("1", encoding="ascii")
                self._poller = _thread(f"napi/{first}-")
            sh("ip", "link", "set", first, "netns", ns.name, "name", device)
            ns.run("ethtool", "-K", device, "gro", "on", "rx-udp-gro-forwarding", "on")
            ns.ip(f"link set {device} txqueuelen 10000 up")
        except BaseException:
            self.close()
            raise
        mine = ns.mac(device)
        self.mac = bytes([2, *mine[1:5], mine[5] ^ 1])
        self._head = mine + self.mac

    def send(self, packets: Iterable[bytes], processor: int = 0) -> int:
        """Packets that come in by the card, in order; how many they were."""
        frames = [self._frame(packet) for packet in packets]
        if self.frags:
            for frame in frames:
                os.writev(self._fd, [frame[:ETH_LEN], frame[ETH_LEN:]])
            return len(frames)
        for batch in itertools.batched(frames, NAPI_WEIGHT):
            with self._alone():
                for frame in batch:
                    os.write(self._fd, frame)
        return len(frames)

    def _frame(self, packet: bytes) -> bytes:
        kind = ETH_P_IPV6 if packet[0] >> 4 == 6 else ETH_P_IP
        return self._head + struct.pack("!H", kind) + packet

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """The thread that polls the card runs when the block has ended, and not before."""
        allowed = os.sched_getaffinity(0)
        here = {min(allowed)}
        os.sched_setaffinity(0, here)
        os.sched_setaffinity(self._poller, here)
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        try:
            yield
        finally:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
            os.sched_setaffinity(0, allowed)

    def frames(self) -> list[bytes]:
        """What has left by the card since the last call; multicast is left out."""
        found = []
        with self._reading:
            while self._readable.poll(0):
                frame = os.read(self._fd, 1 << 16)
                if not frame[0] & 1:
                    found.append(frame)
        return found

    def close(self) -> None:
        """Take the card out, unless that is done."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _thread(prefix: str) -> int:
    """The thread of the kernel's whose name begins so."""
    (found,) = (
        int(comm.parent.name)
        for comm in Path("/proc").glob("[0-9]*/comm")
        if comm.read_text(encoding="utf-8").startswith(prefix)
    )
    return found


class NicDual(Dual):
    """The topology of kt/dual.py, the director's links cards, and no other namespace there."""

    def __init__(self, prefix: str, frags: bool = False) -> None:
        self._frags = frags
        super().__init__(prefix)

    def _build(self) -> None:
        self._director()
        names = ["in", *(f"s{n}" for n in range(1, SERVERS + 1))]
        nics = {name: self._keep(Nic(self.director, name, self._frags)) for name in names}
        for side in FAMILIES.values():
            self._addresses(side, {name: nic.mac for name, nic in nics.items()})
        self.port = self.back = nics["in"]
        self.captures = self.answers = [nics[name] for name in names[1:]]
        self.genl = self._keep(Genl(self.director))

    @contextlib.contextmanager
    def merged(self, nic: Nic, *lengths: int) -> Iterator[None]:
        """What comes in by a card inside the block is, to the stack, packets of these lengths."""
        found: list[int] = []
        with contextlib.closing(Tap(self.director, nic.device)) as seen:

            def enough() -> bool:
                found.extend(len(frame) - ETH_LEN for frame in seen.frames())
                return len(found) >= len(lengths)

            yield
            wait_until(enough, 5, lambda: f"packets of {list(lengths)}, seen {found}")
        assert found == list(lengths), "lengths of what GRO made"
