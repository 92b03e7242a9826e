# SPDX-License-Identifier: GPL-2.0
"""IKE messages of 4 KB that only IP can cut, through every forwarding method.

    client esp --- router --+-- director
                            +-- gw1
                            +-- gw2        all of it: kt/matrix.py

IKE_SA_INIT is large by a hundred proposals, IKE_AUTH by a certificate with many
names, each way; IKE's own fragmentation (RFC 7383), which cannot help the
first, is off. What a daemon received it tells in its log.

Some hosts set DF in fragments of their own. Linux does not: those are made by
hand (kt/dual.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from kt import module
from kt.dual import V4, Dual, Family
from kt.inet import Inet, aged, fragments, read, whole
from kt.matrix import INSIDE, VIPS, MatrixLab, Way
from kt.net import sh
from kt.packets import ike
from kt.strongswan import GATEWAY_ID, IKE_PROPOSAL, Charon, client_conf, gateway_conf
from kt.wait import wait_until

LARGE = 4000
TOO_BIG = {4: (3, 4), 6: (2, 0)}
TUNNELS = {"ipip": 20, "gre": 24, "gue": 32}  # bytes around a packet
METHODS = ("dr", "nat", *TUNNELS)
WAYS = [
    Way(method, family, family, shim)
    for family in (4, 6)
    for method, shim in (
        ("dr", ""),
        ("nat", ""),
        ("local", ""),
        ("tun", "ipip"),
        ("tun", "gre"),
        ("tun", "gue"),
    )
]


def proposals() -> str:
    """A hundred proposals, the last of which the gateways take."""
    ciphers = [f"aes{bits}{mode}" for bits in (256, 192, 128) for mode in ("", "ctr")]
    sums = ("sha512", "sha384", "sha256", "sha1")
    groups = ("x25519", "ecp521", "ecp384", "ecp256", "modp2048")
    mixed = ["-".join(parts) for parts in itertools.product(ciphers, sums, groups)]
    mixed.remove(IKE_PROPOSAL)
    return ", ".join([*mixed, IKE_PROPOSAL])


def certify(folder: Path, identity: str) -> None:
    """A certificate of 4 KB and its key."""
    names = [identity, *(f"one-name-of-many-{n:03}.{identity}.vpn.example" for n in range(100))]
    for kind in ("x509", "private"):
        (folder / kind).mkdir(parents=True)
    sh(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-days", "30", "-subj", f"/CN={identity}"),
        *("-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)),
        *("-keyout", folder / "private/key.pem", "-out", folder / f"x509/{identity}.pem"),
    )


def trust(charon: Charon, own: Path, other: Path) -> None:
    """A daemon has its own key, and both certificates."""
    for source in (own / "private", own / "x509", other / "x509"):
        to = charon.folder / source.name
        to.mkdir(exist_ok=True)
        for file in source.iterdir():
            (to / file.name).write_bytes(file.read_bytes())


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MatrixLab]:
    """The lab, its daemons with certificates."""
    module.load()
    keys = Path(tmp_path_factory.mktemp("keys"))
    certify(keys / "client", "esp")
    certify(keys / "gateway", GATEWAY_ID)
    with MatrixLab(Path(tmp_path_factory.mktemp("charon"))) as made:
        inside = f"{INSIDE}/32"
        for server in made.servers:
            trust(server.charon, keys / "gateway", keys / "client")
            server.charon.reconfigure(
                gateway_conf("%any", inside, server.pool, auth="pubkey", fragmentation=False)
            )
        client = made.clients[0]
        trust(client.charon, keys / "client", keys / "gateway")
        client.charon.reconfigure(
            "".join(
                client_conf(
                    client.addresses[family],
                    vip,
                    "esp",
                    inside,
                    name=f"vpn{family}",
                    auth="pubkey",
                    proposals=proposals(),
                    fragmentation=False,
                )
                for family, vip in VIPS.items()
            )
        )
        yield made


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_large_messages_pass(lab: MatrixLab, way: Way) -> None:
    lab.configure(way)
    client = lab.clients[0]
    daemons = [client.charon, *(server.charon for server in lab.servers)]
    counters = lab.counters()
    before = [len(daemon.received()) for daemon in daemons]
    client.charon.initiate(name=f"vpn{way.vip}")
    try:
        answered, told = client.ping(3)
        assert answered == 3, told
        here, *there = (d.received()[n:] for d, n in zip(daemons, before, strict=True))
        assert len([size for size in here if size > LARGE]) == 1, "IKE_AUTH"
        assert sorted(len([n for n in sizes if n > LARGE]) for sizes in there) == [0, 0, 2], there
        moved = {k for k, n in lab.counters().items() if n != counters[k]}
        dropped = {name for name in moved if name.startswith("drop-")}
        # Whoever cuts IPv6 is told that the parts are still too long for the tunnel.
        assert dropped <= ({"drop-mtu"} if way.vip == 6 and way.shim else set())
    finally:
        client.charon.terminate(f"vpn{way.vip}")


def offer(dual: Dual, side: Family, method: str) -> None:
    """A service with one server."""
    if method in TUNNELS:
        dual.configure(side, "tun", V4.rip(), tunnel_type=method)
    else:
        dual.configure(side, method)


def pieces(dual: Dual) -> list[Inet]:
    """All fragments of the one packet that reaches the server."""
    found: list[Inet] = []

    def complete() -> bool:
        found.extend(dual.captures[0].packets())
        ends = [p.offset + len(p.payload) for p in found if not p.more]
        return bool(ends) and sum(len(p.payload) for p in found) >= ends[0]

    wait_until(complete, 5, lambda: f"all fragments, seen {found}")
    return found


@pytest.mark.parametrize("size", [1480, 1400, 800])
@pytest.mark.parametrize("method", METHODS)
def test_fragments_of_a_source_s_own_go_on(
    dual: Dual, side: Family, method: str, size: int
) -> None:
    """No larger than they came, with DF or without, on links of the same MTU."""
    offer(dual, side, method)
    size -= 40 if method in TUNNELS else 0
    size -= 32 if side.version == 6 else 0  # a longer header, and one more
    client = side.client()
    sent = client.udp(500, ike(client.ispi, body=bytes(range(250)) * 16), df=True)
    parts = fragments(sent, size // 8 * 8, df=True)
    with dual.counted(ike=1, entries_created=1):
        dual.port.send(parts)
        found = pieces(dual)
    if method in TUNNELS:
        assert whole(found).endswith(read(aged(sent)).payload)
        return
    assert [len(p.raw) for p in found] == [len(part) for part in parts]
    assert whole(found)[8:] == read(sent).payload[8:]


@pytest.mark.parametrize("method", METHODS)
def test_fragments_larger_than_the_path_are_refused(
    dual: Dual, side: Family, method: str
) -> None:
    """Then the source is told the MTU, which its next ones keep."""
    offer(dual, side, method)
    client, mtu = side.client(), 1380 - TUNNELS.get(method, 0)
    sent = client.udp(500, ike(client.ispi, body=bytes(LARGE)), df=True)
    with dual.mtu("s1", 1380):
        with dual.counted(drop_mtu=1, entries_created=1):
            dual.port.send(fragments(sent, 1400, df=True))
        answer = dual.back.one("an error")
        assert (answer.icmp, answer.info) == (TOO_BIG[side.version], mtu)
        size = (mtu - side.header - (8 if side.version == 6 else 0)) // 8 * 8
        with dual.counted(ike=1):
            dual.port.send(fragments(sent, size, df=True))
            found = pieces(dual)
    assert max(len(p.raw) for p in found) <= 1380


def test_answers_in_fragments_with_df_cross(dual: Dual, side: Family) -> None:
    dual.configure(side, "nat")
    client = dual.admitted(side)
    message = ike(client.ispi, client.rspi, 35, body=bytes(range(250)) * 16)
    sent = client.answer(side.rip(), 500, message, df=True)
    parts = fragments(sent, 1400, df=True)
    with dual.counted(out=1):
        dual.answers[0].send(parts)
        found = dual.back.some(len(parts), "fragments")
    assert {p.src for p in found} == {side.vip}
    assert [len(p.raw) for p in found] == [len(part) for part in parts]
    assert whole(found)[8:] == read(sent).payload[8:]
