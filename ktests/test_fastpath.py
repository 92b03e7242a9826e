# SPDX-License-Identifier: GPL-2.0
"""The fast path: established flows go from the ingress of `in` to their servers.

    gen ---------- in   director   s1 ---- s1 RIP 1
    plays clients       VIP on lo  s2 ---- s2 RIP 2

Every packet of ours is counted once; `fastpath` tells which way it went. What
is not taken, test_fastpath_not.py tells.
"""

from __future__ import annotations

import pytest

from kt.dual import V4, Dual, Family, Tap
from kt.fastpath import fast_path, flows, normal, refused, taken, takes
from kt.inet import aged, read
from kt.packets import ESP, esp
from kt.wait import wait_until


@pytest.mark.parametrize("method", ["dr", "nat"])
def test_a_packet_is_sent_as_the_normal_path_sends_it(
    dual: Dual, side: Family, method: str
) -> None:
    """To the byte, link-layer header included."""
    client, natt = flows(dual, side, method)
    largest = bytes(1500 - 8 - side.header)
    packets = [
        ("esp", client.esp()),
        ("esp", client.esp(ttl=2)),
        ("esp", client.esp(ttl=255, tos=0xB9, df=True, ident=0xBEEF)),
        ("esp", client.ip(ESP, esp(7, body=largest), df=True)),
        ("esp_in_udp", natt.esp_in_udp()),
        ("esp_in_udp", natt.udp(4500, esp(0xC0000003, 2, bytes(61)), ttl=2)),
    ]
    wanted = [frame(dual, sent, kind, 0) for kind, sent in packets]
    with fast_path(dual):
        assert [frame(dual, sent, kind, 1) for kind, sent in packets] == wanted
    for (_, sent), got in zip(packets, wanted, strict=True):
        assert got[:12] == dual.servers[0].mac("eth0") + dual.director.mac("s1")
        if method == "dr":
            assert got[14:] == aged(sent)
        else:
            assert read(got[14:]).dst == side.rip()


def frame(dual: Dual, packet: bytes, kind: str, fast: int, server: int = 1) -> bytes:
    """What a packet is at a server; `fast` is 1 if it must be taken."""

    def unicast() -> list[bytes]:
        return [found for found in dual.captures[server - 1].frames() if not found[0] & 1]

    with takes(dual, fast):
        dual.expect(packet, **{kind: 1})
        (got,) = wait_until(unicast, 5, "the frame")
    return got


@pytest.mark.parametrize("method", ["dr", "nat"])
def test_it_counts_as_the_normal_path_does(fast: Dual, side: Family, method: str) -> None:
    client, natt = flows(fast, side, method)

    def count() -> dict[str, int]:
        names = ("in-packets", "in-bytes", "out-packets", "conns")
        server = fast.genl.do("server-get", service=side.vip, address=side.rip())
        service = fast.genl.do("service-get", address=side.vip)
        told = {f"server {n}": server[n] for n in names}
        return told | {f"service {n}": service[n] for n in names}

    for kind, sent in (("esp", client.esp()), ("esp_in_udp", natt.esp_in_udp())):
        before = count()
        taken(fast, sent, **{kind: 1})
        moved = {name: n - before[name] for name, n in count().items() if n != before[name]}
        assert moved == {
            f"{who} in-{what}": n
            for who in ("server", "service")
            for what, n in (("packets", 1), ("bytes", len(sent)))
        }


def test_no_udp_checksum_stays_none_and_a_wrong_one_wrong(fast: Dual) -> None:
    _, natt = flows(fast, V4, "nat")
    none = natt.udp(4500, esp(0xC0000003), summed=False)
    assert taken(fast, none, esp_in_udp=1).udp_sum == 0
    wrong = bytearray(natt.esp_in_udp())
    wrong[-1] ^= 1
    with pytest.raises(AssertionError, match="UDP checksum"):
        taken(fast, bytes(wrong), esp_in_udp=1)


@pytest.mark.parametrize("method", ["dr", "nat"])
def test_who_listens_on_the_device_sees_what_came(fast: Dual, side: Family, method: str) -> None:
    """A packet socket shares the packet's bytes, which are changed afterwards."""
    client, natt = flows(fast, side, method)
    tap = Tap(fast.director, "in")
    try:
        for kind, sent in (("esp", client.esp()), ("esp_in_udp", natt.esp_in_udp())):
            taken(fast, sent, **{kind: 1})
            assert tap.one().raw == sent
    finally:
        tap.close()


def test_the_way_back_is_the_normal_one(fast: Dual, side: Family) -> None:
    client, _ = flows(fast, side, "nat")
    with fast.counted(out=1):
        fast.answers[0].send([client.esp_answer(side.rip())])
        assert fast.back.one().src == side.vip


def test_an_spi_is_taken_when_it_has_been_seen(fast: Dual, side: Family) -> None:
    _, natt = flows(fast, side)
    for spi in (0xC1000001, 0xC1000002):
        normal(fast, natt.esp_in_udp(spi), esp_in_udp=1)
        for known in (spi, 0xC0000003):
            taken(fast, natt.esp_in_udp(known), esp_in_udp=1)


