"""Curves of sets of scans, gathered scan by scan: brightness and consistency along the body, and intensities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.evaluation.consistency import neighbours, slice_means

_BINS = 64
# Places along the body, 0 its lowest slice and 1 its highest, at which curves are kept.
_PLACES = 41


class Curve:
    """Mean and deviation over scans of a value along the body's height."""

    def __init__(self) -> None:
        self.count = 0
        self._sum, self._squares = np.zeros(_PLACES), np.zeros(_PLACES)

    def add(self, values: NDArray[np.floating]) -> None:
        """Take the values (N,) of a scan's slices into account, from the lowest slice to the highest."""
        curve = np.interp(np.linspace(0, 1, _PLACES), np.linspace(0, 1, len(values)), values)
        self.count += 1
        self._sum += curve
        self._squares += curve**2

    def to_json(self) -> dict[str, Any]:
        """``mean`` and ``deviation`` (over scans; of one scan, None) at each place."""
        mean = self._sum / self.count
        variance = np.maximum(self._squares / self.count - mean**2, 0) * self.count / max(self.count - 1, 1)
        return {
            "mean": mean.round(6).tolist(),
            "deviation": np.sqrt(variance).round(6).tolist() if self.count > 1 else None,
        }


class Profile:
    """What a set of scans looks like on average; its size does not depend on their number."""

    def __init__(self) -> None:
        self.counts = np.zeros(_BINS)
        self.brightness, self.correlation = Curve(), Curve()

    def add(self, shown: NDArray[np.float32], inside: NDArray[np.bool_]) -> None:
        """Take a scan (Z, Y, X) in [0, 1] with its body into account; every scan counts the same.

        Raises
        ------
        InputError
            As `neighbours`.
        """
        counts = np.histogram(shown[inside], bins=_BINS, range=(0, 1))[0]
        self.counts += counts / counts.sum()
        self.correlation.add(neighbours(shown, inside)[0])
        self.brightness.add(slice_means(shown, inside))

    def to_json(self) -> dict[str, Any]:
        """Number of ``scans``, ``intensity`` (share of the body's voxels in each bin) and the curves."""
        return {
            "scans": self.brightness.count,
            "intensity": (self.counts / self.brightness.count).round(6).tolist(),
            "brightness": self.brightness.to_json(),
            "slice_correlation": self.correlation.to_json(),
        }
