# SPDX-License-Identifier: GPL-2.0
"""What does not pass is explained, and explanations by others find their way.

    gen ---------- in   director   s1 ---- s1 RIP 1
    clients, and        VIP on lo          and a router behind s1
    a router

An error that is translated must be, byte for byte, the error that would have
been sent about the untranslated packet.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kt.dual import V4, V6, Dual, Family
from kt.inet import ICMPV6, Client, Inet, aged, fragments, icmp_error, ip, read, udp, whole
from kt.packets import ESP, ICMP, UDP, ike
from kt.wait import wait_until

TOO_BIG = {4: (3, 4), 6: (2, 0)}
EXCEEDED = {4: (11, 0), 6: (3, 0)}
HOST_UNREACHABLE = {4: (3, 1), 6: (1, 3)}
# Type, code, and the word behind: an MTU, a pointer.
ERRORS = {
    4: [(3, 1, 0), (3, 3, 0), (3, 4, 1300), (4, 0, 0), (11, 0, 0), (12, 0, 9 << 24)],
    6: [(1, 3, 0), (1, 4, 0), (2, 0, 1300), (3, 0, 0), (4, 1, 40)],
}
METHODS = ("dr", "nat", "tun")
PAIRS = [(a, b) for a in (V4, V6) for b in (V4, V6)]
SHAPES = {
    "ipip": {},
    "gre": {"tunnel_type": "gre", "tunnel_flags": 1},
    "gue": {"tunnel_type": "gue"},
}
SHIMS = {"ipip": 0, "gre": 8, "gue": 12}


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    """Each method that sends packets on."""
    return request.param


@pytest.fixture
def client(dual: Dual, side: Family, method: str) -> Client:
    """An initiator who is admitted to a server by each method."""
    dual.configure(side, method)
    return dual.admitted(side)


def told(dual: Dual, side: Family, client: Client, sent: bytes) -> Inet:
    """The one error that the director sends about a packet."""
    answer = dual.back.one("an error")
    assert answer.is_icmp and answer.dst == client.address
    assert answer.src == side.vip
    assert answer.quoted and sent.startswith(answer.quoted[: len(sent)])
    return answer


def unwrapped(packet: Inet, method: str) -> bytes:
    """What came to the server, out of its tunnel."""
    return packet.payload if method == "tun" else packet.raw


# What the director says itself.


def test_a_packet_whose_time_ends_here_is_answered(
    dual: Dual, side: Family, method: str, client: Client
) -> None:
    for sent in (client.later(ttl=1), client.esp(ttl=1)):
        dual.expect(sent, drop_ttl=1)
        assert told(dual, side, client, sent).icmp == EXCEEDED[side.version]
    dual.quiet()


def test_what_does_not_fit_is_refused_with_the_mtu(
    dual: Dual, side: Family, method: str, client: Client
) -> None:
    over = side.header if method == "tun" else 0
    with dual.mtu("s1", 1400):
        room = 1400 - over - side.header - 4
        dual.expect(client.ip(ESP, b"fits" + bytes(room), df=True), esp=1)
        dual.captures[0].one()
        sent = client.ip(ESP, b"long" + bytes(room + 1), df=True)
        dual.expect(sent, drop_mtu=1)
        answer = told(dual, side, client, sent)
    assert (answer.icmp, answer.info) == (TOO_BIG[side.version], 1400 - over)
    dual.quiet()


def test_without_a_way_to_the_server_the_host_is_unreachable(
    dual: Dual, side: Family, method: str, client: Client
) -> None:
    bits = 24 if side.version == 4 else 64
    net = side.rip().rpartition("1")[0] + ("0" if side.version == 4 else "")
    dual.director.ip(f"route del {net}/{bits} dev s1")
    try:
        sent = client.esp()
        dual.expect(sent, drop_no_route=1)
        answer = told(dual, side, client, sent)
    finally:
        metric = "" if side.version == 4 else "metric 256"
        dual.director.ip(f"route add {net}/{bits} dev s1 {metric}")
    assert answer.icmp == HOST_UNREACHABLE[side.version]
    dual.expect(client.esp(), esp=1)


@pytest.mark.parametrize(
    ("method", "inside", "outside"),
    # nat does not change the family.
    [("nat", side, side) for side in (V4, V6)] + [("tun", *pair) for pair in PAIRS],
    ids=lambda value: value if isinstance(value, str) else f"v{value.version}",
)
def test_a_server_that_does_not_answer_arp_is_unreachable(
    dual: Dual, method: str, inside: Family, outside: Family
) -> None:
    """The director's own stack says so, of the packet as it was when it left."""
    nowhere = outside.servers.format(2, 77)
    dual.configure(inside, method, nowhere)
    name = "ipv4" if outside.version == 4 else "ipv6"
    for key, value in (("mcast_solicit", 1), ("retrans_time_ms", 20)):
        dual.director.sysctl(f"net/{name}/neigh/s2/{key}", value)
    client = inside.client()
    dual.send(client.first())
    answer = told(dual, inside, client, b"" if method == "tun" else aged(client.first()))
    assert answer.icmp == HOST_UNREACHABLE[inside.version]
    assert read(answer.quoted).dst == inside.vip
    assert answer.quoted == aged(client.first())


