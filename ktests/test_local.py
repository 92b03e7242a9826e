# SPDX-License-Identifier: GPL-2.0
"""Method local: the director's own IKE daemon is one of the gateways.

    gen ---------- in   director
    plays clients       VIP on lo, a UDP socket on it

Nothing is changed: the socket gets what was sent to the VIP, TTL and all, and
answers as any program does.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from kt.dual import Dual, Family
from kt.inet import IPIP, IPV6, Client, aged, fragments, icmp_error, ip, read, udp
from kt.net import sh
from kt.packets import ESP, NON_ESP_MARKER, UDP, esp, ike
from kt.wait import PATIENCE


@contextlib.contextmanager
def listening(dual: Dual, side: Family, address: str, port: int = 500) -> Iterator[socket.socket]:
    """A UDP socket of the director."""
    kind = socket.AF_INET if side.version == 4 else socket.AF_INET6
    with dual.director.entered():
        sock = socket.socket(kind, socket.SOCK_DGRAM)
    with sock:
        sock.bind((address, port))
        sock.settimeout(10 * PATIENCE)
        yield sock


def got(sock: socket.socket) -> tuple[bytes, str, int]:
    """The next datagram, and whose it is."""
    message, peer = sock.recvfrom(1 << 16)
    return message, peer[0], peer[1]


def reply(service: Dual, sock: socket.socket, client: Client) -> None:
    """The director's daemon answers a first message, so that the initiator can prove itself."""
    got(sock)
    sock.sendto(ike(client.ispi, client.rspi), (client.address, client.port))
    service.back.one()


def check(sock: socket.socket, client: Client, sent: bytes) -> None:
    """This is what the socket gets."""
    assert got(sock) == (read(sent).message, client.address, client.port)


@pytest.fixture
def service(dual: Dual, side: Family) -> Dual:
    """One server, the director; its address is the VIP."""
    dual.configure(side, "local", side.vip)
    return dual


def test_a_socket_at_the_vip_gets_what_was_sent(service: Dual, side: Family) -> None:
    client, natt = side.client(), side.client(port=40_001)
    with listening(service, side, side.vip) as ike_sock:
        service.expect(client.first(), ike=1)
        reply(service, ike_sock, client)
        for sent in (client.first(), client.later(), client.later(ttl=1)):
            service.expect(sent, ike=1)
            check(ike_sock, client, sent)
    with listening(service, side, side.vip, 4500) as natt_sock:
        for counter, sent in (
            ("ike", natt.natt_later()),
            ("keepalive", natt.keepalive()),
            ("esp-in-udp", natt.esp_in_udp()),
        ):
            service.expect(sent, **{counter: 1})
            check(natt_sock, natt, sent)


def test_it_answers_from_the_vip(service: Dual, side: Family) -> None:
    client = side.client()
    with listening(service, side, side.vip) as sock:
        service.expect(client.first(), ike=1)
        check(sock, client, client.first())
        sock.sendto(ike(client.ispi, client.rspi), (client.address, client.port))
        answer = service.back.one()
    assert (answer.src, answer.dst, answer.ports) == (side.vip, client.address, (500, 500))
    assert (answer.message, answer.ttl) == (ike(client.ispi, client.rspi), 64)


def test_a_socket_at_any_address_gets_it_too(service: Dual, side: Family) -> None:
    client = side.client()
    with listening(service, side, "0.0.0.0" if side.version == 4 else "::") as sock:
        service.expect(client.first(), ike=1)
        check(sock, client, client.first())


def test_the_door_is_kept_as_with_every_method(service: Dual, side: Family) -> None:
    """What makes no entry does not reach the daemon either."""
    client, natt = side.client(), side.client(port=4500)
    with listening(service, side, side.vip) as sock:
        service.expect(client.later(), drop_ike_no_entry=1)
        service.expect(client.esp(), drop_esp_no_entry=1)
        service.back.one("protocol unreachable")
        service.expect(natt.esp_in_udp(), drop_esp_in_udp_no_entry=1)
        service.expect(client.first(), ike=1)
        check(sock, client, client.first())
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)
    service.quiet()


def test_large_ike_reaches_the_socket_whole(service: Dual, side: Family) -> None:
    client = side.client()
    sent = client.first(body=bytes(range(250)) * 16)
    with listening(service, side, side.vip) as sock, service.moved(1):
        service.port.send(reversed(fragments(sent, 1400)))
        check(sock, client, sent)


def test_esp_reaches_the_directors_own_stack(service: Dual, side: Family) -> None:
    """A raw socket sees it, unchanged."""
    client = side.client()
    kind = socket.AF_INET if side.version == 4 else socket.AF_INET6
    with service.director.entered():
        raw = socket.socket(kind, socket.SOCK_RAW, ESP)
    with raw, listening(service, side, side.vip) as sock:
        raw.settimeout(10 * PATIENCE)
        service.expect(client.first(), ike=1)
        reply(service, sock, client)
        service.expect(client.later(), client.esp(ttl=1), ike=1, esp=1)
        message = raw.recv(2000)
    assert message.endswith(read(client.esp()).payload)


