"""The chart of "make bench": instructions over forwarding, a panel for each kind of traffic."""

from __future__ import annotations

from html import escape
from typing import Any

NAMES, BARS, VALUES = 150, 480, 60
"""Widths: of a case's name, of its bars, of what is written beside them."""
BAR, GAP, TOP = 9, 8, 40
SHADES = ("#9ecae1", "#4292c6", "#08519c", "#08306b")
STYLE = "text { font: 11px sans-serif; fill: #222 } .title { font-size: 13px; font-weight: bold }"


def flows(number: int) -> str:
    """So many, in words."""
    return f"{number:,} {'flow' if number == 1 else 'flows'}"


class Panel:
    """The bars of one kind of traffic, drawn from `y` on."""

    def __init__(self, traffic: str, rows: list[dict[str, Any]], y: float) -> None:
        self._y = y
        self._parts: list[str] = []
        values = [row["over_forwarding"] for row in rows]
        self._least, most = min(0, *values), max(0, *values)
        self._scale = BARS / ((most - self._least) or 1)
        self._text(10, f"{traffic}: instructions over plain forwarding, a packet", 'class="title"')
        self._y += 12
        numbers = sorted({row["flows"] for row in rows})
        for case in dict.fromkeys(row["case"] for row in rows):
            self._text(10, case, move=BAR)
            for row in rows:
                if row["case"] == case:
                    self._bar(row["over_forwarding"], SHADES[numbers.index(row["flows"])])
            self._y += GAP
        for number, shade in zip(numbers, SHADES, strict=False):
            self._rect(NAMES, 10, shade)
            self._text(NAMES + 16, flows(number), move=BAR)
            self._y += BAR + 3
        self.end = self._y + GAP
        self.svg = "\n".join(self._parts)

    def _x(self, value: float) -> float:
        return NAMES + (value - self._least) * self._scale

    def _bar(self, value: float, shade: str) -> None:
        left, right = sorted((self._x(0), self._x(value)))
        self._rect(left, right - left, shade)
        self._text(right + 4, f"{value:+,.0f}", move=BAR - 1)
        self._y += BAR + 1

    def _rect(self, x: float, width: float, shade: str) -> None:
        size = f'width="{width:.1f}" height="{BAR}"'
        self._parts.append(f'<rect x="{x:.1f}" y="{self._y:.1f}" {size} fill="{shade}"/>')

    def _text(self, x: float, text: str, more: str = "", move: float = 0) -> None:
        at = f'x="{x:.1f}" y="{self._y + move:.1f}"'
        self._parts.append(f"<text {at} {more}>{escape(text)}</text>")


def chart(rows: list[dict[str, Any]], kernel: str) -> str:
    """All of it, as SVG. What is plain forwarding, or less than all of it, has no bar."""
    shown = [
        row
        for row in rows
        if row["over_forwarding"] is not None and row["case"] not in ("generator", "forwarding")
    ]
    y, panels = float(TOP), []
    for traffic in dict.fromkeys(row["traffic"] for row in shown):
        panel = Panel(traffic, [row for row in shown if row["traffic"] == traffic], y)
        panels.append(panel.svg)
        y = panel.end + GAP
    width = NAMES + BARS + VALUES
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y:.0f}">',
            f"<style>{STYLE}</style>",
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="10" y="18">Linux {escape(kernel)}, counted by QEMU</text>',
            *panels,
            "</svg>\n",
        )
    )
