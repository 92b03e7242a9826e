# SPDX-License-Identifier: GPL-2.0
"""Netlink messages that are wrong: each is refused with a text, and changes nothing.

one namespace, "director", without links: a service with a server
"""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator

import pytest

from kt.genl import SIZES, Genl, Refused, address, attr, encode, known, spec, u32
from kt.net import Ns

VIP, VIP2, RIP, RIP2 = "198.51.100.1", "198.51.100.2", "10.2.1.1", "10.2.2.1"
VIP6, RIP6 = "2001:db8::1", "2001:db8:2::1"
SERVICE_OPS = ("service-new", "service-set", "service-del", "service-get")
SERVER_OPS = ("server-new", "server-set", "server-del", "server-get")


@pytest.fixture
def genl(director: Ns) -> Iterator[Genl]:
    """A socket at a director with one service and one server."""
    with Genl(director) as made:
        made.do("service-new", address=VIP, scheduler="rr")
        made.do("server-new", service=VIP, address=RIP, method="dr", weight=3)
        yield made


def refuse(
    genl: Genl, number: int | None, op: str | int, attributes: bytes = b"", **more
) -> Refused:  # type: ignore[no-untyped-def]
    """The message must be refused, with a text, and change nothing."""
    before = genl.everything()
    with pytest.raises(Refused) as refused:
        genl.call(op, attributes, **more)
    if number is not None:
        assert refused.value.errno == number, refused.value
    assert genl.everything() == before
    return refused.value


def refuse_with_text(
    genl: Genl, number: int | None, op: str | int, attributes: bytes = b"", **more
) -> str:  # type: ignore[no-untyped-def]
    """The same; the refusal must tell why, in words or by the attribute it misses."""
    refused = refuse(genl, number, op, attributes, **more)
    assert refused.text or refused.missing, f"errno {refused.errno} and no word"
    return refused.text


def test_duplicates_are_refused(genl: Genl) -> None:
    refuse_with_text(genl, errno.EEXIST, "service-new", encode("service", address=VIP))
    refuse_with_text(
        genl, errno.EEXIST, "server-new", encode("server", service=VIP, address=RIP, weight=9)
    )


@pytest.mark.parametrize("op", ["service-set", "service-del", "service-get"])
def test_an_unknown_service_is_refused(genl: Genl, op: str) -> None:
    given = {"scheduler": "rr"} if op == "service-set" else {}
    refuse_with_text(genl, errno.ENOENT, op, encode("service", address=VIP2, **given))


@pytest.mark.parametrize("op", SERVER_OPS)
def test_a_server_of_an_unknown_service_is_refused(genl: Genl, op: str) -> None:
    given = {"weight": 1} if op in ("server-new", "server-set") else {}
    message = encode("server", service=VIP2, address=RIP, **given)
    assert "service" in refuse_with_text(genl, errno.ENOENT, op, message)


@pytest.mark.parametrize("op", ["server-set", "server-del", "server-get"])
def test_an_unknown_server_is_refused(genl: Genl, op: str) -> None:
    given = {"weight": 1} if op == "server-set" else {}
    message = encode("server", service=VIP, address=RIP2, **given)
    assert "server" in refuse_with_text(genl, errno.ENOENT, op, message)


def test_a_dump_of_an_unknown_services_servers_is_refused_or_empty(genl: Genl) -> None:
    try:
        assert genl.dump("server-get", service=VIP2) == []
    except Refused as refused:
        assert refused.errno == errno.ENOENT and refused.text


@pytest.mark.parametrize("op", SERVICE_OPS)
def test_a_missing_address_is_refused(genl: Genl, op: str) -> None:
    refuse_with_text(genl, errno.EINVAL, op)


@pytest.mark.parametrize("given", [{}, {"service": VIP}, {"address": RIP}])
@pytest.mark.parametrize("op", SERVER_OPS)
def test_a_missing_server_attribute_is_refused(genl: Genl, op: str, given: dict) -> None:  # type: ignore[type-arg]
    refuse_with_text(genl, errno.EINVAL, op, encode("server", **given))


