"""From distances to a verdict: what is nearer to the training set than a scan of somebody new has reason to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

COPY, LOOK, CLEAR = "copy", "look", "clear"
# Share of scans of new patients that the bound calls copies, were distances normally distributed.
FALSE_ALARMS = 0.01
# Nearer than this share of the nearest held-out scan's distance is a copy however few scans are held out.
_HALF = 0.5
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
    def closest(self) -> int:
        """Index of the slice that is nearest to a training slice."""
        return int(self.distance.argmin())


def copy_bound(held_out: Sequence[float]) -> float:
    """Distance from its nearest training scan below which a scan is called a copy.

    The yardstick is how near held-out scans come to a training scan. The bound is the lower end of the one-sided 99 %
    prediction interval for one more such scan (Student's t), so one in a hundred scans of new patients is flagged by
    chance; or half the smallest held-out distance if that is more, or fewer than three scans are held out. Dar et al.
    (2024) likewise set their threshold by how validation scans lie to training scans, at the 95th percentile.

    Parameters
    ----------
    held_out
        Mean distance of each held-out scan from its nearest training scan.

    Returns
    -------
    float
        The bound; 0 without held-out scans.
    """
    if not len(held_out):
        return 0.0
    half = _HALF * min(held_out)
    n = len(held_out)
    if n < _FEWEST:
        return float(half)
    width = stats.t.ppf(1 - FALSE_ALARMS, n - 1) * np.std(held_out, ddof=1) * np.sqrt(1 + 1 / n)
    return float(max(half, np.mean(held_out) - width))


def verdict(scan: Neighbours, bound: float, closest_slice: float) -> str:
    """``copy``, ``look`` or ``clear``.

    Parameters
    ----------
    scan
        A synthetic scan.
    bound
        From `copy_bound`.
    closest_slice
        The smallest distance of a slice of any held-out scan.

    Returns
    -------
    str
        ``copy``: its slices together are nearer to one training scan than a new patient's would be. ``look``: they
        are not, but single slices are nearer to a training slice than any held-out slice is, which happens by chance as
        well. ``clear``: neither.
    """
    if scan.nearest_distance < bound:
        return COPY
    return LOOK if bool((scan.distance < closest_slice).any()) else CLEAR


def worst(verdicts: Sequence[str]) -> str:
    """The gravest of several verdicts on one scan."""
    return min(verdicts, key=(COPY, LOOK, CLEAR).index)
