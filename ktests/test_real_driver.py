# SPDX-License-Identifier: GPL-2.0
"""Packets by an Ethernet driver: misaligned, by NAPI, merged by GRO.

    wire ---- in  director  s1 ---- wire      in, s1, s2: taps (kt/nic.py)
                            s2 ---- wire      the wire is this program

A kernel with RUST_DEBUG_ASSERTIONS panics on the first header that is read as if
it were aligned; on others these tests see that all is sent on as by a veth. What
GRO has merged from several datagrams is as many packets.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from test_local import got, listening

from kt import module
from kt.dual import Family
from kt.fastpath import fast_path, takes
from kt.faults import confined_to, failing
from kt.inet import Client, Inet, aged, icmp_error, read
from kt.nic import NicDual
from kt.packets import ESP, NON_ESP_MARKER, TCP, UDP, esp, framed, ike, tcp

SPI, OTHER_SPI = 0xC0000003, 0xC0000004
# Bytes of each message of those that GRO merges.
SIZE = 128
GRO = {"segments": "rx-udp-gro-forwarding", "list": "rx-gro-list"}
UNREACHABLE = {4: (3, 2), 6: (4, 1)}


@dataclass(frozen=True)
class Method:
    """A forwarding method, as it is configured, and what reaches a server by it."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    def check(self, side: Family, sent: bytes, arrived: Inet) -> None:
        """It is the packet that was sent, one hop older."""
        if self.name == "tun":
            assert arrived.raw.endswith(aged(sent))
        elif self.name == "dr":
            assert arrived.raw == aged(sent)
        else:
            was = read(sent)
            assert (arrived.src, arrived.dst, arrived.ttl) == (was.src, side.rip(), was.ttl - 1)
            if was.protocol in (UDP, TCP):  # whose checksum has changed
                assert arrived.ports == was.ports
                size = 8 if was.protocol == UDP else 20
                assert arrived.payload[size:] == was.payload[size:]
            else:
                assert arrived.payload == was.payload


METHODS = {
    "dr": Method("dr"),
    "nat": Method("nat"),
    "ipip": Method("tun"),
    "gre": Method("tun", {"tunnel_type": "gre", "tunnel_flags": 1}),
    "gue": Method("tun", {"tunnel_type": "gue"}),
}
NAT = METHODS["nat"]


@pytest.fixture(scope="module")
def made() -> Iterator[NicDual]:
    """The topology."""
    module.load()
    dual = NicDual("nic-")
    yield dual
    dual.close()


@pytest.fixture(scope="module")
def paged() -> Iterator[NicDual]:
    """The topology with a driver whose packets are in pages."""
    module.load()
    dual = NicDual("nic-frags-", frags=True)
    yield dual
    dual.close()


@pytest.fixture
def nics(made: NicDual) -> NicDual:
    """The topology, nothing configured; GRO merges datagrams into segments."""
    module.load()
    made.reopen()
    made.clear()
    return made


@pytest.fixture(params=GRO)
def gro(request: pytest.FixtureRequest, nics: NicDual) -> Iterator[NicDual]:
    """Either way of merging datagrams: as segments of one, or as a list of all."""
    on = GRO[request.param]
    for nic in (nics.port, *nics.answers):
        for kind in GRO.values():
            nics.director.run("ethtool", "-K", nic.device, kind, "on" if kind == on else "off")
    yield nics
    for nic in (nics.port, *nics.answers):
        nics.director.run("ethtool", "-K", nic.device, GRO["list"], "off", GRO["segments"], "on")


@pytest.fixture(params=["linear", "paged"])
def card(request: pytest.FixtureRequest) -> NicDual:
    """Either driver."""
    dual = request.getfixturevalue({"linear": "made", "paged": "paged"}[request.param])
    module.load()
    dual.reopen()
    dual.clear()
    return dual


@pytest.fixture(params=METHODS.values(), ids=METHODS)
def method(request: pytest.FixtureRequest) -> Method:
    """Each method that sends packets on."""
    return request.param


def datagrams(client: Client, *messages: bytes) -> list[bytes]:
    """Datagrams to port 4500 of a VIP that GRO merges if they are of one length."""
    return [client.udp(4500, message, ident=n) for n, message in enumerate(messages, 1)]


def replies(client: Client, server: str, *messages: bytes) -> list[bytes]:
    """A server's datagrams from port 4500, likewise."""
    return [client.answer(server, 4500, m, ident=n) for n, m in enumerate(messages, 1)]


def ike_message(client: Client, rspi: int = 0, exchange: int = 34) -> bytes:
    """IKE as it is on port 4500."""
    body = bytes(SIZE - len(NON_ESP_MARKER) - 28)
    return NON_ESP_MARKER + ike(client.ispi, rspi, exchange, body=body)


