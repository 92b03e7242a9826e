# SPDX-License-Identifier: GPL-2.0
"""The command's view of entries: listed and removed by address.

gen 10.1.0.1 ------ director ------ s1 10.2.1.1
plays clients       VIP, VIP2       s2, s3 alike
192.0.2.0/24        on lo
"""

from __future__ import annotations

import pytest

from kt.bench import VIP, VIP2, Bench, server_address
from kt.tool import Tool
from kt.wait import SHORT, wait_until

CLIENTS = ["192.0.2.1", "192.0.2.2"]


@pytest.fixture
def tool(bench: Bench) -> Tool:
    """Two clients with an entry each at VIP, and the second with one at VIP2, too."""
    bench.genl.do("service-new", address=VIP2)
    bench.genl.do("server-new", service=VIP2, address=server_address(1))
    for number, vip in ((1, VIP), (2, VIP), (2, VIP2)):
        bench.established(number, vip)
    return Tool(bench.director)


def flows(tool: Tool, *words: str) -> set[tuple[str, str]]:
    """Client and service of each entry that is listed, in JSON and as text."""
    listed = {(e["client"], e["service"]) for e in tool.json("entry", "list", *words)}
    lines = [line.split() for line in tool.run("entry", "list", *words).stdout.splitlines()[2:]]
    assert listed == {(line[3].split(":")[0], line[4].split(":")[0]) for line in lines}
    return listed


ALL = {(CLIENTS[0], VIP), (CLIENTS[1], VIP), (CLIENTS[1], VIP2)}
WHICH = [
    ((), ALL),
    (("--client", CLIENTS[1]), {(CLIENTS[1], VIP), (CLIENTS[1], VIP2)}),
    (("--service", VIP), {(CLIENTS[0], VIP), (CLIENTS[1], VIP)}),
    (("--client", CLIENTS[1], "--service", VIP), {(CLIENTS[1], VIP)}),
    (("--client", CLIENTS[0], "--service", VIP2), set()),
    (("--client", VIP), set()),
]


@pytest.mark.parametrize("words, meant", WHICH, ids=[" ".join(words) for words, _ in WHICH])
def test_entries_are_listed_and_removed_by_address(
    bench: Bench, tool: Tool, words: tuple[str, ...], meant: set[tuple[str, str]]
) -> None:
    assert flows(tool) == ALL
    assert flows(tool, *words) == meant
    before = tool.counters()["entries-flushed"]
    done = tool.run("entry", "flush", *words)
    assert (done.stdout, done.stderr) == ("", "")
    assert flows(tool) == ALL - meant
    assert tool.counters()["entries-flushed"] - before == len(meant)
    wait_until(
        lambda: bench.genl.do("status-get")["entries"] == len(ALL - meant), 5, "the entries' end"
    )


def test_who_was_flushed_begins_anew(bench: Bench, tool: Tool) -> None:
    client = bench.client(1)
    tool.run("entry", "flush", "--client", client.address)
    bench.expect(client.later(), drop_ike_no_entry=1)
    bench.expect(client.esp(), drop_esp_no_entry=1)
    server = bench.server_of(client.first(), client.later())
    assert bench.server_of(client.esp()) == server


def test_an_entry_tells_its_protocol(bench: Bench, tool: Tool) -> None:
    assert {entry["protocol"] for entry in tool.entries()} == {"udp"}
    assert {entry["protocol"] for entry in bench.entries()} == {17}


def test_a_soft_entry_is_shown_as_such(bench: Bench, tool: Tool) -> None:
    tool.run("entry", "flush")
    tool.run("service", "set", VIP, "--established-timeout", SHORT, "--soft-entries", 1)
    client, server = bench.established(3)

    def expire() -> list[str]:
        return [line.split()[1] for line in tool.run("entry", "list").stdout.splitlines()[2:]]

    wait_until(lambda: expire() == ["soft"], 5, "the end of the timer")
    (entry,) = tool.entries()
    assert (entry["state"], entry["expires_ms"]) == ("established", 0)
    assert bench.server_of(client.esp()) == server
