# SPDX-License-Identifier: GPL-2.0
"""What happens in the middle of a row of the comparison (kt/play.py)."""

from __future__ import annotations

import time

from kt.lab import Client, on_wan
from kt.play import PINGS, Play
from kt.wait import wait_until

IDLE_BEYOND = 1  # seconds
HEARD_SECONDS = 8
NEW_ADDRESS = "203.0.113.130"


def esp_and_the_timer(play: Play) -> None:
    """Whether ESP alone keeps the entry of its client alive."""
    client = play.up[0]

    def left() -> float:
        flow = play.rival.flow(client.address, 500)
        return flow.seconds if flow else 0

    at_first = left()
    wait_until(lambda: left() < at_first - 2, 10, "the timer's going")
    before = left()
    client.ping(PINGS)
    restarted = left() > before
    text = "ESP restarts the timer" if restarted else "ESP leaves the timer alone"
    play.notes.append(text)
    if restarted != play.rival.esp_restarts_timer:
        play.complain(client, text)


def silence(play: Play) -> None:
    """Nothing is sent for longer than ip_vs remembers. Idle time is what this is about."""
    time.sleep(play.row.setup.udp_timeout + IDLE_BEYOND)


def end_of_500(play: Play) -> None:
    """The entries on port 500 run out, while IKE goes on on 4500."""
    wait_until(
        lambda: not [flow for flow in play.rival.flows() if flow.port == 500],
        30,
        "the end of the entries on port 500",
    )


def new_address(play: Play) -> None:
    """The first client moves; MOBIKE tells its gateway (RFC 4555)."""
    client = play.up[0]
    on_wan(client.ns, NEW_ADDRESS)
    heard(play, client, "remote-host", {NEW_ADDRESS})


def new_mapping(play: Play) -> None:
    """The NAT gives every client another port; dead peer detection notices.

    With MOBIKE a client compares what its gateway says of the mapping with what it said the last
    time it was asked: it must have been asked before.
    """
    before = {client.name: len(client.charon.received()) for client in play.up}
    for client in play.up:
        wait_until(
            lambda c=client: len(c.charon.received()) > before[c.name],
            HEARD_SECONDS,
            f"{client.name}: an answer to dead peer detection",
        )
    ports = {str(port) for port in play.lab.remap()}
    for client in play.up:
        heard(play, client, "remote-port", ports)


def heard(play: Play, client: Client, key: str, wanted: set[str]) -> None:
    """Wait until a gateway knows where the client is now."""

    def known() -> bool:
        sas = [sa for gateway in play.lab.gateways for sa in gateway.charon.list_sas()]
        return any(sa["remote-id"] == client.name and sa[key] in wanted for sa in sas)

    try:
        wait_until(known, HEARD_SECONDS, "a gateway that has heard")
    except AssertionError:
        play.complain(client, f"no gateway learns its {key.replace('-', ' ')}")


def power_cut(play: Play) -> None:
    """The first client loses power, and comes back."""
    client = play.up.pop(0)
    client.charon.kill()
    client.charon.start()
    play.bring_up(client)
