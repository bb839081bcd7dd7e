"""The velocity with which a lesion pushes what surrounds it, on a lattice that is as fine as the lesion needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal
from scipy.spatial import cKDTree

from napari_gem3d.errors import InputError
from napari_gem3d.grid import FloatArray, Grid
from napari_gem3d.masks.patch import Patch, bounding_box
from napari_gem3d.volume import Volume, resample

Floats = NDArray[np.float32]

# A sphere of the lesion's volume has this many cells of the lattice in its radius; a cell is between these sizes in mm.
_CELLS, _SMALLEST_CELL, _LARGEST_CELL = 7, 0.75, 3.0
# The displacement ends where the potential is that of such a sphere at this many of its radii from the centre.
_REACH = 3.0
# It falls to 0 at the body's surface over this many times the displacement: tissue is pressed to about a half there.
_GAP = 3.0
# Share of the lesion's largest depth by which its rim can move: the tissue that was in the rest is stretched to the
# rim. More than that voxels cannot show.
_LARGEST_SHARE = 0.6
# At least this share of the rim must move as asked, to this tolerance.
_LEAST_RIM, _TOLERANCE = 0.25, 0.1
# The speed is adjusted at up to so many points of the rim, in so many rounds, each spread over that share of the
# radius.
_POINTS, _ROUNDS, _SPREAD = 4000, 6, 1 / 4
# By how much it is adjusted at most: everywhere together, and here more than there.
_LARGEST_GAIN, _UNEVEN = 4.0, 2.0
# Steps of the classical Runge-Kutta method along the flow.
_STEPS = 2


@dataclass(frozen=True, eq=False)
class LesionFlow:
    """What the velocity is made of, before it is known how far the rim should move.

    Attributes
    ----------
    lattice
        Cubic voxels about all that may move.
    outflow
        (3, Z, Y, X) along the lattice's axes, 1 at the surface of a sphere: the flow of an incompressible medium out of
        the lesion, times what falls linearly with the distance.
    depth
        (Z, Y, X), distance from the body's surface in mm, 0 outside and in every cell beside it.
    rim
        (3, N) points of the lesion's surface, as index of the lattice.
    thickness
        Radius in mm of the largest sphere in the lesion.
    radius
        Of the sphere of the lesion's volume, mm.
    """

    lattice: Grid
    outflow: Floats
    depth: Floats
    rim: FloatArray
    thickness: float
    radius: float

    @classmethod
    def of(cls, lesion: Patch, body: NDArray[np.bool_]) -> Self:
        """From a lesion without holes, and the body (Z, Y, X) on its lattice."""
        solid = lesion.voxels != 0
        volume = float(np.count_nonzero(solid)) * lesion.lattice.voxel_volume
        radius = float(np.cbrt(3 * volume / (4 * np.pi)))
        lattice = _lattice(lesion.grid, body, lesion.lattice, radius)
        density = _density(lesion, lattice, volume)
        edge = lattice.spacing[0]
        rim = _rim(solid, lesion.grid)
        inside = np.argwhere(density > 0.5)
        distance, _ = cKDTree(rim).query(lattice.index_to_world(inside)) if len(inside) else (np.zeros(1), None)
        outflow, depth = _outflow(density, edge, radius), _depth(body, lesion.lattice, lattice)
        return cls(lattice, outflow, depth, lattice.world_to_index(rim).T, float(distance.max()), radius)

    @cached_property
    def rim_depth(self) -> Floats:
        """Distance in mm of the points of the rim from the body's surface."""
        return sampled(self.depth[None], self.rim)[0]

    def velocity(self, mm: float) -> tuple[Floats, float]:
        """The velocity that moves the rim by `mm`.

        Returns
        -------
        velocity
            (3, Z, Y, X) along the lattice's axes, in its voxels for unit time.
        reached
            Share of the rim that moves as asked, within the tolerance.

        Raises
        ------
        InputError
            If the lesion is too thin or too near the body's surface, or less than a quarter of the rim moves as asked.
        """
        self._check(mm)
        edge = self.lattice.spacing[0]
        start = self.outflow * (mm / edge * _falling(self.depth, mm))
        far = _falling(self.rim_depth, mm) >= 1 - _TOLERANCE
        spread = _Spread.over(self.rim[:, far], self.lattice.shape, _SPREAD * self.radius / edge)
        velocity, whole, local = start, 0.0, np.zeros(self.lattice.shape, np.float32)
        for _ in range(_ROUNDS):
            missing = np.log(mm / np.maximum(self._moved(velocity)[far], 0.1 * mm))
            common = float(np.median(missing))
            whole = min(whole + common, np.log(_LARGEST_GAIN))
            local = np.clip(local + spread(missing - common), -np.log(_UNEVEN), np.log(_UNEVEN))
            velocity = start * np.exp(local + np.float32(whole))
        error = np.abs(self._moved(velocity) / mm - 1)
        reached = float((error <= _TOLERANCE).mean())
        if reached < _LEAST_RIM:
            raise InputError(
                f"Only {reached:.0%} of the lesion's surface would push by {mm:g} mm: its parts are too thin or too "
                "far from each other; give less, or choose one part."
            )
        return velocity, reached

    def _check(self, mm: float) -> None:
        """Raise InputError if the rim cannot move by so much, with the largest possible displacement."""
        inside = _LARGEST_SHARE * self.thickness
        # Deep enough that what the velocity is multiplied by is within the tolerance.
        deep = _GAP * (1 - np.sqrt(_TOLERANCE))
        room = float(np.quantile(self.rim_depth, 1 - _LEAST_RIM, method="lower") / deep)
        if mm <= min(inside, room):
            return
        why = "is too thin" if inside <= room else "lies too near the body's surface"
        most = np.floor(min(inside, room) * 10) / 10
        advice = f"give {most:.1f} mm or less" if most > 0 else "leave the mass effect out"
        raise InputError(f"The lesion {why} to push its surroundings by {mm:g} mm; {advice}.")

    def _moved(self, velocity: Floats) -> Floats:
        """How far in mm the tissue at the points of the rim has come."""
        way = flow(-velocity, self.rim) - self.rim
        return np.linalg.norm(way, axis=0) * self.lattice.spacing[0]


