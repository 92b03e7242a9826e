# SPDX-License-Identifier: GPL-2.0
"""Every forwarding method, in every combination of address families, with every form of IPsec.

    clients esp, udp, ah --- router --+-- director
                                      +-- gw1
                                      +-- gw2           all of it: kt/matrix.py

A row is a method with its families; a cell is one client's tunnel: it comes up,
answers every ping, and iperf3 takes 256 KB each way. Or it is a refusal that
is documented: AH does not survive nat, and is dropped and counted.

With nat both ends detect the NAT (RFC 7296 section 2.23), so that a client who
asks for native ESP sends ESP in UDP, and AH is refused by strongSwan itself. In
the rows "nat undone" the gateways turn their own address back into the VIP
before the daemon sees it: no NAT is detected, and native ESP and AH reach the
director.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kt import module
from kt.matrix import FORMS, Client, MatrixLab, Way, together

PINGS = 3
COUNTER = {"esp": "esp", "udp": "esp-in-udp", "ah": "ah"}

WAYS = [
    *(Way("dr", family, family) for family in (4, 6)),
    *(Way("nat", family, family) for family in (4, 6)),
    *(Way("nat", family, family, undone=True) for family in (4, 6)),
    *(Way("local", family, family) for family in (4, 6)),
    *(
        Way("tun", vip, rip, shim)
        for shim in ("ipip", "gre", "gue")
        for vip, rip in ((4, 4), (6, 6), (4, 6), (6, 4))
    ),
]


@dataclass
class Cell:
    """What became of one client's tunnel."""

    text: str
    home: str = ""


RESULTS: dict[tuple[Way, str], str] = {}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MatrixLab]:
    """The lab, no tunnel up."""
    module.load()
    with MatrixLab(Path(tmp_path_factory.mktemp("charon"))) as made:
        yield made


def sent_as(way: Way, form: str) -> str:
    """The form in which a client's packets go that asked for another."""
    nat_detected = way.method == "nat" and not way.undone
    return "udp" if nat_detected and form == "esp" else form


def is_dropped(way: Way, form: str) -> bool:
    """Whether a tunnel comes up whose packets the director drops, as is documented."""
    return way.undone and form == "ah"


def is_refused(way: Way, form: str) -> bool:
    """Whether no tunnel comes up: strongSwan does not do AH where it detects a NAT."""
    return way.method == "nat" and not way.undone and form == "ah"


def without_tunnel(way: Way, form: str) -> bool:
    """Whether nothing passes."""
    return is_dropped(way, form) or is_refused(way, form)


def play(lab: MatrixLab, way: Way, client: Client) -> Cell:
    """One cell: the tunnel up, used, and down."""
    ike = f"vpn{way.vip}"
    if is_refused(way, client.name):
        with pytest.raises(AssertionError, match=r"NO_PROP") as refused:
            client.charon.initiate(name=ike)
        assert "is behind NAT" in str(refused.value)
        return Cell("refused by the daemons")
    client.charon.initiate(name=ike)
    try:
        home, child = client.home(), client.child()
        form = sent_as(way, client.name)
        assert child["protocol"] == ("AH" if form == "ah" else "ESP")
        assert (child.get("encap") == "yes") == (form == "udp"), child
        answered, told = client.ping(
            PINGS, "-W", "2" if not is_dropped(way, client.name) else "0.5"
        )
        if is_dropped(way, client.name):
            assert answered == 0
            return Cell("drop-ah-nat", home)
        assert answered == PINGS, f"{told}\n{client.charon.log(20)}"
        client.transfer("256K")
        return Cell("ok" if form == client.name else "ok, as ESP in UDP", home)
    finally:
        client.charon.terminate(ike)


def check_ways(lab: MatrixLab, way: Way, cells: list[Cell]) -> None:
    """What the gateways saw is what the director says it did."""
    seen = together(lambda gateway: gateway.reached(), lab.gateways)
    wrapped = {"ipip", "gre", "gue"}
    if way.method == "local":
        assert not any(any(counts.values()) for counts in seen), seen
        return
    homes = [cell.home for cell in cells]
    assert set(homes) == {"1", "2"} or "" in homes, "rr"
    for counts in seen:
        assert {kind for kind in wrapped if counts[kind]} == ({way.shim} - {""}), counts
    for form in FORMS:
        reached = sum(counts[form] for counts in seen)
        senders = [f for f in FORMS if sent_as(way, f) == form and not without_tunnel(way, f)]
        assert (reached >= len(senders) * PINGS) if senders else reached == 0, (form, seen)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_way(lab: MatrixLab, way: Way) -> None:
    lab.configure(way)
    before = lab.counters()

    def cell(client: Client) -> Cell:
        began = time.monotonic()
        RESULTS[way, client.name] = "FAILED"
        found = play(lab, way, client)
        RESULTS[way, client.name] = f"{found.text} ({time.monotonic() - began:.1f} s)"
        return found

    cells = together(cell, lab.clients)
    after = lab.counters()
    moved = {name: n - before[name] for name, n in after.items() if n != before[name]}
    check_ways(lab, way, cells)
    for form in FORMS:
        if without_tunnel(way, form):
            dropped = PINGS if is_dropped(way, form) else 0
            assert moved.get("drop-ah-nat", 0) == dropped and "ah" not in moved, moved
        else:
            assert moved.get(COUNTER[sent_as(way, form)], 0) >= PINGS, (form, moved)
    dropped = {name for name in moved if name.startswith("drop-")}
    assert dropped <= {"drop-ah-nat", "drop-mtu"}, moved


def test_every_cell_of_the_matrix_is_known(lab: MatrixLab, capsys: pytest.CaptureFixture) -> None:
    """And printed."""
    titles = ("native ESP", "ESP in UDP", "AH")
    lines = [f"{'method':12} {'families':14}" + "".join(f" {title:26}" for title in titles)]
    for way in WAYS:
        cells = (RESULTS.get((way, form), "not tried") for form in FORMS)
        lines.append(f"{way.name:12} {way.families:14}" + "".join(f" {cell:26}" for cell in cells))
    with capsys.disabled():
        print("\n\n" + "\n".join(line.rstrip() for line in lines) + "\n")
    assert not [cell for cell in RESULTS.values() if cell == "FAILED"]
