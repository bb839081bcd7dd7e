"""How well two segmentations agree: Dice and the 95th percentile of the Hausdorff distance, by region."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.errors import InputError

Regions = Mapping[str, Sequence[int]]

# The nested regions of BraTS by the label numbers of the Medical Segmentation Decathlon and of this project's data:
# 1 edema, 2 non-enhancing tumour, 3 enhancing tumour. (BraTS itself writes 2, 1 and 4.)
BRATS_REGIONS: Regions = {"WT": (1, 2, 3), "TC": (2, 3), "ET": (3,)}


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Dice coefficient 2 |a ∩ b| / (|a| + |b|) of two masks of one shape.

    Returns
    -------
    float
        0 to 1; two empty masks agree, 1, and an empty one and one that is not do not, 0.

    Raises
    ------
    InputError
        If the shapes differ.
    """
    a, b = _masks(a, b)
    both = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / both if both else 1.0


def hd95(a: NDArray[np.bool_], b: NDArray[np.bool_], spacing: Sequence[float]) -> float:
    """95th percentile of the Hausdorff distance of two masks, the larger of both directions, as MONAI takes it.

    Parameters
    ----------
    a, b
        Masks of one shape, (Z, Y, X) or fewer axes. Their surface is the voxels that a face joins to the background
        or to the end of the array.
    spacing
        Distance of neighbouring voxels along each axis of the array, mm.

    Returns
    -------
    float
        mm; 0 for two empty masks and NaN if one alone is empty, for which no distance is defined.

    Raises
    ------
    InputError
        If the shapes differ, or `spacing` does not have a positive length for each axis.
    """
    a, b = _masks(a, b)
    if len(spacing) != a.ndim or min(spacing) <= 0:
        raise InputError(f"A spacing of {tuple(spacing)} mm does not fit {a.ndim} axes; give a length for each.")
    if not (a.any() and b.any()):
        return 0.0 if a.any() == b.any() else float("nan")
    # Nothing outside the box of both counts, and distance maps of whole scans take long.
    box = ndimage.find_objects((a | b).astype(np.uint8))[0]
    surfaces = [mask[box] & ~ndimage.binary_erosion(mask[box]) for mask in (a, b)]
    directed = [
        np.percentile(ndimage.distance_transform_edt(~there, sampling=spacing)[here], 95)
        for here, there in (surfaces, surfaces[::-1])
    ]
    return float(max(directed))


def region(labels: NDArray[np.integer], values: Iterable[int]) -> NDArray[np.bool_]:
    """Where a label map has one of the values that make up a region."""
    return np.isin(labels, list(values))


def compare_regions(
    truth: NDArray[np.integer],
    predicted: NDArray[np.integer],
    spacing: Sequence[float],
    regions: Regions = BRATS_REGIONS,
) -> dict[str, dict[str, Any]]:
    """Dice and HD95 of a predicted label map, by region.

    Parameters
    ----------
    truth, predicted
        Label maps (Z, Y, X) on one grid.
    spacing
        mm along each axis of the arrays.
    regions
        Name and label values of each.

    Returns
    -------
    dict
        By region ``dice``, ``hd95`` (mm; None where that is NaN) and the
        numbers of ``voxels`` and of ``predicted_voxels``.

    Raises
    ------
    InputError
        As `hd95`.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, values in regions.items():
        a, b = region(truth, values), region(predicted, values)
        distance = hd95(a, b, spacing)
        found[name] = {
            "dice": dice(a, b),
            "hd95": None if np.isnan(distance) else distance,
            "voxels": int(np.count_nonzero(a)),
            "predicted_voxels": int(np.count_nonzero(b)),
        }
    return found


def _masks(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    if a.shape != b.shape:
        raise InputError(f"Masks of {a.shape} and {b.shape} voxels cannot be compared; bring them to one grid.")
    return a.astype(bool, copy=False), b.astype(bool, copy=False)