def flow(velocity: Floats, at: NDArray[np.floating]) -> NDArray[np.floating]:
    """Where points (3, N) are after unit time in a velocity (3, Z, Y, X), all as index and in voxels of its lattice."""
    step = 1 / _STEPS
    for _ in range(_STEPS):
        first = sampled(velocity, at)
        second = sampled(velocity, at + step / 2 * first)
        third = sampled(velocity, at + step / 2 * second)
        fourth = sampled(velocity, at + step * third)
        at = at + step / 6 * (first + 2 * second + 2 * third + fourth)
    return at


def sampled(field: Floats, at: NDArray[np.floating]) -> Floats:
    """The components (C, N) of a field (C, Z, Y, X) at points (3, N), as index; linear, 0 outside."""
    return np.stack([ndimage.map_coordinates(part, at, order=1, mode="constant") for part in field])


@dataclass(frozen=True, eq=False)
class _Spread:
    """Spreads numbers that belong to points over the lattice: their mean, weighted by a Gaussian of the distance."""

    cells: NDArray[np.intp]
    weight: Floats
    sigma: float

    @classmethod
    def over(cls, points: FloatArray, shape: tuple[int, int, int], sigma: float) -> Self:
        index = np.clip(np.rint(points).astype(np.intp), 0, np.array(shape)[:, None] - 1)
        cells = np.ravel_multi_index(tuple(index), shape)
        count = np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape).astype(np.float32)
        return cls(cells, ndimage.gaussian_filter(count, sigma, truncate=3), sigma)

    def __call__(self, values: NDArray[np.floating]) -> Floats:
        total = np.bincount(self.cells, values, self.weight.size).reshape(self.weight.shape).astype(np.float32)
        # Nothing far from all points.
        far = self.weight.max() / 1000
        return ndimage.gaussian_filter(total, self.sigma, truncate=3) / (self.weight + far)


def _falling(depth: Floats, mm: float) -> Floats:
    """What the velocity is multiplied by near the body's surface: 0 there, 1 from a certain depth (mm) on."""
    out: Floats = 1 - (1 - np.minimum(depth / np.float32(_GAP * mm), 1)) ** 2
    return out


def _lattice(frame: Grid, body: NDArray[np.bool_], grid: Grid, radius: float) -> Grid:
    """Cubic voxels about all that a lesion with this box may move within the body, along the axes of the grid.

    Where those are not at right angles, along others near them.
    """
    edge = float(np.clip(radius / _CELLS, _SMALLEST_CELL, _LARGEST_CELL))
    axes, triangle = np.linalg.qr(grid.affine[:3, :3])
    axes = axes * np.sign(triangle.diagonal())
    along = corners(frame) @ axes
    low, high = along.min(axis=0) - _REACH * radius, along.max(axis=0) + _REACH * radius
    bounds = bounding_box(body)
    if bounds is not None:
        box = grid.box([part.start for part in bounds], [part.stop - part.start for part in bounds])
        inside = corners(box) @ axes
        low, high = np.maximum(low, inside.min(axis=0)), np.minimum(high, inside.max(axis=0))
    # A cell beyond on either side, where nothing moves.
    shape = np.maximum(np.ceil((high - low) / edge).astype(int), 1) + 3
    affine = np.eye(4)
    affine[:3, :3] = axes * edge
    affine[:3, 3] = axes @ ((low + high) / 2 - (shape - 1) / 2 * edge)
    return Grid((int(shape[2]), int(shape[1]), int(shape[0])), affine)


