# SPDX-License-Identifier: GPL-2.0
"""A flood of packets, as a process of its own.

    python3 -m kt.flood DEVICE MAC_OF_THE_DIRECTOR VIP KIND

KIND is `mixture`, every kind of packet of many clients, or `newcomers`, waves of
thousands that only begin. Beside it pktgen sends one flow of ESP in UDP from the
last processor, in softirq; the mixture has the IKE exchange that lets it through.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import sys
import time
from pathlib import Path

from kt.net import Ns, Process, sh
from kt.packets import NATT_PORT, Initiator
from kt.wait import PATIENCE

# The flow of pktgen; its payload begins with a number that is not 0: ESP in UDP.
PKTGEN_CLIENT = "192.0.2.200"


def mixture(vip: str) -> list[bytes]:
    """Clients at every stage: some begin, some are established, some never began."""
    itself = Initiator(PKTGEN_CLIENT, vip, port=NATT_PORT)
    packets = [itself.natt_first(), itself.natt_later()]
    for number in range(200):
        client = Initiator(
            f"192.0.2.{number % 150 + 1}",
            vip,
            port=1024 + number,
            ispi=0x6000 + number,
            rspi=0x7000 + number,
        )
        natt = client.at(port=5000 + number)
        packets += [client.first(), client.esp(), client.ah()]
        if number % 4:
            packets += [
                client.later(),
                client.esp(),
                client.ah(),
                natt.natt_later(),
                natt.esp_in_udp(),
                natt.keepalive(),
                client.esp_in_udp_draft(),
                natt.connect(),
                natt.stream(),
            ]
        packets += [client.first(version=0x50), client.udp(NATT_PORT, b"\0\0")]
    return packets


def newcomers(vip: str) -> list[bytes]:
    """Initiators with a flow and an SPI of their own, none of which ever goes on."""
    clients = (
        Initiator(f"203.0.113.{n % 250 + 1}", vip, port=1024 + n, ispi=0x8000_0000 + n)
        for n in range(4000)
    )
    return [client.first(body=b"") for client in clients]


# What is sent, how many at a time, and the seconds between. The guest has two emulated
# processors: what unloads the module needs some of them too, on a slow kernel as well.
KINDS = {"mixture": (mixture, 250, 0.01 * PATIENCE), "newcomers": (newcomers, 4000, 2.5)}
PKTGEN_DELAY = int(150_000 * PATIENCE)  # nanoseconds


def main(device: str, mac: str, vip: str, kind: str) -> None:
    """Send until killed."""
    packets, burst, pause = KINDS[kind]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((device, 0x0800))
        own = sock.getsockname()[4]
        head = bytes.fromhex(mac.replace(":", "")) + own + struct.pack("!H", 0x0800)
        frames = [head + packet for packet in packets(vip)]
        while True:
            for number, frame in enumerate(frames):
                # A queue may be full, and the other end may be about to vanish.
                with contextlib.suppress(OSError):
                    sock.send(frame)
                if number % burst == 0:
                    time.sleep(pause)


def start(ns: Ns, device: str, director: bytes, vip: str, kind: str = "mixture") -> Process:
    """The flood in a namespace; `ns.stop()` ends it."""
    return ns.start(
        sys.executable,
        "-m",
        "kt.flood",
        device,
        director.hex(":"),
        vip,
        kind,
        cwd=Path(__file__).resolve().parents[1],
        stderr=None,
    )


PKTGEN = """
set -e
cd /proc/net/pktgen
# The thread removes devices when it comes to it.
while grep -qw {device} kpktgend_{processor}; do echo rem_device_all > kpktgend_{processor}; done
echo "add_device {device}" > kpktgend_{processor}
for word in "count 0" "delay {delay}" "pkt_size 120" "clone_skb 0" "dst_mac {mac}" \
    "dst_min {vip}" "dst_max {vip}" "src_min {src}" "src_max {src}" \
    "udp_src_min 4500" "udp_src_max 4500" "udp_dst_min 4500" "udp_dst_max 4500"; do
    echo "$word" > {device}
done
exec sh -c 'echo start > pgctrl'
"""


def start_pktgen(ns: Ns, device: str, director: bytes, vip: str) -> Process:
    """pktgen on the last processor, some thousand packets a second; fewer on a slow kernel."""
    sh("modprobe", "pktgen")
    script = PKTGEN.format(
        device=device,
        mac=director.hex(":"),
        vip=vip,
        src=PKTGEN_CLIENT,
        delay=PKTGEN_DELAY,
        processor=(os.cpu_count() or 1) - 1,
    )
    return ns.start("sh", "-c", script, stderr=None)


def pktgen_sent(ns: Ns, device: str) -> int:
    """How many packets it has sent so far."""
    told = ns.run("cat", f"/proc/net/pktgen/{device}").stdout
    found = re.search(r"pkts-sofar: (\d+)", told)
    assert found, told
    return int(found[1])


def stop_pktgen(ns: Ns, process: Process) -> None:
    """Stop it and take the module out: it keeps threads for every namespace."""
    ns.run("sh", "-c", "echo stop > /proc/net/pktgen/pgctrl", check=False)
    ns.stop(process)
    sh("rmmod", "pktgen", check=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
