"""The losses of a run as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

_SIZE, _MARGIN = (900, 500), 60
_COLOURS = {"loss": "#0072b2", "validation_loss": "#d55e00"}


def draw_history(history: list[dict[str, float]], path: Path) -> None:
    """Draw training and validation loss over steps (logarithmic) as a PNG; nothing is drawn before two entries."""
    curves = {key: [(e["step"], e[key]) for e in history if e.get(key, 0) > 0] for key in _COLOURS}
    points = np.array([point for curve in curves.values() for point in curve])
    if len(points) < 2:
        return
    low, high = points.min(axis=0), points.max(axis=0)
    low[1], high[1] = np.log(low[1]), np.log(high[1])
    span = np.maximum(high - low, 1e-9)
    picture = Image.new("RGB", _SIZE, "white")
    draw = ImageDraw.Draw(picture)
    inner = np.array(_SIZE) - 2 * _MARGIN
    draw.rectangle([_MARGIN, _MARGIN, _SIZE[0] - _MARGIN, _SIZE[1] - _MARGIN], outline="black")
    for row, (key, curve) in enumerate(curves.items()):
        places = [((step - low[0]) / span[0], 1 - (np.log(value) - low[1]) / span[1]) for step, value in curve]
        line = [(_MARGIN + x * inner[0], _MARGIN + y * inner[1]) for x, y in places]
        if len(line) > 1:
            draw.line(line, fill=_COLOURS[key], width=2)
        draw.text((_SIZE[0] - 220, _MARGIN + 10 + 18 * row), key.replace("_", " "), fill=_COLOURS[key])
    for share in (0.0, 0.5, 1.0):
        value = float(np.exp(high[1] - share * span[1]))
        draw.text((8, _MARGIN + share * inner[1] - 6), f"{value:.4g}", fill="black")
        draw.text((_MARGIN + share * inner[0] - 10, _SIZE[1] - 45), f"{low[0] + share * span[0]:.0f}", fill="black")
    draw.text((_SIZE[0] // 2 - 20, _SIZE[1] - 25), "step", fill="black")
    picture.save(path)
