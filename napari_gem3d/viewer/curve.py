"""How much neighbouring slices differ, while they are generated, and in the patient's own scan for comparison."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.texture import mean_step
from napari_gem3d.grid import Grid
from napari_gem3d.volume import Volume, resample

# Every third row and column: a thousandth of a millisecond a voxel, and the mean stays what it is.
_PLANE = (slice(None), slice(None, None, 3), slice(None, None, 3))


@dataclass(frozen=True, eq=False)
class Curves:
    """Mean change from each slice to the next inside the body, as a share of the range of intensities.

    Attributes
    ----------
    scan, synthetic
        (Z − 1,) each, of the scan and of what is generated; NaN where a neighbour is not there yet, or shows no body.
    """

    scan: NDArray[np.float64]
    synthetic: NDArray[np.float64]


class SliceChange:
    """Follows how much neighbouring slices differ.

    Parameters
    ----------
    scan
        The patient's own, for comparison.
    grid
        The job's.
    """

    def __init__(self, scan: Volume, grid: Grid) -> None:
        voxels = resample(scan, grid, fill=float(scan.voxels.min())).voxels[_PLANE]
        gaps = max(len(voxels) - 1, 0)
        self._scan, self._synthetic = np.full(gaps, np.nan), np.full(gaps, np.nan)
        inside = voxels > voxels[0, 0, 0]
        for i in range(gaps):
            self._scan[i] = _step(voxels, inside, i)
        self._scan /= _range(voxels)
        self._steps = np.full(gaps, np.nan)
        self._there = np.zeros(len(voxels), bool)

    def take(self, indices: Iterable[int], voxels: NDArray[np.float32]) -> None:
        """Look at slices that have arrived, of `voxels` (Z, Y, X) as a whole."""
        few = voxels[_PLANE]
        new = list(indices)
        self._there[new] = True
        low = few.min()
        for i in {gap for index in new for gap in (index - 1, index)}:
            if 0 <= i < len(self._steps) and self._there[i] and self._there[i + 1]:
                self._steps[i] = _step(few, few > low, i)
        self._synthetic = self._steps / _range(few[self._there])

    def curves(self) -> Curves:
        """What is known so far."""
        return Curves(self._scan, self._synthetic)


def _step(voxels: NDArray[Any], inside: NDArray[np.bool_], i: int) -> float:
    try:
        return mean_step(voxels[i : i + 2], inside[i : i + 2], axis=0)
    except InputError:  # no body on one of the two
        return np.nan


def _range(voxels: NDArray[Any]) -> float:
    """From the background to nearly the brightest."""
    low = voxels.min()
    inside = voxels[voxels > low]
    return float(np.percentile(inside, 99.5) - low) if inside.size else 1.0
