"""Label maps that are nobody's: a brain that is an average of many, and a tumour that was never anyone's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.foreground import foreground
from napari_gem3d.grid import Grid
from napari_gem3d.io import read_volume
from napari_gem3d.labels import LabelMap, LabelTable
from napari_gem3d.masks import BrainPolicy, Elastic, Lesion, Rotate, Selection, Shell, augment_mask, transform_mask
from napari_gem3d.volume import Volume, resample

Mask = NDArray[np.bool_]
Field = NDArray[np.float32]
Triple = tuple[float, float, float]

# Shapes are compared and averaged in voxels of this size, mm; outlines between them are interpolated.
_STEP = 2.0
_MARGIN_MM = 12.0
# How many brains a new one is an average of, at least.
FEWEST = 5
_AVERAGED = 8
# A new brain is about as large as those that it is an average of, to this share of its length along each axis.
_SIZE_SPREAD = 0.03
# How much a brain's surface is roughened, over which length, and how the whole is then bent; mm.
_ROUGHNESS, _ROUGHNESS_LENGTH = 0.6, 2.5
_BENDING, _BENDING_LENGTH = 6.0, 32.0
_AROUND = 6
# White matter, roughly: below the cortex, beside the middle and the ventricles (half axes right, front, up), with
# fingers that reach this far (standard deviation) and are this thick.
_CORTEX_MM, _MIDLINE_MM, _VENTRICLES_MM = 6.0, 7.0, (18.0, 40.0, 14.0)
_FINGERS_MM, _FINGERS_LENGTH = 3.0, 4.0
# Labels of the bundle: around, and from outside in what lies within. At least so much oedema is around it.
_EDEMA, _WITHIN = "edema", ("enhancing tumor", "non-enhancing tumor")
_OEDEMA_MM = 3.0


@dataclass(frozen=True)
class Shapes:
    """Outlines of brains, each stretched to one common box.

    Attributes
    ----------
    sizes
        (N, 3), the box of every brain in mm along (z, y, x).
    distances
        (N, Z, Y, X), distance in mm to the outline, positive inside, in voxels of `_STEP` about the middle of the box.
    """

    sizes: NDArray[np.float64]
    distances: Field

    @classmethod
    def of(cls, scans: Sequence[Path]) -> Shapes:
        """Read the outlines of skull-stripped scans."""
        brains = []
        for path in scans:
            scan = read_volume(path)
            scan = resample(scan, scan.grid.canonical())
            brains.append((foreground(scan), scan.spacing))
        sizes = np.array([_box_size(*brain) for brain in brains])
        common = sizes.mean(axis=0)
        return cls(sizes, np.stack([_distance(stretched(*brain, common)) for brain in brains]))

    @cached_property
    def common(self) -> NDArray[np.float64]:
        """The common box in mm along (z, y, x): the mean one."""
        mean: NDArray[np.float64] = self.sizes.mean(axis=0)
        return mean

    def average(self, rng: np.random.Generator) -> Mask:
        """A random convex combination of some outlines, half of them mirrored, in a box of its own; 1 mm, RAS."""
        chosen = rng.choice(len(self.sizes), min(_AVERAGED, len(self.sizes)), replace=False)
        weights = rng.dirichlet(np.ones(len(chosen)))
        mirrored = rng.random(len(chosen)) < 0.5
        field = np.zeros_like(self.distances[0])
        for index, weight, mirror in zip(chosen, weights, mirrored, strict=True):
            field += np.float32(weight) * (self.distances[index][..., ::-1] if mirror else self.distances[index])
        size = weights @ self.sizes[chosen] * rng.normal(1, _SIZE_SPREAD, 3)
        coarse = Volume(field, _centred(field.shape, _STEP * size / self.common))
        shape = [int(np.ceil(mm)) + 2 * _AROUND for mm in size]
        fine = Grid((shape[0], shape[1], shape[2]), _centred(shape, np.ones(3)))
        return _largest(resample(coarse, fine).voxels > _ROUGHNESS * smooth_noise(rng, fine.shape, _ROUGHNESS_LENGTH))

    def likeness(self, brain: Mask, spacing: Triple) -> float:
        """Highest Dice coefficient of a brain with any of these, or its mirror image, all in the common box."""
        inside = stretched(brain, spacing, self.common)
        return max(_dice(either, other > 0) for other in self.distances for either in (inside, inside[..., ::-1]))

    @cached_property
    def likeness_among(self) -> list[float]:
        """The same for each of these brains with the others."""
        inside = self.distances > 0
        return [
            max(_dice(either, other) for j, other in enumerate(inside) if j != i for either in (one, one[..., ::-1]))
            for i, one in enumerate(inside)
        ]


def stretched(brain: Mask, spacing: Triple, size: NDArray[np.float64]) -> Mask:
    """A brain (Z, Y, X), its box stretched to `size` (mm along z, y, x), in voxels of `_STEP` about the middle."""
    box = ndimage.find_objects(brain.astype(np.uint8))[0]
    cropped = np.pad(brain[box], 1)
    edges = np.array(spacing) * size / _box_size(brain, spacing)
    shape = [int(np.ceil((mm + 2 * _MARGIN_MM) / _STEP)) for mm in size]
    target = Grid((shape[0], shape[1], shape[2]), _centred(shape, np.full(3, _STEP)))
    result: Mask = resample(Volume(cropped.astype(np.float32), _centred(cropped.shape, edges)), target).voxels > 0.5
    return result


def new_brain(shapes: Shapes, table: LabelTable, seed: int) -> LabelMap:
    """A brain without a tumour: an average of some, bent as a whole, its surface roughened; 1 mm, RAS."""
    assert table.body is not None
    rng = np.random.default_rng(seed)
    inside = np.pad(shapes.average(rng), _AROUND)
    labels = LabelMap((inside * table.body.value).astype(np.uint8), _centred(inside.shape, np.ones(3)), table=table)
    bend = Elastic(amplitude=_BENDING, smoothness=_BENDING_LENGTH, seed=int(rng.integers(2**31)))
    bent = transform_mask(labels, bend, select=Selection(everything=True)).labels
    inside = _largest(bent.voxels > 0)
    (box,) = ndimage.find_objects(inside.astype(np.uint8))
    start = [part.start - _AROUND for part in box]
    shape = [part.stop - part.start + 2 * _AROUND for part in box]
    whole = bent.with_voxels((inside * table.body.value).astype(np.uint8))
    return resample(whole, whole.grid.box(start, shape), order=0)


@dataclass(frozen=True)
class Tumour:
    """What a tumour shall be like before chance bends it; lengths in mm.

    Attributes
    ----------
    place
        From the middle of the brain's box, as shares of half its length: -1 left, back, bottom to 1 right, front, top.
    diameter
        Of the whole along the axes (R, A, S).
    edema, rim
        Thickness of the oedema and of the enhancing rim around the non-enhancing core; 0 for no rim.
    degrees
        By which it is turned about these axes.
    """

    place: Triple
    diameter: Triple
    edema: float
    rim: float
    degrees: Triple = (0.0, 0.0, 0.0)


def add_tumour(brain: LabelMap, tumour: Tumour, seed: int) -> LabelMap:
    """Draw a tumour into the white matter of one hemisphere, by the operations that people have for lesions."""
    table = brain.table
    assert table is not None and table.body is not None
    rng = np.random.default_rng(seed)
    side = "right" if tumour.place[0] > 0 else "left"
    zone = _white_matter(brain.voxels > 0, side, rng)
    seeds = [int(number) for number in rng.integers(2**31, size=4)]
    shaped = transform_mask(
        brain.with_voxels((zone * table.body.value).astype(np.uint8)),
        [
            _ellipsoid(brain, tumour),
            Rotate(degrees=tumour.degrees),
            Elastic(amplitude=6.0, smoothness=16.0, seed=seeds[0]),
            Elastic(amplitude=2.5, smoothness=6.0, seed=seeds[1]),
        ],
    ).labels
    # The core has an outline of its own, and does not lie in the middle of the oedema.
    within = Selection(labels=_WITHIN if tumour.rim else _WITHIN[1:])
    own = Elastic(amplitude=1.5, smoothness=6.0, seed=seeds[2])
    shaped = transform_mask(shaped, own, select=within, host=(_EDEMA,)).labels
    policy = BrainPolicy(flip_probability=0, rotation_probability=1, max_degrees=10, max_mm=6, max_lost_share=0.5)
    shaped = augment_mask(shaped, policy, seed=seeds[3]).labels
    lesion = np.where(shaped.voxels == table.body.value, 0, shaped.voxels)
    lesion[~_largest(lesion > 0)] = 0
    # Everywhere there is some oedema between the core and what is healthy.
    margin = (lesion > 0) & (ndimage.distance_transform_edt(lesion) <= _OEDEMA_MM)
    lesion[margin] = table.by_name(_EDEMA).value
    return brain.with_voxels(np.where(lesion > 0, lesion, brain.voxels).astype(np.uint8))


def _ellipsoid(brain: LabelMap, tumour: Tumour) -> Lesion:
    (box,) = ndimage.find_objects((brain.voxels > 0).astype(np.uint8))
    middle = np.array([(part.start + part.stop - 1) / 2 for part in box])
    half = np.array([(part.stop - part.start) / 2 for part in box])
    r, a, s = (float(mm) for mm in brain.grid.index_to_world([middle + half * tumour.place[::-1]])[0])
    shells = [Shell(label=_EDEMA, mm=tumour.edema)]
    if tumour.rim:
        shells.append(Shell(label=_WITHIN[0], mm=tumour.rim))
    return Lesion(at=(r, a, s), diameter=tumour.diameter, shells=(*shells, Shell(label=_WITHIN[1])))


def _white_matter(brain: Mask, side: str, rng: np.random.Generator) -> Mask:
    """Where oedema spreads, in a brain of 1 mm: one hemisphere's inside, with fingers, without the ventricles."""
    depth = ndimage.distance_transform_edt(brain)
    noise = smooth_noise(rng, brain.shape, _FINGERS_LENGTH)
    (box,) = ndimage.find_objects(brain.astype(np.uint8))
    z, y, x = (
        axis - (part.start + part.stop - 1) / 2
        for axis, part in zip(np.ogrid[tuple(slice(0, n) for n in brain.shape)], box, strict=True)
    )
    across, along, up = _VENTRICLES_MM
    outside_ventricles = across * (np.sqrt((x / across) ** 2 + (y / along) ** 2 + ((z - 6) / up) ** 2) - 1)
    beside_midline = x if side == "right" else -x
    room = np.minimum(np.minimum(depth - _CORTEX_MM, outside_ventricles), beside_midline - _MIDLINE_MM)
    return _largest(room > _FINGERS_MM * noise)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int, int], length: float) -> Field:
    """Gaussian noise of unit deviation, smooth over `length` voxels."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), length, mode="wrap")
    result: Field = noise / noise.std()
    return result


def _centred(shape: Sequence[int], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Affine of a RAS grid of a (Z, Y, X) shape about the origin, its voxels as long as `edges` (z, y, x)."""
    affine = np.diag([*edges[::-1], 1.0])
    affine[:3, 3] = -(np.array(shape[::-1]) - 1) / 2 * edges[::-1]
    return affine


def _box_size(brain: Mask, spacing: Triple) -> NDArray[np.float64]:
    (box,) = ndimage.find_objects(brain.astype(np.uint8))
    return np.array([(part.stop - part.start) * mm for part, mm in zip(box, spacing, strict=True)])


def _distance(inside: Mask) -> Field:
    distances = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    result: Field = (_STEP * distances).astype(np.float32)
    return result


def _largest(inside: Mask) -> Mask:
    parts, _ = ndimage.label(inside)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    filled: Mask = ndimage.binary_fill_holes(parts == int(np.argmax(sizes)))
    return filled


def _dice(one: Mask, other: Mask) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))
