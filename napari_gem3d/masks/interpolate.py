"""Shape-based interpolation between painted slices (Raya and Udupa 1990)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.grid import FloatArray, Grid
from napari_gem3d.masks.operations import Plane
from napari_gem3d.masks.patch import Patch

_AXIS_OF_PLANE = {"sagittal": "RL", "coronal": "AP", "axial": "SI"}
_CONNECTED_IN_PLANE = np.zeros((3, 3, 3), int)
_CONNECTED_IN_PLANE[1] = 1

Labels2D = NDArray[Any]


def interpolate(patch: Patch, slices: Plane, largest_gap: float) -> Patch:
    """Fill the gaps between slices in which a lesion was painted.

    An outline and the next one over it are joined if slices without any lie between them: their signed distances are
    interpolated, after their centroids were brought together, so an outline may move and change its size. Labels inside
    are interpolated in the same way, and one that is in only one of the two slices runs out on the way to the other.

    Parameters
    ----------
    patch
        The lesion; none of its voxels changes.
    slices
        Plane that was painted in; of "auto" the one in which the lesion is thinnest.
    largest_gap
        Distance in mm of two slices that may still be joined.

    Returns
    -------
    Patch
        With the same voxels if there is no gap.
    """
    axis = _axis(patch, slices)
    # A voxel of background around every slice, that outlines end where the patch does.
    painted = np.pad(np.moveaxis(patch.voxels, axis, 0), [(0, 0), (1, 1), (1, 1)])
    spacing = np.array(patch.lattice.spacing)
    in_plane = np.delete(spacing, axis)
    filled = painted.copy()
    furthest = int(largest_gap / spacing[axis] + 1e-6)
    for first, last, below, above in _pairs(painted != 0, furthest):
        outlines = np.where(below, painted[first], 0), np.where(above, painted[last], 0)
        for number, between in enumerate(_between(*outlines, last - first, in_plane), start=first + 1):
            np.copyto(filled[number], between, where=filled[number] == 0, casting="unsafe")
    z, y, x = (first - (k != axis) for k, first in enumerate(patch.start))
    return Patch.of(np.ascontiguousarray(np.moveaxis(filled, 0, axis)), patch.lattice, (z, y, x))


def _axis(patch: Patch, slices: Plane) -> int:
    """The axis of the array across the slices."""
    if slices != "auto":
        return array_axis(patch.lattice, slices)
    inside = patch.voxels != 0
    # Thickness of a run of voxels, on the average: their number over the number of ends.
    runs = [int((np.diff(inside.astype(np.int8), axis=axis, prepend=0) > 0).sum()) for axis in range(3)]
    thickness = [mm / max(number, 1) for mm, number in zip(patch.lattice.spacing, runs, strict=True)]
    return int(np.argmin(thickness))


def array_axis(grid: Grid, plane: str) -> int:
    """Axis of a (Z, Y, X) array across "axial", "coronal" or "sagittal" slices: of oblique grids the nearest."""
    return next(2 - k for k, letter in enumerate(grid.orientation) if letter in _AXIS_OF_PLANE[plane])


def _pairs(inside: NDArray[np.bool_], furthest: int) -> Iterator[tuple[int, int, Labels2D, Labels2D]]:
    """Two slices with a gap between them, and where in them the outlines are that belong together."""
    parts, _ = ndimage.label(inside, structure=_CONNECTED_IN_PLANE)
    occupied = np.flatnonzero(inside.any(axis=(1, 2)))
    # One outline in every painted slice, and none side by side: then they need not lie over each other.
    single = len(occupied) == parts.max() and bool((np.diff(occupied) > 1).all())
    for first in occupied:
        joined: dict[int, list[tuple[int, set[int]]]] = {}
        for part in np.unique(parts[first][inside[first]]):
            outline = parts[first] == part
            last = _next(outline, inside, occupied, int(first), furthest)
            if last is not None:
                partners = {int(p) for p in np.unique(parts[last][outline & inside[last]])}
                joined.setdefault(last, []).append((int(part), partners))
        later = occupied[(occupied > first) & (occupied <= first + furthest)]
        if not joined and later.size and single:
            joined[int(later[0])] = [(int(parts[first].max()), {int(parts[later[0]].max())})]
        for last, links in joined.items():
            for below, above in _groups(links):
                yield int(first), last, np.isin(parts[first], list(below)), np.isin(parts[last], list(above))


def _next(
    outline: NDArray[np.bool_], inside: NDArray[np.bool_], occupied: NDArray[np.intp], first: int, furthest: int
) -> int | None:
    """The next slice with a lesion over an outline; None if it goes on without a gap, or ends."""
    for number in occupied[(occupied > first) & (occupied <= first + furthest)]:
        if (outline & inside[number]).any():
            return None if number == first + 1 else int(number)
    return None


def _groups(links: list[tuple[int, set[int]]]) -> list[tuple[set[int], set[int]]]:
    """Outlines that share partners are joined together: a lesion may branch."""
    groups: list[tuple[set[int], set[int]]] = []
    for part, partners in links:
        below, above = {part}, set(partners)
        for group in [group for group in groups if group[1] & partners]:
            groups.remove(group)
            below, above = below | group[0], above | group[1]
        groups.append((below, above))
    return groups


def _between(below: Labels2D, above: Labels2D, steps: int, spacing: FloatArray) -> Iterator[Labels2D]:
    """The slices between two outlines with labels, `steps` apart."""
    places = [np.argwhere(outline) for outline in (below, above)]
    middles = [place.mean(axis=0) for place in places]
    low = np.min([place.min(axis=0) for place in places], axis=0)
    high = np.max([place.max(axis=0) for place in places], axis=0) + 1
    box = tuple(slice(int(a) - 1, int(b) + 1) for a, b in zip(low, high, strict=True))
    values = [int(v) for v in np.unique([*np.unique(below), *np.unique(above)]) if v]
    depths = []
    for outline in (below[box], above[box]):
        depths.append([_depth(outline != 0, spacing), *(_depth(outline == v, spacing) for v in values)])
    _let_run_out(*depths)
    for step in range(1, steps):
        share = step / steps
        middle = (1 - share) * middles[0] + share * middles[1]
        # Rounded: where distances are equal, the order of the voxels must not decide.
        mixed = [
            np.round((1 - share) * _moved(a, middle - middles[0]) + share * _moved(b, middle - middles[1]), 6)
            for a, b in zip(*depths, strict=True)
        ]
        labels = np.zeros(below.shape, below.dtype)
        chosen = np.array(values, below.dtype)[np.argmax(mixed[1:], axis=0)]
        labels[box] = np.where(mixed[0] > 0, chosen, 0)
        yield labels


def _depth(inside: NDArray[np.bool_], spacing: FloatArray) -> NDArray[np.float64] | None:
    """Signed distance in mm from the outline, positive inside; None if there is none."""
    if not inside.any():
        return None
    framed = np.pad(inside, 1)
    depth = ndimage.distance_transform_edt(framed, sampling=spacing)
    depth -= ndimage.distance_transform_edt(~framed, sampling=spacing)
    # The outline lies between the centres of voxels.
    depth -= np.sign(depth) * spacing.min() / 2
    inner: NDArray[np.float64] = depth[1:-1, 1:-1]
    return inner


def _let_run_out(below: list[Any], above: list[Any]) -> None:
    """A label that one of the slices does not have is there as far outside as it is deep in the other."""
    for number, (a, b) in enumerate(zip(below, above, strict=True)):
        if a is None:
            below[number] = np.full(b.shape, -b.max())
        elif b is None:
            above[number] = np.full(a.shape, -a.max())


def _moved(depth: NDArray[np.float64], by: FloatArray) -> NDArray[np.float64]:
    moved: NDArray[np.float64] = ndimage.shift(depth, by, order=1, mode="nearest") if np.abs(by).max() > 1e-6 else depth
    return moved
