"""From distances to a verdict: what is nearer to the training set than a scan of somebody new has reason to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

COPY, LOOK, CLEAR = "copy", "look", "clear"
# Share of scans of new patients that lie below a bound, were distances normally distributed.
FALSE_ALARMS = 0.01
# Nearer than this share of the nearest held-out scan's distance is a copy however few scans are held out.
_SURE = 0.5
_FEWEST = 3


@dataclass(frozen=True)
class Neighbours:
    """The nearest training slice of every slice of one scan, and the nearest training scan.

    Attributes
    ----------
    slices
        (S,) which axial slices of the scan, counted from the lowest (0).
    distance
        (S,) from the nearest training slice.
    scan, number, mirrored
        (S,) the name of its scan, its number there, and whether its mirror image is meant.
    nearest
        The training scan whose slices are nearest on average.
    nearest_distance
        Mean distance of all slices from it.
    second_distance
        Mean distance from the second nearest training scan; nan if there is only one.
    """

    slices: NDArray[np.intp]
    distance: NDArray[np.float32]
    scan: tuple[str, ...]
    number: NDArray[np.intp]
    mirrored: NDArray[np.bool_]
    nearest: str
    nearest_distance: float
    second_distance: float

    @property
    def relative(self) -> float:
        """Distance from the nearest training scan over that from the second nearest; nan if there is only one."""
        return self.nearest_distance / max(self.second_distance, 1e-6)

    @property
    def closest(self) -> int:
        """Index of the slice that is nearest to a training slice."""
        return int(self.distance.argmin())


@dataclass(frozen=True)
class Yardstick:
    """How near scans of new patients come to the training scans, by one distance.

    Attributes
    ----------
    closest_slice
        Smallest distance of any held-out slice from a training slice.
    closest_scan
        Smallest mean distance of a held-out scan from a training scan.
    expected
        Where one more held-out scan would hardly lie below, from `prediction_bound`.
    expected_relative
        The same of the distance relative to that from the second nearest training scan.
    """

    closest_slice: float
    closest_scan: float
    expected: float
    expected_relative: float

    @classmethod
    def of(cls, held_out: Sequence[Neighbours]) -> Yardstick:
        """The yardstick that held-out scans give, at least one."""
        return cls(
            min(float(scan.distance.min()) for scan in held_out),
            min(scan.nearest_distance for scan in held_out),
            prediction_bound([scan.nearest_distance for scan in held_out]),
            prediction_bound([scan.relative for scan in held_out]),
        )

    @property
    def sure(self) -> float:
        """Half the smallest distance of a held-out scan: below is a copy, however few scans are held out."""
        return _SURE * self.closest_scan

    def verdict(self, scan: Neighbours) -> str:
        """``copy``, ``look`` or ``clear``.

        A copy is near to one training scan and as far from the others as everybody. Scans of one centre can be near to
        each other by the way they were made, then to several of them: so a scan is a ``copy`` if its distance is below
        `expected` and, relative to that from the second nearest, below `expected_relative`; or if it is below `sure`.
        ``look``: not so, but its distance is below `expected`, or single slices are nearer to a training slice than any
        held-out slice is, which happens by chance as well. ``clear``: neither.
        """
        near = scan.nearest_distance < self.expected
        if scan.nearest_distance < self.sure or (near and scan.relative < self.expected_relative):
            return COPY
        return LOOK if near or bool((scan.distance < self.closest_slice).any()) else CLEAR


def prediction_bound(values: Sequence[float]) -> float:
    """Lower end of the one-sided 99 % prediction interval for one more value (Student's t).

    Dar et al. (2024) likewise set their threshold by how validation scans lie to training scans, at the 95th
    percentile, for which it takes more scans than are usually held out.

    Returns
    -------
    float
        The bound; minus infinity for fewer than three values, or if one is nan.
    """
    n = len(values)
    if n < _FEWEST or not np.isfinite(values).all():
        return float("-inf")
    width = stats.t.ppf(1 - FALSE_ALARMS, n - 1) * np.std(values, ddof=1) * np.sqrt(1 + 1 / n)
    return float(np.mean(values) - width)


def worst(verdicts: Sequence[str]) -> str:
    """The gravest of several verdicts on one scan."""
    return min(verdicts, key=(COPY, LOOK, CLEAR).index)