def test_a_set_that_names_nothing_is_refused(genl: Genl) -> None:
    refuse_with_text(genl, errno.EINVAL, "service-set", encode("service", address=VIP))
    refuse_with_text(genl, errno.EINVAL, "server-set", encode("server", service=VIP, address=RIP))


ADDRESSES = {
    "no bytes": b"",
    "1 byte": b"\1",
    "3 bytes": bytes(3),
    "5 bytes": b"\1" * 5,
    "15 bytes": b"\1" * 15,
    "17 bytes": b"\1" * 17,
    "1000 bytes": b"\1" * 1000,
    "0.0.0.0": address("0.0.0.0"),
    "multicast": address("224.0.0.1"),
    "broadcast": address("255.255.255.255"),
    "::": bytes(16),
    "ff02::1": address("ff02::1"),
}


@pytest.mark.parametrize("case", ADDRESSES)
def test_a_nonsensical_service_address_is_refused(genl: Genl, case: str) -> None:
    refuse_with_text(genl, None, "service-new", encode("service", address=ADDRESSES[case]))


@pytest.mark.parametrize("case", ADDRESSES)
def test_a_nonsensical_server_address_is_refused(genl: Genl, case: str) -> None:
    message = encode("server", service=VIP, address=ADDRESSES[case])
    refuse_with_text(genl, None, "server-new", message)


def test_a_server_of_the_other_family_is_refused(genl: Genl) -> None:
    refuse_with_text(genl, None, "server-new", encode("server", service=VIP, address=RIP6))


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b"\0",
        b"none\0",
        b"RR\0",
        b"rr",
        b"rr \0",
        b"r" * 15 + b"\0",
        b"r" * 16,
        b"r" * 17 + b"\0",
        b"r" * 4000,
        b"\xff\xfe\0",
        b"rr\0rr\0",
    ],
)
@pytest.mark.parametrize("op", ["service-new", "service-set"])
def test_a_nonsensical_scheduler_is_refused(genl: Genl, op: str, name: bytes) -> None:
    vip = VIP2 if op == "service-new" else VIP
    message = encode("service", address=vip, scheduler=name)
    if name == b"rr\0rr\0":  # a string ends at its NUL: netlink lets this pass as "rr"
        genl.call(op, message)
        assert genl.do("service-get", address=vip)["scheduler"] == "rr"
        return
    refuse_with_text(genl, None, op, message)


@pytest.mark.parametrize("method", [4, 5, 255, 0xFFFFFFFF])
def test_an_unknown_method_is_refused(genl: Genl, method: int) -> None:
    refuse_with_text(
        genl, None, "server-new", encode("server", service=VIP, address=RIP2, method=method)
    )
    refuse_with_text(
        genl, None, "server-set", encode("server", service=VIP, address=RIP, method=method)
    )


@pytest.mark.parametrize("weight", [65536, 0x80000000, 0xFFFFFFFF])
def test_a_weight_out_of_range_is_refused(genl: Genl, weight: int) -> None:
    refuse_with_text(
        genl, errno.ERANGE, "server-new", encode("server", service=VIP, address=RIP2, weight=weight)
    )
    refuse_with_text(
        genl, errno.ERANGE, "server-set", encode("server", service=VIP, address=RIP, weight=weight)
    )


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 8])
@pytest.mark.parametrize("op", ["service-new", "server-new"])
def test_a_number_of_the_wrong_size_is_refused(genl: Genl, op: str, size: int) -> None:
    group = op.removesuffix("-new")
    key = {"service": {"address": VIP2}, "server": {"service": VIP, "address": RIP2}}[group]
    for name in spec()["takes"][op, "do"]:
        kind = known(group, name).kind
        if SIZES.get(kind, size) != size:
            message = encode(group, **key, **{name: bytes(size)})
            assert refuse(genl, None, op, message).errno in (errno.EINVAL, errno.ERANGE)


