"""Ellipsoids with shells, as voxels whose numbers come out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.grid import FloatArray, Grid
from napari_gem3d.masks.patch import Index, Patch
from napari_gem3d.masks.settle import Claims, settle

# Shares nearer than this to 1 or 0 are rounding: the voxel is that label's, or not.
_SURE = 1e-4
# Equal shares are common in symmetrical bodies; then the number of the voxel decides.
_OWN, _GOLDEN = 1e-5, 0.618033988749895


def ellipsoid_patch(
    centre: FloatArray, semi_axes: FloatArray, shells: Sequence[tuple[int, float]], lattice: Grid, dtype: np.dtype
) -> Patch:
    """Nested ellipsoids with the axes of the world.

    Every voxel goes to the label (or the background) with the largest share of it, after a constant for each label that
    makes its volume that of the ideal body, as far as whole voxels can; in thick slices, too.

    Parameters
    ----------
    centre
        (R, A, S) in mm.
    semi_axes
        (3,) of the outermost ellipsoid along R, A, S in mm.
    shells
        Label and thickness in mm of every shell from outside in: semi-axes are shorter by that within. The last one
        fills what is left, its thickness does not matter.
    lattice
        Grid of the label map; the patch may reach beyond its field of view.
    dtype
        Of the label map.

    Returns
    -------
    Patch
        Empty if the body is smaller than half a voxel.
    """
    start, shape = _box(centre, semi_axes, lattice)
    result = np.zeros(shape, dtype)
    points = [axis - centre[k] for k, axis in enumerate(_world_axes(lattice.box(start, shape)))]
    covers, volumes, within = [], [], semi_axes
    for _, thickness in shells:
        covers.append(_cover(points, within, lattice))
        volumes.append(4 / 3 * np.pi * float(np.prod(within)) / lattice.voxel_volume)
        within = within - thickness
    claims = Claims()
    for number, (value, _) in enumerate(shells, start=1):
        innermost = number == len(shells)
        share = covers[number - 1] if innermost else covers[number - 1] - covers[number]
        target = round(volumes[number - 1] - (0 if innermost else volumes[number]))
        sure = share >= 1 - _SURE
        result[sure] = value
        at = np.flatnonzero((share > _SURE) & ~sure)
        score = share.ravel()[at] + _OWN * (at * _GOLDEN * number % 1)
        claims.add(number, at, score, target - int(np.count_nonzero(sure)))
    disputed = claims.voxels()
    claims.add(0, disputed, 1 - covers[0].ravel()[disputed], None)
    values = np.array([0, *(value for value, _ in shells)], dtype)
    result.ravel()[disputed] = values[settle(claims, disputed)]
    return Patch.of(result, lattice, start)


def _box(centre: FloatArray, semi_axes: FloatArray, lattice: Grid) -> tuple[Index, Index]:
    """Start and shape of the box of voxels that the ellipsoid touches."""
    middle = lattice.world_to_index(centre[None])[0]
    # Half the extent along an axis of the array: the support of the ellipsoid in that direction.
    to_index = np.linalg.inv(lattice.affine[:3, :3])[::-1]
    reach = np.linalg.norm(to_index * semi_axes, axis=1) + 1
    low, high = np.floor(middle - reach).astype(int), np.ceil(middle + reach).astype(int) + 1
    start, shape = low.tolist(), (high - low).tolist()
    return (start[0], start[1], start[2]), (shape[0], shape[1], shape[2])


def _world_axes(grid: Grid) -> list[NDArray[np.float32]]:
    """World coordinates R, A and S, each (Z, Y, X), of all voxels."""
    index = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in reversed(grid.shape)), indexing="ij", sparse=True)
    linear, offset = grid.affine[:3, :3].astype(np.float32), grid.affine[:3, 3].astype(np.float32)
    axes = []
    for row, first in zip(linear, offset, strict=True):
        place = sum((float(step) * along for step, along in zip(row, index, strict=True)), np.float32(0)) + first
        axes.append(np.broadcast_to(place, grid.shape[::-1]).transpose(2, 1, 0))
    return axes


def _cover(points: list[NDArray[np.float32]], semi_axes: FloatArray, lattice: Grid) -> NDArray[np.float32]:
    """About the share of each voxel inside an ellipsoid: a ramp along the normal, as wide as the voxel is there."""
    scaled = [p / np.float32(a) for p, a in zip(points, semi_axes, strict=True)]
    normal = [p / np.float32(a) for p, a in zip(scaled, semi_axes, strict=True)]
    level = np.sqrt(sum(p**2 for p in scaled))
    steep = np.maximum(np.sqrt(sum(n**2 for n in normal)), np.float32(1e-9))
    # To first order: the distance from the surface.
    distance = level * (level - 1) / steep
    edges = lattice.affine[:3, :3].astype(np.float32).T
    width = sum(np.abs(sum(n * e for n, e in zip(normal, edge, strict=True))) for edge in edges) / steep
    # At the very centre there is no normal.
    centre = level < 1e-3
    distance[centre], width[centre] = -semi_axes.min(), max(lattice.spacing)
    inside: NDArray[np.float32] = np.clip(0.5 - distance / np.maximum(width, np.float32(1e-6)), 0, 1)
    return inside
