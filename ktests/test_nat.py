# SPDX-License-Identifier: GPL-2.0
"""Address translation: to the server's address in, from the service's out.

    gen ---------- in   director   s1 ---- s1 RIP 1
    plays clients       VIP on lo  s2 ---- s2 RIP 2

Every packet that is captured has had its checksums checked (kt/dual.py). Ports
stay; a UDP checksum of zero stays zero, and none becomes zero.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest

from kt.dual import V4, Dual, Family
from kt.inet import Client, aged, check_sums, fragments, ip, read, udp, whole
from kt.net import sh
from kt.packets import ESP, NON_ESP_MARKER, TCP, UDP, ike
from kt.wait import SHORT, wait_until


def translated(packet: bytes, *, src: str = "", dst: str = "") -> bytes:
    """The packet one hop older with other addresses, its checksums computed anew."""
    was = read(aged(packet))
    src, dst, payload = src or was.src, dst or was.dst, was.payload
    if was.protocol == UDP:
        payload = udp(src, dst, was.ports, was.message, summed=was.udp_sum != 0)
    options = {"ident": int.from_bytes(was.header[4:6]), "df": was.df} if was.version == 4 else {}
    return ip(src, dst, was.protocol, payload, ttl=was.ttl, tos=was.tos, **options)


def requests(side: Family, client: Client) -> list[tuple[str, bytes]]:
    """What an initiator sends whose entry is established."""
    natt = side.client(1, port=40_001)
    return [
        ("ike", client.first()),
        ("ike", client.later()),
        ("ike", client.later(ttl=2)),
        ("esp", client.esp()),
        ("esp", client.esp(tos=0xB9, df=True, ident=0xBEEF)),
        ("esp-in-udp", client.esp_in_udp_draft()),
        ("ike", natt.natt_later()),
        ("keepalive", natt.keepalive()),
        ("esp-in-udp", natt.esp_in_udp()),
    ]


def answers(side: Family, client: Client) -> list[bytes]:
    """What its server sends."""
    natt, rip = side.client(1, port=40_001), side.rip()
    return [
        client.answer(rip, 500, ike(client.ispi, client.rspi)),
        client.answer(rip, 500, ike(client.ispi, client.rspi, 35), tos=0xB8, ttl=2),
        client.esp_answer(rip),
        client.esp_answer(rip, tos=0x02, df=True, ident=7),
        natt.answer(rip, 4500, NON_ESP_MARKER + ike(natt.ispi, natt.rspi)),
        natt.answer(rip, 4500, b"\xff"),
        natt.answer(rip, 4500, bytes.fromhex("c0000001") + bytes(60)),
    ]


def test_only_addresses_ttl_and_checksums_change_on_the_way_in(dual: Dual, side: Family) -> None:
    dual.configure(side, "nat")
    for counter, sent in requests(side, dual.admitted(side)):
        dual.expect(sent, **{counter: 1})
        assert dual.captures[0].one().raw == translated(sent, dst=side.rip())


def test_only_addresses_ttl_and_checksums_change_on_the_way_out(dual: Dual, side: Family) -> None:
    dual.configure(side, "nat")
    client = dual.admitted(side)
    for _, sent in requests(side, client):
        dual.send(sent)
    for sent in answers(side, client):
        with dual.counted(out=1):
            dual.answers[0].send([sent])
            assert dual.back.one().raw == translated(sent, src=side.vip)


def test_no_udp_checksum_stays_none(dual: Dual) -> None:
    dual.configure(V4, "nat")
    client = dual.admitted(V4)
    dual.expect(client.udp(500, ike(client.ispi, client.rspi, 35), summed=False), ike=1)
    assert dual.captures[0].one().udp_sum == 0
    message = ike(client.ispi, client.rspi, 35)
    dual.answers[0].send([client.answer(V4.rip(), 500, message, summed=False)])
    assert dual.back.one().udp_sum == 0


def padded_to_zero(src: str, dst: str, ports: tuple[int, int], message: bytes) -> bytes:
    """The message, its last two bytes such that the UDP checksum comes to zero."""
    message = message[:-2] + bytes(2)
    rest = int.from_bytes(udp(src, dst, ports, message)[6:8])
    made = message[:-2] + rest.to_bytes(2)
    assert udp(src, dst, ports, made)[6:8] == b"\xff\xff"
    return made


def test_no_udp_checksum_becomes_zero(dual: Dual, side: Family) -> None:
    """RFC 768: one that comes to zero is sent as ones."""
    dual.configure(side, "nat")
    client, rip = dual.admitted(side), side.rip()
    message = ike(client.ispi, client.rspi, 35)
    to_server = padded_to_zero(client.address, rip, (500, 500), message)
    dual.expect(client.udp(500, to_server), ike=1)
    assert dual.captures[0].one().udp_sum == 0xFFFF
    to_client = padded_to_zero(side.vip, client.address, (500, 500), message)
    dual.answers[0].send([client.answer(rip, 500, to_client)])
    assert dual.back.one().udp_sum == 0xFFFF


def test_a_wrong_udp_checksum_stays_wrong(dual: Dual, side: Family) -> None:
    """Who ends the datagram shall notice, not have it mended on the way."""
    dual.configure(side, "nat")
    client = dual.admitted(side)
    sent = bytearray(client.udp(500, ike(client.ispi, client.rspi, 35)))
    sent[-1] ^= 1
    dual.expect(bytes(sent), ike=1)
    with pytest.raises(AssertionError, match="UDP checksum"):
        dual.captures[0].one()


def test_each_answer_finds_its_initiator(dual: Dual, side: Family) -> None:
    """By the initiator's port and both addresses; ESP by the addresses alone."""
    dual.configure(side, "nat", side.rip(1), side.rip(2))
    behind_nat = [side.client(9, port=30_000 + n, ispi=0x900 + n, rspi=0x90) for n in range(3)]
    for client in [dual.admitted(side, n) for n in (1, 2, 3)] + behind_nat:
        if client.port != 500:
            dual.expect(client.first(), ike=1)
            dual.forget(1)
        server = dual.entry(client)["server"]
        wire = dual.answers[int(server != side.rip(1))]
        wire.send([client.answer(server, 500, ike(client.ispi, client.rspi))])
        got = dual.back.one()
        assert (got.src, got.dst, got.ports) == (side.vip, client.address, (500, client.port))
        wire.send([client.esp_answer(server)])
        got = dual.back.one()
        assert (got.src, got.dst, got.protocol) == (side.vip, client.address, ESP)