# Large packets.


def test_large_ike_and_esp_cross(dual: Dual, side: Family, method: str, client: Client) -> None:
    body = bytes(range(250)) * 16
    for sent in (client.later(body=body), client.ip(ESP, body)):
        for order in (1, -1):
            with dual.moved(1):
                dual.port.send(fragments(sent, 1400)[::order])
            pieces = dual.captures[0].some(3)
            got = whole(pieces)
            if method == "tun":
                got = read(got).payload
            elif read(sent).protocol == UDP and method == "nat":
                right = udp(client.address, side.rip(), (500, 500), read(sent).message)
                assert got == right
            assert got[8:] == read(sent).payload[8:]


# What is said from the initiator's side about an answer.


def reply(client: Client, source: str, protocol: int) -> bytes:
    """An answer to the initiator, as it was at some place of its way."""
    if protocol == UDP:
        return client.answer(source, 500, ike(client.ispi, client.rspi, 35), ttl=60)
    return client.esp_answer(source, ttl=60)


@pytest.mark.parametrize("protocol", [UDP, ESP])
def test_an_error_about_an_answer_reaches_the_server(
    dual: Dual, side: Family, method: str, client: Client, protocol: int
) -> None:
    end = side.rip() if method == "nat" else side.vip
    for error in ERRORS[side.version]:
        for length in (side.header + 8, 2000):
            sent = icmp_error(
                side.near, side.vip, *error, reply(client, side.vip, protocol)[:length]
            )
            right = icmp_error(side.near, end, *error, reply(client, end, protocol)[:length])
            with dual.counted(icmp=1):
                dual.port.send([sent])
                got = dual.captures[0].one(f"error {error}")
            assert unwrapped(got, method) == aged(right)


@pytest.mark.parametrize("protocol", [UDP, ESP])
def test_a_quotation_may_end_anywhere(
    dual: Dual, side: Family, method: str, client: Client, protocol: int
) -> None:
    """On its way in. With the ports in it it is translated, without it is none of ours."""
    end = side.rip() if method == "nat" else side.vip
    enough = side.header + (4 if protocol == UDP else 0)
    error = ERRORS[side.version][1]
    for length in range(side.header + 20):
        sent = icmp_error(side.near, side.vip, *error, reply(client, side.vip, protocol)[:length])
        right = icmp_error(side.near, end, *error, reply(client, end, protocol)[:length])
        with dual.counted(icmp=int(length >= enough), esp=1):
            dual.port.send([sent, client.esp()])
            got = dual.captures[0].some(2 if length >= enough else 1)
        if length < enough:
            continue
        if protocol == UDP and length == side.header + 7:
            # Half a checksum cannot be mended.
            assert read(unwrapped(got[0], method)).dst == end
        else:
            assert unwrapped(got[0], method) == aged(right)


def test_an_error_about_a_stranger_is_for_the_director(
    dual: Dual, side: Family, method: str, client: Client
) -> None:
    stranger = side.client(248)
    errors = [
        icmp_error(side.near, side.vip, *ERRORS[side.version][1], quoted)
        for quoted in (
            reply(stranger, side.vip, UDP),
            reply(stranger, side.vip, ESP),
            stranger.first(),
            client.first(),
            client.at(port=501).answer(side.vip, 500, bytes(28)),  # type: ignore[attr-defined]
            ip(side.vip, client.address, 47, bytes(20)),
        )
    ]
    with dual.counted(icmp=0, esp=1):
        dual.port.send([*errors, client.esp()])
        dual.captures[0].one()
    dual.quiet()


# What is said from the server's side about a packet whose address was translated.


