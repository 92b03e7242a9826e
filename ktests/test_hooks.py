# SPDX-License-Identifier: GPL-2.0
"""Hooks are there as the configuration wants them, and no packet changes that.

    gen ---------- in   director   s1 ---- s1
    plays clients       VIP on lo  s2 ---- s2

A namespace without a service has none. LOCAL_OUT has one where this host may answer: for
servers by nat or local, and for those at an address of its own.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from kt import module
from kt.dual import Dual, Family
from kt.hooks import at_ingress, registered
from kt.inet import Client, aged
from kt.memory import in_use
from kt.net import Network, sh
from kt.packets import NATT_PORT, TCP, ike, tcp
from kt.tool import Tool
from kt.wait import PATIENCE, SHORT, wait_until

NONE: set[str] = set()
FORWARD = {"input", "forward"}
ALL = {"input", "forward", "output"}
LEVELS = {"dr": FORWARD, "tun": FORWARD, "nat": ALL, "local": ALL}

# Seconds within which hooks follow what is no command.
SOON = 5
# Seconds within which a device, a namespace or the module must be gone.
GONE = 5
WRONG = 0xDEAD_0000_0000_0001


@pytest.fixture
def fresh() -> Iterator[Dual]:
    """A director that nobody has configured."""
    sh("modprobe", "nfnetlink_hook")
    module.load()
    dual = Dual("hooks-")
    try:
        yield dual
    finally:
        dual.close()


@pytest.fixture(params=LEVELS)
def method(request: pytest.FixtureRequest) -> str:
    """Every forwarding method."""
    return str(request.param)


def hooks(dual: Dual) -> tuple[set[str], set[str]]:
    """Where ours are, in IPv4 and in IPv6."""
    return registered(dual.director)


def both(places: set[str]) -> tuple[set[str], set[str]]:
    """The same in both families."""
    return places, places


def configure(dual: Dual, side: Family, method: str) -> None:
    """One service, one server."""
    dual.configure(side, method, side.vip if method == "local" else side.rip())


def test_the_configuration_tells_which_there_are(
    fresh: Dual, side: Family, method: str
) -> None:
    tool = Tool(fresh.director)
    assert hooks(fresh) == both(NONE)
    for _ in range(2):
        tool.run("service", "add", side.vip)
        assert hooks(fresh) == both(FORWARD)
        server = side.vip if method == "local" else side.rip()
        tool.run("server", "add", side.vip, server, "-m", method)
        assert hooks(fresh) == both(LEVELS[method])
        tool.run("server", "del", side.vip, server)
        wait_until(lambda: hooks(fresh) == both(FORWARD), SOON, "a server's hooks to go")
        tool.run("service", "del", side.vip)
        assert hooks(fresh) == both(NONE)


def test_another_method_of_a_server_wants_others(fresh: Dual, side: Family) -> None:
    configure(fresh, side, "dr")
    assert hooks(fresh) == both(FORWARD)
    fresh.genl.do("server-set", service=side.vip, address=side.rip(), method="nat")
    assert hooks(fresh) == both(ALL)
    fresh.genl.do("server-set", service=side.vip, address=side.rip(), method="dr")
    wait_until(lambda: hooks(fresh) == both(FORWARD), SOON, "a method's hooks to go")


def test_another_service_keeps_them(fresh: Dual, side: Family) -> None:
    configure(fresh, side, "dr")
    fresh.genl.do("service-new", address=side.other_vip)
    fresh.genl.do("service-del", address=side.vip)
    fresh.expect(side.client(vip=side.other_vip).first(), drop_no_server=1)
    assert hooks(fresh) == both(FORWARD)
    fresh.genl.do("flush")
    assert hooks(fresh) == both(NONE)


def test_a_fast_path_has_one_while_there_is_a_service(fresh: Dual, side: Family) -> None:
    def is_there() -> bool:
        return at_ingress(fresh.director, "in")

    tool = Tool(fresh.director)
    tool.run("fastpath", "add", "in")
    for _ in range(2):
        assert not is_there()
        tool.run("service", "add", side.vip)
        assert is_there()
        tool.run("service", "del", side.vip)
    assert not is_there()
    tool.run("service", "add", side.vip)
    tool.run("fastpath", "del", "in")
    assert not is_there()
    tool.run("fastpath", "add", "in")
    assert is_there()


def test_what_is_refused_leaves_none(fresh: Dual, side: Family) -> None:
    tool = Tool(fresh.director)
    for words in (
        ("service", "add", "224.0.0.1"),
        ("service", "add", side.vip, "-s", "dice"),
        ("server", "add", side.vip, side.rip(), "-m", "nat"),
    ):
        assert tool.run(*words, check=False).returncode != 0
        assert hooks(fresh) == both(NONE)


def test_no_packet_changes_them(fresh: Dual, side: Family, method: str) -> None:
    configure(fresh, side, method)
    for number in (1, 2):
        client = side.client(number)
        fresh.expect(client.esp(), drop_esp_no_entry=1)
        assert hooks(fresh) == both(LEVELS[method])
        fresh.expect(client.first(), ike=1)
        assert hooks(fresh) == both(LEVELS[method])
    Tool(fresh.director).run("entry", "flush")
    assert fresh.genl.do("status-get")["entries"] == 0
    assert hooks(fresh) == both(LEVELS[method])


def stray(client: Client) -> bytes:
    """A segment of a connection that nobody has begun."""
    return client.ip(TCP, tcp(client.port, NATT_PORT))


def test_two_packets_hang_nothing(fresh: Dual, side: Family) -> None:
    """They come before anything else, and the device, the namespace and the module go at once."""
    configure(fresh, side, "dr")
    fresh.port.send([side.client().first(), stray(side.client(2))])
    counted = {"ike": 1, "drop-tcp-no-entry": 1}

    def seen() -> dict[str, int]:
        counters = fresh.genl.counters()
        return {name: counters[name] for name in counted}

    wait_until(lambda: seen() == counted, SOON, lambda: f"both packets: {seen()}")
    # Each packet is looked at once, and no more than that.
    fresh.expect(side.client(3).first(), ike=1)
    assert seen() == {"ike": 2, "drop-tcp-no-entry": 1}
    begun = time.monotonic()
    fresh.director.ip("link del in")
    fresh.close()
    module.unload()
    assert time.monotonic() - begun < GONE * PATIENCE


def test_traffic_for_others_passes(fresh: Dual, side: Family) -> None:
    configure(fresh, side, "nat")
    sent = side.client().answer(side.rip(), 53, ike(1, 2))
    fresh.answers[0].send([sent])
    assert fresh.back.one().raw == aged(sent)


def test_answers_need_them_as_long_as_there_are_entries(fresh: Dual, side: Family) -> None:
    """What a removed server by nat still sends must not pass with its own address."""
    configure(fresh, side, "nat")
    client = fresh.admitted(side)
    fresh.genl.do("server-del", service=side.vip, address=side.rip())
    fresh.genl.do("service-del", address=side.vip)
    wait_until(lambda: fresh.genl.do("status-get")["entries"] == 0, 5, "the sweep")
    # On any kernel: what was removed is known for a minute only.
    time.sleep(2)
    assert hooks(fresh) == both(ALL)
    with fresh.counted(drop_reply_removed=1):
        fresh.answers[0].send([client.esp_answer(side.rip())])
    fresh.quiet()


def test_they_go_when_a_server_that_is_gone_has_answered_its_last(
    fresh: Dual, side: Family
) -> None:
    """LOCAL_OUT has its hook while an initial entry waits for a reply that proves the initiator."""
    configure(fresh, side, "local")
    fresh.director.sysctl("net/ipvs_ipsec/expire_nodest_conn", 0)
    fresh.director.sysctl("net/ipvs_ipsec/isakmp_initial_timeout", SHORT + 2)
    fresh.expect(side.client().first(), ike=1)
    fresh.genl.do("server-del", service=side.vip, address=side.vip)
    fresh.expect(side.client().first(), ike=1)
    assert hooks(fresh) == both(ALL)
    wait_until(lambda: hooks(fresh) == both(FORWARD), SOON + SHORT, "hooks to go")


def test_all_who_come_at_once_get_through(fresh: Dual, side: Family) -> None:
    """No packet is lost, and none is overtaken by one that depends on it."""
    fresh.configure(side, "dr", side.rip(1), side.rip(2))
    clients = [side.client(number) for number in range(1, 101)]
    packets = [p for c in clients for p in (c.first(), c.later(), c.esp())]
    fresh.expect(*packets, ike=200, esp=100)
    for capture in fresh.captures:
        assert len({p.src for p in capture.some(150)}) == 50
    assert fresh.genl.counters()["entries-created"] == 100


def test_the_firewall_sees_the_first_once(fresh: Dual, side: Family) -> None:
    fresh.configure(side, "dr", side.rip(1), side.rip(2))
    family = "ip" if side.version == 4 else "ip6"
    rules = "type filter hook input priority 0; udp dport 500 counter"
    fresh.director.run("nft", f"add table {family} seen; add chain {family} seen in {{ {rules}; }}")
    chain = fresh.director.run("nft", "list", "chain", family, "seen", "in")
    assert "packets 0 " in chain.stdout
    fresh.expect(side.client().first(), ike=1)
    fresh.captures[0].one()
    chain = fresh.director.run("nft", "list", "chain", family, "seen", "in")
    assert "packets 1 " in chain.stdout


def listening(dual: Dual, side: Family) -> socket.socket:
    """A socket at the VIP."""
    kind = socket.AF_INET if side.version == 4 else socket.AF_INET6
    with dual.director.entered():
        sock = socket.socket(kind, socket.SOCK_DGRAM)
    sock.bind((side.vip, 500))
    sock.settimeout(5 * PATIENCE)
    return sock


def test_a_dr_server_may_become_the_director(fresh: Dual, side: Family) -> None:
    """Its answers are seen in LOCAL_OUT as long as its address is this host's."""
    configure(fresh, side, "dr")
    other, client = side.client(2), side.client()
    fresh.expect(other.first(), ike=1)
    fresh.captures[0].one()
    bits = 32 if side.version == 4 else 128
    fresh.director.ip(f"addr add {side.rip()}/{bits} dev lo")
    wait_until(lambda: hooks(fresh) == both(ALL), SOON, "an address to be heard of")
    with listening(fresh, side) as sock:
        fresh.expect(client.first(), ike=1)
        assert sock.recvfrom(2000)[1][0] == client.address
        sock.sendto(ike(client.ispi, client.rspi), (client.address, 500))
        fresh.back.one()
        wrong = client.udp(500, ike(client.ispi, WRONG, 35))
        fresh.expect(wrong, drop_ike_responder_spi=1)
        fresh.expect(client.later(), ike=1)
    fresh.director.ip(f"addr del {side.rip()}/{bits} dev lo")
    Tool(fresh.director).run("entry", "flush")
    wait_until(lambda: hooks(fresh) == both(FORWARD), SOON, "an address to be missed")


