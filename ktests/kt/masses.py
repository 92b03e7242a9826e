# SPDX-License-Identifier: GPL-2.0
"""Initiators by the hundred thousand: one packet each, sent a thousand at a time.

Packets differ in address, port and initiator SPI only, so that they are written over
each other column by column, which Python does as fast as C.
"""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Iterable

from kt.capture import SO_SNDBUFFORCE
from kt.net import Ns
from kt.packets import IKE_AUTH, Initiator

ADDRESS, PORT, SPI = 14 + 12, 14 + 20, 14 + 28  # offsets in a frame
PORTS = 1 << 15  # initiators of an address, from port 32768 on
BATCH = 1024  # UIO_MAXIOV
BUFFER = 64 << 20


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """`struct mmsghdr`."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint),
        ("iov", ctypes.c_void_p),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("len", ctypes.c_uint),
    )


class Masses:
    """Sends IKE with a responder SPI to a VIP, each packet from an initiator of its own."""

    def __init__(self, ns: Ns, device: str, to: bytes, vip: str) -> None:
        self._vip = vip
        with ns.entered():
            self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._sock.bind((device, 0x0800))
        self._sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, BUFFER)
        self._head = to + ns.mac(device) + b"\x08\x00"
        size = len(self._frame("0.0.0.0"))
        self._buffer = ctypes.create_string_buffer(size * PORTS)
        base = ctypes.addressof(self._buffer)
        self._iov = (_Iovec * PORTS)(*((base + n * size, size) for n in range(PORTS)))
        iov = ctypes.addressof(self._iov)
        step = ctypes.sizeof(_Iovec)
        self._messages = (_Message * PORTS)(
            *((None, 0, iov + n * step, 1, None, 0, 0, 0) for n in range(PORTS))
        )
        self._libc = ctypes.CDLL(None, use_errno=True)

    def _frame(self, address: str) -> bytes:
        client = Initiator(address, self._vip, port=0, ispi=0, rspi=0xFEED)
        return self._head + client.later(IKE_AUTH, body=b"")

    def send(self, addresses: Iterable[int]) -> None:
        """Send what the initiators of these addresses, numbered from 1, send."""
        for number in addresses:
            self._write(number)
            for first in range(0, PORTS, BATCH):
                self._send(first)

    def _write(self, number: int) -> None:
        """The packets of one address."""
        frames = bytearray(self._frame(f"192.0.2.{number}") * PORTS)
        size = len(frames) // PORTS
        high = b"".join(bytes([0x80 + n]) * 256 for n in range(PORTS // 256))
        low = bytes(range(256)) * (PORTS // 256)
        for offset, column in (
            (PORT, high),
            (PORT + 1, low),
            (SPI, bytes([number]) * PORTS),
            (SPI + 1, high),
            (SPI + 2, low),
        ):
            frames[offset::size] = column
        self._buffer.raw = bytes(frames)

    def _send(self, first: int) -> None:
        done = 0
        while done < BATCH:
            at = ctypes.byref(self._messages, (first + done) * ctypes.sizeof(_Message))
            sent = self._libc.sendmmsg(self._sock.fileno(), at, BATCH - done, 0)
            if sent < 0:
                raise OSError(ctypes.get_errno(), "sendmmsg")
            done += sent

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()