def request(client: Client, to: str, protocol: int) -> bytes:
    """A packet of the initiator, as it was at some place of its way."""
    if protocol == UDP:
        data = udp(client.address, to, (client.port, 500), ike(client.ispi, client.rspi, 35))
        return ip(client.address, to, UDP, data, ttl=60)
    return ip(client.address, to, ESP, bytes.fromhex("c0000001") + bytes(60), ttl=60)


@pytest.fixture
def natted(dual: Dual, side: Family) -> Client:
    """An initiator behind nat."""
    dual.configure(side, "nat")
    return dual.admitted(side)


@pytest.mark.parametrize("protocol", [UDP, ESP])
@pytest.mark.parametrize("router", [1, 7], ids=["server", "router"])
def test_an_error_of_the_servers_side_comes_from_the_service(
    dual: Dual, side: Family, natted: Client, protocol: int, router: int
) -> None:
    source = side.servers.format(1, router)
    for error in ERRORS[side.version]:
        for length in (side.header + 8, 2000):
            about = [request(natted, to, protocol)[:length] for to in (side.rip(), side.vip)]
            sent = icmp_error(source, natted.address, *error, about[0])
            right = icmp_error(side.vip, natted.address, *error, about[1])
            with dual.counted(icmp=1):
                dual.answers[0].send([sent])
                assert dual.back.one().raw == aged(right)


@pytest.mark.parametrize("protocol", [UDP, ESP])
def test_a_quotation_of_the_servers_side_may_end_anywhere(
    dual: Dual, side: Family, natted: Client, protocol: int
) -> None:
    enough = side.header + (4 if protocol == UDP else 0)
    error = ERRORS[side.version][1]
    for length in range(side.header + 20):
        about = [request(natted, to, protocol)[:length] for to in (side.rip(), side.vip)]
        sent = icmp_error(side.rip(), natted.address, *error, about[0])
        right = icmp_error(side.vip, natted.address, *error, about[1])
        with dual.counted(icmp=int(length >= enough)):
            dual.answers[0].send([sent])
            got = dual.back.one()
        if length < enough:
            assert got.raw == aged(sent)
        elif protocol == UDP and length == side.header + 7:
            assert got.src == side.vip  # half a checksum cannot be mended
        else:
            assert got.raw == aged(right)


def test_icmp_that_is_no_error_of_ours_passes(dual: Dual, side: Family, natted: Client) -> None:
    number, echo = (ICMP, 8) if side.version == 4 else (ICMPV6, 128)
    pings = [
        icmp_error(side.rip(), natted.address, kind, 0, 0, b"x" * 40) for kind in (echo, 0, 255)
    ]
    errors = [
        icmp_error(side.rip(), natted.address, *ERRORS[side.version][1], about)
        for about in (
            # Whom no test before had for a client: an ended entry is known for a minute.
            request(side.client(249), side.rip(), UDP),
            request(natted, side.rip(2), ESP),
            ip(natted.address, side.rip(), number, bytes(20)),
        )
    ]
    with dual.counted(icmp=0):
        for sent in pings + errors:
            dual.answers[0].send([sent])
            assert dual.back.one().raw == aged(sent)


def test_an_error_in_fragments_is_translated_as_a_whole(dual: Dual, side: Family) -> None:
    dual.configure(side, "nat")
    client = dual.admitted(side)
    about = [
        ip(client.address, to, ESP, bytes.fromhex("c0000001") + bytes(range(250)) * 8)
        for to in (side.rip(), side.vip)
    ]
    error = ERRORS[side.version][1]
    sent = icmp_error(side.rip(), client.address, *error, about[0])
    right = icmp_error(side.vip, client.address, *error, about[1])
    with dual.counted(icmp=1):
        dual.answers[0].send(reversed(fragments(sent, 1400)))
        got = dual.back.some(2)
    assert {p.src for p in got} == {side.vip}
    assert whole(got) == read(right).payload


# What is said about a tunnel.


@pytest.fixture(params=PAIRS, ids=[f"{a.version}in{b.version}" for a, b in PAIRS])
def pair(request: pytest.FixtureRequest) -> tuple[Family, Family]:
    """The family inside a tunnel, and the one outside."""
    return request.param


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> str:
    """Each kind of tunnel."""
    return request.param


@pytest.fixture
def tunnelled(dual: Dual, pair: tuple[Family, Family], shape: str) -> Iterator[Client]:
    """An initiator behind a tunnel; what the routes learn is forgotten in the end."""
    dual.configure(pair[0], "tun", pair[1].rip(), **SHAPES[shape])
    yield dual.admitted(pair[0])
    for family in ("-4", "-6"):
        dual.director.run("ip", family, "route", "flush", "cache")


