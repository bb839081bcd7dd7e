"""How much the intensities of a dataset differ between its cases, and between their sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from statistics import mean, stdev
from typing import Any, Literal

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import wasserstein_distance

from napari_gem3d.cohorts.harmonise_measure import BODY, CLASSES, PERCENTILES, Measurement, Part

Side = Literal["before", "after"]
SIDES: tuple[Side, ...] = ("before", "after")
STORED, SCALED = "stored", "scaled"
MEASURES = ("between_cases", "between_sources", "distance_cases", "distance_sources")


def spreads(measured: Mapping[str, Measurement], sources: Mapping[str, str]) -> dict[str, Any]:
    """The spread of every part, before and after.

    Parameters
    ----------
    measured
        By case; all of one modality.
    sources
        Where the cases are from.

    Returns
    -------
    dict
        By unit ("stored", and "scaled" for MR: each scan by its own 99.5th percentile), then by side ("before",
        "after"), then by part: see `spread`.
    """
    units = (STORED,) if is_ct(measured) else (STORED, SCALED)
    found: dict[str, Any] = {}
    for unit in units:
        found[unit] = {}
        for side in SIDES:
            found[unit][side] = {
                name: spread(_of(measured, side, unit, name), sources, relative=not is_ct(measured))
                for name in part_names(measured.values())
            }
    return found


def is_ct(measured: Mapping[str, Measurement]) -> bool:
    """Whether the scans are CT."""
    return any(one.modality == "CT" for one in measured.values())


def part_names(measured: Iterable[Measurement]) -> list[str]:
    """The body, the classes and all labels, in this order."""
    names = dict.fromkeys((BODY, *CLASSES))
    for one in measured:
        names.update(dict.fromkeys(one.before.parts))
    return list(names)


def spread(parts: Mapping[str, tuple[Part, float]], sources: Mapping[str, str], relative: bool) -> dict[str, Any]:
    """How much one part differs.

    Parameters
    ----------
    parts
        By case: what was measured, and what its intensities are divided by.
    sources
        Where the cases are from.
    relative
        Whether differences are shares of the mean over cases. For CT they are HU: the mean may be about 0.

    Returns
    -------
    dict
        ``cases``, their number; ``mean``, over cases; ``between_cases`` and ``between_sources``, standard deviations of
        the means of cases, and of those of sources (each the mean of its cases); ``distance_cases`` and
        ``distance_sources``, Wasserstein (earth mover's) distances of the distributions, the mean over all pairs;
        sources pool their cases, each with the same weight. None where there are fewer than two, and for sources also
        where each has but one case.
    """
    there = {case: (part, unit) for case, (part, unit) in parts.items() if part.voxels}
    means = {case: part.mean / unit for case, (part, unit) in there.items()}
    curves = {case: np.array(part.quantiles) / unit for case, (part, unit) in there.items()}
    middle = mean(means.values()) if means else None
    by_source: dict[str, list[str]] = {}
    for case in there:
        by_source.setdefault(sources[case], []).append(case)
    grouped = list(by_source.values()) if len(by_source) < len(there) else []
    pooled = [np.concatenate([curves[case] for case in cases]) for cases in grouped]
    found = {
        "between_cases": _deviation(list(means.values())),
        "between_sources": _deviation([mean(means[case] for case in cases) for cases in grouped]),
        # Of two samples of one size the distance is the mean difference of their ordered values.
        "distance_cases": float(pdist(np.stack(list(curves.values())), "cityblock").mean()) / len(PERCENTILES)
        if len(curves) > 1
        else None,
        "distance_sources": float(np.mean([wasserstein_distance(a, b) for a, b in combinations(pooled, 2)]))
        if len(pooled) > 1
        else None,
    }
    divisor = abs(middle) if relative and middle else 1.0
    return {
        "cases": len(there),
        "sources": len(by_source),
        "mean": middle,
        **{name: None if value is None else value / divisor for name, value in found.items()},
    }


def summary(found: Mapping[str, Any]) -> dict[str, Any]:
    """Means over the classes and over the labels, of every measure: by unit, group of parts, and side."""
    told: dict[str, Any] = {}
    for unit, sides in found.items():
        names = list(sides[SIDES[0]])
        groups = {BODY: [BODY], "classes": list(CLASSES), "labels": [n for n in names if n not in (BODY, *CLASSES)]}
        told[unit] = {
            group: {
                side: {name: _mean([sides[side][part][name] for part in parts]) for name in MEASURES} for side in SIDES
            }
            for group, parts in groups.items()
            if parts
        }
    return told


def _of(measured: Mapping[str, Measurement], side: Side, unit: str, name: str) -> dict[str, tuple[Part, float]]:
    """One part of all cases that have it."""
    scans = {case: one.before if side == "before" else one.after for case, one in measured.items()}
    return {
        case: (scan.parts[name], scan.reference if unit == SCALED else 1.0)
        for case, scan in scans.items()
        if name in scan.parts
    }


def _deviation(values: Sequence[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return mean(there) if there else None
