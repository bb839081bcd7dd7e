"""Lines over a logarithmic axis, drawn with Pillow, so that documentation needs no plotting library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

# The colours of Okabe and Ito, which most people tell apart.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_WIDTH, _HEIGHT = 560, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, 20, 46, 58
_INK, _FAINT = "#333333", "#dddddd"
_FINER = 2  # drawn twice as large and reduced, for smooth lines


@dataclass(frozen=True)
class Panel:
    """One coordinate system.

    Attributes
    ----------
    title, x_name
        Words above it and below it.
    lines
        Points (x > 0, y) of each line by its name.
    """

    title: str
    x_name: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


def draw_panels(panels: Sequence[Panel], path: Path) -> None:
    """Write panels side by side as PNG; a line has the same colour in all of them."""
    names = sorted({name for panel in panels for name in panel.lines})
    colours = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)}
    picture = Image.new("RGB", (_WIDTH * len(panels) * _FINER, _HEIGHT * _FINER), "white")
    draw = ImageDraw.Draw(picture)
    for number, panel in enumerate(panels):
        _draw_panel(draw, panel, colours, number * _WIDTH)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.resize((_WIDTH * len(panels), _HEIGHT), Image.Resampling.LANCZOS).save(path)


def _draw_panel(draw: ImageDraw.ImageDraw, panel: Panel, colours: Mapping[str, str], shift: int) -> None:
    points = [point for line in panel.lines.values() for point in line]
    across = sorted({x for x, _ in points})
    low, high = min(y for _, y in points), max(y for _, y in points)
    room = 0.08 * (high - low) or 0.01
    low, high = low - room, high + room
    span = math.log(across[-1] / across[0]) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        right = _LEFT + 12 + (_WIDTH - _LEFT - _RIGHT - 24) * math.log(x / across[0]) / span
        down = _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - y) / (high - low)
        return (shift + right) * _FINER, down * _FINER

    def write(x: float, y: float, words: str, anchor: str, size: int = 13, colour: str = _INK) -> None:
        font = ImageFont.load_default(size * _FINER)
        draw.text((x * _FINER, y * _FINER), words, fill=colour, font=font, anchor=anchor)

    write(shift + _WIDTH / 2, 20, panel.title, "mm", 15)
    write(shift + _WIDTH / 2, _HEIGHT - 14, panel.x_name, "mm")
    for value in _ticks(low, high):
        _, down = place(across[0], value)
        draw.line([(shift + _LEFT) * _FINER, down, (shift + _WIDTH - _RIGHT) * _FINER, down], _FAINT, _FINER)
        write(shift + _LEFT - 8, down / _FINER, f"{value:.6g}", "rm")
    for x in across:
        write(place(x, low)[0] / _FINER, _HEIGHT - _BOTTOM + 14, f"{x:g}", "mm")
    for row, (name, line) in enumerate(sorted(panel.lines.items())):
        where = [place(x, y) for x, y in sorted(line)]
        if len(where) > 1:
            draw.line(where, colours[name], 2 * _FINER)
        for x, y in where:
            draw.ellipse([x - 4 * _FINER, y - 4 * _FINER, x + 4 * _FINER, y + 4 * _FINER], colours[name])
        if shift == 0:  # the colours are the same in all panels
            write(_WIDTH - _RIGHT - 6, _TOP + 10 + 17 * row, name, "rm", 13, colours[name])


def _ticks(low: float, high: float) -> list[float]:
    """About five round values between two."""
    rough = (high - low) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