def esp_message(sequence: int = 1, spi: int = SPI) -> bytes:
    """ESP as it is on port 4500."""
    return esp(spi, sequence, bytes([sequence]) * (SIZE - 8))


def whole(side: Family, count: int, size: int = SIZE) -> int:
    """Length of so many datagrams in one packet."""
    return side.header + 8 + count * size


def natt(nics: NicDual, side: Family, method: Method, **options: Any) -> Client:
    """An initiator whose entry on port 4500 is established, and one ESP SPI of whom is known."""
    nics.configure(side, method.name, **method.options, **options)
    client = nics.admitted_natt(side, port=40_001)
    nics.expect(client.esp_in_udp(SPI), esp_in_udp=1)
    nics.forget(1)
    return client


@contextlib.contextmanager
def passing(nics: NicDual, hook: str, count: int, priority: int = 200) -> Iterator[None]:
    """So many packets of UDP, or of tunnels, pass a hook of the director's inside the block."""
    table = f"passing{priority}"
    rules = f"""
        table inet {table} {{
          chain passing {{
            type filter hook {hook} priority {priority};
            meta l4proto {{ 17, 4, 41, 47 }} counter
          }}
        }}
    """
    nics.director.run("nft", "-f", "-", input=rules)
    try:
        yield
        listed = json.loads(nics.director.run("nft", "-j", "list", "table", "inet", table).stdout)
    finally:
        nics.director.run("nft", "delete", "table", "inet", table)
    (rule,) = (item["rule"] for item in listed["nftables"] if "rule" in item)
    (counter,) = (word["counter"] for word in rule["expr"] if "counter" in word)
    assert counter["packets"] == count


def test_each_kind_of_packet_passes(card: NicDual, side: Family, method: Method) -> None:
    card.configure(side, method.name, **method.options)
    client, behind_nat = card.admitted(side), card.admitted_natt(side, 2, port=40_001)
    sent = [
        ("ike", client.first()),
        ("ike", client.later(ttl=2)),
        ("esp", client.esp(tos=0xB9, df=True)),
        ("ike", behind_nat.natt_later()),
        ("keepalive", behind_nat.keepalive()),
        ("esp_in_udp", behind_nat.esp_in_udp()),
    ]
    if method is not NAT:
        sent.append(("ah", client.ah()))
    for kind, packet in sent:
        card.expect(packet, **{kind: 1})
        method.check(side, packet, card.captures[0].one())


def test_a_stream_passes(card: NicDual, side: Family, method: Method) -> None:
    card.configure(side, method.name, **method.options)
    client = card.admitted(side)
    message = framed(NON_ESP_MARKER + ike(client.ispi, client.rspi, 35))
    for segment in (tcp(client.port, 4500, syn=True), tcp(client.port, 4500, message)):
        packet = client.ip(TCP, segment)
        card.expect(packet, tcp=1)
        method.check(side, packet, card.captures[0].one())


def test_answers_come_from_the_service(card: NicDual, side: Family) -> None:
    card.configure(side, "nat")
    client, behind_nat = card.admitted(side), card.admitted_natt(side, 2, port=40_001)
    rip = side.rip()
    for answer in (
        client.answer(rip, 500, ike(client.ispi, client.rspi)),
        client.esp_answer(rip),
        *replies(behind_nat, rip, esp_message(), ike_message(behind_nat, behind_nat.rspi)),
    ):
        with card.counted(out=1):
            card.answers[0].send([answer])
            seen, was = card.back.one("an answer"), read(answer)
        assert (seen.src, seen.dst, seen.ttl) == (side.vip, was.dst, was.ttl - 1)
        assert seen.payload[8:] == was.payload[8:]


def test_esp_goes_to_a_server_in_udp(card: NicDual, side: Family) -> None:
    card.configure(side, "nat", encap=1)
    client = card.admitted(side)
    card.expect(client.esp(), esp=1)
    arrived = card.captures[0].one()
    assert (arrived.ports, arrived.message) == ((4500, 4500), read(client.esp()).payload)


def test_esp_without_an_entry_is_answered(card: NicDual, side: Family) -> None:
    card.configure(side, "dr")
    client = side.client()
    card.expect(client.esp(), drop_esp_no_entry=1)
    answer = card.back.one("an error")
    assert answer.icmp == UNREACHABLE[side.version] and client.esp().startswith(answer.quoted)


def test_an_error_about_a_packet_is_translated(card: NicDual, side: Family) -> None:
    card.configure(side, "nat")
    client = card.admitted(side)
    card.expect(client.esp(), esp=1)
    sent = card.captures[0].one().raw
    kind = (3, 4) if side.version == 4 else (2, 0)
    with card.counted(icmp=1):
        card.answers[0].send([icmp_error(side.rip(), client.address, *kind, 1300, sent)])
        answer = card.back.one("an error")
    assert (answer.src, answer.icmp, answer.info) == (side.vip, kind, 1300)
    assert read(answer.quoted).dst == side.vip


