"""What a segmenter says of synthetic scans: its label maps against those that the scans were drawn from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.pairs import belongs, scans
from napari_gem3d.evaluation.segmentation import Regions, compare_regions
from napari_gem3d.evaluation.summary import deviation, mean
from napari_gem3d.io import read_label_map
from napari_gem3d.volume import resample


def find_predictions(made: Mapping[str, Path], segmentations: Path, labels: Path) -> dict[str, tuple[Path, Path]]:
    """The predicted and the true label map of every synthetic scan that has both.

    Parameters
    ----------
    made
        Synthetic scans by name.
    segmentations
        Folder of predicted label maps with the synthetic scans' names.
    labels
        Folder of label maps: NAME.nii.gz of a synthetic scan, or CASE.nii.gz for all scans of a case.

    Raises
    ------
    InputError
        If a folder has no label maps, or there is no prediction that belongs to a synthetic scan with a label map.
    """
    predicted, true = scans(segmentations), scans(labels)
    found = {}
    for name in made:
        truth = max((case for case in true if belongs(name, case)), key=len, default=None)
        if truth is not None and name in predicted:
            found[name] = predicted[name], true[truth]
    if not found:
        raise InputError(
            f"No segmentation in {segmentations} has the name of a synthetic scan with a label map in {labels}; call "
            "it as the synthetic scan is called."
        )
    return found


def score_predictions(pairs: Mapping[str, tuple[Path, Path]], regions: Regions | None = None) -> dict[str, Any]:
    """Dice and HD95 of predicted label maps, by scan and region, and their means.

    Parameters
    ----------
    pairs
        Predicted and true label map by name, as `find_predictions` gives them.
    regions
        Name and label values of each; by default every label by itself, in scans where either map has it.

    Returns
    -------
    dict
        ``scans``: by name and region as `compare_regions`; ``regions``: number of scans ``n``, mean and deviation of
        ``dice`` and ``hd95`` (mm) of each, and in how many scans the latter is ``undefined``, as one map alone lacks
        the region.

    Raises
    ------
    InputError
        If a label map cannot be read, or the two lie on different grids.
    """
    found = {}
    for name, (predicted, true) in pairs.items():
        truth, guess = read_label_map(true), read_label_map(predicted)
        differences = guess.grid.differences(truth.grid)
        if differences:
            raise InputError(
                f"{predicted} is not on the grid of {true} ({'; '.join(differences)}); segment the scan as it is."
            )
        asked = regions or {str(value): (value,) for value in sorted({*truth.values(), *guess.values()})}
        found[name] = compare_regions(truth.voxels, resample(guess, truth.grid, order=0).voxels, truth.spacing, asked)
    by_region: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in found.values():
        for region, scores in entry.items():
            by_region[region].append(scores)
    return {"scans": found, "regions": {region: _over_scans(scores) for region, scores in by_region.items()}}


def _over_scans(scores: list[dict[str, Any]]) -> dict[str, Any]:
    dice = [entry["dice"] for entry in scores]
    hd95 = [entry["hd95"] for entry in scores if entry["hd95"] is not None]
    return {
        "n": len(scores),
        "dice": mean(dice),
        "dice_deviation": deviation(dice),
        "hd95": mean(hd95),
        "hd95_deviation": deviation(hd95),
        "undefined": int(np.count_nonzero([entry["hd95"] is None for entry in scores])),
    }
