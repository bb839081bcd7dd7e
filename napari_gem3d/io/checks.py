"""What every reader has to check and convert, whatever the format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.errors import InputError


def check_dimensions(shape: Sequence[int], path: Path) -> tuple[int, int, int]:
    """The three sizes of a volume, in the order given; trailing axes of one element (a single time point) are dropped.

    Raises
    ------
    InputError
        If there is nothing in it, or it is a single slice, or has more than three axes.
    """
    sizes = [int(size) for size in shape]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) > 3:
        raise InputError(f"{path} has {len(sizes)} dimensions ({_times(sizes)}); extract one 3D volume from it.")
    if 0 in sizes or not sizes:
        raise InputError(f"{path} is empty ({_times(sizes)} voxels); give a volume with voxels in it.")
    if len(sizes) < 3 or 1 in sizes:
        raise InputError(f"{path} is a 2D image ({_times(sizes)}), not a volume; give a file with all slices.")
    return sizes[0], sizes[1], sizes[2]


def check_dtype(dtype: np.dtype[Any], path: Path) -> None:
    """Raise InputError if voxels of this type are not one real number each (colour, complex)."""
    if dtype.kind not in "biuf":
        raise InputError(f"{path} holds {dtype} voxels (colour or complex), not intensities; give a greyscale volume.")


def check_intensities(voxels: NDArray[Any], path: Path) -> None:
    """Raise InputError if a voxel is NaN or infinite, or all voxels are the same."""
    check_finite(voxels, path)
    low = voxels.min()
    if low == voxels.max():
        raise InputError(f"{path} is constant (every voxel is {low:g}); give a scan with something in it.")


def check_finite(voxels: NDArray[Any], path: Path) -> None:
    """Raise InputError if a voxel is NaN or infinite."""
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        number = int(np.count_nonzero(~np.isfinite(voxels)))
        raise InputError(f"{path} has {number} NaN or infinite voxels; replace them before opening it.")


def scaled(voxels: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """Apply a header's scaling.

    Parameters
    ----------
    voxels
        Stored values.
    slope, intercept
        Whole numbers keep integers integers (CT in HU stays int16); anything else gives float32.
    """
    if slope == 1 and intercept == 0:
        return voxels
    if voxels.dtype.kind in "iu" and float(slope).is_integer() and float(intercept).is_integer():
        ends = [int(voxels.min()) * int(slope) + int(intercept), int(voxels.max()) * int(slope) + int(intercept)]
        for dtype in (np.int16, np.int32, np.int64):
            if np.iinfo(dtype).min <= min(ends) and max(ends) <= np.iinfo(dtype).max:
                return (voxels.astype(np.int64) * int(slope) + int(intercept)).astype(dtype)
    return (voxels.astype(np.float64) * slope + intercept).astype(np.float32)


def _times(sizes: Sequence[int]) -> str:
    return " × ".join(str(size) for size in sizes)
