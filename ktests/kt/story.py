# SPDX-License-Identifier: GPL-2.0
"""What happens in one scenario, and the table of all of them."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from kt.matrix import INSIDE, VIPS, Gateway, Host
from kt.scenarios import PINGS, Client, ScenarioLab
from kt.wait import wait_until
from kt.watch import Mark

RESULTS: dict[tuple[str, str], str] = {}
"""By scenario and way."""


class Story:
    """What clients sent and gateways got since it began, and what the director counted."""

    def __init__(self, lab: ScenarioLab) -> None:
        self.lab = lab
        self.told: list[str] = []
        self.drops: dict[str, int] = {}
        """Those the scenario explains."""
        for watch in lab.watches.values():
            watch.forget()
        self._before = lab.counters()

    def sent(self, client: Host, source: str = "") -> Counter[Mark]:
        """What a client sent, by mark; from one of its addresses."""
        return self.lab.watches[client.name].seen(source)

    def forms(self, client: Host) -> set[str]:
        """As what: `ike`, `esp`, `udp`, `ah`."""
        return {form for form, _ in self.sent(client)}

    def got(self, client: Host, source: str = "") -> dict[Gateway, Counter[Mark]]:
        """Which of them each gateway got."""
        sent = self.sent(client, source)
        seen = {gateway: self.lab.watches[gateway.name].seen() for gateway in self.lab.gateways}
        return {g: Counter({mark: some[mark] for mark in sent}) for g, some in seen.items()}

    def missing(self, client: Host, source: str = "") -> Counter[Mark]:
        """Which of them no gateway got."""
        sent = self.sent(client, source)
        return sent - sum(self.got(client, source).values(), Counter())

    def home(self, client: Host, source: str = "") -> Gateway:
        """The one gateway that got every packet a client sent, once."""

        def told() -> str:
            return f"{client.name} sent {_forms(self.sent(client, source))}, " + ", ".join(
                f"{gateway.name} got {_forms(some)}"
                for gateway, some in self.got(client, source).items()
            )

        wait_until(lambda: not self.missing(client, source), 5, told)
        got = self.got(client, source)
        homes = [gateway for gateway, some in got.items() if some.total()]
        assert len(homes) == 1, told()
        assert got[homes[0]] <= self.sent(client, source), f"some came twice: {told()}"
        return homes[0]

    def moved(self) -> dict[str, int]:
        """How the director's counters moved."""
        return {
            k: n - self._before[k] for k, n in self.lab.counters().items() if n != self._before[k]
        }

    def tell(self, text: str) -> None:
        """Something for the table."""
        self.told.append(text)


def _forms(seen: Counter[Mark]) -> dict[str, int]:
    """Packets by form."""
    found: Counter[str] = Counter()
    for (form, _), n in seen.items():
        found[form] += n
    return dict(+found)


@contextlib.contextmanager
def scene(
    lab: ScenarioLab,
    title: str,
    scheduler: str = "rr",
    weights: tuple[int, int] = (1, 1),
    family: int = 4,
    timeouts: tuple[int, int] = (10, 28800),
) -> Iterator[Story]:
    """One scenario, from a service without entries to its line in the table."""
    key = (title, lab.way.name)
    RESULTS[key] = "FAILED"
    began = time.monotonic()
    for name, seconds in zip(("initial", "established"), timeouts, strict=True):
        lab.director.ns.sysctl(f"net/ipvs_ipsec/isakmp_{name}_timeout", seconds)
    lab.offer(replace(lab.way, vip=family, rip=family), scheduler, weights)
    story = Story(lab)
    try:
        yield story
        dropped = {k: n for k, n in story.moved().items() if k.startswith("drop-")}
        assert dropped == story.drops
        RESULTS[key] = ", ".join(("ok", *story.told)) + f" ({time.monotonic() - began:.1f} s)"
    except BaseException as error:
        for peer in (*lab.gateways, *(client for client in lab.clients if story.sent(client))):
            error.add_note(f"{peer.name}: {peer.charon.log(30)}")
        raise
    finally:
        lab.rest()


def works(story: Story, client: Client, *options: object, to: str = INSIDE) -> Gateway:
    """Pings go through, and everything the client sent reached one gateway."""
    if to not in VIPS.values():
        wait_until(lambda: client.is_routed(to), 10, f"{client.name}: a route")
    answered, told = client.ping(PINGS, *options, to=to)
    assert answered == PINGS, f"{told}\n{client.charon.log(20)}"
    return story.home(client)


def while_pinging(story: Story, client: Client, act: Callable[[], object], pings: int = 50) -> int:
    """How many pings go without an answer while something happens."""
    before = story.sent(client).total()
    with ThreadPoolExecutor() as pool:
        pinging = pool.submit(client.loses, pings)
        wait_until(lambda: story.sent(client).total() > before, 10, "the first ping")
        act()
        return pinging.result()
