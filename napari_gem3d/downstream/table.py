"""The paper's Table 3: what a segmenter reaches on real test patients by what it was trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from napari_gem3d.downstream.scores import METRICS, Scores, over_runs, undefined
from napari_gem3d.evaluation.figures import Figure, table

# Dice in per cent with one digit, HD95 in mm with one.
_SCALE = {"dice": 100.0, "hd95": 1.0}
_TITLES = {"dice": "Dice %", "hd95": "HD95 mm"}


def summarise(results: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of every training set, and their differences to the first, which is the reference.

    Parameters
    ----------
    results
        As `compare` makes them: ``sets`` with ``runs``, scores by run.

    Returns
    -------
    dict
        By training set and metric: by region, and ``mean`` over the regions, the ``mean`` and ``deviation`` over the
        runs, and ``delta``, the mean of ``mean`` less the reference's; and how many distances are undefined. A figure
        of which there is none is None.
    """
    reference: dict[str, float] = {}
    found: dict[str, Any] = {}
    for name, entry in results["sets"].items():
        runs: list[Scores] = list(entry["runs"].values())
        found[name] = {}
        for metric in METRICS:
            figures = over_runs(runs, metric)
            reference.setdefault(metric, figures["mean"].mean)
            entries: dict[str, Any] = {
                region: {key: _known(value) for key, value in figure._asdict().items()}
                for region, figure in figures.items()
            }
            found[name][metric] = entries | {"delta": _known(figures["mean"].mean - reference[metric])}
        found[name]["hd95_undefined"], found[name]["hd95_of"] = undefined(runs)
    return found


def describe(results: Mapping[str, Any]) -> str:
    """The table, what made it and each patient's figures, in Markdown; `results` as `compare` makes them."""
    summary, regions = results["summary"], list(results["regions"])
    header = ["training data", "scans"]
    for metric in METRICS:
        header += [f"{_TITLES[metric]} {name}" for name in [*regions, "mean"]] + [f"Δ {_TITLES[metric]}"]
    rows = [_row(name, results, regions) for name in summary]
    parts = [
        table(header, rows),
        _caption(results),
        "Dice % of each test patient, mean over the runs:",
        _by_patient(results),
    ]
    if any(any(entry["own_summary"].values()) for entry in results["sets"].values()):
        parts += ["Dice % by label, as the segmenter's own summary has it:", _own_summary(results)]
    return "\n\n".join(parts)


def _row(name: str, results: Mapping[str, Any], regions: Sequence[str]) -> list[str]:
    row = [name, str(results["sets"][name]["scans"])]
    for metric in METRICS:
        found, scale = results["summary"][name][metric], _SCALE[metric]
        for key in [*regions, "mean"]:
            mean, spread = (None if value is None else value * scale for value in found[key].values())
            row.append("–" if mean is None else Figure(mean, spread).text(1))
        reference = name == next(iter(results["summary"]))
        row.append("" if reference else "–" if found["delta"] is None else f"{found['delta'] * scale:+.1f}")
    return row


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _caption(results: Mapping[str, Any]) -> str:
    summary, seeds = results["summary"], results["seeds"]
    runs = f"{len(seeds)} runs, ± their standard deviation" if len(seeds) > 1 else "one run"
    lines = [
        f"Segmenter: {results['segmenter']}. Means over {len(results['test_cases'])} real test patients, {runs}; "
        f"mean is that over {', '.join(results['regions'])}, Δ its difference to {next(iter(summary))}."
    ]
    gaps = [f"{e['hd95_undefined']} of {e['hd95_of']} ({n})" for n, e in summary.items() if e["hd95_undefined"]]
    if gaps:
        lines.append(
            "HD95 is undefined, and left out of the means, where only one of segmentation and prediction has the "
            "region: "
            f"{', '.join(gaps)}."
        )
    return " ".join(lines)


def _by_patient(results: Mapping[str, Any]) -> str:
    regions = list(results["regions"])
    rows = []
    for case in results["test_cases"]:
        row = [case]
        for entry in results["sets"].values():
            values = [
                np.mean([scores[case][region]["dice"] for scores in entry["runs"].values()]) for region in regions
            ]
            row.append(" / ".join(f"{100 * value:.1f}" for value in values))
        rows.append(row)
    return table(["patient", *(f"{name}: {' / '.join(regions)}" for name in results["sets"])], rows)


def _own_summary(results: Mapping[str, Any]) -> str:
    """Mean over patients and runs; a patient who has a label neither in truth nor in prediction is left out."""
    rows = []
    for name, entry in results["sets"].items():
        row = [name]
        for value in results["labels"].values():
            found = [case[str(value)] for run in entry["own_summary"].values() for case in run.values()]
            known = [dice for dice in found if dice is not None]
            row.append(f"{100 * np.mean(known):.1f}" if known else "–")
        rows.append(row)
    return table(["training data", *results["labels"]], rows)
