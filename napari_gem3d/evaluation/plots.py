"""Plots of a report, each from what ``report.json`` holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np

from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.wording import LIKENESS, RATIOS, counts_of, in_range, measured_by, name_of, pairs_of

try:
    from matplotlib import rc_context
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError as error:
    raise InputError(
        f"The page of a report needs matplotlib ({error}): pip install 'napari-gem3d[evaluation]'."
    ) from error

# Okabe and Ito's, which most people tell apart.
INK = "#333333"
_REAL, _MADE = "#0072b2", "#d55e00"
_COLOURS = {"real": _REAL, "synthetic": _MADE}
_LABELS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#000000")
# Of all plots of this package; matplotlib types the keys as literals.
STYLE: Any = {
    "svg.hashsalt": "napari-gem3d",
    "text.parse_math": False,  # names of cases and regions may hold dollar signs
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.edgecolor": INK,
    "legend.frameon": False,
}
# More points than this are drawn as pixels, or the page would grow with the number of scans.
_MOST_SHAPES = 500


@dataclass(frozen=True)
class Plot:
    """A plot and what to say of it.

    Attributes
    ----------
    caption
        What is shown, and of how many.
    svg
        The picture.
    """

    caption: str
    svg: bytes


def likeness_plot(report: Mapping[str, Any]) -> Plot:
    """Figures of the pairs, a dot a pair."""
    found = report["perceptual_distance"]
    return Plot(
        f"A dot a pair, the line their median; {pairs_of(report)}. Above: likeness; below: synthetic / real, where 1 "
        f"is right. {measured_by(found['title'], name_of(found['figure']))}",
        _figures(list(report["pairs"].values()), report["figures"]),
    )


def contrast_plot(report: Mapping[str, Any]) -> Plot:
    """Mean intensities of the labels, real against synthetic."""
    return Plot(
        f"Mean intensity of every label, a dot a pair; {pairs_of(report)}. On the line it is as bright as in the "
        "real scan.",
        _contrast(list(report["pairs"].values()), report["units"]),
    )


def profile_plot(report: Mapping[str, Any]) -> Plot:
    """Intensities, brightness along the body and likeness of neighbouring slices, real against synthetic."""
    profiles = report["profiles"]
    real, made = (profiles[side]["scans"] for side in ("real", "synthetic"))
    which = "the pairs, in the range of each real scan" if report["pairs"] else "all scans, each in its own range"
    return Plot(
        f"Mean of {which}; n = {real} real and {made} synthetic; bands are one standard deviation over scans. Range: "
        "background (0) to the 99.5th percentile of the body (1). Dips in the correlation of neighbouring slices are "
        "seams.",
        _profiles(profiles),
    )


def set_plot(report: Mapping[str, Any]) -> Plot:
    """Figures of every scan by itself, real beside synthetic."""
    return Plot(
        f"A dot a scan, each in its own range, the line their median; {counts_of(report)}.",
        _sets(report["scans"]),
    )


def segmentation_plot(report: Mapping[str, Any]) -> Plot:
    """Dice and HD95 of every scan by region."""
    scans = report["segmentation"]["scans"]
    return Plot(f"A dot a scan, the line their median; n = {len(scans)} segmented synthetic scans.", _scores(report))


def _figures(pairs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> bytes:
    alike = [name for name in names if name in LIKENESS]
    ratios = {name_of(name): _values(pairs, name) for name in names if name in RATIOS}
    with rc_context(STYLE):
        figure = Figure((11, 6), layout="constrained")
        grid = figure.add_gridspec(2, len(alike))
        for place, name in enumerate(alike):
            _strips(figure.add_subplot(grid[0, place]), {name_of(name): _values(pairs, name)})
        axis = figure.add_subplot(grid[1, :])
        axis.axhline(1, color="#999999", linewidth=0.8, linestyle="--")
        _strips(axis, ratios)
        axis.set_title("synthetic / real")
        return _svg(figure)


def _contrast(pairs: Sequence[Mapping[str, Any]], units: str) -> bytes:
    labels = sorted({label for pair in pairs for label in pair.get("contrast", {})}, key=int)
    with rc_context(STYLE):
        figure = Figure((5, 4.4), layout="constrained")
        axis = figure.subplots()
        for index, label in enumerate(labels):
            shown = [in_range(pair, label, units) for pair in pairs if label in pair.get("contrast", {})]
            axis.scatter(
                [entry["real_mean"] for entry in shown],
                [entry["synthetic_mean"] for entry in shown],
                s=16,
                alpha=0.7,
                color=_LABELS[index % len(_LABELS)],
                label=f"label {label}",
                rasterized=len(shown) > _MOST_SHAPES,
            )
        ends = [*axis.get_xlim(), *axis.get_ylim()]
        axis.plot([min(ends), max(ends)], [min(ends), max(ends)], color="#999999", linewidth=0.8, linestyle="--")
        unit = units or "share of the real scan's range"
        axis.set(xlabel=f"real, {unit}", ylabel=f"synthetic, {unit}", title="mean intensity by label", aspect="equal")
        axis.legend()
        return _svg(figure)


def _profiles(profiles: Mapping[str, Any]) -> bytes:
    with rc_context(STYLE):
        figure = Figure((11, 3.2), layout="constrained")
        intensity, brightness, correlation = figure.subplots(1, 3)
        for side, profile in profiles.items():
            shares = profile["intensity"]
            edges = np.linspace(0, 1, len(shares) + 1)
            intensity.stairs(np.array(shares) * len(shares), edges, color=_COLOURS[side], label=side, linewidth=1.3)
            for axis, curve in ((brightness, profile["brightness"]), (correlation, profile["slice_correlation"])):
                mean = np.array(curve["mean"])
                height = np.linspace(0, 1, len(mean))
                axis.plot(height, mean, color=_COLOURS[side], label=side, linewidth=1.3)
                if curve["deviation"] is not None:
                    wide = np.array(curve["deviation"])
                    axis.fill_between(height, mean - wide, mean + wide, color=_COLOURS[side], alpha=0.18, linewidth=0)
        intensity.set(xlabel="intensity in the body", ylabel="density", title="intensities")
        brightness.set(xlabel="place in the body, lowest slice 0", title="mean brightness of axial slices")
        correlation.set(xlabel="place in the body, lowest slice 0", title="correlation of neighbouring axial slices")
        intensity.legend()
        return _svg(figure)


def _sets(scans: Mapping[str, Mapping[str, Mapping[str, float]]]) -> bytes:
    names = list(next(iter(scans["real"].values())))
    with rc_context(STYLE):
        figure = Figure((11, 3), layout="constrained")
        for axis, name in zip(figure.subplots(1, len(names)), names, strict=True):
            _strips(
                axis, {side: [scan[name] for scan in entries.values()] for side, entries in scans.items()}, _COLOURS
            )
            axis.set_title(name_of(name))
        return _svg(figure)


def _scores(report: Mapping[str, Any]) -> bytes:
    scans, regions = report["segmentation"]["scans"].values(), report["segmentation"]["regions"]
    with rc_context(STYLE):
        figure = Figure((8, 3), layout="constrained")
        for axis, key, title in zip(figure.subplots(1, 2), ("dice", "hd95"), ("Dice", "HD95, mm"), strict=True):
            _strips(
                axis, {region: _values([scan[region] for scan in scans if region in scan], key) for region in regions}
            )
            axis.set_title(title)
        return _svg(figure)


def _values(entries: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [entry[name] for entry in entries if entry.get(name) is not None]


def _strips(axis: Axes, groups: Mapping[str, Sequence[float]], colours: Mapping[str, str] | None = None) -> None:
    """Dots of every group above its name, spread sideways so that they can be counted, and their median."""
    spread = np.random.default_rng(0)
    for place, (name, values) in enumerate(groups.items()):
        if not values:
            continue
        sideways = place + (spread.uniform(-0.22, 0.22, len(values)) if len(values) > 1 else np.zeros(1))
        colour = (colours or {}).get(name, _MADE)
        axis.scatter(sideways, values, s=14, alpha=0.65, color=colour, rasterized=len(values) > _MOST_SHAPES)
        axis.hlines(np.median(values), place - 0.35, place + 0.35, color=INK, linewidth=1.5)
    axis.set_xticks(range(len(groups)), [name.replace(", ", ",\n") for name in groups])
    axis.set_xlim(-0.6, len(groups) - 0.4)


def _svg(figure: Figure) -> bytes:
    stream = BytesIO()
    figure.savefig(stream, format="svg", dpi=150, metadata={"Date": None})
    return stream.getvalue()
