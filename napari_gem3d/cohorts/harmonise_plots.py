"""Plots of a harmonised dataset: distributions, means of cases, and how much they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from textwrap import fill
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d

from napari_gem3d.cohorts.harmonise_measure import Measurement, Scan
from napari_gem3d.cohorts.harmonise_spread import SCALED, SIDES, STORED, Side, is_ct, part_names
from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.plots import INK, STYLE

try:
    from matplotlib import rc_context
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, StrMethodFormatter
except ImportError as error:
    raise InputError(
        f"The report of harmonising needs matplotlib ({error}): pip install 'napari-gem3d[evaluation]'."
    ) from error

# Okabe and Ito's, which most people tell apart.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
_BEFORE, _AFTER = "#7f7f7f", "#d55e00"
# Labels and sources may be called anything, "$" included.
_STYLE = {**STYLE, "text.parse_math": False}
# Of the histograms, in bins: small labels are ragged.
_SMOOTH = 1.5
# More curves than this are one grey cloud; a random choice of them shows as much.
_MOST_CURVES = 60
# More of them, or of dots, are drawn as pixels.
_MOST_SHAPES = 24


@dataclass(frozen=True)
class Rows:
    """A side of the data in one unit: a row of plots, or a mark.

    Attributes
    ----------
    side, unit
        Which.
    title
        For people.
    logarithmic
        Whether its intensities are: as stored, MR scans differ by powers of ten.
    """

    side: Side
    unit: str
    title: str
    logarithmic: bool = False

    def scan(self, one: Measurement) -> Scan:
        """What was measured of a case on this side."""
        return one.before if self.side == "before" else one.after

    def divisor(self, one: Measurement) -> float:
        """What intensities are divided by."""
        return self.scan(one).reference if self.unit == SCALED else 1.0


def rows_of(measured: Mapping[str, Measurement]) -> list[Rows]:
    """The sides and units that are shown: HU for CT; for MR intensities as stored, and scaled."""
    if is_ct(measured):
        return [Rows("before", STORED, "before, HU"), Rows("after", STORED, "harmonised, HU")]
    return [
        Rows("before", STORED, "before, as stored", logarithmic=True),
        Rows("after", STORED, "harmonised, as stored", logarithmic=True),
        Rows("before", SCALED, "before, scaled"),
        Rows("after", SCALED, "harmonised, scaled"),
    ]


def colours_of(sources: Mapping[str, str]) -> dict[str, str]:
    """A colour for every source; grey for all beyond the eighth, and where each case is a source."""
    names = list(dict.fromkeys(sources.values()))
    if len(names) == len(sources) and len(names) > len(_COLOURS):
        return dict.fromkeys(names, _BEFORE)
    return {name: _COLOURS[min(index, len(_COLOURS) - 1)] for index, name in enumerate(names)}


def distribution_plot(measured: Mapping[str, Measurement], sources: Mapping[str, str]) -> bytes:
    """Densities of every part (columns) before and after (rows), a curve a case, as SVG."""
    names, rows, colours = part_names(measured.values()), rows_of(measured), colours_of(sources)
    shown = list(measured)
    if len(shown) > _MOST_CURVES:
        shown = sorted(np.random.default_rng(0).choice(shown, _MOST_CURVES, replace=False).tolist())
    with rc_context(_STYLE):
        figure = Figure((2.1 * len(names) + 0.5, 1.45 * len(rows) + 0.6), layout="constrained")
        axes = figure.subplots(len(rows), len(names), squeeze=False)
        for row, line in zip(rows, axes, strict=True):
            for name, axis in zip(names, line, strict=True):
                for case in shown:
                    _curve(axis, row, measured[case], name, colours[sources[case]], len(shown) > _MOST_SHAPES)
                if row.logarithmic:
                    axis.set_xscale("log")
                    axis.xaxis.set_major_locator(LogLocator(numticks=4))
                    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
                axis.set_yticks([])
                axis.set_ylim(bottom=0)
                axis.tick_params(labelsize=7.5)
            line[0].set_ylabel(row.title.replace(", ", ",\n"))
        _same_ranges(rows, axes)
        for name, axis in zip(names, axes[0], strict=True):
            axis.set_title(name)
        _legend(figure, colours, len(sources))
        return _svg(figure)


def mean_plot(measured: Mapping[str, Measurement], sources: Mapping[str, str]) -> bytes:
    """Mean intensity of every part, a dot a case, before and after, as SVG."""
    names, colours = part_names(measured.values()), colours_of(sources)
    rows = [row for row in rows_of(measured) if row.unit == (STORED if is_ct(measured) else SCALED)]
    spread = np.random.default_rng(0)
    with rc_context(_STYLE):
        figure = Figure((1.35 * len(names) + 1.2, 3), layout="constrained")
        axis = figure.subplots()
        for place, name in enumerate(names):
            for offset, row in zip((-0.2, 0.2), rows, strict=True):
                there = [case for case, one in measured.items() if _has(row.scan(one), name)]
                means = [row.scan(measured[c]).parts[name].mean / row.divisor(measured[c]) for c in there]
                at = (
                    place + offset + (spread.uniform(-0.1, 0.1, len(there)) if len(there) > 1 else np.zeros(len(there)))
                )
                faces = [colours[sources[case]] for case in there]
                mark = "o" if row.side == "before" else "D"
                axis.scatter(at, means, s=16, alpha=0.75, c=faces, marker=mark, rasterized=len(there) > _MOST_SHAPES)
                if means:
                    axis.hlines(
                        np.median(means), place + offset - 0.15, place + offset + 0.15, color=INK, linewidth=1.4
                    )
        axis.set_xticks(range(len(names)), [fill(name, 13) for name in names])
        axis.set_ylabel("mean, HU" if is_ct(measured) else "mean / 99.5th percentile")
        marks = [
            Line2D([], [], color=INK, linestyle="", marker=mark, markersize=4, label=text)
            for mark, text in (("o", "before"), ("D", "harmonised"))
        ]
        axis.legend(handles=marks, loc="upper left", bbox_to_anchor=(1, 1))
        _legend(figure, colours, len(sources))
        return _svg(figure)


def spread_plot(spread: Mapping[str, Any], measures: Mapping[str, str], unit: str, label: str) -> bytes:
    """Every measure of spread (a panel each) by part: a line from before to after, as SVG."""
    names = list(spread[unit]["before"])
    with rc_context(_STYLE):
        figure = Figure((3.1 * len(measures) + 1, 0.32 * len(names) + 1.2), layout="constrained")
        axes = figure.subplots(1, len(measures), squeeze=False, sharey=True)[0]
        for axis, (measure, title) in zip(axes, measures.items(), strict=True):
            for place, name in enumerate(names):
                was, now = (spread[unit][side][name][measure] for side in SIDES)
                if was is None or now is None:
                    continue
                axis.plot([was, now], [place, place], color="#bbbbbb", linewidth=2, zorder=1)
                axis.scatter(was, place, s=26, color=_BEFORE, zorder=2)
                axis.scatter(now, place, s=26, color=_AFTER, marker="D", zorder=2)
            axis.set(title=title, xlabel=label)
            axis.set_xlim(left=0)
        axes[0].set_yticks(range(len(names)), names)
        axes[0].invert_yaxis()
        marks = [
            Line2D([], [], color=colour, linestyle="", marker=mark, label=text)
            for colour, mark, text in ((_BEFORE, "o", "before"), (_AFTER, "D", "harmonised"))
        ]
        figure.legend(handles=marks, loc="outside right upper")
        return _svg(figure)


def _has(scan: Scan, name: str) -> bool:
    return name in scan.parts and scan.parts[name].voxels > 0


def _curve(axis: Axes, row: Rows, one: Measurement, name: str, colour: str, many: bool) -> None:
    """The density of one part of one case; of many as pixels, or the page would grow with them."""
    if not _has(row.scan(one), name):
        return
    part, divisor = row.scan(one).parts[name], row.divisor(one)
    low, high = (edge / divisor for edge in part.edges)
    edges = np.linspace(low, high, len(part.histogram) + 1)
    shares = np.array(part.histogram)
    if len(shares) > 4:
        # The outermost bins hold what was clipped to them, which would stand out as spikes.
        shares, edges = shares[1:-1], edges[1:-1]
    middles = (edges[:-1] + edges[1:]) / 2
    density = gaussian_filter1d(shares, _SMOOTH, mode="nearest") / np.diff(edges)
    if row.logarithmic:
        density, middles = (density * middles)[middles > 0], middles[middles > 0]
    axis.plot(middles, density, color=colour, linewidth=1, alpha=0.8, rasterized=many)


def _same_ranges(rows: Sequence[Rows], axes: Any) -> None:
    """Before and after of one unit have one intensity axis, or the eye would compare what cannot be compared."""
    for unit in dict.fromkeys(row.unit for row in rows):
        lines = [line for row, line in zip(rows, axes, strict=True) if row.unit == unit]
        for column in zip(*lines, strict=True):
            low, high = min(a.get_xlim()[0] for a in column), max(a.get_xlim()[1] for a in column)
            for axis in column:
                axis.set_xlim(low, high)


def _legend(figure: Figure, colours: Mapping[str, str], cases: int) -> None:
    """Names of the sources, where there are not too many."""
    if len(colours) > len(_COLOURS) or len(colours) == cases > 1:
        return
    lines = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines))


def _svg(figure: Figure) -> bytes:
    stream = BytesIO()
    figure.savefig(stream, format="svg", dpi=150, metadata={"Date": None})
    return stream.getvalue()