def test_a_server_may_have_the_address_before_the_service(fresh: Dual, side: Family) -> None:
    bits = 32 if side.version == 4 else 128
    fresh.director.ip(f"addr add {side.rip()}/{bits} dev lo")
    configure(fresh, side, "dr")
    assert hooks(fresh) == both(ALL)


def flood(dual: Dual, side: Family) -> list[Client]:
    """Initiators, some of whose packets are on their way."""
    configure(dual, side, "dr")
    clients = [side.client(number) for number in range(1, 201)]
    dual.port.send([client.first() for client in clients])
    return clients


def test_a_namespace_may_go_under_packets(side: Family) -> None:
    sh("modprobe", "nfnetlink_hook")
    module.load()
    for number in range(5):
        dual = Dual(f"hooks{number}-")
        flood(dual, side)
        dual.close()


def test_so_may_the_module(fresh: Dual, side: Family) -> None:
    for _ in range(5):
        flood(fresh, side)
        module.unload()
        assert hooks(fresh) == both(NONE)
        module.load()
        fresh.reopen()
    assert hooks(fresh) == both(NONE)
    clients = flood(fresh, side)
    wait_until(
        lambda: fresh.genl.do("status-get")["entries"] == len(clients), 5, "all to have entries"
    )


def test_so_may_a_link(fresh: Dual, side: Family) -> None:
    flood(fresh, side)
    fresh.director.ip("link del in")
    assert hooks(fresh) == both(FORWARD)


