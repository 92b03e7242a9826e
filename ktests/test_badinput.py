# SPDX-License-Identifier: GPL-2.0
"""Packets that are wrong: each is dropped, counted by its reason, and leaves no trace.

gen 10.1.0.1 ------ director ------ s1, s2, s3
plays clients       VIP on lo       must see nothing
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from kt import oracle
from kt.bench import Bench, verdicts
from kt.kmsg import KernelLog
from kt.memory import given_back, in_use
from kt.packets import (
    AH,
    ENCRYPTED,
    ENCRYPTED_FRAGMENT,
    ENCRYPTION,
    ESP,
    IKE_PORT,
    INFORMATIONAL,
    NATT_PORT,
    NON_ESP_MARKER,
    SECURITY_ASSOCIATION,
    TCP,
    UDP,
    V1,
    V2,
    Initiator,
    ah,
    chain,
    esp,
    fragments,
    ike,
    parse,
    tcp,
    udp,
)

SEED = 20_110  # the port of no one; any number will do, but always the same
ISPI, RSPI = 0xA1A2A3A4A5A6A7A8, 0xB1B2B3B4B5B6B7B8


def on500(message: bytes) -> tuple[int, bytes]:
    """IKE on port 500."""
    return UDP, udp(500, IKE_PORT, message)


def on4500(message: bytes) -> tuple[int, bytes]:
    """Anything on port 4500."""
    return UDP, udp(4500, NATT_PORT, message)


def marked(message: bytes) -> tuple[int, bytes]:
    """IKE on port 4500."""
    return on4500(NON_ESP_MARKER + message)


SYN = tcp(40_000, NATT_PORT, syn=True)

BROKEN = {
    "no UDP payload on 500": (on500(b""), "drop-ike-short"),
    "27 bytes of IKE": (on500(ike(ISPI)[:27]), "drop-ike-short"),
    "27 bytes of IKE on 4500": (marked(ike(ISPI)[:27]), "drop-ike-short"),
    "one byte on 500 that is no keepalive": (on500(b"\xfe"), "drop-ike-short"),
    "two bytes 0xff on 500": (on500(b"\xff\xff"), "drop-ike-short"),
    "marker and nothing else": (on4500(NON_ESP_MARKER), "drop-ike-short"),
    "version 0": (on500(ike(ISPI, version=0x00)), "drop-ike-version"),
    "version 3": (on500(ike(ISPI, version=0x30)), "drop-ike-version"),
    "version 15 on 4500": (marked(ike(ISPI, version=0xF0)), "drop-ike-version"),
    "length field 0": (on500(ike(ISPI, length=0)), "drop-ike-length"),
    "length field 27": (on500(ike(ISPI, length=27)), "drop-ike-length"),
    "length field one too large": (on500(ike(ISPI, length=29, body=b"")), "drop-ike-length"),
    "length field counts the marker": (
        marked(ike(ISPI, length=32, body=b"")),
        "drop-ike-length",
    ),
    "largest length field": (on500(ike(ISPI, length=0xFFFFFFFF)), "drop-ike-length"),
    "length field 2^31": (on500(ike(ISPI, length=0x80000000)), "drop-ike-length"),
    "exchange 0": (on500(ike(ISPI, RSPI, 0)), "drop-ike-exchange"),
    "exchange 45": (on500(ike(ISPI, RSPI, 45)), "drop-ike-exchange"),
    "exchange 239": (on500(ike(ISPI, RSPI, 239)), "drop-ike-exchange"),
    "exchange of IKEv1 in IKEv2": (on500(ike(ISPI, RSPI, 2)), "drop-ike-exchange"),
    "exchange of IKEv2 in IKEv1": (on500(ike(ISPI, RSPI, 34, version=V1)), "drop-ike-exchange"),
    "IKE_AUTH without responder SPI": (on500(ike(ISPI, 0, 35)), "drop-ike-exchange"),
    "INFORMATIONAL without SPI": (
        marked(ike(ISPI, 0, INFORMATIONAL)),
        "drop-ike-exchange",
    ),
    "Quick Mode without responder SPI": (on500(ike(ISPI, 0, 32, version=V1)), "drop-ike-exchange"),
    "Informational without responder SPI, encrypted": (
        on500(ike(ISPI, 0, 5, version=V1, flags=ENCRYPTION)),
        "drop-ike-exchange",
    ),
    "payload of 0 bytes": (on500(ike(ISPI, next_payload=33)), "drop-ike-payload"),
    "payload of 3 bytes": (
        on500(ike(ISPI, next_payload=33, body=bytes.fromhex("00000003"))),
        "drop-ike-payload",
    ),
    "payload of 3 bytes on 4500": (
        marked(ike(ISPI, RSPI, 35, next_payload=33, body=bytes.fromhex("00000003"))),
        "drop-ike-payload",
    ),
    "payload cut in its header": (
        on500(ike(ISPI, next_payload=33, body=bytes(3))),
        "drop-ike-payload",
    ),
    "payload that is not there": (
        on500(ike(ISPI, next_payload=33, body=b"")),
        "drop-ike-payload",
    ),
    "payload one byte too long": (
        on500(ike(ISPI, next_payload=33, body=chain(b"", b"12")[:-1])),
        "drop-ike-payload",
    ),
    "payload that ends behind the message": (
        on500(ike(ISPI, length=28 + 63)),
        "drop-ike-payload",
    ),
    "payload of IKEv1 too long": (
        on500(ike(ISPI, version=V1, exchange=2, length=28 + 63)),
        "drop-ike-payload",
    ),
    "largest payload": (
        on500(ike(ISPI, next_payload=33, body=bytes.fromhex("0000ffff") + bytes(60))),
        "drop-ike-payload",
    ),
    "second payload too short": (
        on500(ike(ISPI, next_payload=33, body=chain(b"1", last=40) + bytes(4))),
        "drop-ike-payload",
    ),
    "129 payloads": (
        on500(ike(ISPI, next_payload=33, body=chain(*[b""] * 129))),
        "drop-ike-payload",
    ),
    "encrypted payload too long": (
        marked(ike(ISPI, RSPI, 35, next_payload=46, body=bytes.fromhex("23000009") + bytes(4))),
        "drop-ike-payload",
    ),
    "encrypted payload of IKEv2 in IKEv1": (
        on500(ike(ISPI, RSPI, 32, version=V1, next_payload=46, body=chain(b"", last=8))),
        "drop-ike-payload",
    ),
    "flag of IKEv1 in IKEv2": (
        on500(ike(ISPI, RSPI, 35, flags=ENCRYPTION, next_payload=33, body=b"\xff" * 16)),
        "drop-ike-payload",
    ),
    "initiator SPI 0 on 4500": (marked(ike(0)), "drop-ike-spi"),
    "initiator SPI 0 with a responder's": (marked(ike(0, RSPI, 35)), "drop-ike-spi"),
    "UDP header of 7 bytes": ((UDP, udp(500, IKE_PORT, b"")[:7]), "drop-truncated"),
    "UDP length 0": ((UDP, udp(500, IKE_PORT, ike(ISPI), length=0)), "drop-truncated"),
    "UDP length 7": ((UDP, udp(500, IKE_PORT, ike(ISPI), length=7)), "drop-truncated"),
    "UDP length too large": (
        (UDP, udp(500, IKE_PORT, ike(ISPI), length=101)),
        "drop-truncated",
    ),
    "UDP length 65535": ((UDP, udp(4500, NATT_PORT, ike(ISPI), length=65535)), "drop-truncated"),
    "UDP length that cuts the IKE header": (
        (UDP, udp(500, IKE_PORT, ike(ISPI), length=35)),
        "drop-ike-short",
    ),
    "no UDP payload on 4500": (on4500(b""), "drop-truncated"),
    "one byte that is no keepalive": (on4500(b"\xfe"), "drop-truncated"),
    "two bytes 0xff": (on4500(b"\xff\xff"), "drop-truncated"),
    "three zero bytes on 4500": (on4500(bytes(3)), "drop-truncated"),
    "ESP in UDP of 7 bytes": (on4500(esp(5)[:7]), "drop-esp-malformed"),
    "initiator SPI 0 and nothing else": (on500(bytes(8)), "drop-ike-spi"),
    "initiator SPI 0 and 7 bytes": (on500(bytes(8) + esp(5)[:7]), "drop-ike-spi"),
    "initiator SPI 0 and no ESP": (on500(bytes(8) + esp(0)), "drop-ike-spi"),
    "initiator SPI 0 of a first message": (on500(ike(0)), "drop-ike-spi"),
    "ESP without payload": ((ESP, b""), "drop-esp-malformed"),
    "ESP of 7 bytes": ((ESP, esp(5)[:7]), "drop-esp-malformed"),
    "ESP with SPI 0": ((ESP, esp(0)), "drop-esp-malformed"),
    "AH without payload": ((AH, b""), "drop-ah-malformed"),
    "AH of 11 bytes": ((AH, ah(5)[:11]), "drop-ah-malformed"),
    "AH with SPI 0": ((AH, ah(0)), "drop-ah-malformed"),
    "AH payload length 0": ((AH, ah(5, words=0)), "drop-ah-malformed"),
    "AH payload length above what arrived": (
        (AH, ah(5, words=4, icv=11, body=b"")),
        "drop-ah-malformed",
    ),
    "AH payload length 255": ((AH, ah(5, words=255)), "drop-ah-malformed"),
    "TCP of 19 bytes": ((TCP, SYN[:19]), "drop-truncated"),
    "TCP header of 16 bytes": ((TCP, SYN[:12] + b"\x40" + SYN[13:]), "drop-truncated"),
    "TCP header longer than what arrived": (
        (TCP, SYN[:12] + b"\x60" + SYN[13:]),
        "drop-truncated",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_packet_is_dropped_for_its_reason(bench: Bench, case: str) -> None:
    (protocol, payload), reason = BROKEN[case]
    assert oracle.verdict(protocol, payload) == reason, "the oracle of the random tests agrees"
    bench.expect(bench.client().ip(protocol, payload), **{reason: 1})
    bench.nothing_forwarded()
    bench.no_icmp()
    assert bench.entries() == []


@pytest.mark.parametrize("case", BROKEN)
def test_broken_packet_harms_no_established_client(bench: Bench, case: str) -> None:
    (protocol, payload), reason = BROKEN[case]
    client, server = bench.established()
    natt = client.at(port=4500)
    assert bench.server_of(natt.natt_later()) == server
    before = [{**e, "expires": 0} for e in bench.entries()]
    bench.drain()
    bench.expect(client.ip(protocol, payload), **{reason: 1})
    bench.nothing_forwarded()
    assert [{**e, "expires": 0} for e in bench.entries()] == before


def begins() -> list[tuple[int, int]]:
    """Version and exchange of every message that may begin an IKE SA."""
    return [(V1, e) for e in sorted(oracle.IKEV1_BEGINS)] + [
        (V2, e) for e in sorted(oracle.IKEV2_BEGINS)
    ]


def test_every_exchange_that_begins_an_ike_sa_makes_an_entry(bench: Bench) -> None:
    """The counterpart: a door that is shut to everyone would pass the tests above."""
    for number, (version, exchange) in enumerate(begins(), 1):
        client = bench.client(number)
        bench.expect(client.udp(IKE_PORT, ike(client.ispi, 0, exchange, version=version)), ike=1)
        assert bench.entry(client)["state"] == "initial"


def test_every_known_exchange_passes_on_an_entry(bench: Bench) -> None:
    client, server = bench.established()
    for version, known in ((V1, oracle.IKEV1), (V2, oracle.IKEV2)):
        for exchange in sorted(known):
            message = ike(client.ispi, client.rspi, exchange, version=version)
            assert bench.server_of(client.udp(IKE_PORT, message)) == server


def test_ike_with_bytes_behind_its_length_passes(bench: Bench) -> None:
    """The length field may be below what arrived, not above."""
    client = bench.client()
    bench.server_of(client.udp(IKE_PORT, ike(client.ispi) + bytes(100)))


SEALED = {
    "SK": ike(ISPI, RSPI, 35, next_payload=ENCRYPTED, body=chain(b"\xff" * 32, last=35)),
    "SKF": ike(ISPI, RSPI, 35, next_payload=ENCRYPTED_FRAGMENT, body=chain(b"\xff" * 32, last=35)),
    "SK behind another": ike(
        ISPI,
        RSPI,
        INFORMATIONAL,
        next_payload=SECURITY_ASSOCIATION,
        body=chain(b"1", last=ENCRYPTED) + chain(b"\xff" * 32, last=41),
    ),
    "encrypted message of IKEv1": ike(
        ISPI, RSPI, 32, version=V1, flags=ENCRYPTION, next_payload=8, body=b"\xff" * 32
    ),
}


@pytest.mark.parametrize("case", SEALED)
def test_what_is_encrypted_is_not_walked(bench: Bench, case: str) -> None:
    """What is inside, or what it is said to begin with, is between initiator and server."""
    client, server = bench.established()
    assert bench.server_of(client.udp(IKE_PORT, SEALED[case])) == server


WELL_FORMED = {
    "no payload": ike(ISPI, next_payload=0, body=b""),
    "payload without content": ike(ISPI, next_payload=33, body=chain(b"")),
    "payloads of odd lengths": ike(ISPI, next_payload=33, body=chain(b"1", b"123", b"", b"12")),
    "128 payloads": ike(ISPI, next_payload=33, body=chain(*[b""] * 128)),
    "padding, as libreswan has it": ike(
        ISPI, exchange=2, version=V1, next_payload=1, body=chain(b"1") + bytes(3)
    ),
}


@pytest.mark.parametrize("case", WELL_FORMED)
def test_odd_but_well_formed_payloads_pass(bench: Bench, case: str) -> None:
    client = bench.client()
    bench.server_of(client.udp(IKE_PORT, WELL_FORMED[case]))
    assert bench.entry(client)["state"] == "initial"


def test_a_payload_header_in_two_pieces_is_read(bench: Bench) -> None:
    """Fragments of 8 bytes: the header of the second payload lies in two of them."""
    client = bench.client()
    body = chain(b"123456", b"12")
    for there, reason in ((body, "ike"), (body[:-1], "drop-ike-payload")):
        message = ike(client.ispi, next_payload=SECURITY_ASSOCIATION, body=there)
        with bench.moved(1) as moved:
            bench.port.send(fragments(client.udp(IKE_PORT, message), 8))
        assert verdicts(moved) == {reason: 1}


def random_packet(dice: random.Random, client: Initiator) -> bytes:
    """Anything, near enough to what is ours that every check has work."""
    size = dice.choice([0, 1, 4, 7, 8, 11, 12, 20, 27, 28, 31, 32, 33, 60, 500])
    noise = dice.randbytes(size)
    kind = dice.randrange(8)
    if kind < 4:
        message = ike(
            dice.choice([0, 1, dice.getrandbits(64)]),
            dice.choice([0, 0, dice.getrandbits(64)]),
            dice.choice([dice.randrange(256), dice.randrange(1, 7), dice.randrange(32, 46), 243]),
            version=dice.choice([dice.randrange(256), V1, V2, 0x21]),
            length=dice.choice([dice.getrandbits(32), 0, 27, 28, 28 + size, 29 + size, None]),
            body=noise,
            next_payload=dice.choice([None, None, 0, 33, ENCRYPTED, dice.randrange(256)]),
            flags=dice.choice([None, None, ENCRYPTION, dice.randrange(256)]),
        )
        message = message[: dice.choice([len(message)] * 4 + [dice.randrange(40)])]
    else:
        message = dice.choice([b"", bytes(4), bytes(8)]) + noise
    if kind == 5:
        return client.ip(ESP, message)
    if kind == 6:
        return client.ip(AH, message)
    # As of a client without NAT: the same port on both sides.
    length = dice.choice([None] * 8 + [dice.randrange(65536), 7, 8, len(message)])
    dport = dice.choice([IKE_PORT, NATT_PORT])
    marker = NON_ESP_MARKER if dport == NATT_PORT and dice.random() < 0.6 else b""
    return client.ip(UDP, udp(dport, dport, marker + message, length=length))


def test_random_packets_are_all_accounted_for(bench: Bench) -> None:
    """Five thousand: each counter moves by exactly what the oracle says."""
    dice = random.Random(SEED)
    client = bench.client()
    expected: Counter[str] = Counter()
    packets = []
    while len(packets) < 5000:
        packet = random_packet(dice, client)
        reason = oracle.verdict(parse(packet).protocol, parse(packet).payload)
        assert reason is not None
        if reason:  # one that begins an IKE SA would give the others an entry
            expected[reason] += 1
            packets.append(packet)
    assert len(expected) >= 13, "the dice met nearly every reason"
    log = KernelLog()
    counted: Counter[str] = Counter()
    for start in range(0, len(packets), 1000):
        counted += bench.send(*packets[start : start + 1000])
    assert (
        counted.pop("unreach-sent") == expected["drop-esp-no-entry"] + expected["drop-ah-no-entry"]
    )
    assert counted == expected
    bench.nothing_forwarded()
    assert bench.entries() == []
    assert len(log.news()) <= 10, "nothing is logged without rate limit"


def test_random_bytes_on_an_entry_never_reach_another_server(bench: Bench) -> None:
    dice = random.Random(SEED + 1)
    client, server = bench.established()
    bench.drain()
    moved = bench.send(*(random_packet(dice, client) for _ in range(2000)))
    arrived = bench.arrived()
    assert len(arrived[server - 1]) == sum(moved[n] for n in ("ike", "esp", "ah", "esp-in-udp"))
    assert sum(map(len, arrived)) == len(arrived[server - 1])
    assert {e["server"] for e in bench.entries()} == {bench.entry(client)["server"]}


def test_a_header_in_many_pieces_is_read(bench: Bench) -> None:
    """A reassembled packet is not linear: the IKE header lies in five buffers here."""
    client = bench.client()
    for packet, reason in (
        (client.first(), "ike"),
        (client.first(length=0), "drop_ike_length"),
        (client.esp_in_udp_draft(), "drop_not_established"),
    ):
        with bench.moved(1) as moved:
            bench.port.send(fragments(packet, 8))
        assert verdicts(moved) == {reason.replace("_", "-"): 1}


def test_memory_is_given_back(bench: Bench) -> None:
    """What was dropped is freed."""
    client = bench.client()
    (protocol, payload), _ = BROKEN["version 3"]
    bad = client.ip(protocol, payload)
    bench.send(*[bad, client.esp()] * 500)
    before = in_use()
    for _ in range(4):
        bench.send(*[bad, client.esp()] * 1000)
        bench.drain()
    given_back(before, limit=1500)  # 8,000 packets of at least 700 bytes