@pytest.mark.parametrize("name", ["dr", "nat"])
def test_the_fast_path(card: NicDual, side: Family, name: str) -> None:
    client = natt(card, side, METHODS[name])
    native = card.admitted(side, 2)
    with fast_path(card), takes(card, 2):
        for kind, packet in (("esp", native.esp()), ("esp_in_udp", client.esp_in_udp(SPI))):
            card.expect(packet, **{kind: 1})
            METHODS[name].check(side, packet, card.captures[0].one())


def test_esp_passes_no_initial_entry_behind_ike(
    gro: NicDual, side: Family, method: Method
) -> None:
    gro.configure(side, method.name, **method.options)
    client = side.client(port=40_001)
    sent = datagrams(client, ike_message(client), esp_message(1), esp_message(2))
    with (
        gro.merged(gro.port, whole(side, 3)),
        gro.counted(ike=1, drop_not_established=2, entries_created=1),
    ):
        gro.port.send(sent)
    method.check(side, sent[0], gro.captures[0].one())


@pytest.mark.parametrize(
    ("name", "path"),
    [
        *((name, contextlib.nullcontext) for name in METHODS),
        *((name, fast_path) for name in ("dr", "nat")),
    ],
    ids=[*METHODS, "dr-fast", "nat-fast"],
)
def test_ike_does_not_hide_behind_esp(
    gro: NicDual,
    side: Family,
    name: str,
    path: Callable[[NicDual], contextlib.AbstractContextManager[None]],
) -> None:
    method = METHODS[name]
    client = natt(gro, side, method)
    messages = esp_message(1), ike_message(client, client.rspi, 37), esp_message(2)
    sent = datagrams(client, *messages)
    with path(gro), gro.merged(gro.port, whole(side, 3)), gro.counted(esp_in_udp=2, ike=1):
        gro.port.send(sent)
        arrived = gro.captures[0].some(3)
    for packet, found in zip(sent, arrived, strict=True):
        method.check(side, packet, found)


def test_a_message_that_is_wrong_takes_no_other_with_it(gro: NicDual, side: Family) -> None:
    client = natt(gro, side, METHODS["dr"])
    wrong = NON_ESP_MARKER + ike(client.ispi, client.rspi, 37, length=7, body=bytes(SIZE - 32))
    sent = datagrams(client, esp_message(1), wrong, esp_message(2))
    with (
        gro.merged(gro.port, whole(side, 3)),
        gro.counted(esp_in_udp=2, drop_ike_length=1),
    ):
        gro.port.send(sent)
    assert [p.raw for p in gro.captures[0].some(2)] == [aged(sent[0]), aged(sent[2])]


def test_all_spis_are_seen(gro: NicDual, side: Family) -> None:
    client = natt(gro, side, METHODS["dr"])
    sent = datagrams(client, esp_message(1), esp_message(1, OTHER_SPI))
    with gro.merged(gro.port, whole(side, 2)), gro.counted(esp_in_udp=2):
        gro.port.send(sent)
    gro.forget(2)
    # Which is known then, and takes the fast path.
    with fast_path(gro), takes(gro, 1):
        gro.expect(client.esp_in_udp(OTHER_SPI), esp_in_udp=1)
        gro.captures[0].one()


@pytest.mark.needs("/sys/kernel/debug/failslab")
def test_what_cannot_be_taken_apart_is_counted(nics: NicDual, side: Family) -> None:
    client = natt(nics, side, METHODS["dr"])
    sent = datagrams(client, esp_message(1), ike_message(client, client.rspi, 37))
    with confined_to("ipvs_ipsec_skb_segment"), failing(100):
        for _ in range(3):
            with nics.merged(nics.port, whole(side, 2)), nics.counted(drop_no_memory=1):
                nics.port.send(sent)
    nics.quiet()
    with nics.counted(esp_in_udp=1, ike=1):
        nics.port.send(sent)
        nics.captures[0].some(2)


def test_data_of_one_kind_goes_on_as_it_is(nics: NicDual, side: Family, method: Method) -> None:
    """Through the stack as one packet, on the wire as those that it was merged from."""
    client = natt(nics, side, method)
    sent = datagrams(client, *map(esp_message, range(1, 5)))
    with nics.merged(nics.port, whole(side, 4)), passing(nics, "output", 1):
        nics.port.send(sent)
        arrived = nics.captures[0].some(4)
    for packet, found in zip(sent, arrived, strict=True):
        if method.name == "dr":  # whose segments are counted by an IPv4 ident anew
            assert found.message == read(packet).message
        else:
            method.check(side, packet, found)