def test_a_narrow_path_of_a_tunnel_is_learnt_and_told(
    dual: Dual, pair: tuple[Family, Family], shape: str, tunnelled: Client
) -> None:
    """The initiator is told what fits inside; the next packet meets the director's own refusal."""
    inside, outside = pair
    sent = tunnelled.ip(ESP, bytes.fromhex("c0000001") + bytes(1380), df=True)
    dual.expect(sent, esp=1)
    outer = dual.captures[0].one()
    router = outside.servers.format(1, 7)
    error = icmp_error(router, outer.src, *TOO_BIG[outside.version], 1400, outer.raw[:512])
    with dual.counted(icmp=1):
        dual.answers[0].send([error])
        answer = told(dual, inside, tunnelled, aged(sent))
    fits = 1400 - outside.header - SHIMS[shape]
    assert (answer.icmp, answer.info) == (TOO_BIG[inside.version], fits)
    learnt = dual.director.run("ip", "route", "get", outside.rip()).stdout
    assert "mtu 1400" in learnt
    dual.expect(sent, drop_mtu=1)
    answer = told(dual, inside, tunnelled, sent)
    assert (answer.icmp, answer.info) == (TOO_BIG[inside.version], fits)


def test_other_errors_about_a_tunnel_are_told(
    dual: Dual, pair: tuple[Family, Family], shape: str, tunnelled: Client
) -> None:
    """As they are within a family; across, the server is unreachable."""
    inside, outside = pair
    dual.expect(tunnelled.esp(), esp=1)
    outer = dual.captures[0].one()
    for kind, code, info in ERRORS[outside.version]:
        if (kind, code) == TOO_BIG[outside.version] or kind == 12 or (kind, code) == (4, 1):
            continue
        if kind == 4:
            continue  # RFC 6633: source quench is dead
        with dual.counted(icmp=1):
            dual.answers[0].send(
                [icmp_error(outside.rip(), outer.src, kind, code, info, outer.raw)]
            )
            answer = told(dual, inside, tunnelled, aged(tunnelled.esp()))
        if inside is outside:
            assert answer.icmp == (kind, code)
        else:
            assert answer.icmp == HOST_UNREACHABLE[inside.version]


def test_a_quoted_tunnel_may_end_anywhere(
    dual: Dual, pair: tuple[Family, Family], shape: str, tunnelled: Client
) -> None:
    inside, outside = pair
    dual.expect(tunnelled.esp(df=True), esp=1)
    outer = dual.captures[0].one()
    before = dual.genl.counters()
    for length in range(len(outer.raw) - 40):
        for error in ((*TOO_BIG[outside.version], 1400), ERRORS[outside.version][0]):
            dual.answers[0].send([icmp_error(outside.rip(), outer.src, *error, outer.raw[:length])])
    dual.expect(tunnelled.esp(), esp=1)
    wait_until(lambda: dual.captures[0].packets(), 5, "the packet behind them")
    moved = {k: n - before[k] for k, n in dual.genl.counters().items() if n != before[k]}
    assert set(moved) <= {"esp", "icmp", "drop-truncated"}


def test_an_error_about_somebody_elses_tunnel_tells_nobody(
    dual: Dual, pair: tuple[Family, Family], shape: str, tunnelled: Client
) -> None:
    """The quoted outer packet went to another server, or the inner one is no initiator's."""
    inside, outside = pair
    dual.expect(tunnelled.esp(), esp=1)
    raw = dual.captures[0].one().raw
    at = 16 if outside.version == 4 else 24
    size = 4 if outside.version == 4 else 16
    elsewhere = raw[: at + size - 1] + bytes([9]) + raw[at + size :]
    shift = outside.header + SHIMS[shape] + (12 if inside.version == 4 else 8)
    width = 4 if inside.version == 4 else 16
    stranger = raw[: shift + width - 1] + bytes([77]) + raw[shift + width :]
    with dual.counted(icmp=0, esp=1):
        for quoted in (elsewhere, stranger):
            error = icmp_error(
                outside.rip(), outside.towards(), *TOO_BIG[outside.version], 1400, quoted
            )
            dual.answers[0].send([error])
        dual.port.send([tunnelled.esp()])
        dual.captures[0].one()
    dual.quiet()
    # Of UDP the director's own stack learns, and of GRE where its module is loaded.
    if not shape.startswith(("gue", "gre")):
        assert "mtu" not in dual.director.run("ip", "route", "get", outside.rip()).stdout
