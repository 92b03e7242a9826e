# SPDX-License-Identifier: GPL-2.0
"""Direct routing: what arrives at the server, what does not, and what is not ours.

    gen 10.1.0.1 ---- in 10.1.0.254  director  s1 10.2.1.254 ---- 10.2.1.1 s1
    plays clients        VIP on lo             s2, s3 alike

Only the link-layer addresses and the TTL change on the way.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from kt.bench import VIP, Bench, server_address
from kt.packets import (
    ESP,
    IKE_PORT,
    UDP,
    Packet,
    checksum,
    esp,
    fragments,
    ike,
    only_ttl_changed,
    parse,
    reassemble,
)
from kt.wait import wait_until

DEST_UNREACH, FRAG_NEEDED = 3, 4
TIME_EXCEEDED, IN_TRANSIT = 11, 0


def one_server(bench: Bench) -> None:
    """Only s1, so that a test knows where to look."""
    bench.setup("rr", [1])


def arrived(bench: Bench, count: int = 1) -> list[Packet]:
    """What s1 got."""
    return bench.captures[0].wait(count, "forwarded packets")


def test_only_ttl_and_link_layer_addresses_change(bench: Bench) -> None:
    one_server(bench)
    client = bench.client()
    natt = client.at(port=4500)
    sent = [
        client.first(),
        client.later(),
        natt.natt_later(),
        natt.keepalive(),
        natt.esp_in_udp(),
        client.esp(),
        client.ah(),
        client.esp_in_udp_draft(),
        client.esp(tos=0xB8, ident=0xBEEF, df=True),
        client.ah(ttl=2),
        client.first(ttl=255),
        client.esp(options=b"\x94\x04\x00\x00"),  # router alert
    ]
    for packet in sent:
        bench.expect(packet, **{kind(packet): 1})
        frame = wait_until(bench.captures[0].frames, 5, "the frame")[0]
        assert frame[:6] == bench.servers[0].mac("eth0")
        assert frame[6:12] == bench.director.mac("s1")
        only_ttl_changed(packet, parse(frame[14:]))


def kind(packet: bytes) -> str:
    """Which counter this packet of the test above moves."""
    read = parse(packet)
    if read.protocol == UDP:
        dport, message = read.ports[1], read.payload[8:]
        if message == b"\xff":
            return "keepalive"
        is_ike = message[:4] == bytes(4) if dport == 4500 else message[:8] != bytes(8)
        return "ike" if is_ike else "esp_in_udp"
    return "esp" if read.protocol == ESP else "ah"


def test_scapys_packets_pass_and_are_the_same_behind(bench: Bench) -> None:
    """Another hand wrote these packets, UDP checksum included, and reads them."""
    from scapy.layers.inet import IP
    from scapy.layers.inet import UDP as ScapyUDP
    from scapy.layers.ipsec import AH as ScapyAH
    from scapy.layers.ipsec import ESP as ScapyESP
    from scapy.layers.isakmp import ISAKMP, ISAKMP_payload_SA
    from scapy.packet import Raw

    one_server(bench)
    client = bench.client()
    head = IP(src=client.address, dst=VIP)
    cookies = {"init_cookie": b"initiatr", "resp_cookie": b"respondr"}
    sent = [
        head
        / ScapyUDP(sport=500, dport=500)
        / ISAKMP(init_cookie=b"initiatr", exch_type=2)
        / ISAKMP_payload_SA(),
        head / ScapyUDP(sport=500, dport=500) / ISAKMP(exch_type=32, **cookies) / Raw(b"x" * 37),
        head / ScapyESP(spi=0xC0FFEE01, seq=7, data=b"sealed" * 9),
        head / ScapyAH(spi=0xC0FFEE02, seq=8, payloadlen=4, icv=b"i" * 12) / Raw(b"y" * 21),
    ]
    bench.expect(*map(bytes, sent), ike=2, esp=1, ah=1)
    for before, after in zip(sent, arrived(bench, 4), strict=True):
        got = IP(after.raw)
        assert got.ttl == 63
        got.ttl = 64
        del got.chksum  # computed anew
        assert bytes(got) == bytes(before)


def test_ttl_that_ends_here_is_answered_by_time_exceeded(bench: Bench) -> None:
    one_server(bench)
    client, _ = bench.established()
    bench.drain()
    for sent in (client.later(ttl=1), client.esp(ttl=1), client.ah(ttl=1)):
        bench.expect(sent, drop_ttl=1)
        (answer,) = bench.icmp()
        assert answer.icmp == (TIME_EXCEEDED, IN_TRANSIT)
        assert answer.dst == client.address
        assert checksum(answer.payload) == 0
        assert parse(answer.payload[8:]).payload[:8] == parse(sent).payload[:8]
    bench.nothing_forwarded()


@contextlib.contextmanager
def narrow(bench: Bench, mtu: int) -> Iterator[None]:
    """The link to s1 takes packets up to `mtu` bytes."""
    bench.director.ip(f"link set s1 mtu {mtu}")
    try:
        yield
    finally:
        bench.director.ip("link set s1 mtu 1500")


def test_too_large_with_df_is_answered_by_frag_needed(bench: Bench) -> None:
    one_server(bench)
    client, _ = bench.established()
    bench.drain()
    fits = client.ip(ESP, esp(9, body=bytes(1300 - 28)), df=True)
    too_large = client.ip(ESP, esp(9, body=bytes(1301 - 28)), df=True)
    with narrow(bench, 1300):
        bench.expect(fits, esp=1)
        only_ttl_changed(fits, arrived(bench)[0])
        bench.expect(too_large, drop_mtu=1)
        (answer,) = bench.icmp()
        bench.nothing_forwarded()
    assert answer.icmp == (DEST_UNREACH, FRAG_NEEDED)
    assert int.from_bytes(answer.payload[6:8]) == 1300, "next-hop MTU (RFC 1191)"
    assert answer.dst == client.address
    assert parse(answer.payload[8:]).header == parse(too_large).header
    bench.expect(too_large, esp=1)


def test_too_large_without_df_is_fragmented(bench: Bench) -> None:
    one_server(bench)
    client, _ = bench.established()
    bench.drain()
    for sent in (
        client.ip(ESP, esp(9, body=bytes(range(256)) * 5), ident=77),
        client.udp(IKE_PORT, ike(client.ispi, client.rspi, 35, body=bytes(1252)), ident=78),
    ):
        with narrow(bench, 1000):
            bench.send(sent)
            got = arrived(bench, 2)
        assert len(got) == 2 and all(len(p.raw) <= 1000 for p in got)
        only_ttl_changed(sent, reassemble(got))


def test_ike_in_fragments_is_reassembled_and_scheduled(bench: Bench) -> None:
    """Certificates and post-quantum keys: the first exchange may be 3,000 bytes."""
    one_server(bench)
    client = bench.client()
    sent = client.first(
        body=bytes(range(250)) * 12,
    )
    with bench.moved(1) as moved:
        bench.port.send(reversed(fragments(sent, 1400)))
    assert moved["ike"] == 1
    got = reassemble(arrived(bench, 3))
    assert got.payload == parse(sent).payload
    assert got.ttl == 63
    assert bench.entry(client)["state"] == "initial"


def test_esp_in_fragments_arrives(bench: Bench) -> None:
    one_server(bench)
    client, _ = bench.established()
    bench.drain()
    sent = client.ip(ESP, esp(9, body=bytes(range(250)) * 9))
    with bench.moved(1):
        bench.port.send(fragments(sent, 1400))
    assert reassemble(arrived(bench, 2)).payload == parse(sent).payload


def test_unresolved_neighbour_delays_but_loses_nothing(bench: Bench) -> None:
    one_server(bench)
    client = bench.client()
    bench.director.ip(f"neigh del {server_address(1)} dev s1")
    try:
        bench.expect(client.first(), client.later(), client.esp(), ike=2, esp=1)
        assert len(arrived(bench, 3)) == 3
    finally:
        mac = bench.servers[0].mac("eth0").hex(":")
        bench.director.ip(f"neigh replace {server_address(1)} lladdr {mac} nud permanent dev s1")
