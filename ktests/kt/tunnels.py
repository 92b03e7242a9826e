# SPDX-License-Identifier: GPL-2.0
"""What is asked of tunnels: that they carry, each by its one gateway, before and after new keys."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kt.lab import Client, Gateway, Lab
from kt.strongswan import Charon
from kt.wait import wait_until


def gateway_of(lab: Lab, client: Client) -> Gateway:
    """The gateway whose inside address the client has."""
    return lab.gateways[client.gateway_number() - 1]


def esp_since(lab: Lab, act: Callable[[], object], kind: str = "esp") -> dict[str, dict[str, int]]:
    """Packets of a kind that reached each gateway, by client, while something was done."""

    def counts() -> dict[str, dict[str, int]]:
        return {g.name: g.counts()[kind] for g in lab.gateways}

    before = counts()
    act()
    return {
        name: {a: n - before[name].get(a, 0) for a, n in now.items() if n > before[name].get(a, 0)}
        for name, now in counts().items()
    }


def at_once[T](act: Callable[[T], Any], items: Iterable[T]) -> list[Any]:
    """Do something to several side by side; what it gave back."""
    listed = list(items)
    with ThreadPoolExecutor(max_workers=len(listed)) as pool:
        return list(pool.map(act, listed))


@contextlib.contextmanager
def carrying(lab: Lab, pings: int, clients: list[Client] | None = None) -> Iterator[None]:
    """Every client pings while the block runs; none is lost, all reach its gateway and no other.

    Not every client, if some are named.
    """
    clients = clients or lab.clients
    homes = {client.address: gateway_of(lab, client).name for client in clients}
    before = {gateway.name: _packets(gateway) for gateway in lab.gateways}
    started = [(client, client.pinging(pings)) for client in clients]
    yield
    for client, process in started:
        assert client.missing(process) == 0, f"{client.name}\n{client.charon.log(20)}"
    for gateway in lab.gateways:
        for address, home in homes.items():
            came = _packets(gateway).get(address, 0) - before[gateway.name].get(address, 0)
            assert (came >= pings) if home == gateway.name else came == 0, (gateway.name, address)


def _packets(gateway: Gateway) -> dict[str, int]:
    """IKE and IPsec that reached a gateway, by client."""
    total: dict[str, int] = {}
    for counted in gateway.counts().values():
        for address, n in counted.items():
            total[address] = total.get(address, 0) + n
    return total


def new_keys(
    clients: Iterable[Client], spis: Callable[[Charon], list[str]], ask: Callable[[], object]
) -> None:
    """Each client has other SPIs, and one pair of them, some time after they were asked for."""
    before = {client.name: spis(client.charon) for client in clients}

    def renewed(client: Client) -> bool:
        now = spis(client.charon)
        return len(now) == 1 and now != before[client.name]

    def wait(client: Client) -> None:
        wait_until(lambda: renewed(client), 20, lambda: f"{client.name}\n{client.charon.log()}")

    ask()
    at_once(wait, clients)