def test_answers_to_strangers_stay_as_they_are(dual: Dual, side: Family) -> None:
    """A server talks to others too, from its own address and from IKE's ports.

    Its client is no other test's: what a removed server still sends to that one is refused.
    """
    dual.configure(side, "nat")
    client, rip = dual.admitted(side, 61), side.rip()
    stranger = side.client(62)
    others = [
        stranger.answer(rip, 500, ike(1, 2)),
        stranger.esp_answer(rip),
        client.answer(rip, 53, b"a name"),
        client.answer(rip, 501, ike(1, 2)),
        ip(rip, client.address, TCP, bytes(40)),
        ip(side.rip(2), client.address, ESP, bytes(40)),
        client.answer(side.rip(2), 500, ike(1, 2)),
    ]
    with dual.counted(out=0):
        for sent in others:
            dual.answers[int(read(sent).src != rip)].send([sent])
            assert dual.back.one().raw == aged(sent)


def test_ah_is_dropped_with_a_reason(dual: Dual, side: Family) -> None:
    dual.configure(side, "nat")
    client = dual.admitted(side)
    dual.expect(client.ah(), drop_ah_nat=1)
    dual.quiet()


def test_answers_of_a_server_that_was_removed_do_not_leak(dual: Dual, side: Family) -> None:
    """Its IPsec goes on for as long as it does not notice."""
    dual.configure(side, "nat")
    client = dual.admitted(side)
    dual.genl.do("server-del", service=side.vip, address=side.rip(1))
    wait_until(lambda: dual.genl.do("status-get")["entries"] == 0, 5, "the sweep")
    with dual.counted(drop_reply_removed=2):
        dual.answers[0].send(
            [client.answer(side.rip(), 500, ike(client.ispi, 5)), client.esp_answer(side.rip())]
        )
    dual.quiet()


