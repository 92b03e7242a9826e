# SPDX-License-Identifier: GPL-2.0
"""The workers of the storm (test_storm.py): each does one kind of work until it ends.

They are threads with a netlink socket each. Whatever one of them looks for may be
gone: the module is unloaded, services are flushed, namespaces die. That is `Gone`,
or a refusal that says so; any other exception ends the storm.
"""

from __future__ import annotations

import contextlib
import errno
import random
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kt import module
from kt.bench import DIRECTOR, FORWARDED, SERVERS, VIP, Bench, server_address
from kt.capture import Port
from kt.genl import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, Genl, Refused, spec
from kt.net import Network, Ns, permanent_neighbours, sh
from kt.packets import Initiator
from kt.tool import Tool
from kt.wait import PATIENCE, wait_until

# What comes and goes beside the service at VIP and its servers.
SERVICES = [f"198.51.100.{n}" for n in range(2, 12)]
RIPS = [f"10.3.0.{n}" for n in range(1, 31)]

# The module is not loaded: its family or the files of its sysctls do not exist.
Gone = FileNotFoundError


class Line(Genl):
    """A socket of the family, which may vanish at any time."""

    def __init__(self, ns: Ns) -> None:
        super().__init__(ns)
        self.sock.settimeout(60 * PATIENCE)

    def call(self, *args: Any, **more: Any) -> list[bytes]:
        """As in Genl, but for the end of the family, which is `Gone`."""
        try:
            return super().call(*args, **more)
        except Refused as refused:
            # What the module itself refuses comes with a text. Dumps want a reference to it,
            # which it gives no more once rmmod has begun.
            if refused.errno in (errno.ENOENT, errno.EPROTONOSUPPORT) and not refused.text:
                self.family = 0
                raise Gone(str(refused)) from refused
            raise

    def attempt(self, op: str, **values: Any) -> bool:
        """Whether an operation was done; others may have made or removed what it names."""
        try:
            self.do(op, **values)
        except Refused as refused:
            if refused.errno in (errno.ENOENT, errno.EEXIST):
                return False
            raise
        return True


class Worker:
    """One kind of work, counted in `done`.

    `least` is what of it a minute must have seen, on the slowest of machines; with checkers, which
    need more patience, as much less.
    """

    least: dict[str, int] = {}
    # Seconds between two steps, for others want the processors too: longer where steps take longer.
    pause = 0.02

    def __init__(self, bench: Bench, ending: threading.Event) -> None:
        self.bench = bench
        self.ending = ending
        self.done: Counter[str] = Counter()
        self.line = Line(bench.director)

    def run(self) -> None:
        """Work until the end."""
        with self.line:
            while not self.ending.wait(self.pause * PATIENCE):
                try:
                    self.step()
                except Gone:
                    self.gone()

    def step(self) -> None:
        """A piece of the work."""
        raise NotImplementedError

    def gone(self) -> None:
        """The module is not there; who asks for its family would have the kernel run modprobe."""
        self.until(module.loaded, "the module's return")

    def until(self, condition: Callable[[], object], what: str) -> bool:
        """Wait until something is true; or until the storm ends, which is `False`."""
        wait_until(lambda: self.ending.is_set() or condition(), 60, what)
        return not self.ending.is_set()


class Keeper(Worker):
    """Restores the service at VIP, whoever removed it or some of its servers."""

    least = {"restored": 2}
    pause = 0.1

    def step(self) -> None:
        self.done["restored"] += self.line.attempt("service-new", address=VIP, scheduler="rr")
        for number in range(1, SERVERS + 1):
            self.line.attempt("server-new", service=VIP, address=server_address(number))
        self.done["commands"] += 1 + SERVERS


