"""Two volumes in one picture: a checkerboard of both, or their difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.volume import Volume, resample

Limits = tuple[float, float]


@dataclass(frozen=True)
class Shown:
    """A volume and the grey window it is shown with.

    Attributes
    ----------
    volume
        Voxels (Z, Y, X).
    limits
        Intensities that are black and white.
    """

    volume: Volume
    limits: Limits


def matched(other: Shown, like: Shown) -> NDArray[np.float32]:
    """Voxels of `other` on the grid of `like`, intensities carried over from its window to that of `like`.

    Equal windows leave the intensities as they are.
    """
    voxels = resample(other.volume, like.volume.grid).voxels.astype(np.float32)
    if other.limits == like.limits:
        return voxels
    (low, high), (new_low, new_high) = other.limits, like.limits
    scaled: NDArray[np.float32] = (voxels - np.float32(low)) * np.float32((new_high - new_low) / (high - low))
    scaled += np.float32(new_low)
    return scaled


def checkerboard(first: Shown, other: Shown, tile_mm: float) -> NDArray[np.float32]:
    """Cubes of `tile_mm` of the one volume and of the other in turn, (Z, Y, X) on the grid of `first`."""
    second = matched(other, first)
    parity: NDArray[Any] = np.zeros((1, 1, 1), np.int64)
    for axis, (size, spacing) in enumerate(zip(first.volume.shape, first.volume.spacing, strict=True)):
        tile = (np.arange(size) * spacing // tile_mm).astype(np.int64)
        parity = parity + tile.reshape([-1 if i == axis else 1 for i in range(3)])
    return np.where(parity % 2 == 0, first.volume.voxels.astype(np.float32), second)


@dataclass(frozen=True)
class Difference:
    """What one volume has more than the other.

    Attributes
    ----------
    voxels
        (Z, Y, X), `first` minus `other`.
    limit
        The colours run from minus this to this: the 99.9th percentile of what differs.
    share
        Of voxels that differ at all, 0 to 1.
    mean, largest
        Of the size of the difference, where there is one.
    """

    voxels: NDArray[np.float32]
    limit: float
    share: float
    mean: float
    largest: float


def difference(first: Shown, other: Shown) -> Difference:
    """`first` minus `other`, on the grid of `first`, in its intensities; see `matched`."""
    voxels = first.volume.voxels.astype(np.float32) - matched(other, first)
    sizes = np.abs(voxels[voxels != 0])
    if not sizes.size:
        return Difference(voxels, 1.0, 0.0, 0.0, 0.0)
    limit = float(np.percentile(sizes[:: max(1, sizes.size // 1_000_000)], 99.9))
    return Difference(voxels, limit or 1.0, sizes.size / voxels.size, float(sizes.mean()), float(sizes.max()))
