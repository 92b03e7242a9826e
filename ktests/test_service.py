# SPDX-License-Identifier: GPL-2.0
"""Services and servers that change: what stays as it was, and who notices.

gen 10.1.0.1 ------ director ------ s1 10.2.1.1
plays clients       VIP on lo       s2, s3 alike
192.0.2.0/24
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import pytest

from kt import module
from kt.bench import VIP, Bench, server_address
from kt.capture import Port
from kt.genl import Genl
from kt.packets import UDP, Packet, ike, ip, udp
from kt.wait import wait_until

VIP6, RIP = "2001:db8::1", "10.2.1.1"
DEFRAG = "nf_defrag_ipv6"
IPIP = 4
EXPIRE = "net/ipvs_ipsec/expire_nodest_conn"


def configured(genl: Genl) -> dict[str, Any]:
    """All that can be set of the one service or server."""
    (services, servers) = genl.everything()
    (found,) = servers or services
    return found


def test_a_service_keeps_what_is_not_given(genl: Genl) -> None:
    genl.do("service-new", address=VIP6)
    expected = configured(genl)
    for values in (
        {"scheduler": "mh"},
        {"persistence-timeout": 300},
        {"scheduler-flags": {"fallback", "port"}},
        {"persistence-prefix": 64},
        {"scheduler": "sh"},
        {"scheduler-flags": {"port"}, "persistence-timeout": 0},
        {"scheduler-flags": set()},
        {"persistence-prefix": 128, "persistence-timeout": 2678400},
        {"initial-timeout": 3600},
        {"established-timeout": 2592000},
        {"soft-entries": 65536},
        {"initial-timeout": 0, "soft-entries": 0},
    ):
        genl.do("service-set", address=VIP6, **values)
        expected |= values
        assert configured(genl) == expected
    genl.do("service-set", address=VIP6, scheduler="sh")
    assert configured(genl) == expected


def test_a_server_keeps_what_is_not_given(genl: Genl) -> None:
    genl.do("service-new", address=VIP)
    genl.do("server-new", service=VIP, address=RIP)
    expected = configured(genl)
    gue = {"tunnel-type": "gue", "tunnel-port": 6080, "tunnel-flags": set()}
    for values in (
        {"weight": 0},
        {"ike-label": 0x0B << 56, "ike-mask": 0xFF << 56},
        {"esp-spi-min": 256, "esp-spi-max": 511},
        {"ike-label": 0x0A << 56},
        {"esp-spi-max": 0xFFFFFFFF},
        {"upper-threshold": 100},
        {"lower-threshold": 50},
        {"method": "tun", "tunnel-type": "gue"},
        {"tunnel-port": 7000},
        {"tunnel-flags": {"csum"}},
        {"weight": 9},
        {"tunnel-port": 7001},
        {"upper-threshold": 60},
    ):
        genl.do("server-set", service=VIP, address=RIP, **values)
        expected |= (gue if "method" in values else {}) | values
        assert configured(genl) == expected
    # Of another method nothing is left but what all servers have.
    genl.do("server-set", service=VIP, address=RIP, method="nat", encap=1)
    expected = {k: v for k, v in expected.items() if not k.startswith("tunnel")}
    expected |= {"method": "nat", "encap": 1}
    assert configured(genl) == expected
    genl.do("server-set", service=VIP, address=RIP, lower_threshold=0)
    expected["lower-threshold"] = 0
    assert configured(genl) == expected
    genl.do("server-set", service=VIP, address=RIP, method="dr")
    del expected["encap"]
    assert configured(genl) == expected | {"method": "dr"}


def test_a_set_keeps_servers_and_entries(bench: Bench) -> None:
    client, server = bench.established()
    bench.genl.do("service-set", address=VIP, scheduler="sh", persistence_timeout=60)
    bench.set_server(server, weight=7, upper_threshold=1)
    assert bench.genl.do("service-get", address=VIP)["servers"] == 3
    assert bench.server_of(client.later(), client.esp()) == server
    assert (bench.server(server)["established"], bench.server(server)["in-packets"]) == (1, 4)


def last(bench: Bench, server: int, *packets: bytes) -> Packet:
    """What of these reached a server last."""
    bench.drain()
    bench.send(*packets)
    found = bench.captures[server - 1].wait(len(packets), "packets")
    return found[-1]


def test_entries_go_on_by_the_method_they_began_with(bench: Bench) -> None:
    bench.setup("rr", [1])
    rip = server_address(1)
    one, two, three = map(bench.client, (1, 2, 3))
    assert last(bench, 1, one.first()).dst == VIP
    bench.set_server(1, method="nat")
    assert last(bench, 1, two.first()).dst == rip
    bench.set_server(1, method="tun")
    assert bench.server(1)["tunnel-type"] == "ipip"
    outer = last(bench, 1, three.first())
    assert (outer.protocol, outer.dst) == (IPIP, rip)
    # Where the address is translated, the server answers first.
    bench.director.sysctl("net/ipv4/ip_forward", 1)
    back = bench.servers[0], "eth0", bench.director.mac("s1")
    with contextlib.closing(Port(*back)) as port:
        reply = udp(500, two.port, ike(two.ispi, two.rspi))
        port.send([ip(rip, two.address, UDP, reply)])
        bench.back.wait(1, "the reply", lambda p: p.protocol == UDP)
    # Each stays with its own, and so does what it begins on port 4500.
    assert last(bench, 1, one.later(), one.at(port=4500).natt_later()).dst == VIP
    packet = last(bench, 1, two.later(), two.at(port=4500).natt_later())
    assert (packet.dst, packet.protocol) == (rip, 17)
    assert last(bench, 1, three.later(), three.at(port=4500).natt_later()).protocol == IPIP
    assert {e["client"]: e["method"] for e in bench.entries()} == {
        one.address: "dr",
        two.address: "nat",
        three.address: "tun",
    }
    # They are one server's.
    assert (bench.server(1)["established"], bench.server(1)["conns"]) == (6, 6)
    bench.genl.do("server-del", service=VIP, address=rip)
    assert bench.entries() == []


def test_a_server_of_method_local_is_the_director(bench: Bench) -> None:
    bench.setup("rr", [])
    bench.genl.do("server-new", service=VIP, address=VIP, method="local")
    with bench.director.entered():
        daemon = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with daemon:
        daemon.bind((VIP, 500))
        daemon.settimeout(5)
        client = bench.client()
        bench.expect(client.first(), ike=1)
        assert daemon.recvfrom(4096) == (client.first()[28:], (client.address, 500))
    assert bench.entry(client)["method"] == "local"
    bench.nothing_forwarded()


def test_entries_end_with_their_server(bench: Bench) -> None:
    client, server = bench.established()
    assert bench.director.read_sysctl(EXPIRE) == "1"
    bench.genl.do("server-del", service=VIP, address=server_address(server))
    assert bench.entries() == []
    bench.expect(client.later(), drop_ike_no_entry=1)


def test_entries_outlive_their_server_if_they_shall(bench: Bench) -> None:
    bench.director.sysctl(EXPIRE, 0)
    client, server = bench.established()
    bench.genl.do("server-del", service=VIP, address=server_address(server))
    assert bench.entry(client)["server"] == server_address(server)
    natt = client.at(port=4500)
    assert bench.server_of(client.later(), client.esp(), natt.natt_later()) == server
    assert bench.server_of(client.at(ispi=77).first()) == server
    # New ones go elsewhere.
    counted = bench.spread(range(2, 22))
    assert counted.pop(server - 1) == 0 and counted == [10, 10]
    # Added again it is another server, and takes new ones.
    bench.genl.do("server-new", service=VIP, address=server_address(server))
    assert bench.server(server)["established"] == 0
    assert bench.spread(range(22, 52)) == [10, 10, 10]
    # What is written later changes nothing for who was removed before.
    bench.director.sysctl(EXPIRE, 1)
    assert bench.server_of(client.later()) == server


@pytest.mark.parametrize("op", ["service-del", "flush"])
def test_entries_do_not_outlive_their_service(bench: Bench, op: str) -> None:
    bench.director.sysctl(EXPIRE, 0)
    client, server = bench.established()
    bench.genl.do("server-del", service=VIP, address=server_address(server))
    assert len(bench.entries()) == 1
    bench.genl.do("service-set", address=VIP, scheduler="wrr")
    bench.genl.do(op, **({"address": VIP} if op == "service-del" else {}))
    assert bench.entries() == []
    wait_until(lambda: bench.genl.do("status-get")["entries"] == 0, 5, "the sweep")
    bench.genl.do("service-new", address=VIP)
    bench.expect(client.later(), drop_ike_no_entry=1)


def test_drops_are_told_of_service_and_server(bench: Bench) -> None:
    bench.setup("rr", [1])
    client = bench.client()
    bench.expect(
        client.later(),
        client.esp_in_udp(),
        client.esp_in_udp(),
        **{
            "drop-ike-no-entry": 1,
            "drop-esp-in-udp-no-entry": 2,
        },
    )
    # Of the server's are those only that were on their way to it.
    bench.expect(client.first(), client.first(ttl=1), ike=1, drop_ttl=1)
    bench.icmp()
    bench.genl.do("server-new", service=VIP, address="172.31.0.1")
    bench.genl.do("server-set", service=VIP, address=server_address(1), weight=0)
    bench.expect(bench.client(2).first(), drop_no_route=1)
    bench.genl.do("server-set", service=VIP, address="172.31.0.1", weight=0)
    bench.expect(bench.client(3).first(), drop_no_server=1)
    service = bench.genl.do("service-get", address=VIP)
    away = bench.genl.do("server-get", service=VIP, address="172.31.0.1")
    assert bench.server(1)["drops"] == {"drop-ttl": 1}
    assert away["drops"] == {"drop-no-route": 1}
    assert service["drops"] == {
        "drop-ike-no-entry": 1,
        "drop-esp-in-udp-no-entry": 2,
        "drop-ttl": 1,
        "drop-no-route": 1,
        "drop-no-server": 1,
    }
    assert (service["conns"], service["in-packets"]) == (2, 1)


def test_fragments_of_ipv6_are_reassembled_while_there_is_a_service_of_it(genl: Genl) -> None:
    before = module.users(DEFRAG)
    genl.do("service-new", address=VIP6)
    assert module.users(DEFRAG) == before + 1
    genl.do("service-new", mark=7, family=10)
    genl.do("service-new", address=VIP)
    genl.do("service-del", address=VIP6)
    assert module.users(DEFRAG) == before + 1
    genl.do("service-del", mark=7, family=10)
    assert module.users(DEFRAG) == before
    genl.do("service-new", address=VIP6)
    genl.do("flush")
    assert module.users(DEFRAG) == before