class Configurer(Worker):
    """Adds, changes and removes services and servers."""

    least = {"changes": 30}
    pause = 0.005

    def step(self) -> None:
        service = random.choice(SERVICES)
        server = {"service": random.choice((VIP, service)), "address": random.choice(RIPS)}
        made: list[tuple[str, dict[str, Any]]] = [
            ("service-new", {"address": service, "scheduler": "wrr"}),
            ("service-set", {"address": service, "scheduler": "rr"}),
            ("server-new", {**server, "method": "dr", "weight": 0}),
            ("server-set", {**server, "weight": random.randint(0, 1)}),
        ]
        unmade: list[tuple[str, dict[str, Any]]] = [
            ("service-del", {"address": service}),
            ("server-del", server),
            ("server-del", {"service": VIP, "address": server_address(1)}),
        ]
        # Dumps need something to show, and entries a server that lives for a while.
        op, values = random.choice(unmade if random.random() < 0.1 else made)
        self.done["changes"] += self.line.attempt(op, **values)
        self.done["commands"] += 1


class Flusher(Worker):
    """Removes everything: thousands of entries die at once, and the table shrinks."""

    least = {"flushes": 1}
    pause = 2

    def step(self) -> None:
        self.line.do("flush")
        self.done["flushes"] += 1
        self.done["commands"] += 1


class Weigher(Worker):
    """Changes weights and scheduler of the servers that have the traffic."""

    least = {"weights": 20}
    pause = 0.05

    def step(self) -> None:
        server = {"service": VIP, "address": server_address(random.randint(1, SERVERS))}
        weight = random.choice((0, 1, 2, 65_535))
        self.done["weights"] += self.line.attempt("server-set", **server, weight=weight)
        self.line.attempt("service-set", address=VIP, scheduler=random.choice(("rr", "wrr")))
        self.done["commands"] += 2


class Accelerator(Worker):
    """Gives the device of all the traffic a fast path, and takes it away."""

    least = {"fastpaths": 10}
    pause = 0.2

    def step(self) -> None:
        op = random.choice(("fastpath-new", "fastpath-del"))
        self.done["fastpaths"] += self.line.attempt(op, ifindex=self.bench.director.index("in"))
        self.done["commands"] += 1


class Dumper(Worker):
    """Dumps what there is, to the end. There are three of them."""

    least = {"dumps": 5, "rows": 50}
    pause = 0.15

    def step(self) -> None:
        op = random.choice(("entry-get", "service-get", "server-get"))
        # Not decoded: thousands of entries would keep the other threads waiting.
        self.done["rows"] += len(self.line.call(op, dump=True))
        self.done["dumps"] += 1


class Deserter(Worker):
    """Begins dumps and closes the socket when they are halfway."""

    least = {"deserted": 10}
    pause = 0.2

    def step(self) -> None:
        op = spec()["ops"][random.choice(("entry-get", "service-get", "server-get"))]
        with Line(self.bench.director) as line:
            head = 20, line.find_family(), NLM_F_REQUEST | NLM_F_ACK | NLM_F_DUMP
            line.sock.send(struct.pack("=IHHIIBBH", *head, 1, 0, op, 1, 0))
            for _ in range(random.randint(0, 1)):
                line.sock.recv(1 << 15)
        self.done["deserted"] += 1


class Commander(Worker):
    """Runs the command, which may be refused but must not fail in any other way."""

    least = {"runs": 5, "answers": 1}
    pause = 0.5

    def step(self) -> None:
        words = random.choice((["list"], ["entry", "list"], ["stats"], ["--json", "list"]))
        run = Tool(self.bench.director).run(*words, check=False)
        assert run.returncode in (0, 1), run
        self.done["runs"] += 1
        self.done["answers"] += run.returncode == 0


class Tuner(Worker):
    """Sets short timeouts, so that there is much to sweep, and tries what is none."""

    least = {"settings": 6, "refused": 6}
    pause = 0.5

    def step(self) -> None:
        self.tune("net/ipvs_ipsec/isakmp_initial_timeout", (1, 3, 10))
        self.tune("net/ipvs_ipsec/isakmp_established_timeout", (1, 3, 60, 28_800))

    def tune(self, key: str, values: tuple[int, ...]) -> None:
        """Set one of the values, and fail to set another."""
        self.bench.director.sysctl(key, int(random.choice(values) * PATIENCE))
        self.done["settings"] += 1
        try:
            self.bench.director.sysctl(key, random.choice((0, -1, 1 << 31, "soon")))
        except OSError as refused:
            if refused.errno != errno.EINVAL:
                raise
            self.done["refused"] += 1
        else:
            raise AssertionError(f"{key} takes anything")
        int(self.bench.director.read_sysctl(key))


