"""What is kept of a set of slices' features: as much for ten thousand scans as for a hundred."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.extractors import Extractor
from napari_gem3d.evaluation.frechet import PLANES, distance_of_normals, features_of
from napari_gem3d.evaluation.kernel import kernel_distance
from napari_gem3d.evaluation.memory import give_back

# Features of so many slices are kept for the kernel distance; of more, a random choice.
_KEPT = 10_000


class FeatureStatistics:
    """Running mean and covariance of features, and a random choice of at most 10,000 of them.

    Parameters
    ----------
    length
        Of a feature vector, d.
    kept
        Size of the choice (Vitter's algorithm R, 1985: every slice is as likely in it).
    seed
        Of the choice.
    """

    def __init__(self, length: int, kept: int = _KEPT, seed: int = 0) -> None:
        self.count = 0
        self.mean = np.zeros(length)
        self._scatter = np.zeros((length, length))
        self._kept = kept
        self._sample: list[NDArray[np.float32]] = []
        self._rng = np.random.default_rng(seed)

    def add(self, features: NDArray[np.float32]) -> None:
        """Take (N, d) features into account."""
        if not len(features):
            return
        exact = features.astype(np.float64)
        mean, count = exact.mean(axis=0), len(exact)
        # Chan et al. 1979: sums about the mean, which do not lose digits as sums of squares would.
        step, total = mean - self.mean, self.count + count
        exact -= mean
        self._scatter += exact.T @ exact + np.outer(step, step) * (self.count * count / total)
        self.mean += step * (count / total)
        for index, feature in enumerate(features.astype(np.float32), start=self.count):
            if index < self._kept:
                self._sample.append(feature.copy())
            elif (place := int(self._rng.integers(index + 1))) < self._kept:
                self._sample[place] = feature.copy()
        self.count = total

    @property
    def covariance(self) -> NDArray[np.float64]:
        """(d, d), without bias; InputError from fewer than two slices."""
        if self.count < 2:
            raise InputError(f"{self.count} slices have no covariance; give scans with more.")
        return self._scatter / (self.count - 1)

    @property
    def sample(self) -> NDArray[np.float32]:
        """The features kept, (at most 10,000, d)."""
        return np.array(self._sample, np.float32).reshape(-1, len(self.mean))


class SliceSets:
    """Features of all slices of two sets of scans, real and synthetic, in each plane.

    Parameters
    ----------
    extractor
        What makes them.
    """

    def __init__(self, extractor: Extractor) -> None:
        self.extractor = extractor
        self.sets = [{plane: FeatureStatistics(extractor.length) for plane in PLANES} for _ in range(2)]

    def add(self, volume: NDArray[np.float32], synthetic: bool) -> None:
        """Take a scan (Z, Y, X) in [0, 1] into account."""
        for plane, statistics in self.sets[synthetic].items():
            statistics.add(features_of(self.extractor, volume, plane))
            give_back()

    def compare(self) -> dict[str, dict[str, Any]]:
        """For ``report.json``: the Fréchet and the kernel distance and numbers of slices, by plane.

        Raises
        ------
        InputError
            If there are fewer than four slices of a set in a plane.
        """
        found: dict[str, dict[str, Any]] = {"frechet": {}, "kernel": {}, "slices": {}}
        for plane in PLANES:
            real, made = (statistics[plane] for statistics in self.sets)
            found["slices"][plane] = {"real": real.count, "synthetic": made.count}
            found["kernel"][plane] = vars(kernel_distance(real.sample, made.sample)).copy()
            found["frechet"][plane] = distance_of_normals(real.mean, real.covariance, made.mean, made.covariance)
        return found
