"""What predictions are worth: Dice and HD95 of every test patient, and their means over patients, regions and runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_gem3d.downstream.datasets import TestSet, read_json, write_json
from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.figures import Figure
from napari_gem3d.evaluation.segmentation import BRATS_REGIONS, Regions, compare_regions
from napari_gem3d.io import read_label_map, sha256
from napari_gem3d.volume import resample

# By test case and region: ``dice``, ``hd95`` (mm or None), numbers of voxels.
Scores = Mapping[str, Mapping[str, Mapping[str, Any]]]
METRICS = ("dice", "hd95")
# How labels of gliomas are called in the datasets that number them 1 edema, 2 non-enhancing, 3 enhancing.
_BRATS_NAMES = ("edema", "non-enhancing", "enhancing")


def choose_regions(labels: Mapping[str, int]) -> Regions:
    """Regions that a dataset is scored by: those of BraTS if its labels are, else every label one.

    Parameters
    ----------
    labels
        Values by name, without background.
    """
    named = {value: name.lower() for name, value in labels.items()}
    if set(named) == {1, 2, 3} and all(named[i].startswith(name) for i, name in enumerate(_BRATS_NAMES, 1)):
        return BRATS_REGIONS
    return {name: (value,) for name, value in labels.items()}


def score(test: TestSet, predictions: Mapping[str, Path], regions: Regions, kept: Path) -> Scores:
    """Compare predictions with the test patients' segmentations, on each scan's own grid.

    Parameters
    ----------
    test
        The patients.
    predictions
        Label map by case.
    regions
        Name and label values of each.
    kept
        JSON file of the scores; those of predictions that have not changed since are taken from it.

    Raises
    ------
    InputError
        If a prediction is missing, cannot be read, or lies on another grid.
    """
    before = read_json(kept)
    known: dict[str, Any] = before if isinstance(before, dict) else {}
    asked = {name: list(values) for name, values in regions.items()}
    found: dict[str, dict[str, Any]] = {}
    for case in test.cases:
        path = predictions[case.name]
        of = {"prediction": sha256(path), "truth": test.content[case.name][1], "regions": asked}
        entry = known.get(case.name, {})
        if {key: entry.get(key) for key in of} != of:
            truth, predicted = read_label_map(case.labels), read_label_map(path)
            if predicted.grid.differences(truth.grid):
                raise InputError(f"{path} does not lie on the grid of {case.labels}; remove it and predict again.")
            aligned = resample(predicted, truth.grid, order=0)
            entry = {**of, "scores": compare_regions(truth.voxels, aligned.voxels, truth.spacing, regions)}
        found[case.name] = entry
    write_json(found, kept)
    return {case: entry["scores"] for case, entry in found.items()}


def over_patients(scores: Scores, metric: str) -> dict[str, float]:
    """Mean of a metric over the patients by region, and ``mean`` over the regions; NaN where no patient has a value."""
    regions = next(iter(scores.values()))
    found = {}
    for name in regions:
        values = [case[name][metric] for case in scores.values() if case[name][metric] is not None]
        found[name] = float(np.mean(values)) if values else float("nan")
    return found | {"mean": float(np.mean(list(found.values())))}


def over_runs(runs: Sequence[Scores], metric: str) -> dict[str, Figure]:
    """Mean over runs of `over_patients`, and the standard deviation over them, by region and ``mean``."""
    means = [over_patients(scores, metric) for scores in runs]
    return {name: Figure.of([mean[name] for mean in means]) for name in means[0]}


def undefined(runs: Sequence[Scores]) -> tuple[int, int]:
    """How many distances are undefined, as one of both masks is empty, and how many there are in all."""
    values = [region["hd95"] for scores in runs for case in scores.values() for region in case.values()]
    return sum(value is None for value in values), len(values)
