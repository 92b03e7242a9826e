# SPDX-License-Identifier: GPL-2.0
"""What is refused of services and servers: error number, words, and the attribute to blame.

one namespace, "director", without links
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import pytest

from kt.genl import Genl, Refused, blamed, encode, known, spec
from kt.net import Ns

VIP, VIP2, VIP6, RIP, RIP2, RIP6 = (
    *("198.51.100.1", "198.51.100.2", "2001:db8::1"),
    *("10.2.1.1", "10.2.2.1", "2001:db8:2::1"),
)
INET, INET6 = 2, 10
MARK = {"mark": 7, "family": INET}
SERVER = {"service": VIP, "address": RIP2}
OLD = {"service": VIP, "address": RIP}
TUN = {"service": VIP6, "address": RIP}
NAMED = MARK | {"address": RIP2}


@pytest.fixture
def genl(director: Ns) -> Iterator[Genl]:
    """Services by address and by mark, each with a server."""
    with Genl(director) as made:
        for key in ({"address": VIP}, {"address": VIP6}, MARK):
            made.do("service-new", **key)
        made.do("server-new", **OLD)
        made.do("server-new", **TUN, method="tun")
        made.do("server-new", **MARK, address=RIP, upper_threshold=10, lower_threshold=5)
        spis = {"ike_label": 0x0B << 56, "ike_mask": 0xFF << 56}
        spis |= {"esp_spi_min": 1000, "esp_spi_max": 1999}
        made.do("server-set", **MARK, address=RIP, **spis)
        yield made


Row = tuple[str, dict[str, Any], int, str, str]

# (operation, what is sent, errno, words, blamed attribute, "no NAME" if it is missing)
REFUSALS: list[Row] = [
    # What names a service.
    *(
        row
        for op in ("service-new", "service-set", "service-del", "service-get")
        for row in (
            (op, {}, errno.EINVAL, "an address or a firewall mark, and neither", "no address"),
            (op, {"family": INET}, errno.EINVAL, "neither was given", "no address"),
            (op, {"address": VIP2} | MARK, errno.EINVAL, "not both", ""),
            (op, {"mark": 0, "family": INET}, errno.EINVAL, "a firewall mark is not 0", "mark"),
            (op, {"mark": 7}, errno.EINVAL, "a required attribute is missing", "no family"),
            (op, {"mark": 7, "family": 1}, errno.EAFNOSUPPORT, "AF_INET6 (10)", "family"),
            (op, {"address": b"12345"}, errno.EINVAL, "4 bytes (IPv4) or 16 (IPv6)", "address"),
        )
    ),
    ("service-new", {"address": "0.0.0.0"}, errno.EINVAL, "not a unicast address", "address"),
    ("service-new", {"address": "224.0.0.1"}, errno.EINVAL, "not a unicast address", "address"),
    ("service-new", {"address": "ff02::1"}, errno.EINVAL, "not a unicast address", "address"),
    ("service-new", {"address": "::"}, errno.EINVAL, "not a unicast address", "address"),
    ("service-new", {"address": VIP6}, errno.EEXIST, "service already exists", ""),
    ("service-new", MARK, errno.EEXIST, "service already exists", ""),
    ("service-del", {"mark": 7, "family": INET6}, errno.ENOENT, "no such service", ""),
    ("service-get", {"mark": 8, "family": INET}, errno.ENOENT, "no such service", ""),
    ("service-set", {"address": VIP2, "scheduler": "rr"}, errno.ENOENT, "no such service", ""),
    # What is done with new initiators.
    *(
        row
        for op, key in (("service-new", {"address": VIP2}), ("service-set", {"address": VIP}))
        for row in (
            (op, key | {"scheduler": "RR"}, errno.ENOENT, "rr wrr lc wlc sed", "scheduler"),
            (op, key | {"scheduler": "dh"}, errno.ENOENT, "no such scheduler", "scheduler"),
            (op, key | {"scheduler_flags": 4}, errno.EINVAL, "", "scheduler-flags"),
            (
                *(op, key | {"persistence_timeout": 2678401}, errno.ERANGE),
                *("", "persistence-timeout"),
            ),
            (op, key | {"persistence_prefix": 0}, errno.EINVAL, "1 to 32", "persistence-prefix"),
            (op, key | {"persistence_prefix": 33}, errno.EINVAL, "1 to 32", "persistence-prefix"),
            (op, key | {"persistence_prefix": 256}, errno.EINVAL, "1 to", "persistence-prefix"),
        )
    ),
    (
        *("service-set", {"address": VIP6, "persistence_prefix": 129}),
        *(errno.EINVAL, "of IPv6 1 to 128", "persistence-prefix"),
    ),
    ("service-set", {"address": VIP}, errno.EINVAL, "nothing was given to be changed", ""),
    ("service-set", MARK, errno.EINVAL, "nothing was given to be changed", ""),
    # What names a server.
    *(
        row
        for op in ("server-new", "server-set", "server-del", "server-get")
        for row in (
            (op, {"address": RIP}, errno.EINVAL, "neither was given", "no service"),
            (op, OLD | MARK, errno.EINVAL, "not both", ""),
            (op, {"address": RIP, "mark": 7}, errno.EINVAL, "required", "no family"),
            (op, {"service": VIP}, errno.EINVAL, "a required attribute is missing", "no address"),
            (op, {"service": VIP, "address": b""}, errno.EINVAL, "an address has", "address"),
            (
                *(op, {"service": VIP2, "address": RIP} | ({"weight": 1} if "et" in op else {})),
                *(errno.ENOENT, "no such service", ""),
            ),
        )
        if not (op in ("server-del", "server-get") and "weight" in row[1])
    ),
    ("server-new", OLD, errno.EEXIST, "server already exists in this service", ""),
    ("server-new", MARK | {"address": RIP}, errno.EEXIST, "server already exists", ""),
    ("server-set", SERVER | {"weight": 1}, errno.ENOENT, "no such server in this service", ""),
    ("server-del", SERVER, errno.ENOENT, "no such server in this service", ""),
    ("server-get", SERVER, errno.ENOENT, "no such server in this service", ""),
    ("server-set", OLD, errno.EINVAL, "nothing was given to be changed", ""),
    (
        *("server-new", {"service": VIP, "address": "255.255.255.255"}),
        *(errno.EINVAL, "not a unicast address", "address"),
    ),
    # How packets reach it.
    *(
        row
        for op, key in (("server-new", SERVER), ("server-set", OLD))
        for row in (
            (op, key | {"method": 4}, errno.ERANGE, "", "method"),
            (op, key | {"weight": 65536}, errno.ERANGE, "", "weight"),
            (op, key | {"method": "tun", "tunnel_type": 3}, errno.ERANGE, "", "tunnel-type"),
            (op, key | {"method": "tun", "tunnel_flags": 2}, errno.EINVAL, "", "tunnel-flags"),
            (
                op,
                key | {"method": "tun", "tunnel_type": "gue", "tunnel_port": 0},
                errno.EINVAL,
                "port",
                "tunnel-port",
            ),
            (op, key | {"tunnel_type": "gre"}, errno.EINVAL, "only servers of", "tunnel-type"),
            (
                *(op, key | {"method": "nat", "tunnel_port": 6080}),
                *(errno.EINVAL, "only servers of method tun have a tunnel", "tunnel-port"),
            ),
            (
                *(op, key | {"method": "local", "tunnel_flags": 0}),
                *(errno.EINVAL, "only servers of method tun have a tunnel", "tunnel-flags"),
            ),
            (
                *(op, key | {"method": "tun", "tunnel_type": "gre", "tunnel_port": 6080}),
                *(errno.EINVAL, "only a tunnel of type gue has a port", "tunnel-port"),
            ),
            (
                *(op, key | {"method": "tun", "tunnel_flags": 1}),
                *(errno.EINVAL, "a tunnel of type ipip has no checksum", "tunnel-flags"),
            ),
            (op, key | {"encap": 2}, errno.ERANGE, "", "encap"),
            (op, key | {"encap": 1}, errno.EINVAL, "only servers of method nat", "encap"),
            (op, key | {"method": "tun", "encap": 1}, errno.EINVAL, "ESP in UDP", "encap"),
            (op, key | {"lower_threshold": 1}, errno.ERANGE, "is above the upper one", ""),
            *(
                (op, key | spis, errno.EINVAL, "has bits of its mask only", "ike-label")
                for spis in (
                    {"ike_label": 1},
                    {"ike_label": 1, "ike_mask": 0},
                    {"ike_label": 3, "ike_mask": 1},
                    {"ike_label": 1 << 63, "ike_mask": (1 << 63) - 1},
                )
            ),
            *(
                (op, key | spis, errno.EINVAL, "a range of ESP SPIs is from 256 on", "esp-spi-min")
                for spis in (
                    {"esp_spi_min": 256},
                    {"esp_spi_min": 255, "esp_spi_max": 300},
                    {"esp_spi_min": 0, "esp_spi_max": 300},
                    {"esp_spi_min": 300, "esp_spi_max": 299},
                )
            ),
            (
                *(op, key | {"upper_threshold": 5, "lower_threshold": 6}),
                *(errno.ERANGE, "the lower threshold is above the upper one", ""),
            ),
        )
    ),
    (
        *("server-set", MARK | {"address": RIP, "upper_threshold": 4}),
        *(errno.ERANGE, "the lower threshold is above the upper one", ""),
    ),
    *(
        (
            *("server-new", {"service": VIP, "address": RIP6, "method": method}),
            *(errno.EINVAL, "only method tun reaches a server of another family", ""),
        )
        for method in ("nat", "local", "dr")
    ),
    ("server-new", MARK | {"address": RIP6}, errno.EINVAL, "only method tun", ""),
    ("server-set", TUN | {"method": "dr"}, errno.EINVAL, "only method tun", ""),
    # SPIs that name another.
    *(
        ("server-new", NAMED | spis, errno.EEXIST, "another server of this service has SPIs", "")
        for spis in (
            {"ike_label": 0x0B << 56, "ike_mask": 0xFF << 56},
            {"ike_label": 0x1, "ike_mask": 0xF},
            {"ike_label": 0x0B01 << 48, "ike_mask": 0xFFFF << 48},
            {"esp_spi_min": 1000, "esp_spi_max": 1000},
            {"esp_spi_min": 1999, "esp_spi_max": 3000},
            {"esp_spi_min": 256, "esp_spi_max": 0xFFFFFFFF},
        )
    ),
    *(
        (
            *("server-new", {"service": VIP, "address": VIP, "method": method}),
            *(errno.EINVAL, "must differ from the service's, but with method local", ""),
        )
        for method in ("nat", "tun", "dr")
    ),
    ("flush", {"address": VIP}, errno.EINVAL, "Unknown attribute type", "address"),
]


@pytest.mark.parametrize("row", REFUSALS, ids=lambda row: f"{row[0]} {row[1]}")
def test_it_is_refused_with_its_reason(genl: Genl, row: Row) -> None:
    op, values, number, words, blame = row
    group = spec()["op_set"][op]
    attributes = encode(group, **values)
    before = genl.everything()
    with pytest.raises(Refused) as caught:
        genl.call(op, attributes)
    refused = caught.value
    assert (refused.errno, words in refused.text) == (number, True), refused
    missing = blame.removeprefix("no ") if blame.startswith("no ") else ""
    assert refused.missing == (known(group, missing).number if missing else None)
    wanted = known(group, blame).number if blame and not missing else None
    assert blamed(attributes, refused) == wanted
    assert genl.everything() == before


def test_a_dump_of_the_servers_of_no_service_is_refused(genl: Genl) -> None:
    for key in ({"service": VIP2}, {"mark": 7, "family": INET6}):
        with pytest.raises(Refused) as refused:
            genl.dump("server-get", **key)
        assert refused.value.errno == errno.ENOENT
    assert [s["address"] for s in genl.dump("server-get", **MARK)] == [RIP]


def test_a_service_has_no_more_than_4096_servers(genl: Genl) -> None:
    for n in range(1, 4096):
        genl.do("server-new", **MARK, address=f"10.7.{n >> 8}.{n & 255}")
    with pytest.raises(Refused) as refused:
        genl.do("server-new", **MARK, address="10.8.0.1")
    assert (refused.value.errno, refused.value.text) == (
        errno.ENOSPC,
        "the service has too many servers",
    )
