"""Means and deviations of the figures of pairs: of all, by case, and between the synthetic scans of a case."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

_CONTRAST = "contrast "

Entries = Sequence[Mapping[str, float]]


def summarise(judged: Sequence[Mapping[str, Any]], figures: Sequence[str]) -> dict[str, Any]:
    """The mean of all pairs, figures by case, and how much they vary between the synthetic scans (seeds) of a case.

    Parameters
    ----------
    judged
        What `judge` says of every pair.
    figures
        The figures that are summarised besides contrast, in the order wanted.

    Returns
    -------
    dict
        ``mean`` of all pairs; ``deviation`` over the cases' means; ``cases``: number of ``scans``, ``mean`` and
        ``deviation`` over them of each case; ``deviation_over_seeds``: that within cases, pooled.
    """
    by_case: dict[str, list[dict[str, float]]] = defaultdict(list)
    for entry in judged:
        by_case[entry["case"]].append(_flat(entry, figures))
    every = [entry for entries in by_case.values() for entry in entries]
    names = sorted({name for entry in every for name in entry})

    def over(entries: Entries, how: Callable[[list[float]], float | None]) -> dict[str, Any]:
        return nested({name: how([entry[name] for entry in entries if name in entry]) for name in names}, figures)

    def pooled(name: str) -> float | None:
        groups = [[entry[name] for entry in entries if name in entry] for entries in by_case.values()]
        several = [group for group in groups if len(group) > 1]
        freedom = sum(len(group) - 1 for group in several)
        return float(np.sqrt(sum(len(g) * np.var(g) for g in several) / freedom)) if freedom else None

    means = [
        {name: float(np.mean(values)) for name in names if (values := [e[name] for e in entries if name in e])}
        for entries in by_case.values()
    ]
    return {
        "mean": over(every, mean),
        "deviation": over(means, deviation),
        "cases": {
            case: {"scans": len(entries), "mean": over(entries, mean), "deviation": over(entries, deviation)}
            for case, entries in by_case.items()
        },
        "deviation_over_seeds": nested({name: pooled(name) for name in names}, figures),
    }


def summarise_scans(scans: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """``mean`` and ``deviation`` over scans of their own figures (`describe`)."""
    names = list(next(iter(scans.values())))
    values = {name: [scan[name] for scan in scans.values()] for name in names}
    return {
        "mean": {name: mean(found) for name, found in values.items()},
        "deviation": {name: deviation(found) for name, found in values.items()},
    }


def _flat(entry: Mapping[str, Any], figures: Sequence[str]) -> dict[str, float]:
    """Every figure of a pair that there is by one name; contrasts of labels that cannot be compared are left out."""
    contrast = {f"{_CONTRAST}{value}": found["ratio"] for value, found in entry.get("contrast", {}).items()}
    found = {key: entry.get(key) for key in figures} | contrast
    return {name: value for name, value in found.items() if value is not None}


def nested(values: Mapping[str, float | None], figures: Sequence[str]) -> dict[str, Any]:
    """The inverse of `_flat`: figures in their order, and contrasts by label."""
    found: dict[str, Any] = {key: values[key] for key in figures if key in values}
    contrast = {name.removeprefix(_CONTRAST): value for name, value in values.items() if name.startswith(_CONTRAST)}
    return found | ({"contrast": dict(sorted(contrast.items(), key=lambda item: int(item[0])))} if contrast else {})


def mean(values: Sequence[float]) -> float | None:
    """Their mean; None if there are none."""
    return float(np.mean(values)) if values else None


def deviation(values: Sequence[float]) -> float | None:
    """Their standard deviation; None of fewer than two."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
