# SPDX-License-Identifier: GPL-2.0
"""What the documentation tells the reader to type, typed.

    director          gateway
    VIP on lo         VIP on lo

No packets: the tunnels are test_tunnels.py's.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docutils.core import publish_doctree

from kt.net import Network, sh

HERE = Path(__file__).resolve().parents[1]
README = (HERE / "README.md").read_text(encoding="utf-8")
PAGES = {
    page.name: page.read_text(encoding="utf-8") for page in (HERE / "Documentation").glob("*.rst")
}
SYSCTL = (HERE / "Documentation" / "sysctl.rst").read_text(encoding="utf-8")

BLOCK = re.compile(
    r"<!-- run by ktests/test_docs.py (?:in|on) (?:the|a) (\w+).*?-->\s*```sh\n(.*?)```", re.S
)
RST_BLOCK = re.compile(
    r"^\.\. run by ktests/test_docs.py (?:in|on) (?:the|a) (\w+)\n\n::\n\n((?:\t.*\n|\n)+)", re.M
)
WARNING = 2
SETTING = re.compile(r"^(\w+) - INTEGER\n.*?Range: (\d+) to (\d+).*?Default: (\d+)", re.S | re.M)


def test_the_readmes_commands_work() -> None:
    blocks = BLOCK.findall(README)
    assert [where for where, _ in blocks] == ["director", "gateway", "director"]
    with Network("docs-") as network:
        spaces = {name: network.ns(name) for name in ("director", "gateway")}
        said = [spaces[where].run("sh", "-euc", block).stdout for where, block in blocks]
    assert re.search(r"^IPSEC 198\.51\.100\.1 wrr$", said[0], re.M)
    assert re.search(r"-> 10\.0\.0\.11 +Route +2 ", said[0])
    assert re.search(r"-> 10\.0\.0\.12 +Route +1 ", said[0])
    assert "source" in said[2] and "entries-created" in said[2]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_well_formed(page: str) -> None:
    """What reStructuredText only warns of is lost to the reader: a table, a link."""
    publish_doctree(PAGES[page], settings_overrides={"halt_level": WARNING, "report_level": 5})


@pytest.mark.parametrize("page", [p for p, text in PAGES.items() if RST_BLOCK.search(text)])
def test_a_pages_commands_work(page: str) -> None:
    with Network("docs-") as network:
        spaces = {name: network.ns(name) for name in ("director", "gateway")}
        network.link(spaces["director"], "eth0", spaces["gateway"], "eth0")
        spaces["gateway"].ip("addr add 10.0.0.11/24 dev eth0")
        spaces["director"].run("ipvs-ipsec", "service", "add", "198.51.100.1")
        for where, block in RST_BLOCK.findall(PAGES[page]):
            spaces[where].run("sh", "-euc", block.replace("\n\t", "\n"))


def test_the_pages_with_commands_are_found() -> None:
    found = {page for page, text in PAGES.items() if RST_BLOCK.search(text)}
    assert found == {"fastpath.rst", "forwarding.rst", "scheduling.rst", "spis.rst"}


@pytest.mark.parametrize("name, low, high, default", SETTING.findall(SYSCTL))
def test_the_sysctl_page_is_right(name: str, low: str, high: str, default: str) -> None:
    with Network("docs-") as network:
        space = network.ns("director")
        # What bounds all namespaces together is written in the first one, and read in all.
        run = sh if name.startswith("netns_") else space.run

        def write(value: int) -> bool:
            done = run("sysctl", "-qw", f"net.ipvs_ipsec.{name}={value}", check=False)
            return done.returncode == 0

        assert space.read_sysctl(f"net/ipvs_ipsec/{name}") == default
        try:
            assert write(int(low)) and write(int(high))
            assert not write(int(low) - 1) and not write(int(high) + 1)
            assert space.read_sysctl(f"net/ipvs_ipsec/{name}") == high
        finally:
            write(int(default))


def test_the_sysctl_page_is_whole() -> None:
    with Network("docs-") as network:
        space = network.ns("director")
        names = space.run("ls", "/proc/sys/net/ipvs_ipsec").stdout.split()
    assert sorted(names) == sorted(name for name, *_ in SETTING.findall(SYSCTL))
