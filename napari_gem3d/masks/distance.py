"""Growing and shrinking by millimetres, by the Euclidean distance transform."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.masks.patch import Patch

# Surfaces lie between the centres of voxels, on the average this share of an edge beyond the outermost one: found on
# spheres of 8 to 20 mm, cubic and flat voxels, of which the surface then moves by the right distance to ±0.3 voxels.
_TO_SURFACE = 0.25
# Width in mm of the Gaussian that makes the directions of the distance smooth.
_SMOOTHING_MM = 1.5


def grow(patch: Patch, mm: float) -> Patch:
    """Move the surface of a patch outwards by `mm`.

    Labels inside move along, the less the deeper they lie: a rim and a core both become thicker.
    """
    pad = [int(np.ceil(mm / spacing)) + 1 for spacing in patch.lattice.spacing]
    return _moved(patch, pad, mm)


def shrink(patch: Patch, mm: float) -> Patch:
    """Move the surface of a patch inwards by `mm`, and the labels inside with it; empty if nothing is left."""
    # One voxel of background all around: the surface ends at the patch even where the field of view does.
    return _moved(patch, [1, 1, 1], -mm)


def _moved(patch: Patch, pad: list[int], mm: float) -> Patch:
    """Move the surface outwards by `mm`, or inwards if it is negative."""
    spacing = patch.lattice.spacing
    voxels = np.pad(patch.voxels, [(p, p) for p in pad])
    start = tuple(a - p for a, p in zip(patch.start, pad, strict=True))
    inside = voxels != 0
    to_lesion, nearest = _distance(inside, spacing)
    depth = _distance(~inside, spacing)[0] - to_lesion
    new = depth >= -mm if mm > 0 else depth > -mm
    result = np.zeros_like(voxels)
    if new.any():
        # Where no other label is near, the nearest voxel of the lesion says which label goes on outside it.
        voxels = voxels[tuple(nearest)]
        result[new] = voxels[_origins(depth, new, mm, spacing)]
    return Patch.of(result, patch.lattice, (start[0], start[1], start[2]))


def _origins(
    depth: NDArray[np.float32], new: NDArray[np.bool_], mm: float, spacing: tuple[float, float, float]
) -> tuple[NDArray[np.intp], ...]:
    """Index of the voxel, for every voxel of the new lesion, at the same share of the largest depth in the old one."""
    deepest = float(depth.max())
    here = depth[new]
    shift = (here + mm) * deepest / max(deepest + mm, 1e-6) - here
    smooth = ndimage.gaussian_filter(depth, [_SMOOTHING_MM / edge for edge in spacing])
    origins = []
    for axis, (index, edge) in enumerate(zip(np.nonzero(new), spacing, strict=True)):
        # Where surfaces are equally near the gradient is small, and voxels stay.
        slope = np.gradient(smooth, edge, axis=axis)[new]
        origins.append(np.clip(np.rint(index + slope * shift / edge), 0, new.shape[axis] - 1).astype(np.intp))
    return tuple(origins)


def _distance(
    inside: NDArray[np.bool_], spacing: tuple[float, float, float]
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Distance in mm of every voxel from the surface of `inside`, 0 within it; and its nearest voxel (3, Z, Y, X)."""
    nearest = ndimage.distance_transform_edt(~inside, sampling=spacing, return_distances=False, return_indices=True)
    square = np.zeros(inside.shape, np.float32)
    for axis, (edge, size) in enumerate(zip(spacing, inside.shape, strict=True)):
        place = np.arange(size).reshape([-1 if other == axis else 1 for other in range(3)])
        steps = np.abs(nearest[axis] - place)
        square += np.maximum(steps - _TO_SURFACE, 0).astype(np.float32) ** 2 * np.float32(edge**2)
    return np.sqrt(square), nearest
