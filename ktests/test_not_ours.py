# SPDX-License-Identifier: GPL-2.0
"""Traffic that is not IPsec to a service goes its way as if the module were not there.

gen 10.1.0.1 ---- in 10.1.0.254  director  s1 10.2.1.254 ---- 10.2.1.1 s1
plays clients        VIP on lo             s2, s3 alike
                     VIP2 is an address, but no service
"""

from __future__ import annotations

import socket

import pytest

from kt.bench import DIRECTOR, VIP, VIP2, Bench, server_address
from kt.net import sh
from kt.packets import ESP, ICMP, TCP, UDP, checksum, esp, ike, ip, only_ttl_changed, parse, udp

DEST_UNREACH, HOST_UNREACH = 3, 1


def listener(bench: Bench, kind: int, address: str, port: int) -> socket.socket:
    """A socket of the director's own."""
    with bench.director.entered():
        sock = socket.socket(socket.AF_INET, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.settimeout(5)
    sock.bind((address, port))
    return sock


@pytest.mark.parametrize(
    "address, port",
    [
        (VIP, 501),
        (VIP, 53),
        (VIP, 4501),
        (VIP, 45),
        (VIP2, 500),
        (VIP2, 4500),
        (DIRECTOR, 500),
        (DIRECTOR, 4500),
    ],
)
def test_udp_that_is_not_ours_reaches_the_directors_socket(
    bench: Bench, address: str, port: int
) -> None:
    before = bench.genl.counters()
    client = bench.client()
    message = ike(client.ispi)
    with listener(bench, socket.SOCK_DGRAM, address, port) as sock:
        bench.port.send([ip(client.address, address, UDP, udp(500, port, message))])
        assert sock.recvfrom(4096) == (message, (client.address, 500))
    assert bench.genl.counters() == before
    bench.nothing_forwarded()


def test_esp_to_an_address_that_is_no_service_is_left_alone(bench: Bench) -> None:
    before = bench.genl.counters()
    with bench.director.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, ESP)
    with sock:
        sock.settimeout(5)
        for address in (VIP2, DIRECTOR):
            bench.port.send([ip("192.0.2.1", address, ESP, esp(1))])
            assert parse(sock.recv(4096)).payload == esp(1)
    assert bench.genl.counters() == before


def test_tcp_to_the_vip_works(bench: Bench) -> None:
    before = bench.genl.counters()
    for port in (80, 500):  # 4500 is RFC 9329's
        with listener(bench, socket.SOCK_STREAM, VIP, port) as server:
            server.listen()
            with bench.gen.entered():
                client = socket.create_connection((VIP, port), timeout=5)
            with client, server.accept()[0] as accepted:
                client.sendall(b"through")
                assert accepted.recv(100) == b"through"
    assert bench.genl.counters() == before
    bench.nothing_forwarded()


def test_the_vip_answers_ping(bench: Bench) -> None:
    before = bench.genl.counters()
    bench.gen.run("ping", "-c", "2", "-i", "0.01", "-W", "2", VIP)
    assert bench.genl.counters() == before


def test_what_the_director_forwards_as_a_router_is_left_alone(bench: Bench) -> None:
    """IKE and ESP to an address behind the director, not its own."""
    bench.director.sysctl("net/ipv4/ip_forward", 1)
    try:
        before = bench.genl.counters()
        client = bench.client()
        packets = [
            ip(client.address, server_address(1), UDP, udp(500, 500, ike(client.ispi))),
            ip(client.address, server_address(1), ESP, esp(1)),
        ]
        bench.port.send(packets)
        for sent, got in zip(packets, bench.captures[0].wait(2, "routed packets"), strict=True):
            only_ttl_changed(sent, got)
        assert bench.genl.counters() == before
    finally:
        bench.director.sysctl("net/ipv4/ip_forward", 0)


def test_it_stands_beside_ip_vs(bench: Bench) -> None:
    """ip_vs balances TCP at the same VIP and IKE at another; neither sees the other's."""
    bench.setup("rr", [1])
    sh("modprobe", "ip_vs")
    director = bench.director
    try:
        for words in (
            ("-A", "-t", f"{VIP}:80", "-s", "rr"),
            ("-a", "-t", f"{VIP}:80", "-r", server_address(2), "-g"),
            ("-A", "-u", f"{VIP2}:500", "-s", "rr"),
            ("-a", "-u", f"{VIP2}:500", "-r", server_address(3), "-g"),
        ):
            director.run("ipvsadm", *words)
        client = bench.client()
        bench.expect(client.first(), client.later(), client.esp(), ike=2, esp=1)
        before = bench.genl.counters()
        syn = bytes.fromhex("c3500050 00000001 00000000 5002ffff") + b"\0\0\0\0"
        syn = syn[:16] + tcp_checksum(client.address, VIP, syn) + syn[18:]
        bench.port.send(
            [
                ip(client.address, VIP, TCP, syn),
                client.at(vip=VIP2).first(),
            ]
        )
        assert bench.captures[1].wait(1, "TCP by ip_vs")[0].protocol == TCP
        assert bench.captures[2].wait(1, "IKE by ip_vs")[0].dst == VIP2
        bench.captures[0].wait(3, "what is ours")
        assert bench.genl.counters() == before
    finally:
        director.run("ipvsadm", "-C", check=False)


def tcp_checksum(src: str, dst: str, segment: bytes) -> bytes:
    """The checksum of a TCP segment whose own field is 0."""
    pseudo = ip(src, dst, TCP, b"")[12:20] + bytes([0, TCP]) + len(segment).to_bytes(2)
    return checksum(pseudo + segment).to_bytes(2)


def test_icmp_never_answers_icmp(bench: Bench) -> None:
    """An ICMP error about a packet to the VIP makes no other."""
    client = bench.client()
    error = bytes([DEST_UNREACH, HOST_UNREACH, 0, 0, 0, 0, 0, 0]) + client.esp()[:28]
    error = error[:2] + checksum(error).to_bytes(2) + error[4:]
    bench.port.send([ip(client.address, VIP, ICMP, error)])
    bench.expect(client.first(), ike=1)
    bench.no_icmp()
