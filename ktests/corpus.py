#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Captures what strongSwan's initiators send to a VIP, and what its gateways answer.

Seeds for the fuzzers, and packets that the parsers must find good.

    c1 IKEv2                  --+            +-- director 10.0.0.1, VIP on lo: captures
    c2 IKEv1                    |            |
    c3 behind a NAT of router   +-- router --+-- gw1 10.0.0.11, answers by router: captures
    c4 AH                       |            |
    c5 large IKE_SA_INIT        |            +-- gw2 10.0.0.12
    c6 IKEv1, ESP in UDP      --+

    scripts/vm run --smp 2 --mem 3G --out ktests/corpus -- python3 ktests/corpus.py

Each client brings its tunnel up, pings, rekeys and takes it down. The files are
$OUT/initiators.pcap and $OUT/responders.pcap, both of the same tunnels.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections import Counter
from pathlib import Path

from kt.capture import Capture
from kt.genl import Genl
from kt.lab import INSIDE, VIP, Lab
from kt.packets import AH, ESP, KEEPALIVE, NATT_PORT, NON_ESP_MARKER, UDP, Packet, write_pcap
from kt.strongswan import client_conf, start_all
from kt.wait import wait_until

IKEV2, IKEV1, NATTED, WITH_AH, LARGE, IKEV1_IN_UDP = range(6)
OPTIONS: dict[int, dict[str, int | bool]] = {
    IKEV1: {"version": 1},
    WITH_AH: {"ah": True},
    LARGE: {"mobike": False},
    IKEV1_IN_UDP: {"version": 1, "encap": True},
}
PROPOSAL = "proposals = aes128-sha256-x25519"
# As many proposals as make an IKE_SA_INIT too large for one packet; a gateway takes the last.
MANY = [
    "-".join(words)
    for words in itertools.product(
        ("aes256", "aes192"), ("sha512", "sha384"), ("x25519", "ecp256", "ecp384", "modp3072")
    )
] * 3
EACH = 2  # packets of a kind, of a client

NAT = """
table ip nat {{
  chain out {{
    type nat hook postrouting priority srcnat;
    ip saddr {address} oifname "lan" masquerade random
  }}
}}
"""


def configure(lab: Lab) -> None:
    """A service for the gateways, a NAT for one client, and each client as it is named."""
    with Genl(lab.director) as genl:
        genl.do("service-new", address=VIP, scheduler="rr")
        for gateway in lab.gateways:
            genl.do("server-new", service=VIP, address=gateway.address)
    natted = lab.clients[NATTED]
    lab.router.run("nft", "-f", "-", input=NAT.format(address=natted.address))
    with open(natted.charon.folder / "strongswan.conf", "a", encoding="utf-8") as conf:
        conf.write("charon { keep_alive = 1s }\n")
    start_all(lab.daemons)
    for number, options in OPTIONS.items():
        client = lab.clients[number]
        text = client_conf(client.address, VIP, client.name, f"{INSIDE}/32", **options)  # type: ignore[arg-type]
        if number == LARGE:
            text = text.replace(PROPOSAL, f"proposals = {', '.join(MANY)}, {PROPOSAL[12:]}")
        client.charon.reconfigure(text)


def kind(packet: Packet) -> str:
    """What a packet carries, told by the port of the VIP."""
    if packet.offset:
        return "rest of a packet"
    if packet.protocol != UDP:
        return {ESP: "ESP", AH: "AH"}[packet.protocol]
    port, message = packet.ports[packet.dst == VIP], packet.payload[8:]
    if message == KEEPALIVE:
        return "keepalive"
    if port == NATT_PORT and not message.startswith(NON_ESP_MARKER):
        return "ESP in UDP"
    exchange = message[4 + 18 if port == NATT_PORT else 18]
    return f"IKE exchange {exchange} on {port}"


def chosen(packets: list[Packet]) -> list[Packet]:
    """The first few of each kind of each client."""
    seen: Counter[tuple[str, str, str]] = Counter()
    found = []
    for packet in packets:
        what = packet.src, packet.dst, kind(packet)
        seen[what] += 1
        if seen[what] <= EACH:
            found.append(packet)
    return found


def write(name: str, packets: list[Packet]) -> None:
    """A file of some of them, and what is in it."""
    file, found = Path(os.environ.get("OUT", "."), name), chosen(packets)
    write_pcap(file, (packet.raw for packet in found))
    print(f"{file}: {len(found)} packets, {file.stat().st_size} bytes")
    print(*(f"  {n:2} {what}" for what, n in sorted(Counter(map(kind, found)).items())), sep="\n")


def main() -> None:
    """Everything, from the empty topology to the file."""
    with tempfile.TemporaryDirectory() as folder, Lab(Path(folder), clients=6) as lab:
        configure(lab)
        capture, answers = Capture(lab.director, "lan"), Capture(lab.router, "lan")
        packets: list[Packet] = []

        def to_vip() -> list[Packet]:
            packets.extend(capture.packets(lambda p: p.dst == VIP))
            return packets

        for client in lab.clients:
            client.charon.initiate()
            assert client.ping(EACH) == 0, client.charon.log()
            if client is lab.clients[NATTED]:
                wait_until(lambda: "keepalive" in map(kind, to_vip()), 20, "a NAT keepalive")
            client.charon.rekey_child()
            client.charon.rekey_ike()
            client.charon.terminate()
        write("initiators.pcap", to_vip())
        write("responders.pcap", answers.packets(lambda p: p.src == VIP))
        capture.close()
        answers.close()


if __name__ == "__main__":
    main()