def test_answers_go_on_where_entries_outlive_their_server(dual: Dual, side: Family) -> None:
    """expire_nodest_conn 0: those who are there are served to the end."""
    dual.configure(side, "nat")
    # The timer is what ends the entry: not even flush does.
    dual.director.sysctl("net/ipvs_ipsec/isakmp_established_timeout", 3 * SHORT)
    client = dual.admitted(side)
    dual.director.sysctl("net/ipvs_ipsec/expire_nodest_conn", 0)
    try:
        dual.genl.do("server-del", service=side.vip, address=side.rip(1))
        dual.expect(client.esp(), esp=1)
        dual.captures[0].one()
        dual.answers[0].send([client.esp_answer(side.rip())])
        assert dual.back.one().src == side.vip
    finally:
        dual.director.sysctl("net/ipvs_ipsec/expire_nodest_conn", 1)


def test_large_answers_cross_in_fragments(dual: Dual, side: Family) -> None:
    dual.configure(side, "nat")
    client, rip = dual.admitted(side), side.rip()
    body = bytes(range(250)) * 16
    message = ike(client.ispi, client.rspi, 35, body=body)
    for sent in (client.answer(rip, 500, message), client.esp_answer(rip, body)):
        for order in (1, -1):
            pieces = fragments(sent, 1400)[::order]
            dual.answers[0].send(pieces)
            got = dual.back.some(len(pieces))
            assert {(p.src, p.dst, p.ttl) for p in got} == {(side.vip, client.address, 63)}
            one = ip(side.vip, client.address, read(sent).protocol, whole(got))
            assert one[side.header + 8 :] == sent[side.header + 8 :]
            check_sums(read(one))


def test_fragments_to_strangers_are_not_held_up(dual: Dual) -> None:
    """A lone fragment of a server's other traffic passes at once."""
    dual.configure(V4, "nat")
    dual.admitted(V4)
    # No test before had this one for a client, whose ended entry would be known for a minute.
    sent = fragments(V4.client(247).answer(V4.rip(), 500, bytes(3000)), 1400)[1]
    dual.answers[0].send([sent])
    assert dual.back.one().raw == aged(sent)


def test_a_server_on_the_director_itself_answers_from_the_service(dual: Dual, side: Family) -> None:
    """Method nat to an address of the director: a socket there talks to the initiator."""
    here = side.towards(1)
    dual.configure(side, "nat", here)
    client = side.client()
    with dual.director.entered():
        import socket

        kind = socket.AF_INET if side.version == 4 else socket.AF_INET6
        sock = socket.socket(kind, socket.SOCK_DGRAM)
    with contextlib.closing(sock):
        sock.bind((here, 500))
        sock.settimeout(5)
        dual.expect(client.first(), ike=1)
        message, peer = sock.recvfrom(2000)
        assert peer[:2] == (client.address, 500)
        assert message == read(client.first()).message
        sock.sendto(ike(client.ispi, client.rspi), peer)
        got = dual.back.one()
        assert (got.src, got.dst, got.ports) == (side.vip, client.address, (500, 500))


RULES = """
table {family} watch {{
  chain input {{ type filter hook input priority filter; {rules} }}
  chain forward {{ type filter hook forward priority filter; {rules} }}
  chain output {{ type filter hook output priority filter; {rules} }}
  chain postrouting {{ type filter hook postrouting priority filter; {rules} }}
}}
"""


# An initiator of no other test: entries of a removed server linger.
WATCHED = 99


@contextlib.contextmanager
def watched(dual: Dual, side: Family) -> Iterator[dict[tuple[str, ...], int]]:
    """What each chain sees of UDP and ESP: source, destination, state of the connection."""
    name = "ip" if side.version == 4 else "ip6"
    client = side.client(WATCHED).address
    ends = [
        (client, side.vip),
        (client, side.rip()),
        (side.rip(), client),
        (side.vip, client),
    ]
    keys = [(*pair, state) for pair in ends for state in ("new", "established", "untracked")]
    rules = "".join(
        f'{name} saddr {src} {name} daddr {dst} ct state {state} counter comment "{n}"; '
        for n, (src, dst, state) in enumerate(keys)
    )
    seen: dict[tuple[str, ...], int] = {}
    text = RULES.format(family=name, rules=rules)
    dual.director.run("nft", "-f", "-", input=text)
    try:
        yield seen
        listed = json.loads(dual.director.run("nft", "-j", "list", "table", name, "watch").stdout)
        for rule in (line["rule"] for line in listed["nftables"] if "rule" in line):
            (count,) = (e["counter"]["packets"] for e in rule["expr"] if "counter" in e)
            if count:
                seen[(rule["chain"], *keys[int(rule["comment"])])] = count
    finally:
        dual.director.run("nft", "delete", "table", name, "watch")


