# SPDX-License-Identifier: GPL-2.0
"""SPIs that name a server of the model: what is wrong with them, and which overlap."""

from __future__ import annotations

from dataclasses import dataclass
from errno import EINVAL
from typing import Any, Literal

RESERVED = 256
"""SPIs of ESP and AH below this are nobody's (RFC 4303 section 2.1)."""


@dataclass(frozen=True)
class Spis:
    """Those of one server; a mask of 0 is no label, a greatest SPI of 0 no range."""

    label: int = 0
    mask: int = 0
    least: int = 0
    greatest: int = 0

    def changed(self, given: dict[str, bytes], faults: set[int]) -> Spis:
        """The same with what is given."""

        def of(attribute: str, old: int, order: Literal["big", "little"]) -> int:
            return int.from_bytes(given[attribute], order) if attribute in given else old

        new = Spis(
            label=of("ike-label", self.label, "big"),
            mask=of("ike-mask", self.mask, "big"),
            least=of("esp-spi-min", self.least, "little"),
            greatest=of("esp-spi-max", self.greatest, "little"),
        )
        if (
            new.label & ~new.mask
            or new.least > new.greatest
            or (new.greatest and new.least < RESERVED)
        ):
            faults.add(EINVAL)
        return new

    def overlap(self, other: Spis) -> bool:
        """Whether an SPI would name both servers."""
        common = self.mask & other.mask
        labels = self.mask and other.mask and self.label & common == other.label & common
        ranges = self.greatest and other.greatest
        ranges = ranges and self.least <= other.greatest and other.least <= self.greatest
        return bool(labels or ranges)

    def row(self) -> dict[str, Any]:
        """What is shown of them."""
        return {
            "ike-label": self.label,
            "ike-mask": self.mask,
            "esp-spi-min": self.least,
            "esp-spi-max": self.greatest,
        }
