"""Patch: the few voxels of a lesion, on the lattice of a whole label map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.grid import FloatArray, Grid

Index = tuple[int, int, int]
Slices = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Patch:
    """A box of labels; it may reach beyond the lattice's field of view.

    Attributes
    ----------
    voxels
        (Z, Y, X) whole numbers, 0 where the lesion is not.
    start
        Index (z, y, x) of the box's first voxel on the lattice.
    lattice
        Grid of the whole label map.
    """

    voxels: NDArray[Any]
    start: Index
    lattice: Grid

    @classmethod
    def of(cls, voxels: NDArray[Any], lattice: Grid, start: Index = (0, 0, 0)) -> Self:
        """The smallest box about the labels of an array that starts at `start`."""
        bounds = bounding_box(voxels != 0)
        if bounds is None:
            return cls(np.zeros((1, 1, 1), voxels.dtype), start, lattice)
        low = tuple(a + part.start for a, part in zip(start, bounds, strict=True))
        return cls(voxels[bounds].copy(), (low[0], low[1], low[2]), lattice)

    @property
    def grid(self) -> Grid:
        """Where the box lies in the patient."""
        return self.lattice.box(self.start, self.voxels.shape)

    @property
    def empty(self) -> bool:
        """Whether no voxel is left."""
        return not self.voxels.any()

    def centroid(self) -> FloatArray:
        """Mean position (R, A, S) in mm of all labelled voxels."""
        return centroid(self.voxels != 0, self.grid)

    def counts(self) -> dict[int, int]:
        """Number of voxels of every label."""
        values, counts = np.unique(self.voxels[self.voxels != 0], return_counts=True)
        return {int(value): int(count) for value, count in zip(values, counts, strict=True)}

    def overlap(self) -> tuple[Slices, Slices]:
        """The part of the box inside the field of view: as slices of the lattice, and of `voxels`."""
        outer, inner = [], []
        for low, size, length in zip(self.start, self.voxels.shape, self.lattice.shape, strict=True):
            first, last = max(low, 0), max(min(low + size, length), max(low, 0))
            outer.append(slice(first, last))
            inner.append(slice(first - low, last - low))
        return (outer[0], outer[1], outer[2]), (inner[0], inner[1], inner[2])

    def put(self, voxels: NDArray[Any], origin: Index = (0, 0, 0)) -> None:
        """Write the labels over an array (Z, Y, X) that starts at `origin` and holds the patch as far as in view."""
        if self.empty:
            return
        outer, inner = self.overlap()
        place = tuple(slice(part.start - first, part.stop - first) for part, first in zip(outer, origin, strict=True))
        np.copyto(voxels[place], self.voxels[inner], where=self.voxels[inner] != 0)


def bounding_box(inside: NDArray[np.bool_]) -> Slices | None:
    """The smallest box (as slices) that holds every true voxel; None if there is none."""
    found = ndimage.find_objects(inside.view(np.uint8))
    return found[0] if found else None


def centroid(inside: NDArray[np.bool_], grid: Grid) -> FloatArray:
    """Mean position (R, A, S) in mm of the true voxels of a (Z, Y, X) array on `grid`."""
    index = []
    for axis in range(3):
        # Counts a slice instead of a list of all voxels: a body has millions.
        counts = np.count_nonzero(inside, axis=tuple(other for other in range(3) if other != axis))
        index.append(float(counts @ np.arange(len(counts)) / counts.sum()))
    position: FloatArray = grid.index_to_world([index])[0]
    return position
