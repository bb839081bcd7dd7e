"""What happened in a stage: means over spans of steps, on disk as ``history.json`` and as a picture of the curves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from napari_gem3d.io import replacing

# Steps that an entry is the mean of, at most: a validation ends it too.
SPAN = 50
# Figures that the clock decides: they alone differ when the same run is done again.
CLOCKED = ("minutes", "seconds_per_step", "data_seconds", "data_share")
_LABELS = {"loss": "training loss", "validation_loss": "validation loss"}
_COLOURS = {"loss": "#0072b2", "validation_loss": "#d55e00", "learning_rate": "#009e73"}


class History:
    """Entries, each the running mean of the figures of its steps.

    An entry has ``step`` (its last), ``steps`` (how many), ``minutes``, ``learning_rate``, ``loss``, the terms of the
    loss, ``gradient_norm``, ``seconds_per_step``, ``data_seconds`` (of a step, waiting for its batch), ``data_share``
    (the latter as a share of the former); and after a validation ``validated`` and ``validation_*``.
    """

    def __init__(self, entries: list[dict[str, float]] | None = None) -> None:
        self.entries = [dict(entry) for entry in entries or []]

    @property
    def last(self) -> dict[str, float]:
        """The newest entry; empty before the first step."""
        return self.entries[-1] if self.entries else {}

    @property
    def full(self) -> bool:
        """Whether the next step begins a new entry."""
        return not self.entries or self.last["steps"] >= SPAN or "validated" in self.last

    def add(self, step: int, seconds: float, learning_rate: float, figures: Mapping[str, float]) -> None:
        """Add the figures of a step that ended as number `step` after so many seconds of computing."""
        if self.full:
            self.entries.append({"step": 0.0, "minutes": 0.0, "steps": 0.0})
        entry = self.last
        seen = entry["steps"]
        for key, value in figures.items():
            entry[key] = (entry.get(key, 0.0) * seen + value) / (seen + 1)
        entry.update(step=step, minutes=seconds / 60, steps=seen + 1, learning_rate=learning_rate)
        if entry.get("seconds_per_step"):
            entry["data_share"] = entry.get("data_seconds", 0.0) / entry["seconds_per_step"]

    def validated(self, figures: Mapping[str, float]) -> None:
        """Add the figures of a validation after the newest step."""
        self.last.update({f"validation_{key}": value for key, value in figures.items()}, validated=1.0)

    def data_share(self) -> float:
        """Share of all steps' time spent waiting for batches."""
        waited, spent = (
            sum(entry.get(key, 0.0) * entry["steps"] for entry in self.entries)
            for key in ("data_seconds", "seconds_per_step")
        )
        return waited / spent if spent else 0.0

    def write(self, path: Path) -> None:
        """Write the entries as JSON, whole or not at all."""
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(self.entries), encoding="utf-8")


def draw_history(entries: list[dict[str, float]], path: Path) -> None:
    """Draw losses (logarithmic) and learning rate over steps as a PNG.

    Parameters
    ----------
    entries
        Of a `History`; nothing is drawn before two of them have a loss, or without matplotlib.
    path
        The file, replaced in one step.
    """
    curves = {key: [(e["step"], e[key]) for e in entries if e.get(key, 0) > 0] for key in _COLOURS}
    if len(curves["loss"]) < 2:
        return
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return
    # A figure with its own canvas, not pyplot: that has one state for the whole process, and may open windows.
    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    losses, rates = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    for key, label in _LABELS.items():
        steps, values = zip(*curves[key], strict=True) if curves[key] else ((), ())
        losses.plot(steps, values, label=label, color=_COLOURS[key], marker="o" if len(steps) < 30 else None, ms=4)
    rates.plot(*zip(*curves["learning_rate"], strict=True), color=_COLOURS["learning_rate"])
    losses.set(yscale="log", ylabel="loss", title=path.parent.name)
    losses.yaxis.set_major_formatter("{x:g}")
    losses.yaxis.set_minor_formatter("{x:g}")
    rates.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
    losses.legend()
    for axes in (losses, rates):
        axes.grid(alpha=0.3, which="both")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
