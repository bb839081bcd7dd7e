"""Mass effect: a smooth, invertible displacement of the tissue around a lesion, none at the surface of the body."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.errors import InputError
from napari_gem3d.grid import FloatArray, Grid
from napari_gem3d.masks.flow import Floats, LesionFlow, flow, sampled
from napari_gem3d.masks.patch import Patch, Slices, bounding_box

# Cells of the lattice by which the axes of a grid may leave its axes and still count as the same.
_ALONG = 0.01


@dataclass(frozen=True, eq=False)
class MassEffect:
    """The displacement of tissue by a lesion that has grown where it lies, and its inverse.

    It is the flow over unit time of a velocity that does not change (Arsigny et al., MICCAI 2006), so it is smooth and
    cannot fold, and the flow backwards is its inverse.

    Attributes
    ----------
    grid
        Of the arrays that are to be changed: (Z, Y, X).
    mm
        Displacement at the lesion's rim.
    reached
        Share of the rim, 0 to 1, that moves by `mm` within 10 %. It moves less near the body's surface and at thin
        parts of the lesion.
    lattice
        Cubic voxels on which the velocity is known; it is 0 outside.
    velocity
        (3, Z, Y, X) along the lattice's own axes (z, y, x), in its voxels.
    """

    grid: Grid
    mm: float
    reached: float
    lattice: Grid
    velocity: Floats

    @classmethod
    def of(cls, lesion: NDArray[np.bool_], body: NDArray[np.bool_], grid: Grid, mm: float) -> Self:
        """The mass effect of a lesion whose rim has moved outwards by `mm`.

        The velocity is that of an incompressible medium that flows out of the lesion (the gradient of its Newtonian
        potential: without sources outside, whatever its shape), times what falls linearly with the distance, so that
        everything around is pressed together, times what falls to 0 at the body's surface. A factor that changes slowly
        along the rim makes the displacement there as asked. Within the lesion tissue comes from its middle.

        Parameters
        ----------
        lesion
            (Z, Y, X), where it lies in the end; holes are filled.
        body
            (Z, Y, X), outside of which nothing moves; the lesion is part of it. It ends with the field of view.
        grid
            Of both.
        mm
            Displacement of the tissue at the rim, 0 or more. It is less where the body's surface is nearer than about
            twice that, and at parts of the lesion that are thin for it.

        Raises
        ------
        InputError
            If there is no lesion, or it is too thin or too near the body's surface to push by so much.

        Examples
        --------
        >>> z, y, x = np.indices((60, 60, 60)) - 29.5
        >>> radius = np.sqrt(z**2 + y**2 + x**2)
        >>> effect = MassEffect.of(radius < 9, radius < 29, Grid((60, 60, 60), np.eye(4)), 4)
        >>> rim = np.array([[29.5 + 9, 29.5, 29.5]])
        >>> (rim - effect.origins(rim)).round()[0, 0].item()
        4.0
        """
        if lesion.shape != grid.shape or body.shape != grid.shape:
            raise InputError(
                f"Lesion {lesion.shape} and body {body.shape} do not fit the grid {grid.shape}; align them."
            )
        if not 0 <= mm < np.inf:
            raise InputError(f"A mass effect of {mm:g} mm is not possible; give 0 or a positive number.")
        bounds = bounding_box(lesion)
        if bounds is None:
            raise InputError("There is no lesion that could push; choose other labels, or leave the mass effect out.")
        if mm == 0:
            return cls(grid, 0.0, 1.0, grid.box((0, 0, 0), (1, 1, 1)), np.zeros((3, 1, 1, 1), np.float32))
        start = (bounds[0].start, bounds[1].start, bounds[2].start)
        solid = Patch(ndimage.binary_fill_holes(lesion[bounds]), start, grid)
        source = LesionFlow.of(solid, body | lesion)
        velocity, reached = source.velocity(mm)
        return cls(grid, float(mm), reached, source.lattice, velocity)

    def on(self, grid: Grid) -> MassEffect:
        """The same displacement for arrays on another grid."""
        return replace(self, grid=grid)

    def moved(self, points: FloatArray) -> FloatArray:
        """Where tissue at these world points (N, 3; R, A, S in mm) goes."""
        return self._carried(points, self._forward)

    def origins(self, points: FloatArray) -> FloatArray:
        """Where the tissue that is at these world points (N, 3; R, A, S in mm) afterwards comes from."""
        return self._carried(points, self._backward)

    def pushed(self, voxels: NDArray[Any], order: Literal[0, 1, 3] = 1) -> NDArray[Any]:
        """An array after the lesion has pushed.

        Parameters
        ----------
        voxels
            (Z, Y, X) on `grid`, as if the lesion were not there or had not pushed yet.
        order
            0 for the nearest voxel (labels), 1 for linear, 3 for cubic interpolation.

        Returns
        -------
        ndarray
            (Z, Y, X) of the same dtype, whole numbers rounded. Voxels that do not move are copied. What is within the
            lesion then has no meaning: it is the lesion's place.
        """
        return self._resampled(voxels, self._backward, order)

    def pulled(self, voxels: NDArray[Any], order: Literal[0, 1, 3] = 1) -> NDArray[Any]:
        """An array after the lesion was removed and the tissue went back: the inverse of `pushed`."""
        return self._resampled(voxels, self._forward, order)

    def displacement(self) -> Floats:
        """How far tissue at every voxel is pushed: (3, Z, Y, X) in mm along R, A and S."""
        return self._whole(self._forward)

    def origin_displacement(self) -> Floats:
        """From every voxel to where its tissue comes from: (3, Z, Y, X) in mm along R, A and S."""
        return self._whole(self._backward)

    @cached_property
    def _forward(self) -> Floats:
        return self._flown(1.0)

    @cached_property
    def _backward(self) -> Floats:
        return self._flown(-1.0)

    def _flown(self, sign: float) -> Floats:
        """The displacement (3, Z, Y, X) on the lattice, in its voxels, with or against the velocity for unit time."""
        field = np.zeros_like(self.velocity)
        moving = self.velocity.any(axis=0)
        at = np.stack(np.nonzero(moving)).astype(np.float32)
        field[:, moving] = flow(sign * self.velocity, at) - at
        return field

    def _carried(self, points: FloatArray, field: Floats) -> FloatArray:
        shift = sampled(field, self.lattice.world_to_index(points).T)[::-1]
        return points + (self.lattice.affine[:3, :3] @ shift).T

    def _box(self, field: Floats) -> Slices | None:
        """The voxels of the grid among which all lie that move."""
        moving = bounding_box(np.any(field, axis=0))
        if moving is None:
            return None
        ends = list(product(*((part.start - 1, part.stop) for part in moving)))
        index = self.grid.world_to_index(self.lattice.index_to_world(ends))
        low = np.maximum(np.ceil(index.min(axis=0)).astype(int), 0)
        high = np.minimum(np.floor(index.max(axis=0)).astype(int) + 1, self.grid.shape)
        if (high <= low).any():
            return None
        z, y, x = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        return z, y, x

    def _at_voxels(self, field: Floats, box: Slices) -> Floats:
        """A displacement on the lattice at the voxels of a box: (3, Z, Y, X) along its axes, in its voxels."""
        start, shape = [part.start for part in box], tuple(part.stop - part.start for part in box)
        matrix, offset = self.grid.box(start, shape).index_map(self.lattice)
        if (np.abs(matrix - np.diag(matrix.diagonal())) @ shape).max() > _ALONG:
            parts = [
                ndimage.affine_transform(part, matrix, offset, output_shape=shape, order=1, mode="constant")
                for part in field
            ]
            return np.stack(parts)
        out = field
        for first, step, size in zip(offset, matrix.diagonal(), shape, strict=True):
            # The same interpolation axis by axis, as products of matrices, is ten times as fast. Each axis comes last.
            place = first + step * np.arange(size)
            weight = np.maximum(1 - np.abs(place[:, None] - np.arange(out.shape[1])), 0).astype(np.float32)
            out = np.moveaxis(np.tensordot(weight, out, axes=(1, 1)), 0, 3)
        return out

    def _whole(self, field: Floats) -> Floats:
        out = np.zeros((3, *self.grid.shape), np.float32)
        box = self._box(field)
        if box is not None:
            to_world = self.lattice.affine[:3, :3].astype(np.float32)[:, ::-1]
            out[(slice(None), *box)] = np.tensordot(to_world, self._at_voxels(field, box), axes=1)
        return out

    def _resampled(self, voxels: NDArray[Any], field: Floats, order: Literal[0, 1, 3]) -> NDArray[Any]:
        if voxels.shape != self.grid.shape:
            raise InputError(f"The array has the shape {voxels.shape}, not {self.grid.shape}; give one on the grid.")
        out = voxels.copy()
        box = self._box(field)
        if box is None:
            return out
        shift = self._at_voxels(field, box)
        moving = shift.any(axis=0)
        matrix, _ = self.lattice.index_map(self.grid)
        at = np.stack(np.nonzero(moving)) + matrix.astype(np.float32) @ shift[:, moving]
        out[box][moving] = _interpolated(voxels[box], at.astype(np.float32), order)
        return out


def _interpolated(voxels: NDArray[Any], at: NDArray[np.float32], order: Literal[0, 1, 3]) -> NDArray[Any]:
    """Values of an array (Z, Y, X) at points (3, N), as index, in its dtype."""
    kind = voxels.dtype.kind
    source = voxels.view(np.uint8) if kind == "b" else voxels
    if order == 0:
        return ndimage.map_coordinates(source, at, order=0, mode="nearest").astype(voxels.dtype)
    out = ndimage.map_coordinates(source, at, output=np.float32, order=order, mode="nearest")
    if kind == "b":
        return out >= 0.5
    if kind in "iu":
        limits = np.iinfo(voxels.dtype)
        out = np.clip(np.rint(out), limits.min, limits.max)
    return out.astype(voxels.dtype)
