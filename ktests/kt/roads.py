# SPDX-License-Identifier: GPL-2.0
"""Which connections the daemons of the scenarios have: all of them, from the beginning.

A gateway finds the connection by the identity an initiator shows. The name that a client has for
it is in the tests; `vpn` is the plain one, with a pre-shared key.
"""

from __future__ import annotations

from kt.matrix import INSIDE, VIPS, Host, Server
from kt.strongswan import client_conf, gateway_conf

INSIDE_OTHER, INSIDE6 = "10.9.0.2", "fd09::1"
SITE = "10.8.0.1"
CROWD = range(101, 131)  # the last bytes of their addresses
CROWD_NET = "192.168.1"


def _conn(client: Host, title: str, identity: str = "", **options: object) -> str:
    where = {
        "address": client.addresses[4],
        "vip": VIPS[4],
        "identity": f"{client.name}.{identity}" if identity else client.name,
        "inside": f"{INSIDE}/32",
        "name": title,
    }
    return client_conf(**(where | options))  # type: ignore[arg-type]


def home_conns(client: Host) -> str:
    """The connections of a client behind a NAT."""
    return _conn(client, "vpn") + _conn(client, "v1", version=1)


def road_conns(client: Host) -> str:
    """Those of a client on the road, one for each scenario."""

    def conn(title: str, identity: str = "", **options: object) -> str:
        return _conn(client, title, identity, **options)

    v6 = {"address": client.addresses[6], "vip": VIPS[6]}
    certified = {"auth": "pubkey", "certificate": f"{client.name}.pem"}
    large = {"auth": "pubkey", "certificate": f"{client.name}-large.pem"}
    two = {"net": f"{INSIDE}/32", "other": f"{INSIDE_OTHER}/32"}
    site = {"vips": "", "inside": "10.9.0.0/24", "more_child": f"local_ts = {SITE}/24"}
    host = {"vips": "", "inside": "dynamic", "more_child": "mode = transport"}
    return home_conns(client) + "".join(
        (
            conn("anywhere", address="%any"),
            conn("cert", "cert.example", **certified),
            conn("large", "large.example", **large),
            conn("large-in-ip", "large.example", **large, fragmentation=False),
            conn("udp", encap=True),
            conn("ah", ah=True),
            conn("aggressive", "aggressive.example", version=1, more="aggressive = yes"),
            conn("other-group", proposals="aes128-sha256-ecp256-x25519"),
            conn("two", inside=two),
            conn("dpd", dpd=1, more_child="dpd_action = restart"),
            conn("site", "site.example", **site),
            conn("host", "host.example", **host),
            conn("peer", "peer.example", vips="", more="unique = never"),
            conn("v4-in-v6", **v6),
            conn("v6-in-v6", **v6, vips="::", inside=f"{INSIDE6}/128"),
        )
    )


def crowd_conns() -> str:
    """A connection for each of a crowd, from its own address."""
    return "".join(
        client_conf(
            f"{CROWD_NET}.{host}",
            VIPS[4],
            f"crowd{host}",
            f"{INSIDE}/32",
            name=f"crowd{host}",
            mobike=False,
        )
        for host in CROWD
    )


def gateway_conns(gateway: Server, peer: Host) -> str:
    """A gateway's connections; it may itself begin those to `peer`."""
    pools = {"inside": gateway.pool, "inside6": f"fd09:{gateway.name[2:]}::/112"}
    nets = {"net": f"{INSIDE}/32", "other": f"{INSIDE_OTHER}/32", "six": f"{INSIDE6}/128"}

    def conn(name: str, identity: str = "%any", **options: object) -> str:
        where = {
            "vip": "%any",
            "inside": f"{INSIDE}/32",
            "pool": pools,
            "name": name,
            "identity": identity,
            "mobike": True,
        }
        return gateway_conf(**(where | options))  # type: ignore[arg-type]

    site = {"pool": {}, "inside": "10.9.0.0/24", "more_child": f"remote_ts = {SITE}/24"}
    host = {"pool": {}, "inside": "dynamic", "more_child": "mode = transport"}
    # Without translation it speaks as the VIP, else as itself.
    itself = {"dr": VIPS[4], "nat": gateway.addresses[4]}
    to_peer = {"pool": {}, "more": f"unique = never\n    remote_addrs = {peer.addresses[4]}"}
    return "".join(
        (
            conn("vpn", inside=nets),
            conn("cert", "*.cert.example", auth="pubkey", certificate="gateway.pem"),
            conn("large", "*.large.example", auth="pubkey", certificate="gateway-large.pem"),
            conn("aggressive", "*.aggressive.example", version=1, more="aggressive = yes"),
            conn("site", "*.site.example", **site),
            conn("host", "*.host.example", **host),
            *(
                conn(f"peer-{how}", f"{peer.name}.peer.example", vip=address, **to_peer)
                for how, address in itself.items()
            ),
        )
    )