def corners(grid: Grid) -> FloatArray:
    """The outer corners (8, 3) of a grid in mm."""
    return grid.index_to_world(list(product(*((-0.5, n - 0.5) for n in grid.shape))))


def _density(lesion: Patch, lattice: Grid, volume: float) -> Floats:
    """The share (Z, Y, X) of every cell of the lattice in the lesion."""
    share = np.pad((lesion.voxels != 0).astype(np.float32), 1)
    box = lesion.lattice.box([first - 1 for first in lesion.start], share.shape)
    density = resample(Volume(share, box.affine), lattice).voxels
    # A lesion smaller than a cell lies between the cells' centres.
    total = float(density.sum()) * lattice.voxel_volume
    return density * np.float32(volume / total) if total else density


def _outflow(density: Floats, edge: float, radius: float) -> Floats:
    """The flow out of a lesion (see `LesionFlow.outflow`) from its density."""
    bounds = bounding_box(density > 0)
    if bounds is None:
        return np.zeros((3, *density.shape), np.float32)
    offsets = np.meshgrid(
        *(
            np.arange(1 - part.stop, n - part.start, dtype=np.float32)
            for part, n in zip(bounds, density.shape, strict=True)
        ),
        indexing="ij",
        sparse=True,
    )
    distance = np.sqrt(sum(o**2 for o in offsets), dtype=np.float32)
    # The mean of 1/r over a cube about its centre is 2.38 for an edge of 1.
    kernel = np.where(distance > 0, 1 / np.maximum(distance, 0.1), np.float32(2.38))
    potential = signal.fftconvolve(kernel, density[bounds], mode="valid") * edge**2 / (4 * np.pi)
    # Radius at which a sphere of the lesion's volume has this potential.
    at = radius**3 / 3 / np.maximum(potential, 1e-6)
    decay = np.maximum(_REACH - at / radius, 0) / (_REACH - 1)
    slope = np.stack(np.gradient(potential, edge))
    return (-3 / radius * decay * slope).astype(np.float32)


def _depth(body: NDArray[np.bool_], grid: Grid, lattice: Grid) -> Floats:
    """Distance (Z, Y, X) in mm from the body's surface, 0 in every cell of which a neighbour holds a voxel outside."""
    matrix, offset = lattice.index_map(grid)
    inside = ndimage.affine_transform(
        body.view(np.uint8), matrix, offset, output_shape=lattice.shape, order=0, mode="constant"
    ).astype(bool)
    # Gaps in the body may be narrower than a cell.
    index = grid.world_to_index(corners(lattice))
    low = np.clip(np.floor(index.min(axis=0)).astype(int), 0, np.array(grid.shape) - 1)
    high = np.clip(np.ceil(index.max(axis=0)).astype(int) + 1, low + 1, grid.shape)
    part = body[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    beside = np.stack(np.nonzero(ndimage.binary_dilation(part) & ~part))
    matrix, offset = grid.box(low, high - low).index_map(lattice)
    cells = np.rint(matrix @ beside + offset[:, None]).astype(np.intp)
    within = np.all((cells >= 0) & (cells < np.array(lattice.shape)[:, None]), axis=0)
    inside[tuple(cells[:, within])] = False
    # What is enclosed belongs to the body.
    inside = ndimage.binary_erosion(ndimage.binary_fill_holes(inside), np.ones((3, 3, 3)))
    out: Floats = (ndimage.distance_transform_edt(inside) * lattice.spacing[0]).astype(np.float32)
    return out


def _rim(solid: NDArray[np.bool_], grid: Grid) -> FloatArray:
    """Points (N, 3) in mm on the surface of a lesion: middles of the faces between its voxels and others."""
    padded = np.pad(solid, 1)
    points = []
    for axis in range(3):
        faces = np.argwhere(np.diff(padded, axis=axis)).astype(np.float64) - 1
        faces[:, axis] += 0.5
        points.append(faces)
    index = np.concatenate(points)
    every = -(-len(index) // _POINTS)
    return grid.index_to_world(index[::every])
