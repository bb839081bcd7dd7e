"""Pieces of arrays that finding tissue needs: boxes, smoothing inside a mask, connected parts by size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Box = tuple[slice, slice, slice]
# Truncation of Gaussians, in standard deviations.
_TRUNCATE = 3.0


def boxed(inside: NDArray[np.bool_]) -> Box:
    """The bounding box of a mask (Z, Y, X); of an empty one its first voxel."""
    ends = []
    for axis in range(3):
        where = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        ends.append(slice(int(where[0]), int(where[-1]) + 1) if where.size else slice(0, 1))
    return ends[0], ends[1], ends[2]


def smoothed(
    voxels: NDArray[np.float32], inside: NDArray[np.bool_], sigma_mm: float, spacing: Sequence[float]
) -> NDArray[np.float32]:
    """A Gaussian mean (Z, Y, X) over the voxels inside a mask alone; what lies outside has no part in it."""
    sigma = [sigma_mm / mm for mm in spacing]
    weight = ndimage.gaussian_filter(inside.astype(np.float32), sigma, truncate=_TRUNCATE)
    total = ndimage.gaussian_filter(np.where(inside, voxels, np.float32(0)), sigma, truncate=_TRUNCATE)
    result: NDArray[np.float32] = total / np.maximum(weight, np.float32(1e-6))
    return result


def without_specks(inside: NDArray[np.bool_], least_mm3: float, spacing: Sequence[float]) -> NDArray[np.bool_]:
    """The connected parts (6 neighbours) that are at least so large."""
    parts, count = ndimage.label(inside)
    if not count:
        return inside
    large = np.bincount(parts.ravel()) >= least_mm3 / float(np.prod(spacing))
    large[0] = False
    kept: NDArray[np.bool_] = large[parts]
    return kept
