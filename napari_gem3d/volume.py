"""Volume: voxels with their place in the patient, and the one way to bring them to another grid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.errors import InputError
from napari_gem3d.grid import FloatArray, Grid, check_affine

Modality = Literal["MR", "CT", ""]

# Two grids share their voxels if no voxel centre is further than this (in voxels) from its counterpart. Affines are
# stored in single precision, 800 mm from the scanner's origin: a few 1e-4 of a voxel is rounding, not geometry.
_SAME_VOXEL = 1e-2
# Copies of a volume that work on it holds at once, and bytes that need no look at what memory is free.
_COPIES, _ALWAYS_FITS = 3, 2**28


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan or any other scalar image of a patient.

    Attributes
    ----------
    voxels
        (Z, Y, X), the array of the file transposed; intensities in the file's units (HU for CT).
    affine
        (4, 4), voxel index (x, y, z, 1) to RAS+ world position in mm, as in NIfTI.
    modality
        "MR", "CT", or "" if the file does not say.
    source
        The file or DICOM folder it was read from.
    meta
        What is needed to write the volume back as it was; "synthetic" if its header says that it was generated;
        "segments", a dict of names by value, where the file of a label map says what its values mean; never anything
        that identifies the patient.

    Raises
    ------
    InputError
        If the voxels are not three-dimensional or the affine is singular.

    Examples
    --------
    >>> volume = Volume(np.zeros((20, 64, 48), np.int16), np.diag([1.0, 1.0, 5.0, 1.0]))
    >>> volume.spacing, volume.orientation
    ((5.0, 1.0, 1.0), 'RAS')
    """

    voxels: NDArray[Any]
    affine: FloatArray
    modality: Modality = ""
    source: Path | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3:
            raise InputError(f"The voxels have {self.voxels.ndim} dimensions; give a volume of three.")
        if self.voxels.size == 0:
            raise InputError(f"The volume is empty (shape {self.voxels.shape}); give one with voxels in it.")
        object.__setattr__(self, "affine", check_affine(self.affine))
        object.__setattr__(self, "meta", MappingProxyType(dict(self.meta)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels (Z, Y, X)."""
        depth, height, width = self.voxels.shape
        return depth, height, width

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        return Grid(self.shape, self.affine)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Size of a voxel in mm along (z, y, x)."""
        return self.grid.spacing

    @property
    def orientation(self) -> str:
        """Anatomical direction in which the x, y and z index increase, such as "RAS" or "LPS"."""
        return self.grid.orientation

    def with_voxels(self, voxels: NDArray[Any]) -> Self:
        """The same volume with other voxels, (Z, Y, X) on the same grid."""
        if voxels.shape != self.voxels.shape:
            raise ValueError(f"voxels of shape {voxels.shape} do not fit a grid of {self.voxels.shape}")
        return replace(self, voxels=voxels)


AnyVolume = TypeVar("AnyVolume", bound=Volume)


def resample(volume: AnyVolume, grid: Grid, order: Literal[0, 1] = 1, fill: float = 0) -> AnyVolume:
    """Bring a volume to another grid, by world geometry.

    If the grids differ only by permuted or flipped axes and a shift of whole voxels (`Grid.canonical`, `Grid.box`),
    the voxels are copied: dtype kept, bit-identical there and back. Otherwise they are interpolated. The inverse of
    any step is ``resample(result, volume.grid)``.

    Parameters
    ----------
    volume
        Voxels (Z, Y, X) with their affine in mm.
    grid
        The grid wanted.
    order
        1 for linear interpolation, after a Gaussian against aliasing along axes that get coarser; 0 for the nearest
        voxel (labels).
    fill
        Value outside the field of view of `volume`.

    Returns
    -------
    Volume
        Of the kind given, on `grid`. Interpolated voxels are float32 for order 1; otherwise the dtype is kept.
    """
    if grid == volume.grid:
        return volume
    check_memory(math.prod(grid.shape), volume.voxels.dtype.itemsize, "The volume")
    matrix, offset = grid.index_map(volume.grid)
    if _is_index_shuffle(matrix, offset, grid.shape):
        voxels = _shuffled(volume.voxels, grid.shape, np.rint(matrix).astype(int), np.rint(offset).astype(int), fill)
    else:
        voxels = _interpolated(volume.voxels, grid.shape, matrix, offset, order, fill)
    return replace(volume, voxels=voxels, affine=grid.affine)


def check_memory(voxels: int, itemsize: int, what: str) -> None:
    """Raise InputError if a volume of so many voxels, of `itemsize` bytes each, does not fit in the free memory.

    Work on a volume holds about `_COPIES` copies of it, of 4 bytes a voxel or more. `what` begins the message.
    """
    needed = voxels * max(itemsize, 4) * _COPIES
    if needed < _ALWAYS_FITS:
        return
    import psutil

    free = psutil.virtual_memory().available
    if needed > free:
        raise InputError(
            f"{what} has {voxels / 1e6:,.0f} million voxels, for which {needed / 1e9:,.1f} GB of memory are needed and "
            f"{free / 1e9:,.1f} GB are free; check its size and spacing, crop it, or use a machine with more."
        )


def _is_index_shuffle(matrix: FloatArray, offset: FloatArray, shape: tuple[int, int, int]) -> bool:
    """Whether the index map is a signed permutation and a whole shift, to `_SAME_VOXEL` over the whole shape."""
    whole = np.rint(matrix)
    is_signed_permutation = (np.abs(whole).sum(axis=0) == 1).all() and (np.abs(whole).sum(axis=1) == 1).all()
    drift = np.abs(matrix - whole) @ np.array(shape) + np.abs(offset - np.rint(offset))
    return bool(is_signed_permutation and drift.max() < _SAME_VOXEL)


def _shuffled(
    voxels: NDArray[Any], shape: tuple[int, int, int], matrix: NDArray[Any], offset: NDArray[Any], fill: float
) -> NDArray[Any]:
    """Copy voxels by a signed permutation `matrix` (target to source index) and a whole `offset`; pad with `fill`."""
    axis_of_target = [int(np.flatnonzero(matrix[:, j])[0]) for j in range(3)]
    view = voxels.transpose(axis_of_target)
    out = np.full(shape, fill, dtype=voxels.dtype)
    source_slices, target_slices = [], []
    for j, i in enumerate(axis_of_target):
        size, shift = voxels.shape[i], int(offset[i])
        if matrix[i, j] < 0:
            view = np.flip(view, axis=j)
            shift = size - 1 - shift
        start, stop = max(0, -shift), min(shape[j], size - shift)
        if stop <= start:
            return out
        target_slices.append(slice(start, stop))
        source_slices.append(slice(start + shift, stop + shift))
    out[tuple(target_slices)] = view[tuple(source_slices)]
    return out


def _interpolated(
    voxels: NDArray[Any],
    shape: tuple[int, int, int],
    matrix: FloatArray,
    offset: FloatArray,
    order: Literal[0, 1],
    fill: float,
) -> NDArray[Any]:
    """Interpolate voxels at ``matrix @ index + offset``; `fill` where that is outside the source's field of view."""
    if order == 1:
        source = voxels.astype(np.float32)
        # Width of the Gaussian that makes voxels of the source's size look like voxels `factor` times as large, both
        # taken as Gaussians with the voxel's size as full width at half maximum (Cardoso et al., MICCAI 2015).
        factor = np.linalg.norm(matrix, axis=1)
        sigma = np.sqrt(np.maximum(factor**2 - 1, 0)) / (2 * np.sqrt(2 * np.log(2)))
        if sigma.max() > 0.05:
            source = ndimage.gaussian_filter(source, sigma, mode="nearest", truncate=3)
    else:
        source = voxels.astype(np.uint8) if voxels.dtype == bool else voxels
    # mode="nearest" continues the outermost voxel over its own half width; beyond that edge nothing is known.
    out: NDArray[Any] = ndimage.affine_transform(
        source, matrix, offset, output_shape=shape, order=order, mode="nearest"
    )
    for i, size in enumerate(voxels.shape):
        position = _positions(matrix[i], offset[i], shape)
        outside = (position < -0.5 - _SAME_VOXEL) | (position > size - 0.5 + _SAME_VOXEL)
        if outside.any():
            out[np.broadcast_to(outside, shape)] = fill
    return out if order == 1 else out.astype(voxels.dtype, copy=False)


def _positions(row: FloatArray, offset: float, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Source index along one axis for every target voxel, of length 1 along target axes it does not depend on."""
    position = np.full((1, 1, 1), offset, dtype=np.float64)
    for j, (coefficient, size) in enumerate(zip(row, shape, strict=True)):
        if abs(coefficient) * size > 1e-9:
            steps = np.arange(size) * coefficient
            position = position + steps.reshape([-1 if axis == j else 1 for axis in range(3)])
    return position