@pytest.mark.parametrize("op", SERVICE_OPS + SERVER_OPS)
def test_an_attribute_that_the_operation_does_not_take_is_refused(genl: Genl, op: str) -> None:
    """Unknown ones, those of other operations, and what is to be read only."""
    group = spec()["op_set"][op]
    taken = {known(group, name).number for name in spec()["takes"][op, "do"]}
    key = {"service": {"address": VIP}, "server": {"service": VIP, "address": RIP}}[group]
    for number in {*range(len(spec()["sets"][group]) + 3), 99, 0x3FFF} - taken:
        refuse_with_text(genl, errno.EINVAL, op, encode(group, **key) + attr(number, u32(1)))


@pytest.mark.parametrize(
    "tail",
    [
        b"\1",
        b"\1\0\0",
        b"\3\0\1\0",
        b"\0\0\0\0",
        b"\xff\xff\1\0",
        b"\x0c\0\4\0rr\0\0",
    ],
)
def test_a_broken_attribute_list_is_refused(genl: Genl, tail: bytes) -> None:
    refuse(genl, errno.EINVAL, "service-new", encode("service", address=VIP2) + tail)


def test_a_nest_where_none_belongs_is_refused(genl: Genl) -> None:
    nested = attr(1 | 0x8000, attr(1, address(VIP2)))
    refuse(genl, None, "service-new", nested)


@pytest.mark.parametrize("number", [0, 16, 17, 255])
def test_an_unknown_command_is_refused(genl: Genl, number: int) -> None:
    refuse(genl, errno.EOPNOTSUPP, number)


@pytest.mark.parametrize(
    "op", ["service-new", "server-set", "entry-flush", "flush", "fastpath-new", "fastpath-del"]
)
def test_a_change_cannot_be_dumped(genl: Genl, op: str) -> None:
    refuse(genl, errno.EOPNOTSUPP, op, dump=True)


def test_entries_cannot_be_asked_for_one_by_one(genl: Genl) -> None:
    refuse(genl, errno.EOPNOTSUPP, "entry-get")


@pytest.mark.parametrize("name", ["client", "service"])
@pytest.mark.parametrize("size", [0, 1, 3, 5, 15, 17, 100])
def test_entries_of_no_address_are_not_flushed(genl: Genl, name: str, size: int) -> None:
    refuse_with_text(genl, None, "entry-flush", encode("entry", **{name: b"\1" * size}))


def test_a_flush_with_attributes_is_refused(genl: Genl) -> None:
    """Whoever sends one believes in a narrower effect."""
    refuse_with_text(genl, errno.EINVAL, "flush", attr(1, address(VIP)))


def test_ipv6_stands_apart(genl: Genl) -> None:
    genl.do("service-new", address=VIP6)
    shown = genl.do("service-get", address=VIP6)
    assert (shown["address"], shown["servers"], shown["persistence-prefix"]) == (VIP6, 0, 128)
    # ::ffff:198.51.100.1 is not 198.51.100.1
    mapped = bytes(10) + b"\xff\xff" + address(VIP)
    refuse_with_text(genl, errno.ENOENT, "service-get", encode("service", address=mapped))


def test_random_messages_change_nothing_unasked(genl: Genl) -> None:
    """Two thousand of seeded noise in every operation but those that may succeed."""
    dice = random.Random(4303)
    before = genl.everything()
    refusals = 0
    for _ in range(2000):
        attributes = b"".join(
            attr(dice.randrange(34), dice.randbytes(dice.choice([0, 1, 2, 4, 4, 8, 16, 40])))
            for _ in range(dice.randrange(5))
        )[: dice.choice([None, 10])]
        try:
            genl.call(dice.choice(SERVICE_OPS[1:] + SERVER_OPS), attributes)
        except Refused:
            refusals += 1
    assert genl.everything() == before
    assert refusals > 1900