def test_errors_about_answers_reach_the_socket(service: Dual, side: Family) -> None:
    """Port unreachable comes back as ECONNREFUSED."""
    client = side.client()
    with listening(service, side, side.vip) as sock:
        service.expect(client.first(), ike=1)
        check(sock, client, client.first())
        sock.connect((client.address, client.port))
        sock.send(NON_ESP_MARKER)
        answer = service.back.one()
        error = (3, 3, 0) if side.version == 4 else (1, 4, 0)
        service.port.send([icmp_error(side.near, side.vip, *error, answer.raw)])
        with pytest.raises(ConnectionRefusedError):
            sock.recv(1)


def test_without_a_daemon_the_initiator_learns_port_unreachable(
    service: Dual, side: Family
) -> None:
    service.expect(side.client().first(), ike=1)
    answer = service.back.one()
    assert answer.icmp == ((3, 3) if side.version == 4 else (1, 4))


def test_other_servers_share_the_service(dual: Dual, side: Family) -> None:
    """rr between the director and s1."""
    dual.configure(side, "local", side.vip)
    dual.genl.do("server-new", service=side.vip, address=side.rip(), method="dr")
    with listening(dual, side, side.vip) as sock:
        sock.settimeout(0.2)
        clients = [side.client(n) for n in range(1, 5)]
        for client in clients:
            dual.expect(client.first(), ike=1)
        there = {p.src for p in dual.captures[0].some(2)}
        here = {got(sock)[1] for _ in range(2)}
    assert here | there == {client.address for client in clients}


# An SA that needs no key: what it protects is there to be written, and to be read.
SPI = 0xE5000001
NULL = "enc ecb(cipher_null) \"\""
needs_null = pytest.mark.needs(f"/lib/modules/{os.uname().release}/modules.dep", "crypto_null")


@contextlib.contextmanager
def opened(dual: Dual, client: Client, address: str) -> Iterator[None]:
    """The director's own IPsec decrypts what the client sends to this address of it."""
    ends = f"src {client.address} dst {address} proto esp spi {SPI}"
    dual.director.ip(f"xfrm state add {ends} mode tunnel {NULL}")
    try:
        yield
    finally:
        dual.director.ip(f"xfrm state del {ends}")


def sealed(client: Client, inner: bytes) -> bytes:
    """An IP packet in ESP of that SA (RFC 4303 section 2.4: padded to four bytes)."""
    pad = bytes(range(1, 1 + -(len(inner) + 2) % 4))
    trailer = pad + bytes([len(pad), IPIP if inner[0] >> 4 == 4 else IPV6])
    return client.ip(ESP, esp(SPI, body=inner + trailer))


def here(side: Family, method: str) -> str:
    """The address of a server that is the director itself."""
    return side.vip if method == "local" else side.towards(1)


@pytest.fixture(params=["local", "dr", "nat"])
def tunnel(dual: Dual, side: Family, request: pytest.FixtureRequest) -> Iterator[Client]:
    """An initiator whose ESP the director itself decrypts, whatever the method says of it."""
    server = here(side, request.param)
    dual.configure(side, request.param, server)
    client = side.client(71)
    end = server if request.param == "nat" else side.vip
    with listening(dual, side, end) as sock, opened(dual, client, end):
        dual.expect(client.first(), ike=1)
        reply(dual, sock, client)
        dual.expect(client.later(), ike=1)
        check(sock, client, client.later())
        yield client


@needs_null
def test_what_was_in_esp_may_be_for_another_service(
    dual: Dual, side: Family, tunnel: Client
) -> None:
    """Nobody has seen the packet inside before it came out."""
    dual.genl.do("service-new", address=side.other_vip, scheduler="rr")
    dual.genl.do("server-new", service=side.other_vip, address=side.rip(), method="dr")
    inner = side.client(72, vip=side.other_vip).first()
    with dual.moved(2) as moved:
        dual.port.send([sealed(tunnel, inner)])
    assert (moved["esp"], moved["ike"]) == (1, 1)
    assert dual.captures[0].one().raw == aged(inner)


@needs_null
def test_what_was_in_esp_may_be_for_ip_vs(dual: Dual, side: Family, tunnel: Client) -> None:
    sh("modprobe", "ip_vs")
    asked = f"[{side.other_vip}]:53" if side.version == 6 else f"{side.other_vip}:53"
    server = f"[{side.rip()}]:53" if side.version == 6 else f"{side.rip()}:53"
    src, dst = side.client(73).address, side.other_vip
    inner = ip(src, dst, UDP, udp(src, dst, (5353, 53), b"a name"))
    dual.director.run("ipvsadm", "-A", "-u", asked, "-s", "rr")
    try:
        dual.director.run("ipvsadm", "-a", "-u", asked, "-r", server, "-g")
        dual.expect(sealed(tunnel, inner), esp=1)
        assert dual.captures[0].one().message == b"a name"
    finally:
        dual.director.run("ipvsadm", "-C")
