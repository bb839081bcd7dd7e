"""Grid: where the voxels of a volume lie in the patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_gem3d.errors import InputError

FloatArray = NDArray[np.float64]
_AXES = {"R": "R", "L": "R", "A": "A", "P": "A", "S": "S", "I": "S"}

# Voxel edges shorter than this (mm), or a parallelepiped flatter than this fraction of a cuboid, are header faults.
_SMALLEST_SPACING = 1e-4
_FLATTEST = 1e-4
# Relative difference below which two spacings are the same: 0.02 voxels over 240 slices.
_SAME_SPACING = 1e-4
# Voxels, and degrees, below which a shift or a turn is rounding.
_SAME_PLACE = 0.01
_SAME_ANGLE = 0.05


def check_affine(affine: ArrayLike, what: str = "The volume") -> FloatArray:
    """Return `affine` as a read-only (4, 4) float array, or say why it cannot place voxels in the patient.

    Parameters
    ----------
    affine
        (4, 4), voxel index (x, y, z, 1) to RAS+ world position in mm.
    what
        Subject of the error's sentence, usually the file.

    Raises
    ------
    InputError
        If the affine is not (4, 4), not finite, or singular.
    """
    matrix = np.array(affine, dtype=np.float64)
    advice = "convert it again from the original scan"
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.array_equal(matrix[3], (0, 0, 0, 1)):
        raise InputError(f"{what} has no valid position in the patient (its affine is not a finite 4×4 one); {advice}.")
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if lengths.min() < _SMALLEST_SPACING or abs(np.linalg.det(matrix[:3, :3] / lengths)) < _FLATTEST:
        raise InputError(f"{what} has a singular affine, so its voxels have no size in mm; {advice}.")
    matrix.flags.writeable = False
    return matrix


def is_orientation(letters: object) -> bool:
    """Whether letters name the directions of three axes, each along another one of the patient's, such as "LPS"."""
    return isinstance(letters, str) and sorted(_AXES.get(letter, "") for letter in letters.upper()) == list("ARS")