@pytest.mark.parametrize("name", ["dr", "nat"])
def test_data_of_one_kind_takes_the_fast_path(nics: NicDual, side: Family, name: str) -> None:
    client = natt(nics, side, METHODS[name])
    sent = datagrams(client, *map(esp_message, range(1, 5)))
    with nics.merged(nics.port, whole(side, 4)), fast_path(nics), takes(nics, 1):
        nics.port.send(sent)
        arrived = nics.captures[0].some(4)
    assert [p.message for p in arrived] == [read(p).message for p in sent]


def test_merged_answers_come_from_the_service(gro: NicDual, side: Family) -> None:
    client = natt(gro, side, NAT)
    messages = list(map(esp_message, range(1, 5)))
    with gro.merged(gro.answers[0], whole(side, 4)):
        gro.answers[0].send(replies(client, side.rip(), *messages))
        seen = gro.back.some(4, "answers")
    assert [(p.src, p.dst, p.message) for p in seen] == [
        (side.vip, client.address, message) for message in messages
    ]


def test_merged_answers_lose_their_udp(gro: NicDual, side: Family) -> None:
    gro.configure(side, "nat", encap=1)
    client = gro.admitted(side)
    gro.expect(client.esp(), esp=1)
    gro.forget(1)
    server = client.at(port=4500)
    messages = list(map(esp_message, range(1, 5)))
    with gro.merged(gro.answers[0], whole(side, 4)), gro.counted(out=4):
        gro.answers[0].send(replies(server, side.rip(), *messages))
        seen = gro.back.some(4, "answers")
    assert [(p.src, p.protocol, p.payload) for p in seen] == [
        (side.vip, ESP, message) for message in messages
    ]


def test_an_answer_is_learnt_that_was_merged_behind_data(gro: NicDual, side: Family) -> None:
    gro.configure(side, "nat")
    client = side.client(port=40_001)
    gro.expect(client.natt_first(), ike=1)
    gro.forget(1)
    answer = ike_message(client, client.rspi)
    with gro.merged(gro.answers[0], whole(side, 2)), gro.counted(out=2):
        gro.answers[0].send(replies(client, side.rip(), esp_message(), answer))
        gro.back.some(2, "answers")
    other = client.at(rspi=7)
    gro.expect(other.natt_later(), drop_ike_responder_spi=1)
    gro.expect(client.natt_later(), ike=1)


def test_a_socket_gets_each_datagram(gro: NicDual, side: Family) -> None:
    gro.configure(side, "local", side.vip)
    client = side.client(port=40_001)
    with listening(gro, side, side.vip, 4500) as sock:
        sent = ike_message(client), esp_message(1), ike_message(client)
        with (
            gro.merged(gro.port, whole(side, 3)),
            gro.counted(ike=2, drop_not_established=1, entries_created=1),
        ):
            gro.port.send(datagrams(client, *sent))
        assert [got(sock)[0] for _ in range(2)] == [sent[0], sent[2]]
        # A daemon may answer with one call for all (UDP_SEGMENT), too.
        sock.setsockopt(UDP, 103, SIZE)
        answers = ike_message(client, client.rspi), esp_message(2), esp_message(3)
        sock.sendto(b"".join(answers), (client.address, client.port))
        assert [p.message for p in gro.back.some(3, "answers")] == list(answers)
    gro.expect(client.natt_later(), ike=1)


def test_datagrams_of_others_stay_merged(nics: NicDual, side: Family) -> None:
    """To the VIP, and through the director."""
    nics.configure(side, "nat")
    natt_client = nics.admitted_natt(side, port=40_001)
    messages = [bytes([n]) * SIZE for n in range(3)]
    with listening(nics, side, side.vip, 5353) as sock:
        packets = [
            natt_client.udp(5353, message, ident=n) for n, message in enumerate(messages, 1)
        ]
        with nics.merged(nics.port, whole(side, 3)), passing(nics, "input", 1):
            nics.port.send(packets)
            assert [got(sock)[0] for _ in range(3)] == messages
    packets = [
        natt_client.at(vip=side.rip()).udp(5353, message, ident=n)
        for n, message in enumerate(messages, 1)
    ]
    with nics.merged(nics.port, whole(side, 3)), passing(nics, "forward", 1):
        nics.port.send(packets)
        assert [p.message for p in nics.captures[0].some(3)] == messages


def test_what_is_accepted_passes_the_hooks_behind_once(nics: NicDual, side: Family) -> None:
    """And none before again: IKE to an address of the director's own that is no service's."""
    nics.configure(side, "dr")
    client = side.client(port=40_001).at(vip=side.other_vip)
    messages = ike_message(client), esp_message()
    with (
        listening(nics, side, side.other_vip, 4500) as sock,
        passing(nics, "input", 1, priority=0),
        passing(nics, "input", 2, priority=200),
    ):
        nics.port.send(datagrams(client, *messages))
        assert [got(sock)[0] for _ in range(2)] == list(messages)
