"""Maps of world space, and how an array on one grid looks on another one after such a map."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from napari_gem3d.grid import FloatArray, Grid
from napari_gem3d.masks.patch import Index, Slices

# Waves that the random displacement is made of; with this many it is Gaussian for every purpose here.
_WAVES = 128
# The displacement is computed at this share of its correlation length and interpolated by cubic splines.
_COARSE = 1 / 3
# Displacements beyond this many times their root mean square do not occur among a lesion's voxels.
_LONGEST = 3.0
# What a spline is along an axis of one voxel with two nodes at the same place.
_FIRST = np.array([[1, 0]], np.float32)


class Sampler(Protocol):
    """Interpolates arrays that lie on the lattice of a source, at the voxels of a frame, after a map of space."""

    def __call__(self, array: NDArray[Any], start: Index, box: Slices, edge: bool) -> NDArray[np.float32]:
        """What the map makes of `array`, which starts at `start` on the source, in a box of the frame; linear.

        `edge` continues the outermost voxels of the array for ever, otherwise there is 0 around it.
        """
        ...


class Warp(Protocol):
    """A map of world space (R, A, S in mm).

    Attributes
    ----------
    volume_factor
        By how much it changes volumes, the same everywhere; None where it differs from place to place.
    """

    @property
    def volume_factor(self) -> float | None:
        """See above."""
        ...

    def reached(self, points: FloatArray) -> FloatArray:
        """Points (N, 3) whose bounding box holds everything that the map makes of the hull of `points` (N, 3)."""
        ...

    def origins(self, points: FloatArray) -> FloatArray:
        """The same for the inverse map: where everything in the hull of `points` comes from."""
        ...

    def sampler(self, source: Grid, frame: Grid) -> Sampler:
        """The function that brings arrays from the lattice of `source` to `frame`."""
        ...


@dataclass(frozen=True, eq=False)
class AffineWarp:
    """An affine map.

    Attributes
    ----------
    matrix
        (4, 4), world to world, where from to where to.
    """

    matrix: FloatArray

    @property
    def volume_factor(self) -> float:
        """Volume after the map for each volume before."""
        return float(abs(np.linalg.det(self.matrix[:3, :3])))

    def reached(self, points: FloatArray) -> FloatArray:
        """The images of the points."""
        return points @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def origins(self, points: FloatArray) -> FloatArray:
        """Where the points come from."""
        return np.linalg.solve(self.matrix[:3, :3], (points - self.matrix[:3, 3]).T).T.astype(np.float64)

    def sampler(self, source: Grid, frame: Grid) -> Sampler:
        """Linear interpolation at the voxels that the inverse map leads to."""
        matrix, offset = _index_map(frame, self.matrix, source)

        def sample(array: NDArray[Any], start: Index, box: Slices, edge: bool) -> NDArray[np.float32]:
            first = matrix @ [part.start for part in box] + offset - start
            shape = tuple(part.stop - part.start for part in box)
            mode = "nearest" if edge else "grid-constant"
            out: NDArray[np.float32] = ndimage.affine_transform(
                array, matrix, first, output_shape=shape, output=np.float32, order=1, mode=mode
            )
            return out

        return sample


@dataclass(frozen=True, eq=False)
class ElasticWarp:
    """A random smooth displacement: a Gaussian process of squared-exponential covariance (Rahimi and Recht 2007).

    It is a sum of waves in world space, so no grid, spacing or orientation has any part in it.

    Attributes
    ----------
    amplitude
        Root mean square of the displacement, mm.
    smoothness
        Length of the correlation, mm.
    seed
        Decides the waves.
    origin
        (R, A, S) in mm, from which the waves count: a lesion that lies elsewhere is bent alike.
    """

    amplitude: float
    smoothness: float
    seed: int
    origin: FloatArray

    @property
    def volume_factor(self) -> None:
        """Volumes change from place to place."""
        return

    def reached(self, points: FloatArray) -> FloatArray:
        """The corners of the points' bounding box, moved outwards by the longest displacement."""
        margin = _LONGEST * self.amplitude
        return np.stack([points.min(axis=0) - margin, points.max(axis=0) + margin])[
            np.indices((2, 2, 2)).reshape(3, 8).T, np.arange(3)
        ]

    def origins(self, points: FloatArray) -> FloatArray:
        """The same corners: displacements are as long one way as the other."""
        return self.reached(points)

    @cached_property
    def _waves(self) -> tuple[FloatArray, FloatArray]:
        """Wave vectors (3, waves) in 1/mm, and the weights (2 · waves, 3) of their cosines and sines in mm."""
        rng = np.random.default_rng(self.seed)
        vectors = rng.normal(0, 1 / self.smoothness, (3, _WAVES))
        weights = rng.normal(0, self.amplitude / np.sqrt(3 * _WAVES), (2 * _WAVES, 3))
        return vectors, weights

    def displacement(self, points: FloatArray) -> FloatArray:
        """Displacement (N, 3) in mm at world points (N, 3)."""
        vectors, weights = self._waves
        phase = (points - self.origin) @ vectors
        return np.concatenate([np.cos(phase), np.sin(phase)], axis=1) @ weights

    def sampler(self, source: Grid, frame: Grid) -> Sampler:
        """Linear interpolation at the voxels that the displacements lead to, which are computed once for the frame."""
        matrix, offset = _index_map(frame, np.eye(4), source)
        to_source = np.linalg.inv(source.affine[:3, :3])[::-1]
        places = [np.arange(n, dtype=np.float64) for n in frame.shape]
        nodes = [
            np.linspace(0, n - 1, 2 + int((n - 1) * mm / (self.smoothness * _COARSE)))
            for n, mm in zip(frame.shape, frame.spacing, strict=True)
        ]
        grid = np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1)
        shift = self.displacement(frame.index_to_world(grid.reshape(-1, 3))) @ to_source.T
        fine = shift.reshape(grid.shape).astype(np.float32)
        for node, place in zip(nodes, places, strict=True):
            # Splines are linear in what they interpolate: a matrix for each axis, and each puts the next axis first.
            spline = CubicSpline(node, np.eye(len(node)))(place).astype(np.float32) if place.size > 1 else _FIRST
            fine = np.moveaxis(np.tensordot(spline, fine, axes=(1, 0)), 0, 2)
        field = np.ascontiguousarray(np.moveaxis(fine, 3, 0))
        for axis in range(3):
            for other, place in enumerate(places):
                line = (matrix[axis, other] * place).reshape([-1 if other == i else 1 for i in range(3)])
                field[axis] += line.astype(np.float32)
            field[axis] += np.float32(offset[axis])

        def sample(array: NDArray[Any], start: Index, box: Slices, edge: bool) -> NDArray[np.float32]:
            at = field[(slice(None), *box)] - np.array(start, np.float32).reshape(3, 1, 1, 1)
            mode = "nearest" if edge else "grid-constant"
            out: NDArray[np.float32] = ndimage.map_coordinates(array, at, output=np.float32, order=1, mode=mode)
            return out

        return sample


def _index_map(target: Grid, matrix: FloatArray, source: Grid) -> tuple[FloatArray, FloatArray]:
    """Matrix (3, 3) and offset (3,) from a (z, y, x) index of `target` to the one of `source` it comes from."""
    whole = np.linalg.solve(matrix @ source.affine, target.affine)
    linear: FloatArray = whole[:3, :3][::-1, ::-1].astype(np.float64)
    return linear, whole[:3, 3][::-1].astype(np.float64)


def about(linear: FloatArray, centre: FloatArray) -> FloatArray:
    """The affine map (4, 4) of a linear one (3, 3) that leaves `centre` where it is."""
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = centre - linear @ centre
    return matrix


def translation(mm: tuple[float, float, float]) -> FloatArray:
    """The affine map (4, 4) that moves everything by (R, A, S) mm."""
    matrix = np.eye(4)
    matrix[:3, 3] = mm
    return matrix


def rotation(degrees: tuple[float, float, float]) -> FloatArray:
    """The rotation (3, 3) about the R, then the A, then the S axis of the world."""
    matrix: FloatArray = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    return matrix
