# SPDX-License-Identifier: GPL-2.0
"""Method local: the director's own IKE daemon is one of the gateways.

    gen ---------- in   director
    plays clients       VIP on lo, a UDP socket on it

Nothing is changed: the socket gets what was sent to the VIP, TTL and all, and
answers as any program does.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from kt.dual import Dual, Family
from kt.inet import Client, fragments, icmp_error, read
from kt.packets import ESP, NON_ESP_MARKER, ike
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