@dataclass(frozen=True, eq=False)
class Grid:
    """Shape and position of a block of voxels.

    Attributes
    ----------
    shape
        Number of voxels as the array has them: (Z, Y, X).
    affine
        (4, 4), voxel index (x, y, z, 1) to RAS+ world position in mm, exactly the affine of NIfTI. The array of the
        voxels is nibabel's transposed, so the first axis of `shape` is the last index of `affine`.

    Raises
    ------
    InputError
        If the affine is singular or not finite.

    Examples
    --------
    >>> grid = Grid((155, 240, 240), np.diag([-1.0, -1.0, 1.0, 1.0]))
    >>> grid.orientation, grid.canonical().orientation
    ('LPS', 'RAS')
    """

    shape: tuple[int, int, int]
    affine: FloatArray

    def __post_init__(self) -> None:
        depth, height, width = (int(n) for n in self.shape)
        if min(depth, height, width) < 1:
            raise InputError(f"The volume is empty (shape {self.shape}); give one with voxels in it.")
        object.__setattr__(self, "shape", (depth, height, width))
        object.__setattr__(self, "affine", check_affine(self.affine))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grid) and self.shape == other.shape and np.array_equal(self.affine, other.affine)

    def __hash__(self) -> int:
        return hash((self.shape, self.affine.tobytes()))

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Size of a voxel in mm along the array's axes (z, y, x)."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in mm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def orientation(self) -> str:
        """Anatomical direction in which the x, y and z index increase, such as "RAS" or "LPS"."""
        letters = ["", "", ""]
        for world, (axis, sign) in enumerate(self._nearest_axes()):
            letters[axis] = ("RAS" if sign > 0 else "LPI")[world]
        return "".join(letters)

    @property
    def is_canonical(self) -> bool:
        """Whether x runs to the right, y to anterior and z (axis 0 of the array) to superior, as nearly as axes do."""
        return self.orientation == "RAS"

    def canonical(self) -> Grid:
        """The same voxels with axes permuted and flipped to the nearest RAS; axis 0 runs inferior to superior."""
        if self.is_canonical:
            return self
        shape_xyz = self.shape[::-1]
        to_old = np.zeros((4, 4))
        to_old[3, 3] = 1
        new_xyz = [0, 0, 0]
        for world, (axis, sign) in enumerate(self._nearest_axes()):
            new_xyz[world] = shape_xyz[axis]
            to_old[axis, world] = sign
            to_old[axis, 3] = 0 if sign > 0 else shape_xyz[axis] - 1
        return Grid((new_xyz[2], new_xyz[1], new_xyz[0]), self.affine @ to_old)

    def with_spacing(self, spacing_zyx: Sequence[float | None]) -> Grid:
        """The same field of view (to half a voxel, about the same centre) cut into voxels of another size.

        Parameters
        ----------
        spacing_zyx
            New spacing in mm along (z, y, x); None, or the present one within 0.01 %, keeps an axis as it is.
        """
        affine, shape = self.affine.copy(), list(self.shape)
        for axis, (new, old) in enumerate(zip(spacing_zyx, self.spacing, strict=True)):
            if new is None or abs(new - old) <= _SAME_SPACING * old:
                continue
            if not new > 0:
                raise InputError(f"A spacing of {new} mm is not possible; give a positive number.")
            shape[axis] = max(1, round(self.shape[axis] * old / new))
            column = 2 - axis
            middle_old, middle_new = (self.shape[axis] - 1) / 2, (shape[axis] - 1) / 2
            affine[:3, column] = self.affine[:3, column] * (new / old)
            affine[:3, 3] += self.affine[:3, column] * middle_old - affine[:3, column] * middle_new
        return Grid((shape[0], shape[1], shape[2]), affine)

    def box(self, start_zyx: Sequence[int], shape_zyx: Sequence[int]) -> Grid:
        """The grid of `shape_zyx` voxels from `start_zyx` on; it may reach outside (crop and pad in one)."""
        depth, height, width = (int(n) for n in shape_zyx)
        start_xyz = [int(start) for start in start_zyx][::-1]
        affine = self.affine.copy()
        affine[:3, 3] += self.affine[:3, :3] @ np.array(start_xyz, dtype=np.float64)
        return Grid((depth, height, width), affine)

    def same_as(self, other: Grid, atol: float = 1e-3) -> bool:
        """Whether both have the same shape and no corner lies more than `atol` mm from its counterpart."""
        if self.shape != other.shape:
            return False
        return bool(np.abs(self._corners() - other._corners()).max() <= atol)

    def differences(self, other: Grid) -> list[str]:
        """What differs between this grid and another, a clause each, both in canonical axes; empty if nothing does.

        Two grids with axes in another order or direction are the same if their voxels are. Up to a hundredth of a voxel
        is rounding.
        """
        mine, yours = self.canonical(), other.canonical()
        if mine.same_as(yours, atol=_SAME_PLACE * min(yours.spacing)):
            return []
        clauses = []
        if mine.shape != yours.shape:
            clauses.append(f"{_times(mine.shape)} voxels, not {_times(yours.shape)}")
        if not np.allclose(mine.spacing, yours.spacing, rtol=_SAME_SPACING, atol=0):
            clauses.append(f"voxels of {_times(mine.spacing)} mm, not {_times(yours.spacing)} mm")
        turn = mine.affine[:3, :3] / mine.spacing[::-1] @ np.linalg.inv(yours.affine[:3, :3] / yours.spacing[::-1])
        angle = float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))
        if angle > _SAME_ANGLE:
            clauses.append(f"turned by {angle:.3g}°")
        centre, theirs = (grid.index_to_world([(np.array(grid.shape) - 1) / 2])[0] for grid in (mine, yours))
        apart = float(np.linalg.norm(centre - theirs))
        if apart > _SAME_PLACE * min(yours.spacing) or not clauses:
            clauses.append(f"its middle is {apart:.3g} mm away")
        return clauses

    def overlaps(self, other: Grid) -> bool:
        """Whether the two fields of view (to the outer edges of the voxels) have a common interior.

        Two parallelepipeds are apart exactly if they are apart along a face normal or along the cross product of
        an edge of the one and an edge of the other (separating axis theorem).
        """
        mine, yours = self.affine[:3, :3].T, other.affine[:3, :3].T
        axes = [np.cross(e[i], e[j]) for e in (mine, yours) for i, j in ((0, 1), (1, 2), (2, 0))]
        axes += [np.cross(a, b) for a, b in product(mine, yours)]
        my_corners, your_corners = self._corners(), other._corners()
        for axis in axes:
            length = np.linalg.norm(axis)
            if length < 1e-9:
                continue
            a, b = my_corners @ (axis / length), your_corners @ (axis / length)
            if min(a.max(), b.max()) - max(a.min(), b.min()) <= 1e-6:
                return False
        return True

    def index_to_world(self, zyx: ArrayLike) -> FloatArray:
        """World positions (N, 3) in RAS mm of the array indices (N, 3), given in the order (z, y, x)."""
        xyz = np.asarray(zyx, dtype=np.float64)[..., ::-1]
        return xyz @ self.affine[:3, :3].T + self.affine[:3, 3]

    def world_to_index(self, mm: ArrayLike) -> FloatArray:
        """Array indices (N, 3) in the order (z, y, x), fractional, of the world positions (N, 3) in RAS mm."""
        offset = np.asarray(mm, dtype=np.float64) - self.affine[:3, 3]
        return np.ascontiguousarray(np.linalg.solve(self.affine[:3, :3], offset.reshape(-1, 3).T).T[:, ::-1]).reshape(
            offset.shape
        )

    def index_map(self, other: Grid) -> tuple[FloatArray, FloatArray]:
        """Matrix (3, 3) and offset (3,) that take a (z, y, x) index of this grid to the one of `other`."""
        relative: FloatArray = np.linalg.solve(other.affine, self.affine).astype(np.float64)
        return relative[:3, :3][::-1, ::-1].copy(), relative[:3, 3][::-1].copy()

    def _corners(self) -> FloatArray:
        """The eight outer corners of the field of view, (8, 3) in mm."""
        ends = [(-0.5, n - 0.5) for n in self.shape]
        return self.index_to_world(np.array(list(product(*ends))))

    def _nearest_axes(self) -> tuple[tuple[int, int], ...]:
        """For each world axis (R, A, S): the voxel axis (0 is x) nearest to it, and the sign of its direction."""
        directions = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        best = max(permutations(range(3)), key=lambda p: sum(abs(directions[world, p[world]]) for world in range(3)))
        return tuple((axis, 1 if directions[world, axis] > 0 else -1) for world, axis in enumerate(best))


def _times(zyx: Sequence[float]) -> str:
    """Three numbers in the order in which people say them: x × y × z."""
    return " × ".join(f"{value:.4g}" for value in zyx[::-1])
