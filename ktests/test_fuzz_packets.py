# SPDX-License-Identifier: GPL-2.0
"""Packets by the dice: each is counted as what it is, and who is established is never harmed.

    gen 10.1.0.1 ------ director ------ s1, s2, s3
    plays clients       VIP on lo       what arrives is held against what was sent

The packets are those of the corpus, changed (kt/fuzz_packets.py). Among them the
sentinels (kt/sentinels.py) replay what strongSwan's initiators once sent, unchanged: all
of it always reaches their server. When the last of it has, all that was sent before has
been seen to.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kt.bench import FORWARDED, VIP, Bench, verdicts
from kt.fastpath import fast_path
from kt.fuzz import Run
from kt.fuzz_packets import GOOD, MALFORMED, Made, Maker
from kt.memory import given_back, in_use
from kt.packets import Packet, checksum, parse, read_pcap
from kt.sentinels import ADDRESSES, Sentinels, Wholes, shape, wholes
from kt.wait import PATIENCE, wait_until

CORPUS = Path(__file__).with_name("corpus") / "initiators.pcap"
# None of fuzz-netlink's: what its servers may still answer is refused for a minute.
CLIENTS = [f"192.0.2.{n}" for n in range(1, 200)] + [f"203.0.113.{n}" for n in range(1, 240)]

WINDOW = 1000  # packets between two looks at the counters
WATCHED = 7  # of so many windows one is watched at the servers; odd, for the fast path
# Entries come and go, but a sentinel's packets are never this far apart.
INITIAL, ESTABLISHED, FRAGMENTS = int(PATIENCE), int(10 * PATIENCE), int(2 * PATIENCE)
# What no packet whatever may bring about.
NEVER = {"drop-no-memory", "drop-no-route", "drop-no-server", "drop-table-full"}


class Fuzzer:
    """The director between what is sent and what arrives."""

    def __init__(self, run: Run, bench: Bench) -> None:
        self.run = run
        self.bench = bench
        corpus = read_pcap(CORPUS)
        self.sentinels = Sentinels(corpus)
        self.maker = Maker(run.dice, wholes(map(parse, corpus)), VIP, CLIENTS)
        self.windows = 0
        self.before: dict[str, int] = {}
        self.seen: Counter[str] = Counter()

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Short timers and established sentinels inside the block."""
        director, captures = self.bench.director, self.bench.captures
        self.bench.setup()
        for name, seconds in (("initial", INITIAL), ("established", ESTABLISHED)):
            director.sysctl(f"net/ipvs_ipsec/isakmp_{name}_timeout", seconds)
        director.sysctl("net/ipv4/ipfrag_time", FRAGMENTS)
        # What waits for the hooks may come after what does not: they are there before the order is
        # looked at.
        self.bench.established()
        self.bench.back.pause()
        self._look_at_sentinels()
        try:
            self.before = self.bench.genl.counters()
            self.sentinels.begin()
            self.send([])
            self.sentinels.go_on()
            yield
        finally:
            director.sysctl("net/ipv4/ipfrag_time", 30)
            for capture in (self.bench.back, *captures):
                capture.resume()

    def _look_at_sentinels(self) -> None:
        for capture in self.bench.captures:
            capture.only_from(ADDRESSES)

    def window(self) -> None:
        """Packets, in every other window by the fast path, which makes no difference."""
        fast = fast_path(self.bench) if self.windows % 2 else contextlib.nullcontext()
        with fast:
            self._window()
        self.windows += 1

    def _window(self) -> None:
        """Packets, those first whose verdicts must be exactly as they are known to be."""
        made: list[Made] = []
        frames = 0
        while frames < min(WINDOW, self.run.total - self.run.sent):
            made.append(self.maker.make())
            frames += len(made[-1].frames)
        sure = [one for one in made if one.sure]
        watched = self.windows % WATCHED == 0
        moved, arrived = self.send(sure, watched)
        counted = self._verdicts(moved)
        expected = Counter(one.verdict for one in sure if one.verdict)
        expected[GOOD] += self.sentinels.packets
        if counted != expected:
            culprits = "\n".join(self._culprits(sure))
            pytest.fail(f"{dict(counted)}, not {dict(expected)}; one by one:\n{culprits}")
        if watched:
            self._check_arrived(sure, arrived, moved)
        unsure = [one for one in made if not one.sure]
        moved, _ = self.send(unsure)
        counted = self._verdicts(moved)
        assert counted[GOOD] >= self.sentinels.packets
        assert counted.total() <= self.sentinels.packets + len(unsure), f"too much: {counted}"

    def send(
        self, made: list[Made], watched: bool = False
    ) -> tuple[dict[str, int], list[tuple[int, Packet]]]:
        """Send packets; how the counters moved, and what arrived at which server.

        Of what is not the sentinels' only what is watched.
        """
        frames = [frame for one in made for frame in one.frames]
        for frame in frames:
            self.run.record(frame)
        if watched:
            for capture in self.bench.captures:
                capture.resume()
        arrived: list[tuple[int, Packet]] = []
        together = [Wholes() for _ in self.bench.captures]

        def take() -> int:
            for server, capture in enumerate(self.bench.captures):
                found = map(together[server].add, capture.packets())
                arrived.extend((server, packet) for packet in found if packet)
            return sum(packet.src in self.sentinels.sent for _, packet in arrived)

        self.bench.port.send(self.sentinels.among(frames))
        wanted = self.sentinels.packets
        wait_until(lambda: take() >= wanted, 20, lambda: f"{take()} of {wanted} sentinels' packets")
        take()  # what came to one server while another was looked at
        self._look_at_sentinels()
        self.sentinels.check(arrived)

        now = self.bench.genl.counters()
        moved = {name: n - self.before[name] for name, n in now.items()}
        self.before = now
        self.seen.update(moved)
        return moved, arrived

    def _verdicts(self, moved: dict[str, int]) -> Counter[str]:
        """How many packets were malformed, by reason, and how many GOOD."""
        assert moved["unreach-sent"] == moved["drop-esp-no-entry"] + moved["drop-ah-no-entry"]
        found: Counter[str] = Counter()
        for name, n in verdicts(moved).items():
            assert name not in NEVER, f"{n} {name}"
            found[name if name in MALFORMED else GOOD] += n
        return found

    def _check_arrived(
        self, made: list[Made], arrived: list[tuple[int, Packet]], moved: dict[str, int]
    ) -> None:
        """At the servers is what was said to be forwarded, unchanged but for its TTL."""
        assert len(arrived) == sum(moved[name] for name in FORWARDED), f"{len(arrived)} arrived"
        ttl = {}
        for one in made:
            if one.verdict == GOOD:
                whole = parse(one.whole)
                ttl[shape(whole)] = whole.ttl
        for _, packet in arrived:
            assert checksum(packet.header) == 0
            if packet.src not in self.sentinels.sent:
                was = ttl.pop(shape(packet), None)
                assert was is not None, f"nobody sent {packet.raw.hex()}"
                assert packet.ttl == was - 1

    def _culprits(self, made: list[Made]) -> Iterator[str]:
        """The packets that are counted otherwise than they should, one sent after the other."""
        for one in made:
            before = self.bench.genl.counters()
            self.bench.port.send(one.frames)
            after = self.bench.genl.counters()
            counted = {name: n - before[name] for name, n in after.items()}
            if self._verdicts(counted) != Counter([one.verdict] if one.verdict else []):
                frames = " ".join(frame.hex() for frame in one.frames)
                told = {name: n for name, n in counted.items() if n}
                yield f"{told}, not {one.verdict}: {frames}"

    def shown(self) -> str:
        """What became of the packets so far, and how many entries there are."""
        kinds: Counter[str] = Counter()
        for name, n in verdicts(self.seen).items():
            kind = "forwarded" if name in FORWARDED else "refused"
            kinds["malformed" if name in MALFORMED else kind] += n
        entries = self.bench.genl.do("status-get")
        assert entries is not None
        kinds["by the fast path"] = self.seen["fastpath"]
        told = ", ".join(f"{n:,} {kind}" for kind, n in kinds.items())
        return f"{told}, {entries['entries']:,} entries of {self.seen['entries-created']:,}"

    def go_on(self, until: int) -> None:
        """Window after window."""
        while self.run.sent < until:
            self.window()
            if self.run.checkpoint():
                self.run.progress(self.shown)


def no_entry(bench: Bench) -> bool:
    """Whether all entries have gone."""
    status = bench.genl.do("status-get")
    return status is not None and status["entries"] == 0


def test_packets_by_the_dice(
    bench: Bench, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    run = Run(request, "fuzz-packets", kept=3 * WINDOW)
    fuzzer = Fuzzer(run, bench)
    with run.told():
        with fuzzer.at_work():
            fuzzer.go_on(until=run.total // 10)
        # The table has its size now, and the caches have their slabs.
        bench.clear()
        before = in_use()
        with fuzzer.at_work():
            fuzzer.go_on(until=run.total)
            wait_until(
                lambda: no_entry(bench), ESTABLISHED / PATIENCE + 10, "the end of all entries"
            )
        # The noise is below 200 kB; where checkers keep more, kmemleak looks closer.
        given_back(before, limit=int(400 * PATIENCE))
        bench.setup()
        client, server = bench.established()
        assert bench.server_of(client.esp()) == server
    record_property("ran", f"{run.sent:,} packets")
