# SPDX-License-Identifier: GPL-2.0
"""What the fuzzers share: the dice, the progress, and what a failure must tell."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

CHECKPOINTS = 50
PROGRESS_SECONDS = 4


def pick[T](dice: random.Random, of: Sequence[T]) -> T:
    """Any of these; half the time that random.choice takes."""
    return of[int(dice.random() * len(of))]


class Run:
    """One run of a fuzzer: `--fuzz` inputs, made by the dice of `--fuzz-seed`.

    A failure leaves what was sent last, as much as is `kept`.
    """

    def __init__(self, request: pytest.FixtureRequest, name: str, kept: int) -> None:
        self.name = name
        self.total: int = request.config.getoption("--fuzz")
        seed: int | None = request.config.getoption("--fuzz-seed")
        self._uncaptured = request.getfixturevalue("capsys").disabled
        self.seed = int.from_bytes(os.urandom(4)) if seed is None else seed
        self.dice = random.Random(self.seed)
        self.sent = 0
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=kept)
        self._began = self._told = time.monotonic()
        self._next = 0
        self._print(f"\n  {name}: {self.again}")

    @property
    def again(self) -> str:
        """The options that make the same inputs."""
        return f"--fuzz {self.total} --fuzz-seed {self.seed}"

    @property
    def goes_on(self) -> bool:
        """Whether there is more to send."""
        return self.sent < self.total

    def record(self, data: bytes, inputs: int = 1) -> None:
        """Something is about to be sent."""
        self.sent += inputs
        self._recent.append((self.sent, data))

    def checkpoint(self) -> bool:
        """Whether another fiftieth of the run is over."""
        if self.goes_on and self.sent < self._next:
            return False
        self._next = self.sent + self.total // CHECKPOINTS
        return True

    def progress(self, seen: Callable[[], str]) -> None:
        """Say how far it is, every few seconds and at the end."""
        now = time.monotonic()
        if self.goes_on and now - self._told < PROGRESS_SECONDS:
            return
        self._told = now
        self._print(f"  {self.sent:,} of {self.total:,}, {now - self._began:.0f} s: {seen()}")

    def _print(self, line: str) -> None:
        """A line that is seen at once, whatever pytest keeps for later."""
        with self._uncaptured():
            print(line, flush=True)

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """A failure inside the block names the seed, and leaves what was sent last in $OUT."""
        try:
            yield
        except BaseException as error:
            error.add_note(f"{self.name}, after {self.sent:,} inputs; again: {self.again}")
            if folder := os.environ.get("OUT"):
                file = Path(folder, f"{self.name}.hex")
                lines = [f"# {self.again}; inputs sent up to the end of each, and its bytes"]
                lines += [f"{sent} {data.hex()}" for sent, data in self._recent]
                file.write_text("\n".join(lines) + "\n", encoding="ascii")
                error.add_note(f"the last of them are in {file}")
            raise