class Undertaker(Worker):
    """Makes directors that die with entries, and with packets on their way in."""

    least = {"namespaces": 1}
    pause = 0.5

    def step(self) -> None:
        self.done["born"] += 1
        device = f"doomed{self.done['born']}"
        show = ("ip", "link", "show", device)
        gen = self.bench.gen
        with Network(f"storm{self.done['born']}-") as network:
            ns = network.ns("doomed")
            network.link(gen, device, ns, "in")
            ns.ip(
                f"addr add {DIRECTOR}/24 dev in",
                f"addr add {VIP}/32 dev lo",
                "route add default via 10.1.0.1",
            )
            # The generator is the server too: what it sends comes back to it.
            permanent_neighbours(ns, "in", [("10.1.0.1", gen.mac(device))])
            with Line(ns) as line, sending(Port(gen, device, ns.mac("in"))):
                if self.until(lambda: has_entries(line), f"entries in {ns.name}"):
                    self.done["namespaces"] += 1
                line.close()
                ns.close()
                wait_until(lambda: gen.run(*show, check=False).returncode, 60, f"{ns.name}'s end")


def has_entries(line: Line) -> bool:
    """Whether a director takes its traffic; it is configured if it is not."""
    try:
        line.attempt("service-new", address=VIP)
        line.attempt("server-new", service=VIP, address="10.1.0.1")
        status = line.do("status-get")
    except Gone:
        return False
    return bool(status and status["entries"])


@contextlib.contextmanager
def sending(port: Port) -> Iterator[None]:
    """Clients go through their stages inside the block, whatever is behind the port."""
    clients = [Initiator(f"192.0.2.{n}", VIP, ispi=n, rspi=n) for n in range(1, 100)]
    kinds = (Initiator.first, Initiator.later, Initiator.esp, Initiator.ah, Initiator.connect)
    packets = [kind(client) for client in clients for kind in kinds]
    enough = threading.Event()

    def send() -> None:
        while not enough.wait(0.01):
            with contextlib.suppress(OSError):  # the device goes with the namespace
                port.send(packets)

    with contextlib.closing(port), ThreadPoolExecutor(1) as pool:
        sender = pool.submit(send)
        try:
            yield
        finally:
            enough.set()
            sender.result()


class Reloader(Worker):
    """Unloads the module under all that, and loads it again."""

    least = {"reloads": 2}
    pause = 2

    def step(self) -> None:
        # What a flush removes is freed a little later, which the module must wait for.
        if random.random() < 0.5:
            self.line.do("flush")
        if self.until(self.unloaded, "an unload: the module is never idle"):
            module.load()
            self.done["reloads"] += 1
            # Not again before there is something to unload.
            self.until(self.forwards, "ESP that the new module forwards")

    def unloaded(self) -> bool:
        """Whether rmmod worked; a dump under way holds the module for a moment."""
        run = sh("rmmod", module.NAME, check=False)
        held = "is in use" in run.stderr or "temporarily unavailable" in run.stderr
        assert run.returncode == 0 or held, run
        return not held

    def forwards(self) -> bool:
        """Whether established clients get something through."""
        try:
            return self.line.counters()["esp"] > 0
        except Gone:
            return False


class Observer(Worker):
    """Reads the status: what was forwarded, and when the table has another size."""

    least = {
        "grown": 2,
        "shrunk": 1,
        "entries-expired": 10,
        "fastpath": 5,
        **dict.fromkeys(FORWARDED, 50),
    }
    pause = 0.03
    before: dict[str, Any] = {}

    def step(self) -> None:
        status = self.line.do("status-get")
        assert status is not None
        before, self.before = self.before, status
        size = status["table-size"]
        self.done["grown"] += size > before.get("table-size", size)
        self.done["shrunk"] += size < before.get("table-size", size)
        self.done["largest"] = max(self.done["largest"], size)
        for name, number in status["counters"].items():
            self.done[name] += number - before.get("counters", {}).get(name, 0)
        self.done["commands"] += 1

    def gone(self) -> None:
        # Each load gives the family another number: two of its lives are never compared.
        self.before = {}
        super().gone()


WORKERS = [*Worker.__subclasses__(), Dumper, Dumper]
