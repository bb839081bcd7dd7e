"""Streaks: what of neighbouring slices is smooth within them and rough across them, and the slices that can go on.

Slices that are generated one beside the other differ a little in brightness, most of all where one window ends and the
next begins, and coronal and sagittal planes show it as horizontal streaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# Within slices, what is smooth over this width must across them be smooth over that one (standard deviations, mm).
STREAK_WITHIN_MM, STREAK_ACROSS_MM = 3.0, 1.5
_TRUNCATED = 3.0

# Part of a volume, along (z, y, x).
Box = tuple[slice, ...]


def _streak_widths(spacing: tuple[float, float, float]) -> tuple[float, ...]:
    return tuple(mm / size for mm, size in zip((STREAK_ACROSS_MM, *[STREAK_WITHIN_MM] * 2), spacing, strict=True))


def streak_reach(spacing: tuple[float, float, float]) -> tuple[int, ...]:
    """How many voxels of a size in mm `streaks` looks at to either side, along (z, y, x)."""
    return tuple(int(_TRUNCATED * width + 0.5) for width in _streak_widths(spacing))


def surroundings(part: Box, spacing: tuple[float, float, float]) -> tuple[Box, Box]:
    """What `streaks` looks at for a part of a volume, and where that part lies within it."""
    around = tuple(
        slice(max(where.start - reach, 0), where.stop + reach)
        for where, reach in zip(part, streak_reach(spacing), strict=True)
    )
    inner = tuple(slice(p.start - a.start, p.stop - a.start) for p, a in zip(part, around, strict=True))
    return around, inner


def streaks(
    voxels: NDArray[np.float32], body: NDArray[np.bool_], spacing: tuple[float, float, float]
) -> NDArray[np.float32]:
    """What of neighbouring slices is smooth within them and rough across them.

    Anatomy knows no such thing; slices that are generated one beside the other have it. Between real slices of the
    bundled model's patients it is a quarter of what it is between generated ones.

    Parameters
    ----------
    voxels
        (Z, Y, X), slices on axis 0; at its ends, `streak_reach` slices are only looked at.
    body
        (Z, Y, X); what is outside does not count.
    spacing
        mm along (z, y, x).

    Returns
    -------
    ndarray
        (Z, Y, X), to be subtracted.
    """
    across, *within = _streak_widths(spacing)
    inside = body.astype(np.float32)
    share = ndimage.gaussian_filter(inside, (0, *within), truncate=_TRUNCATED)
    summed = ndimage.gaussian_filter(voxels * inside, (0, *within), truncate=_TRUNCATED)

    def steady(array: NDArray[np.float32]) -> Any:
        return ndimage.gaussian_filter1d(array, across, axis=0, truncate=_TRUNCATED, mode="nearest")

    # Each mean is taken over the body alone: the ends and edges of the body are no streaks.
    least = np.float32(1e-3)
    rough: NDArray[np.float32] = summed / np.maximum(share, least) - steady(summed) / np.maximum(steady(share), least)
    return rough * inside


def runs_of(slices: Sequence[int] | NDArray[np.intp], gap: int) -> list[range]:
    """Ascending slices as runs; those with fewer than `gap` slices between them are one run.

    Windows about runs that are at least a window apart have no slice in common.
    """
    runs: list[range] = []
    for i in map(int, slices):
        if runs and i - runs[-1].stop < gap:
            runs[-1] = range(runs[-1].start, i + 1)
        else:
            runs.append(range(i, i + 1))
    return runs


class Waiting:
    """Which slices have all the neighbours that `streaks` looks at.

    Parameters
    ----------
    todo
        Slices that are generated; all others are there from the start.
    reach
        How many neighbours to either side a slice waits for.
    """

    def __init__(self, todo: Sequence[int], reach: int) -> None:
        self._open, self._held, self._reach = set(todo), set[int](), reach

    def take(self, new: range) -> list[int]:
        """Take in slices that are there by now; which of all that wait have their neighbours with them, ascending."""
        self._open.difference_update(new)
        self._held.update(new)
        reach = self._reach
        ready = sorted(i for i in self._held if self._open.isdisjoint(range(i - reach, i + reach + 1)))
        self._held.difference_update(ready)
        return ready
