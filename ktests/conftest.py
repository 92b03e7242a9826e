# SPDX-License-Identifier: GPL-2.0
"""Fixtures, and the check of the kernel's log after each test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from kt import module
from kt.bench import Bench
from kt.dual import FAMILIES, Dual, Family
from kt.fastpath import fast_path
from kt.genl import Genl
from kt.kmsg import KernelLog, bad_lines, checks_nothing, excerpt, memory_leaks
from kt.net import Network, Ns
from kt.tool import Tool

LOG = pytest.StashKey[KernelLog]()
BEFORE = pytest.StashKey[set[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long what is endless by nature goes on; `make test-debug` has other numbers."""
    group = parser.getgroup("ip_vs_ipsec")
    group.addoption("--storm-seconds", type=float, default=60, help="length of the storm (60)")
    group.addoption(
        "--hostile-seconds", type=float, default=20, help="length of test_hostile.py (20)"
    )
    group.addoption(
        "--fuzz", type=int, default=10_000, metavar="N", help="inputs of each fuzzer (10,000)"
    )
    group.addoption(
        "--entries", type=int, default=65_536, metavar="N", help="of test_million.py (65,536)"
    )
    group.addoption("--fuzz-seed", type=int, default=None, help="to see a failure again")


def _has(path: str, text: str = "") -> bool:
    file = Path(path)
    return file.exists() and (not text or text in file.read_text(encoding="utf-8"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this kernel has not the means for."""
    wanting = [
        item for item in items if not all(_has(*mark.args) for mark in item.iter_markers("needs"))
    ]
    config.hook.pytest_deselected(items=wanting)
    items[:] = [item for item in items if item not in wanting]


def pytest_sessionstart(session: pytest.Session) -> None:
    """Read the log from here on; let bursts of thousands of packets through.

    A namespace has the devices that a test gives it, also where tunnels are built in.
    """
    if checks_nothing():
        pytest.exit("this kernel has KCSAN, but it is off", returncode=1)
    session.config.stash[LOG] = KernelLog()
    module.pin_hooks()
    session.config.stash[BEFORE] = _things()
    core = Path("/proc/sys/net/core")
    (core / "netdev_max_backlog").write_text("100000\n", encoding="ascii")
    (core / "fb_tunnels_only_for_init_net").write_text("1\n", encoding="ascii")


def _things() -> set[str]:
    """What tests could leave behind: namespaces, processes."""
    found = {f"namespace {path.name}" for path in Path("/run/netns").glob("*")}
    for command in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # it may end meanwhile
            name = command.read_text(encoding="utf-8").strip()
            if name in ("charon", "pluto", "swanctl", "ping", "rmmod", "insmod"):
                found.add(f"process {command.parent.name} {name}")
    return found


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Nothing is left behind, nor has the kernel complained since the last test."""
    left = sorted(_things() - session.config.stash[BEFORE])
    left += memory_leaks()
    left += bad_lines(session.config.stash[LOG].news())
    if left:
        print("\nleft behind:", *left, sep="\n  ")
        session.exitstatus = exitstatus or pytest.ExitCode.TESTS_FAILED


def _check_log(item: pytest.Item) -> None:
    lines = item.config.stash[LOG].news()
    if bad_lines(lines):
        pytest.fail(f"the kernel's log after {item.name}:\n{excerpt(lines)}", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item):  # type: ignore[no-untyped-def]
    """A test that upsets the kernel fails, whatever else it saw."""
    try:
        result = yield
    except BaseException as error:
        lines = item.config.stash[LOG].news()
        if bad_lines(lines):
            error.add_note(f"the kernel's log:\n{excerpt(lines)}")
        raise
    _check_log(item)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):  # type: ignore[no-untyped-def]
    """A failure is told at once: the guest may not live to see the end."""
    report = yield
    if report.failed:
        item.config.get_terminal_writer().line(f"\n{report.longreprtext}")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item):  # type: ignore[no-untyped-def]
    """So does the removal of a topology."""
    result = yield
    _check_log(item)
    return result


@pytest.fixture(scope="session", autouse=True)
def _module() -> Iterator[None]:
    """The module is loaded when the first test begins."""
    module.load()
    yield


@pytest.fixture(scope="session")
def _bench() -> Iterator[Bench]:
    """The topology of kt/bench.py, made once."""
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture
def bench(_bench: Bench) -> Bench:
    """The topology with one service, rr over three servers, and no entry."""
    module.load()
    _bench.reopen()
    _bench.setup()
    return _bench


@pytest.fixture(scope="session")
def _dual() -> Iterator[Dual]:
    """The topology of kt/dual.py, made once."""
    dual = Dual("dual-")
    yield dual
    dual.close()


@pytest.fixture
def dual(_dual: Dual) -> Dual:
    """The topology of both families, nothing configured."""
    module.load()
    _dual.reopen()
    _dual.clear()
    return _dual


@pytest.fixture
def fast(dual: Dual) -> Iterator[Dual]:
    """The same with a fast path for what initiators send."""
    with fast_path(dual):
        yield dual


@pytest.fixture(params=[4, 6], ids=["v4", "v6"])
def side(request: pytest.FixtureRequest) -> Family:
    """The addresses of each family in turn."""
    return FAMILIES[request.param]


@pytest.fixture(scope="session")
def _quiet() -> Iterator[Network]:
    """Two namespaces without links, for the tests of the configuration."""
    with Network("nl-") as network:
        network.ns("director")
        network.ns("other")
        yield network


@pytest.fixture
def director(_quiet: Network) -> Ns:
    """A director without network, not configured."""
    module.load()
    ns = _quiet.namespaces["director"]
    with Genl(ns) as genl:
        genl.do("flush")
    return ns


@pytest.fixture
def other(_quiet: Network, director: Ns) -> Ns:
    """Another namespace beside it."""
    return _quiet.namespaces["other"]


@pytest.fixture
def genl(director: Ns) -> Iterator[Genl]:
    """A netlink socket at the director."""
    with Genl(director) as made:
        yield made


@pytest.fixture
def tool(director: Ns) -> Tool:
    """The command at the director."""
    return Tool(director)