def test_firewall_chains_see_what_they_see_with_ip_vs(dual: Dual, side: Family) -> None:
    """INPUT the VIP; OUTPUT the server; FORWARD the server's source; nothing tracked behind."""
    sh("modprobe", "nf_conntrack")
    sh("modprobe", "ip_vs")
    client, rip, vip = side.client(WATCHED), side.rip(), side.vip
    shown = f"[{vip}]:500" if side.version == 6 else f"{vip}:500"
    server = f"[{rip}]:500" if side.version == 6 else f"{rip}:500"
    answer = client.answer(rip, 500, ike(client.ispi, client.rspi))

    def exchange() -> dict[tuple[str, ...], int]:
        with watched(dual, side) as seen:
            for _ in range(3):
                dual.port.send([client.first()])
                dual.captures[0].one()
                dual.answers[0].send([answer])
                assert dual.back.one().src == vip
        return seen

    dual.clear()
    dual.director.run("ipvsadm", "-A", "-u", shown, "-s", "rr")
    try:
        dual.director.run("ipvsadm", "-a", "-u", shown, "-r", server, "-m")
        theirs = exchange()
    finally:
        dual.director.run("ipvsadm", "-C")
    dual.configure(side, "nat")
    ours = exchange()
    there, back = client.address, client.address
    assert ours == {
        ("input", there, vip, "new"): 3,
        ("output", there, rip, "untracked"): 3,
        ("postrouting", there, rip, "untracked"): 3,
        ("forward", rip, back, "new"): 3,
        ("postrouting", vip, back, "untracked"): 3,
    }
    assert ours == theirs


@pytest.mark.parametrize("chain", ["input", "output", "forward"])
def test_the_filter_of_a_chain_can_drop(dual: Dual, side: Family, chain: str) -> None:
    """On its way in at INPUT and OUTPUT, on its way out at FORWARD."""
    dual.configure(side, "nat")
    client = dual.admitted(side)
    rules = f"""table inet no {{
      chain c {{ type filter hook {chain} priority filter; udp sport 500 drop; }}
    }}"""
    dual.director.run("nft", "-f", "-", input=rules)
    try:
        dual.port.send([client.later()])
        dual.answers[0].send([client.answer(side.rip(), 500, ike(client.ispi, client.rspi))])
        passed = dual.captures[0] if chain == "forward" else dual.back
        passed.one()
    finally:
        dual.director.run("nft", "delete", "table", "inet", "no")
    dual.quiet()


def test_with_encap_native_esp_reaches_the_server_in_udp(dual: Dual, side: Family) -> None:
    """From and to port 4500, as its IPsec expects it; IPv6 wants a checksum (RFC 8200)."""
    dual.configure(side, "nat", encap=1)
    client = dual.admitted(side)
    for size in (8, 61, 600):
        sent = client.ip(ESP, (bytes.fromhex("c0000001") + bytes(range(200)) * 3)[:size], df=True)
        dual.expect(sent, esp=1)
        got = dual.captures[0].one()
        assert (got.src, got.dst, got.ports) == (client.address, side.rip(), (4500, 4500))
        assert (got.message, got.ttl, got.df) == (read(sent).payload, 63, side.version == 4)
        assert side.version == 4 or got.udp_sum
        back = client.at(port=4500).answer(side.rip(), 4500, read(sent).payload)  # type: ignore[attr-defined]
        with dual.counted(out=1):
            dual.answers[0].send([back])
            got = dual.back.one()
        assert (got.src, got.protocol, got.payload) == (side.vip, ESP, read(sent).payload)
        assert got.ttl == 63


def test_with_encap_the_mtu_is_eight_bytes_less(dual: Dual, side: Family) -> None:
    dual.configure(side, "nat", encap=1)
    client = dual.admitted(side)
    with dual.mtu("s1", 1400):
        room = 1400 - side.header - 8 - 4
        dual.expect(client.ip(ESP, b"fits" + bytes(room), df=True), esp=1)
        assert len(dual.captures[0].one().raw) == 1400
        dual.expect(client.ip(ESP, b"long" + bytes(room + 1), df=True), drop_mtu=1)
        assert dual.back.one().info == 1392
