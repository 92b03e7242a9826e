# SPDX-License-Identifier: GPL-2.0
"""One row of the comparison, played with one of the two.

The clients' tunnels come up one after the other; each carries pings; what the row
is about happens; each carries pings again, renews the keys of its CHILD SA and
of its IKE SA, and carries once more. At the end the gateways tell whom they heard
of: all that a client sent must have reached one of them.

What fails is noted and the play goes on, as the clients of a real director would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kt.compare_lab import CompareLab, tunnel_is_usable
from kt.lab import INSIDE, VIP, Client
from kt.matrix import together
from kt.rivals import Rival, Setup
from kt.strongswan import client_conf

PINGS = 5
TUNNEL_SECONDS = 6
REKEY_SECONDS = 6


@dataclass(frozen=True)
class Row:
    """What is compared."""

    number: str
    text: str
    ip_vs_works: bool
    """As known; what is seen may differ."""
    setup: Setup = Setup()
    clients: tuple[str, ...] = ("c1", "c2")
    mobike: bool = True
    dpd: int = 0
    stray_before: str = ""
    """The client before whose first packet a stranger sends one."""
    event: Callable[[Play], None] | None = None


@dataclass
class Outcome:
    """How it went."""

    works: bool
    seen: str
    evidence: str = field(default="", repr=False)

    def __str__(self) -> str:
        return ("works" if self.works else "fails") + (f": {self.seen}" if self.seen else "")


class Play:
    """A row, one of the two, and what was seen so far."""

    def __init__(self, lab: CompareLab, rival: Rival, row: Row) -> None:
        self.lab = lab
        self.rival = rival
        self.row = row
        self.clients = [lab.client(name) for name in row.clients]
        self.up: list[Client] = []
        self.complaints: dict[str, list[str]] = {}
        """What is wrong, and with which clients."""
        self.notes: list[str] = []

    def run(self) -> Outcome:
        """From an empty director to the outcome."""
        self._prepare()
        try:
            self._act()
            evidence = self._evidence() if self.complaints else ""
        finally:
            self.lab.hang_up(self.clients)
        wrong = [f"{', '.join(names)}: {text}" for text, names in self.complaints.items()]
        return Outcome(not wrong, "; ".join(wrong or self.notes), evidence)

    def complain(self, client: Client, text: str) -> None:
        """Something does not hold for a client."""
        names = self.complaints.setdefault(text, [])
        if client.name not in names:
            names.append(client.name)

    def _prepare(self) -> None:
        self.lab.answer_by(self.row.setup.method)
        self.rival.set_up(self.row.setup)
        for client in self.clients:
            conf = client_conf(
                client.address,
                VIP,
                client.name,
                f"{INSIDE}/32",
                mobike=self.row.mobike,
                dpd=self.row.dpd,
            )
            self.lab.configure(client, conf)
        self.lab.reached()

    def _act(self) -> None:
        for client in self.clients:
            if client.name == self.row.stray_before:
                self.lab.one_stray_packet()
            self.bring_up(client)
        self.ping()
        if self.row.event and self.up:
            self.row.event(self)
            self.ping()
        self.rekey()
        self.ping()
        self._check_gateways()

    def bring_up(self, client: Client) -> None:
        """The client's tunnel."""
        try:
            client.charon.initiate(TUNNEL_SECONDS)
            tunnel_is_usable(client)
        except AssertionError:
            self.complain(client, "no tunnel")
            return
        self.up.append(client)

    def ping(self) -> None:
        """Through each tunnel."""
        for client, lost in zip(self.up, self._each(lambda c: c.ping(PINGS)), strict=True):
            if lost:
                self.complain(client, f"{lost} of {PINGS} pings lost")

    def rekey(self) -> None:
        """The CHILD SA, then the IKE SA, of each tunnel."""
        for client, failed in zip(self.up, self._each(rekeying_fails), strict=True):
            if failed:
                self.complain(client, f"no rekeying of the {failed} SA")

    def _each(self, act: Callable[[Client], object]) -> list:
        return together(act, self.up) if self.up else []

    def _check_gateways(self) -> None:
        reached = self.lab.reached()
        homes: set[str] = set()
        for client in self.clients:
            by_kind = {kind: names for kind, names in reached[client.name].items() if names}
            at = set().union(*by_kind.values())
            homes |= at
            if len(at) > 1:
                told = [f"{kind.upper()} at {' and '.join(n)}" for kind, n in by_kind.items()]
                self.complain(client, ", ".join(told))
        if len(homes) == 1 < min(len(self.clients), self.row.setup.servers):
            self.notes.append(f"all at {homes.pop()}")

    def _evidence(self) -> str:
        peers = (*self.lab.gateways, *self.clients)
        logs = [f"--- log of {peer.charon.ns.name}\n{peer.charon.log(30)}" for peer in peers]
        return "\n".join([self.rival.told(), *logs])


def rekeying_fails(client: Client) -> str:
    """Of which SA the keys could not be renewed."""
    for kind, renew in (("CHILD", client.charon.rekey_child), ("IKE", client.charon.rekey_ike)):
        try:
            renew(timeout=REKEY_SECONDS)
        except (AssertionError, RuntimeError):
            return kind
    return ""
