# SPDX-License-Identifier: GPL-2.0
"""charon's own protocol, spoken by hand: a command takes milliseconds, swanctl's start a second.

Packets have a length and a type; messages are sections, lists and values, each with
its name (src/libcharon/plugins/vici/README.md of strongSwan).
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Any

CMD_REQUEST, CMD_RESPONSE = 0, 1
EVENT_REGISTER, EVENT_CONFIRM, EVENT = 3, 5, 7
SECTION_START, SECTION_END, KEY_VALUE, LIST_START, LIST_ITEM, LIST_END = range(1, 7)


class Vici:
    """A connection to a daemon."""

    def __init__(self, path: Path, timeout: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))

    def __enter__(self) -> Vici:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def command(self, name: str, **values: object) -> dict[str, Any]:
        """Have it do something; its answer."""
        return self.stream(name, "", **values)[0]

    def stream(
        self, name: str, event: str, **values: object
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The same, with the events that come before the answer."""
        if event:
            self._send(EVENT_REGISTER, event)
            kind, _ = self._receive()
            assert kind == EVENT_CONFIRM, f"no event {event}"
        self._send(CMD_REQUEST, name, encode(values))
        events = []
        while True:
            kind, body = self._receive()
            if kind != EVENT:
                assert kind == CMD_RESPONSE, f"no command {name}"
                return decode(body), events
            events.append(decode(body[1 + body[0] :]))

    def _send(self, kind: int, name: str, body: bytes = b"") -> None:
        packet = struct.pack("!BB", kind, len(name)) + name.encode() + body
        self._socket.sendall(struct.pack("!I", len(packet)) + packet)

    def _receive(self) -> tuple[int, bytes]:
        (length,) = struct.unpack("!I", self._exactly(4))
        packet = self._exactly(length)
        return packet[0], packet[1:]

    def _exactly(self, length: int) -> bytes:
        found = b""
        while len(found) < length:
            some = self._socket.recv(length - len(found))
            if not some:
                raise ConnectionError("the daemon has ended")
            found += some
        return found


def encode(values: dict[str, object]) -> bytes:
    """A message of values; the names have dashes where Python's have not."""
    found = b""
    for name, value in values.items():
        key, text = name.replace("_", "-").encode(), str(value).encode()
        found += struct.pack("!BB", KEY_VALUE, len(key)) + key
        found += struct.pack("!H", len(text)) + text
    return found


def decode(data: bytes) -> dict[str, Any]:
    """Sections as dictionaries, lists as lists, values as text."""
    at = 0

    def text(form: str) -> str:
        nonlocal at
        (length,) = struct.unpack_from(form, data, at)
        at += struct.calcsize(form) + length
        return data[at - length : at].decode(errors="replace")

    whole: dict[str, Any] = {}
    open_sections = [whole]
    listed: list[str] = []
    while at < len(data):
        kind = data[at]
        at += 1
        if kind == SECTION_START:
            open_sections.append(open_sections[-1].setdefault(text("!B"), {}))
        elif kind == SECTION_END:
            open_sections.pop()
        elif kind == KEY_VALUE:
            name = text("!B")
            open_sections[-1][name] = text("!H")
        elif kind == LIST_START:
            listed = open_sections[-1].setdefault(text("!B"), [])
        elif kind == LIST_ITEM:
            listed.append(text("!H"))
    return whole