@contextlib.contextmanager
def streaming(dual: Dual, packet: bytes) -> Iterator[None]:
    """An initiator sends a packet again and again inside the block."""
    enough = threading.Event()

    def send() -> None:
        while not enough.is_set():
            dual.port.send([packet] * 100)

    with ThreadPoolExecutor(1) as pool:
        sender = pool.submit(send)
        try:
            yield
        finally:
            enough.set()
            sender.result()


# ESP that leaves the director for s1 is dropped by its administrator.
OUTPUT = """
table inet wall {
    chain output {
        type filter hook output priority 0
        meta l4proto esp counter drop
    }
}
"""
UNLOADS = 20 if PATIENCE == 1 else 5


@pytest.mark.parametrize("end", ["module", "service"])
def test_nothing_passes_by_the_firewall_while_hooks_go(
    fresh: Dual, side: Family, end: str
) -> None:
    fresh.director.run("nft", "-f", "-", input=OUTPUT)
    for _ in range(UNLOADS):
        configure(fresh, side, "nat")
        client = fresh.admitted(side)
        with streaming(fresh, client.esp()):
            wait_until(lambda: fresh.genl.counters()["esp"] > 20, SOON, "a flood of ESP")
            if end == "module":
                module.unload()
            else:
                fresh.genl.do("flush")
        passed = [p for p in fresh.captures[0].packets() if p.protocol == 50]
        assert passed == []
        module.load()
        fresh.reopen()


NAMESPACES, LEAST = 200, 4


def test_a_namespace_without_a_service_takes_next_to_nothing() -> None:
    """What 200 namespaces take from insmod on, in KiB each."""
    module.unload()
    with Network("small-") as network:
        for number in range(NAMESPACES):
            network.ns(str(number))
        before = in_use()
        module.load()
        taken = (in_use() - before) / NAMESPACES
    assert taken < LEAST, f"{taken:.1f} KiB a namespace"
