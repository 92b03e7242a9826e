# SPDX-License-Identifier: GPL-2.0
"""A netlink socket that compares answers with what a model expects."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections import Counter
from errno import errorcode

from kt.capture import BUFFER, SO_RCVBUFFORCE
from kt.fuzz.model import Expected, walk
from kt.genl import NLMSG_DONE, NLMSG_ERROR, Genl

NLM_F_MULTI = 0x2

# For an answer, or a part of a dump. A part is as large as the largest room its socket has ever
# had: little, so that dumps have several.
ROOM = 4096


class Line:
    """A netlink socket for many messages at a time; the kernel answers before send returns."""

    def __init__(self, genl: Genl) -> None:
        self.sock = genl.sock
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        self.sock.setblocking(False)
        self.seen: Counter[int] = Counter()

    def exchange(self, datagram: bytes, expected: Expected) -> None:
        """Send a datagram; its answers must be the expected ones."""
        acks, ends, replies = [], {}, 0
        self.sock.send(datagram)
        with contextlib.suppress(BlockingIOError):
            while True:
                data = self.sock.recv(ROOM)
                for kind, flags, sequence, body in walk(data):
                    if kind == NLMSG_ERROR and sequence not in expected.dumps:
                        acks.append((sequence, error(body)))
                    elif kind in (NLMSG_ERROR, NLMSG_DONE):
                        ends[sequence] = error(body)
                    else:
                        replies += not flags & NLM_F_MULTI
        self.seen.update(number for _, number in acks)
        self.seen.update(ends.values())
        assert [a for a, _ in acks] == [a for a, _ in expected.acks], (
            f"answers {acks}, not {expected.acks}"
        )
        assert ends.keys() == expected.dumps.keys(), f"ends {ends}, not {expected.dumps}"
        wanted = [*(errors for _, errors in expected.acks), *expected.dumps.values()]
        came = [*acks, *((sequence, ends[sequence]) for sequence in expected.dumps)]
        for (sequence, number), errors in zip(came, wanted, strict=True):
            assert number in errors, (
                f"{names(number)}, not {names(*errors)}: {shown(datagram, sequence)}"
            )
        assert replies == expected.replies, f"{replies} replies, not {expected.replies}"

    def shown(self) -> str:
        """Every error number that came, and how often."""
        return ", ".join(f"{names(number)} {n:,}" for number, n in self.seen.most_common())


def shown(datagram: bytes, wanted: int) -> str:
    """The message of a datagram that has this sequence number."""
    for kind, flags, sequence, body in walk(datagram):
        if sequence == wanted:
            return f"type {kind}, flags {flags:#x}, body {body.hex()}"
    return "no message"


def error(body: bytes) -> int:
    """The number in an answer, 0 for success."""
    (negative,) = struct.unpack_from("=i", body)
    return -int(negative)


def names(*numbers: int) -> str:
    """Error numbers by name."""
    return " or ".join(errorcode.get(n, str(n)) if n else "done" for n in sorted(numbers))
