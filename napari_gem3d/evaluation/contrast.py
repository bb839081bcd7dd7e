"""Does each label look like what it is: intensities by label, real against synthetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelIntensities:
    """Intensities of one label in the real and in the synthetic scan, in the scan's units (HU for CT).

    Attributes
    ----------
    voxels
        How many the label has.
    real_mean, made_mean, real_deviation, made_deviation
        Of the voxels' intensities.
    """

    voxels: int
    real_mean: float
    made_mean: float
    real_deviation: float
    made_deviation: float

    @property
    def ratio(self) -> float:
        """Synthetic over real mean; 1 is right. For scans whose zero is arbitrary (CT) look at the difference."""
        return self.made_mean / self.real_mean if self.real_mean else float("nan")

    @property
    def difference(self) -> float:
        """Synthetic minus real mean."""
        return self.made_mean - self.real_mean


def label_intensities(
    real: NDArray[Any], made: NDArray[Any], labels: NDArray[np.integer]
) -> dict[int, LabelIntensities]:
    """Compare the intensities of every label but the background.

    Parameters
    ----------
    real, made
        (Z, Y, X) on one grid.
    labels
        The label map on the same grid.
    """
    found = {}
    for value in np.unique(labels):
        if value:
            where = labels == value
            a, b = (volume[where].astype(np.float64) for volume in (real, made))
            found[int(value)] = LabelIntensities(
                int(where.sum()), float(a.mean()), float(b.mean()), float(a.std()), float(b.std())
            )
    return found