def test_a_server_of_weight_zero_keeps_its_flows(fast: Dual, side: Family) -> None:
    client, _ = flows(fast, side)
    fast.genl.do("server-set", service=side.vip, address=side.rip(), weight=0)
    taken(fast, client.esp(), esp=1)


@pytest.mark.parametrize("end", ["server", "service", "entries", "flush"])
def test_nothing_is_taken_once_the_entry_has_gone(fast: Dual, side: Family, end: str) -> None:
    client, _ = flows(fast, side)
    taken(fast, client.esp(), esp=1)
    if end == "server":
        fast.genl.do("server-del", service=side.vip, address=side.rip())
    elif end == "entries":
        fast.genl.do("entry-flush", client=client.address)
    else:
        fast.genl.do("flush") if end == "flush" else fast.genl.do("service-del", address=side.vip)
        fast.genl.do("service-new", address=side.vip)
    refused(fast, client.esp(), drop_esp_no_entry=1)
    assert fast.back.one().is_icmp


def test_nothing_is_taken_when_the_timer_has_ended(fast: Dual, side: Family) -> None:
    fast.configure(side, "dr")
    fast.genl.do("service-set", address=side.vip, established_timeout=2)
    client = fast.admitted(side)
    taken(fast, client.esp(), esp=1)
    wait_until(lambda: fast.entries() == [], 10, "the end of the entry")
    refused(fast, client.esp(), drop_esp_no_entry=1)


def test_a_neighbour_with_another_address_gets_the_next_packet(fast: Dual, side: Family) -> None:
    client, _ = flows(fast, side)
    for mac in ("02:00:00:00:00:99", fast.servers[0].mac("eth0").hex(":")):
        fast.director.ip(f"neigh replace {side.rip()} lladdr {mac} nud permanent dev s1")
        assert frame(fast, client.esp(), "esp", 1)[:6].hex(":") == mac


def test_an_unknown_neighbour_is_asked_for_and_nothing_lost(fast: Dual, side: Family) -> None:
    client, _ = flows(fast, side)
    fast.director.ip(f"neigh del {side.rip()} dev s1")
    try:
        refused(fast, client.esp(), esp=1)
    finally:
        mac = fast.servers[0].mac("eth0").hex(":")
        fast.director.ip(f"neigh replace {side.rip()} lladdr {mac} nud permanent dev s1")
    fast.forget(1)
    taken(fast, client.esp(), esp=1)


def test_a_route_that_changes_takes_the_next_packet_along(fast: Dual, side: Family) -> None:
    client, _ = flows(fast, side)
    fast.director.ip(f"route replace {side.rip()} via {side.rip(2)}")
    try:
        fast.expect(client.esp(), esp=1)
        fast.captures[1].one()
        assert frame(fast, client.esp(), "esp", 1, 2)[:6] == fast.servers[1].mac("eth0")
        fast.director.ip(f"route replace unreachable {side.rip()}")
        refused(fast, client.esp(), drop_no_route=1)
        fast.back.one("ICMP")
    finally:
        fast.director.ip(f"route del {side.rip()}")
    taken(fast, client.esp(), esp=1)


def test_a_link_that_is_down_is_no_way(fast: Dual, side: Family) -> None:
    client, _ = flows(fast, side)
    with fast.down("s1"):
        refused(fast, client.esp(), drop_no_route=1)
    normal(fast, client.esp(), esp=1)
    taken(fast, client.esp(), esp=1)


CHAINS = """
table inet passed {
  chain raw { type filter hook prerouting priority raw; meta l4proto esp counter; }
  chain mangle { type filter hook prerouting priority mangle; meta l4proto esp counter; }
  chain in { type filter hook input priority filter; meta l4proto esp counter; }
  chain out { type filter hook output priority filter; meta l4proto esp counter; }
  chain post { type filter hook postrouting priority filter; meta l4proto esp counter; }
}
table netdev seen {
  chain in { type filter hook ingress device "in" priority filter; meta l4proto esp counter; }
  chain out { type filter hook egress device "s1" priority filter; meta l4proto esp counter; }
}
"""
BORDER = """
table netdev border {
  chain in { type filter hook ingress device "in" priority filter; ip saddr 192.0.2.1 drop; }
}
"""


def test_which_chains_it_passes_by(fast: Dual, side: Family) -> None:
    client, _ = flows(fast, side)
    fast.director.run("nft", "-f", "-", input=CHAINS)
    try:
        for _ in range(3):
            taken(fast, client.esp(), esp=1)
        told = fast.director.run("nft", "list", "ruleset").stdout
    finally:
        fast.director.run("nft", "flush", "ruleset")
    assert told.count("counter packets 0 ") == 5
    assert told.count("counter packets 3 ") == 2


def test_a_chain_at_ingress_is_obeyed(fast: Dual) -> None:
    client, natt = flows(fast, V4)
    fast.director.run("nft", "-f", "-", input=BORDER)
    try:
        with fast.counted(esp_in_udp=1, fastpath=1):
            fast.port.send([client.esp()] * 3 + [natt.esp_in_udp()])
            fast.captures[0].one()
    finally:
        fast.director.run("nft", "flush", "ruleset")
    taken(fast, client.esp(), esp=1)
