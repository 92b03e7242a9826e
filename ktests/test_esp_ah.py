# SPDX-License-Identifier: GPL-2.0
"""ESP, AH and ESP in UDP: admitted by an ESTABLISHED entry, refused without one.

    gen 10.1.0.1 ------ director ------ s1 10.2.1.1
    plays clients       VIP on lo  ---- s2 10.2.2.1
    192.0.2.0/24        rr         ---- s3 10.2.3.1

Without entry: ICMP protocol unreachable to the sender, as fast as the kernel's
rate limit lets it. On an INITIAL entry: silence.
"""

from __future__ import annotations

import pytest

from kt.bench import VIP, VIP2, Bench, server_address
from kt.packets import AH, ESP, ICMP, Initiator, checksum, parse

DEST_UNREACH, PROT_UNREACH = 3, 2

NATIVE = {"esp": (ESP, Initiator.esp), "ah": (AH, Initiator.ah)}
EVERY = {**{k: v[1] for k, v in NATIVE.items()}, "draft": Initiator.esp_in_udp_draft}


@pytest.mark.parametrize("kind", NATIVE)
def test_without_entry_the_sender_learns_protocol_unreachable(bench: Bench, kind: str) -> None:
    protocol, make = NATIVE[kind]
    sent = make(bench.client())
    moved = bench.expect(sent, **{f"drop_{kind}_no_entry": 1})
    assert moved["unreach-sent"] == 1
    bench.nothing_forwarded()
    (answer,) = bench.icmp()
    assert answer.icmp == (DEST_UNREACH, PROT_UNREACH)
    assert (answer.src, answer.dst) == (VIP, bench.client().address)
    assert checksum(answer.payload) == 0
    told = parse(answer.payload[8:])
    assert told.protocol == protocol
    assert told.header == parse(sent).header, "the packet it answers, unchanged"
    assert len(told.payload) >= 8
    assert parse(sent).payload.startswith(told.payload)
    assert bench.entries() == []


@pytest.mark.parametrize("kind", EVERY)
def test_on_an_initial_entry_it_is_dropped_silently(bench: Bench, kind: str) -> None:
    client = bench.client()
    bench.expect(client.first(), ike=1)
    bench.drain()
    bench.expect(EVERY[kind](client), drop_not_established=1)
    bench.nothing_forwarded()
    bench.no_icmp()


@pytest.mark.parametrize("kind", EVERY)
def test_on_an_established_entry_it_reaches_the_entrys_server(bench: Bench, kind: str) -> None:
    for number in range(1, 7):
        client, server = bench.established(number)
        assert bench.server_of(*[EVERY[kind](client)] * 5) == server


@pytest.mark.parametrize("kind", EVERY)
def test_it_does_not_restart_the_timer(bench: Bench, kind: str) -> None:
    client, server = bench.established()
    before = bench.entry(client)["expires"]
    for _ in range(20):
        assert bench.server_of(EVERY[kind](client)) == server
        left = bench.entry(client)["expires"]
        assert left <= before
        before = left


@pytest.mark.parametrize("kind", NATIVE)
def test_an_entry_admits_only_its_own_address(bench: Bench, kind: str) -> None:
    bench.genl.do("service-new", address=VIP2, scheduler="rr")
    bench.genl.do("server-new", service=VIP2, address=server_address(1))
    client, _ = bench.established()
    bench.drain()
    make = NATIVE[kind][1]
    bench.expect(make(bench.client(2)), make(client.at(vip=VIP2)), **{f"drop_{kind}_no_entry": 2})
    bench.nothing_forwarded()
    assert {p.src for p in bench.icmp(2)} == {VIP, VIP2}


def test_without_entry_esp_in_udp_is_dropped_silently(bench: Bench) -> None:
    client, _ = bench.established()
    bench.drain()
    stranger = bench.client(2)
    bench.expect(
        stranger.at(port=4500).esp_in_udp(),
        stranger.esp_in_udp_draft(),
        client.at(port=4500).esp_in_udp(),  # its entry is that of port 500
        drop_esp_in_udp_no_entry=3,
    )
    bench.nothing_forwarded()
    bench.no_icmp()


def test_esp_in_udp_follows_its_flow(bench: Bench) -> None:
    for number in range(1, 7):
        client, server = bench.established(number)
        natt = client.at(port=40_000 + number)
        packet = natt.esp_in_udp(0xC0000100 + number)
        bench.expect(packet, drop_esp_in_udp_no_entry=1)
        assert bench.server_of(natt.natt_later(), packet, packet) == server


def test_esp_in_udp_on_an_initial_entry_is_dropped(bench: Bench) -> None:
    client = bench.client().at(port=4500)
    bench.expect(client.natt_first(), ike=1)
    bench.expect(client.esp_in_udp(), drop_not_established=1)
    bench.no_icmp()


def test_unreachables_are_rate_limited(bench: Bench) -> None:
    bench.director.sysctl("net/ipv4/icmp_ratemask", 6168)  # the kernel's default
    try:
        moved = bench.expect(*[bench.client().esp()] * 300, drop_esp_no_entry=300)
        answers = bench.back.packets(lambda p: p.protocol == ICMP)
    finally:
        bench.director.sysctl("net/ipv4/icmp_ratemask", 0)
    assert moved["unreach-sent"] == 300
    assert 1 <= len(answers) <= 30, "a token bucket per address, a few of them at once"


def test_the_answer_is_hardly_larger_than_what_it_answers(bench: Bench) -> None:
    """No reflector; and RFC 1812 section 4.3.2.3 ends an answer at 576 bytes."""
    for size in (8, 100, 1400):
        sent = bench.client().ip(ESP, (0xC0000001).to_bytes(4) + bytes(size - 4))
        bench.expect(sent, drop_esp_no_entry=1)
        (answer,) = bench.icmp()
        assert len(answer.raw) <= min(576, 28 + len(sent))
