# SPDX-License-Identifier: GPL-2.0
"""Many at once: processors that race for an entry, floods that would fill the table.

gen 10.1.0.1 ====== director ------ s1 10.2.1.1
two processors      VIP on lo  ---- s2 10.2.2.1
send at once        rr         ---- s3 10.2.3.1
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from kt.bench import Bench
from kt.capture import Port
from kt.kmsg import KCSAN
from kt.packets import Initiator

INITIAL_MAX = 65_536
# KCSAN sees a race by chance.
RACERS = 5000 if KCSAN.exists() else 1000


def at_once(bench: Bench, *packets: list[bytes]) -> None:
    """Send each list from a processor of its own."""
    ports = [Port(bench.gen, "out", bench.director.mac("in")) for _ in packets]
    try:
        with ThreadPoolExecutor(len(packets)) as pool:
            list(pool.map(Port.send, ports, packets, range(len(packets))))
    finally:
        for port in ports:
            port.close()


def crowd(bench: Bench, size: int) -> list[Initiator]:
    """Initiators with a flow and an SPI of their own, and time to prove themselves."""
    bench.director.sysctl("net/ipvs_ipsec/isakmp_initial_timeout", 3600)
    return [
        bench.client(1 + n % 250).at(port=1024 + n % 50_000, ispi=0x10_0000 + n, rspi=0x20_0000 + n)
        for n in range(size)
    ]


def test_processors_that_race_make_one_entry(bench: Bench) -> None:
    clients = crowd(bench, RACERS)
    packets = [client.first() for client in clients]
    with bench.moved(2 * len(clients)) as moved:
        at_once(bench, packets, packets)
    assert moved["ike"] == 2 * len(clients)
    assert moved["entries-created"] == len(clients)
    homes: dict[tuple[str, int], set[int]] = defaultdict(set)
    for number, got in enumerate(bench.arrived(), 1):
        for packet in got:
            homes[packet.src, packet.ports[0]].add(number)
    assert len(homes) == len(clients)
    assert all(len(home) == 1 for home in homes.values()), "one initiator at two servers"


def test_processors_that_race_establish_once(bench: Bench) -> None:
    clients = crowd(bench, 1000)
    bench.expect(*(client.first() for client in clients), ike=len(clients))
    packets = [client.later() for client in clients]
    with bench.moved(2 * len(clients)) as moved:
        at_once(bench, packets, packets)
    assert moved["entries-established"] == len(clients)
    status = bench.genl.do("status-get")
    assert (status["entries"], status["initial"]) == (len(clients), 0)
    servers = bench.genl.dump("server-get")
    assert sum(server["established"] for server in servers) == len(clients)
    assert sum(server["initial"] for server in servers) == 0


def test_processors_that_race_for_4500_agree(bench: Bench) -> None:
    """Both flows of an IKE SA at once: never two scheduling decisions."""
    clients = crowd(bench, 500)
    bench.expect(*(client.first() for client in clients), ike=len(clients))
    natt = [client.at(port=client.port + 10_000).natt_later() for client in clients]
    later = [client.later() for client in clients]
    with bench.moved(3 * len(clients)):
        at_once(bench, natt + later, natt)
    homes: dict[int, set[str]] = defaultdict(set)
    for entry in bench.entries():
        homes[entry["initiator-spi"]].add(entry["server"])
    assert len(homes) == len(clients)
    assert all(len(home) == 1 for home in homes.values())
    assert len(bench.entries()) == 2 * len(clients)


def test_strangers_get_no_esp_through_among_many(bench: Bench) -> None:
    """Whoever shares a bucket with an established client is still not that client."""
    clients = [bench.client(number) for number in range(1, 401)]
    bench.expect(*(c.first() for c in clients), *(c.later() for c in clients), ike=2 * len(clients))
    bench.drain()
    strangers = [c.at(address=c.address.replace("192.0.2.", "203.0.113.")) for c in clients[:200]]
    strangers = [s for s in strangers if s.address not in {c.address for c in clients}]
    bench.expect(*(s.esp() for s in strangers), drop_esp_no_entry=len(strangers))
    assert len(strangers) > 50
    bench.nothing_forwarded()


def without_captures(bench: Bench, act: Callable[[], None]) -> None:
    """The servers' captures would only cost time."""
    for capture in bench.captures:
        capture.pause()
    try:
        act()
    finally:
        for capture in bench.captures:
            capture.resume()


def first_packets(address: str, vip: str, numbers: range) -> list[bytes]:
    """First packets of many flows of one address, quickly: port and SPI are patched in."""
    packet = bytearray(Initiator(address, vip).first(body=b""))
    made = []
    for number in numbers:
        struct.pack_into("!H", packet, 20, 1024 + number)
        struct.pack_into("!Q", packet, 28, int.from_bytes(packet[12:16]) << 16 | number)
        made.append(bytes(packet))
    return made


def test_a_flood_of_first_packets_cannot_fill_the_table(bench: Bench) -> None:
    """INITIAL entries are bounded; who is established goes on beside the flood."""
    bench.director.sysctl("net/ipvs_ipsec/isakmp_initial_timeout", 3600)
    client, server = bench.established()
    waiting = [bench.client(number) for number in range(2, 8)]
    bench.expect(*(w.first() for w in waiting), ike=len(waiting))
    late = bench.client(10)

    def flood() -> None:
        for address in range(1, 9):
            at_once(
                bench,
                *(
                    first_packets(f"203.0.113.{address}", client.vip, range(half, 8192, 2))
                    for half in (0, 1)
                ),
            )

    without_captures(bench, flood)
    # Each processor may be on its way to one more when the bound is met.
    assert 0 <= bench.genl.do("status-get")["initial"] - INITIAL_MAX < len(waiting) - 1
    bench.expect(late.first(), drop_table_full=1)
    assert bench.server_of(client.later(), client.esp(), client.first()) == server
    # Who waits for an answer may still prove itself, which makes room.
    bench.expect(*(w.later() for w in waiting), ike=len(waiting))
    bench.expect(late.first(), ike=1)


def test_first_packets_in_a_clients_name_do_not_cut_its_tunnel(bench: Bench) -> None:
    """An attacker spoofs the client's address, and knows its SPI: IKE and ESP still pass."""
    bench.director.sysctl("net/ipvs_ipsec/isakmp_initial_timeout", 3600)
    client, server = bench.established()
    natt = client.at(port=4500)
    assert bench.server_of(natt.natt_later(), client.esp()) == server

    def flood() -> None:
        same_spi = [client.at(port=30_000 + n).first(body=b"") for n in range(100)]
        spoofed = first_packets(client.address, client.vip, range(8000))
        at_once(bench, same_spi + spoofed[:4000], spoofed[4000:])

    without_captures(bench, flood)
    for _ in range(3):
        assert (
            bench.server_of(client.esp(), client.ah(), client.later(), natt.natt_later()) == server
        )
        assert bench.server_of(natt.esp_in_udp(), client.esp()) == server
