"""Labels through a map of space: soft shares of every label, then whole voxels again without losing volume."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.grid import Grid
from napari_gem3d.masks.patch import Index, Patch, Slices
from napari_gem3d.masks.settle import Claims, Middle, settle
from napari_gem3d.masks.warp import Sampler, Warp

# Above this ratio of its longest to its shortest edge a voxel counts as anisotropic.
_ANISOTROPIC = 1.5
# Shares nearer than this to 1 or 0 are rounding: the voxel is that label's, or not.
_SURE = 1e-4
# Equal shares are common (a shift by half a voxel): then the neighbourhood decides, and then the distance from the
# middle, and last (mirror symmetry) a number of label and voxel; each far too weak to matter where shares differ.
_NEIGHBOURS, _REMOTE, _OWN = 5e-3, 1e-3, 1e-5
_GOLDEN = 0.618033988749895


def warp_patch(patch: Patch, warp: Warp, lattice: Grid, edge: bool = False) -> Patch:
    """Bring the labels of a patch through a map of world space, onto a lattice.

    Every label becomes a soft share that is interpolated linearly; each voxel then goes to the label (or to the
    background) with the largest share, after a constant for each label that makes its volume come out: the volume
    before times the map's factor, or, for a map without one, the sum of the interpolated shares. Likewise a tilt
    makes the centroid come out, to a fifth of a voxel.

    Parameters
    ----------
    patch
        The labels, with values of any integer dtype.
    warp
        The map.
    lattice
        Grid of the result's label map; the patch may come from another one.
    edge
        Treat what is beyond the patch as what is at its edge, and give the result the box of the whole lattice.

    Returns
    -------
    Patch
        On `lattice`, with the dtype of `patch`; empty if nothing was in it.
    """
    sources = _sources(patch, _beyond(patch.lattice, warp, lattice) if edge else None)
    if not sources:
        return Patch(np.zeros((1, 1, 1), patch.voxels.dtype), (0, 0, 0), lattice)
    start, shape = ((0, 0, 0), lattice.shape) if edge else _reach(sources, warp, lattice)
    frame = lattice.box(start, shape)
    sampler = warp.sampler(patch.lattice, frame)
    result, covered = np.zeros(shape, patch.voxels.dtype), np.zeros(shape, np.float32)
    middle = None if edge or warp.volume_factor is None else frame.world_to_index(warp.reached(patch.centroid()[None]))
    claims = Claims()
    for number, source in enumerate(sources, start=1):
        box = source.box_in(frame, warp)
        shares = sampler(source.shares, source.start, box, source.edge)
        if source.value == 0 or not _has_union(sources):
            covered[box] += shares
        if source.value:
            _claim(claims, number, source, shares, box, result, _target(source, warp, sampler, patch, frame, box, edge))
    disputed = claims.voxels()
    claims.add(0, disputed, 1 - covered.ravel()[disputed], None)
    values = np.array([0, *(source.value for source in sources)], dtype=result.dtype)
    winners = settle(claims, disputed, None if middle is None else Middle.of(result, disputed, middle[0]))
    result.ravel()[disputed] = values[winners]
    return Patch(result, start, lattice) if edge else Patch.of(result, lattice, start)


@dataclass(frozen=True, eq=False)
class _Source:
    """One label before the map.

    Attributes
    ----------
    value
        The label; 0 for all labels together.
    start
        Index of the box's first voxel on the patch's lattice.
    inside, shares
        (Z, Y, X): the label's voxels, and the share that is interpolated.
    extent
        The box as a grid; larger where the label goes on beyond it.
    edge
        Whether it goes on beyond it.
    """

    value: int
    start: Index
    inside: NDArray[np.bool_]
    shares: NDArray[np.uint8] | NDArray[np.float32]
    extent: Grid
    edge: bool

    def box_in(self, frame: Grid, warp: Warp) -> Slices:
        """The part of a frame in which the label may be after the map."""
        low, high = _bounds(self.extent, warp, frame)
        slices = [slice(max(int(a), 0), max(min(int(b), n), 0)) for a, b, n in zip(low, high, frame.shape, strict=True)]
        return slices[0], slices[1], slices[2]


def _beyond(source: Grid, warp: Warp, frame: Grid) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """How many voxels before and after those of `source`, along each axis, the map brings into the frame."""
    corners = np.array(list(product(*((-0.5, n - 0.5) for n in frame.shape))))
    origins = source.world_to_index(warp.origins(frame.index_to_world(corners)))
    after = origins.max(axis=0) - source.shape
    return np.maximum(np.ceil(-origins.min(axis=0)), 0).astype(int) + 2, np.maximum(np.ceil(after), 0).astype(int) + 2


def _sources(patch: Patch, beyond: tuple[NDArray[np.int_], NDArray[np.int_]] | None) -> list[_Source]:
    """Every label; of anisotropic voxels also all together (0), because their shares do not add up.

    With `beyond` labels at the edge of the patch go on for so many voxels before and after it.
    """
    spacing = patch.lattice.spacing
    soft = max(spacing) > _ANISOTROPIC * min(spacing)
    found = ndimage.find_objects(patch.voxels)
    boxes = [(value, box) for value, box in enumerate(found, start=1) if box is not None]
    if soft and len(boxes) > 1:
        boxes.append((0, tuple(slice(0, n) for n in patch.voxels.shape)))
    # A ramp is as long as the longest edge of a voxel; one voxel more for the interpolation.
    pad = [int(np.ceil(max(spacing) / mm)) + 1 if soft else 1 for mm in spacing]
    sources = []
    for value, box in boxes:
        low = np.array([part.start - p for part, p in zip(box, pad, strict=True)])
        high = np.array([part.stop + p for part, p in zip(box, pad, strict=True)])
        if beyond:
            low, high = np.maximum(low, 0), np.minimum(high, patch.voxels.shape)
        inside = np.zeros(high - low, bool)
        part = patch.voxels[box]
        inside[tuple(slice(b.start - a, b.stop - a) for b, a in zip(box, low, strict=True))] = (
            part == value if value else part > 0
        )
        first = low + patch.start
        start = (int(first[0]), int(first[1]), int(first[2]))
        shares = _ramp(inside, spacing) if soft else inside.view(np.uint8)
        edge = False
        if beyond:
            before = np.where([part.start == 0 for part in box], beyond[0], 0)
            after = np.where([part.stop == n for part, n in zip(box, patch.voxels.shape, strict=True)], beyond[1], 0)
            first, edge = first - before, bool(before.any() or after.any())
            low, high = low - before, high + after
        extent = patch.lattice.box(first.tolist(), (high - low).tolist())
        sources.append(_Source(value, start, inside, shares, extent, edge))
    return sources


def _has_union(sources: list[_Source]) -> bool:
    return sources[-1].value == 0


def _ramp(inside: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[np.float32]:
    """A share that rises through 1/2 at the surface, by the signed distance to it (Raya and Udupa 1990).

    Between thick slices it gives a slanted surface where plain shares would give steps. In cubic voxels, with a ramp of
    one voxel, it would be the plain shares themselves.
    """
    if inside.all():
        return np.ones(inside.shape, np.float32)
    distance = ndimage.distance_transform_edt(inside, sampling=spacing)
    distance -= ndimage.distance_transform_edt(~inside, sampling=spacing)
    ramp: NDArray[np.float32] = np.clip(0.5 + distance / (2 * max(spacing)), 0, 1).astype(np.float32)
    return ramp


def _bounds(source: Grid, warp: Warp, lattice: Grid) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """First and last plus one index on `lattice` of what the map makes of a grid."""
    corners = np.array(list(product(*((-0.5, n - 0.5) for n in source.shape))))
    reached = lattice.world_to_index(warp.reached(source.index_to_world(corners)))
    return np.floor(reached.min(axis=0)).astype(int), np.ceil(reached.max(axis=0)).astype(int) + 1


def _reach(sources: list[_Source], warp: Warp, lattice: Grid) -> tuple[Index, Index]:
    """Start and shape of the smallest box of the lattice that holds all labels after the map."""
    bounds = [_bounds(source.extent, warp, lattice) for source in sources]
    low = np.min([first for first, _ in bounds], axis=0)
    size = np.max([last for _, last in bounds], axis=0) - low
    return (int(low[0]), int(low[1]), int(low[2])), (int(size[0]), int(size[1]), int(size[2]))


def _target(
    source: _Source, warp: Warp, sampler: Sampler, patch: Patch, frame: Grid, box: Slices, edge: bool
) -> int | None:
    """How many voxels the label should have after the map; None if part of it is beyond the frame."""
    if source.edge:
        return None
    low, high = _bounds(source.extent, warp, frame)
    if edge and ((low < 0).any() or (high > frame.shape).any()):
        return None
    if warp.volume_factor is None:
        return round(float(sampler(source.inside.view(np.uint8), source.start, box, False).sum(dtype=np.float64)))
    factor = warp.volume_factor * patch.lattice.voxel_volume / frame.voxel_volume
    return round(np.count_nonzero(source.inside) * factor)


def _claim(
    claims: Claims,
    number: int,
    source: _Source,
    shares: NDArray[np.float32],
    box: Slices,
    result: NDArray[np.generic],
    target: int | None,
) -> None:
    """Write the voxels that are surely the label's into `result`, and claim those that may be."""
    sure = shares >= 1 - _SURE
    result[box][sure] = source.value
    at = np.nonzero((shares > _SURE) & ~sure)
    offset = [(i - (n - 1) / 2) / n for i, n in zip(at, shares.shape, strict=True)]
    near = ndimage.uniform_filter(shares, 3)[at] if len(at[0]) else shares[at]
    flat = np.ravel_multi_index(tuple(i + part.start for i, part in zip(at, box, strict=True)), result.shape)
    score = shares[at] + _NEIGHBOURS * near - _REMOTE * sum((o**2 for o in offset), np.float32(0))
    score += _OWN * (flat * (number * _GOLDEN) % 1)
    claims.add(number, flat, score, None if target is None else target - int(np.count_nonzero(sure)))
