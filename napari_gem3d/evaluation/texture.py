"""Texture along and inside slices: whether a synthetic volume changes from voxel to voxel as much as the real one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.errors import InputError


def mean_step(volume: NDArray[Any], inside: NDArray[np.bool_], axis: int) -> float:
    """Mean difference, without sign, of neighbouring voxels along an axis.

    Parameters
    ----------
    volume
        (Z, Y, X).
    inside
        Where to look, the same shape: pairs of which both voxels are inside count.
    axis
        0 axial, 1 coronal, 2 sagittal neighbours.

    Returns
    -------
    float
        In the volume's units.

    Raises
    ------
    InputError
        If no two neighbours are inside.
    """
    near, far = ((slice(None),) * axis + (part,) for part in (slice(None, -1), slice(1, None)))
    pairs = inside[near] & inside[far]
    if not pairs.any():
        raise InputError("Nothing of the scan has a neighbour inside the body; give another scan.")
    return float(np.abs(volume[far].astype(np.float32) - volume[near])[pairs].mean())


def step_ratio(real: NDArray[Any], made: NDArray[Any], axis: int = 0, inside: NDArray[np.bool_] | None = None) -> float:
    """`mean_step` of the synthetic volume over that of the real one; `inside` is by default where `real` is above 0.

    1 is right. Along the slices, axis 0, more than about 1.2 looks like streaks in coronal and sagittal planes, less
    than about 0.8 smeared.
    """
    where = real > 0 if inside is None else inside
    return mean_step(made, where, axis) / mean_step(real, where, axis)


def sharpness(real: NDArray[Any], made: NDArray[Any], inside: NDArray[np.bool_] | None = None) -> float:
    """Steps along rows and columns, synthetic over real, `inside` as in `step_ratio`; 1 is right, 0.8 looks blurred."""
    where = real > 0 if inside is None else inside
    steps = [sum(mean_step(volume, where, axis) for axis in (1, 2)) for volume in (made, real)]
    return steps[0] / steps[1]
