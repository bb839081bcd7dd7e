"""Nearness in pixels, whatever the shift, mirror image, small rotation or scaling, brightness and contrast."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from napari_gem3d.evaluation.memorisation.likeness import Spectra, correlation_over_shifts, in_frame, shifted
from napari_gem3d.evaluation.memorisation.space import Nearest, Slices
from napari_gem3d.volume import Volume, resample

_SPACING_MM = 2.0
# Width of the Gaussian whose local mean is subtracted, and what the body's rim is thinned by.
_LOCAL_MM = 6.0
_RIM_MM = 4.0
_CLIPPED_PERCENT = (0.5, 99.5)
# Poses in which slices are compared; training changes patients by up to 8 degrees and 8 %, and what lies between two
# poses is still alike.
_DEGREES = (-6.0, 0.0, 6.0)
_SCALES = (0.94, 1.0, 1.06)
# Shifts in pixels of 2 mm, and of 4 mm in the first search.
_REACH, _COARSE_REACH = 5, 3
_COARSE = 2
_KEPT = 3
# Room about the largest body for a pose that enlarges it.
_ROOM = 1.12

Floats = NDArray[np.float32]


class Pixels:
    """Distance 1 − r of slices at 2 mm, r their largest normalised cross-correlation inside both bodies.

    What is correlated is the deviation from the local mean (Gaussian of 6 mm), without the outermost 4 mm of the body:
    sulci and vessels, which are a person's own, rather than the outline, the bias field and which half is bright, which
    the label map gives or everybody shares. The largest is over shifts of up to 10 mm in the plane, slices up to 12 mm
    from the like height, mirror images, and rotations and scalings as in training. It is found in two steps: every
    pose and every slice at 4 mm, then the best three at 2 mm.
    """

    name = "pixels"
    how = (
        "1 − normalised cross-correlation of local contrast at 2 mm, over shifts of 10 mm, mirror images, rotations "
        "and scalings of about 8 degrees and 8 %"
    )

    def describe(self, scan: Volume, body: NDArray[np.bool_], asked: bool) -> Slices:
        """The slices of a scan's body, 2 mm apart; see `Space.describe`."""
        del asked
        low, high = np.percentile(scan.voxels[body], _CLIPPED_PERCENT)
        clipped = np.where(body, np.clip(scan.voxels, low, high), low).astype(np.float32)
        canonical = scan.grid.canonical()
        grid = canonical.with_spacing((_SPACING_MM,) * 3)
        voxels = resample(scan.with_voxels(clipped), grid).voxels
        inside = resample(Volume(body.astype(np.float32), scan.affine), grid).voxels > 0.5
        if not inside.any():
            inside[tuple(n // 2 for n in inside.shape)] = True
        box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(inside))
        values, thinned = _local_contrast(voxels[box], inside[box])
        places = np.linspace(0, 1, len(values), dtype=np.float32)
        lowest = [(box[0].start + i, 0.0, 0.0) for i in range(len(values))]
        numbers = np.rint(canonical.world_to_index(grid.index_to_world(lowest))[:, 0]).astype(np.intp)
        numbers = np.clip(numbers, 0, canonical.shape[0] - 1)
        return Slices(values[:, None].astype(np.float16), thinned, places, (len(values) - 1) * _SPACING_MM, numbers)

    def search(self, asked: Slices, largest: tuple[int, int]) -> Callable[[Slices], Nearest]:
        """See `Space.search`."""
        return _PixelSearch(asked, largest)


def _local_contrast(voxels: Floats, inside: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    """Deviation from the local mean of the body, unit deviation over all of it, and the body without its rim."""
    width = (0, _LOCAL_MM / _SPACING_MM, _LOCAL_MM / _SPACING_MM)
    weight = ndimage.gaussian_filter(inside.astype(np.float32), width)
    mean = ndimage.gaussian_filter(np.where(inside, voxels, 0), width) / np.maximum(weight, 1e-6)
    thinned = ndimage.binary_erosion(inside, np.ones((1, 3, 3), bool), round(_RIM_MM / _SPACING_MM))
    deviation = np.where(thinned, voxels - mean, 0)
    scale = float(deviation[thinned].std()) if thinned.any() else 0.0
    return (deviation / max(scale, 1e-6)).astype(np.float32), thinned


class _PixelSearch:
    """The slices asked about in every pose, ready to be correlated."""

    def __init__(self, asked: Slices, largest: tuple[int, int]) -> None:
        self.asked = asked
        sizes = [max(pair) for pair in zip(asked.inside.shape[1:], largest, strict=True)]
        frames = [fft.next_fast_len(int(np.ceil(_ROOM * size)) + 2 * _REACH, real=True) for size in sizes]
        self.frame = _COARSE * -(-frames[0] // _COARSE), _COARSE * -(-frames[1] // _COARSE)
        values, inside = asked.values[:, 0].astype(np.float32), asked.inside
        poses = [
            _posed(in_frame(v, self.frame), in_frame(m.astype(np.float32), self.frame), degrees, scale)
            for v, m in ((values, inside), (values[:, :, ::-1], inside[:, :, ::-1]))
            for degrees, scale in product(_DEGREES, _SCALES)
        ]
        self.poses = len(poses)
        stacked = [np.concatenate(parts) for parts in zip(*poses, strict=True)]
        # (pose · S + slice, …)
        self.fine = Spectra.of(stacked[0], stacked[1], self.frame)
        self.coarse = np.conj(_coarse(stacked[0])).reshape(
            self.poses, len(values), -1, self.frame[1] // _COARSE // 2 + 1
        )

    def __call__(self, training: Slices) -> Nearest:
        values = in_frame(training.values[:, 0].astype(np.float32), self.frame)
        small = _coarse(values)
        count = len(self.asked.places)
        # (S, _KEPT) of pose and slice.
        candidates = [self._candidates(number, training, small) for number in range(count)]
        width = max(len(found) for found in candidates)
        if width == 0:
            return Nearest(np.full(count, 2, np.float32), np.zeros(count, np.intp), np.zeros(count, bool))
        # Where there are fewer, the first stands in for the missing; where there are none, slice 0, which then fails.
        table = np.array([(found + [found[0] if found else (0, 0)] * width)[:width] for found in candidates])
        some = np.array([bool(found) for found in candidates])
        used, where = np.unique(table[..., 1], return_inverse=True)
        spectra = Spectra.of(
            values[used], in_frame(training.inside[used].astype(np.float32), self.frame) > 0, self.frame
        )
        rows = (table[..., 0] * count + np.arange(count)[:, None]).ravel()
        likeness = correlation_over_shifts(self.fine[rows], spectra[where.ravel()], _REACH).reshape(table.shape[:2])
        best = likeness.argmax(axis=1)
        pose, index = np.moveaxis(table[np.arange(count), best], -1, 0)
        distance = np.where(some, 1 - likeness.max(axis=1), 2).astype(np.float32)
        return Nearest(distance, training.numbers[index], pose >= self.poses // 2)

    def _candidates(self, number: int, training: Slices, small: NDArray[np.complex64]) -> list[tuple[int, int]]:
        """The most alike poses and training slices at 4 mm of one slice asked about."""
        window = training.window(float(self.asked.places[number]))
        if not len(window):
            return []
        frame = self.frame[0] // _COARSE, self.frame[1] // _COARSE
        products = self.coarse[:, number, None] * small[window]
        likeness = shifted(products, frame, _COARSE_REACH).max(axis=2)
        best = np.argsort(likeness, axis=None)[::-1][:_KEPT]
        return [(int(i // len(window)), int(window[i % len(window)])) for i in best]


def _coarse(slices: Floats) -> NDArray[np.complex64]:
    """Spectra of slices (N, H, W) at half the resolution and unit norm."""
    n, height, width = slices.shape
    small = slices.reshape(n, height // _COARSE, _COARSE, width // _COARSE, _COARSE).mean(axis=(2, 4))
    norm = np.sqrt(np.square(small).sum(axis=(1, 2), keepdims=True))
    spectra: NDArray[np.complex64] = fft.rfft2(small / np.maximum(norm, 1e-6))
    return spectra


def _posed(values: Floats, inside: Floats, degrees: float, scale: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Slices (N, H, W) and their bodies turned in the plane and scaled about the middle."""
    if degrees == 0 and scale == 1:
        return values, inside > 0.5
    angle = np.deg2rad(degrees)
    matrix = np.eye(3)
    matrix[1:, 1:] = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    middle = np.array([0.0, (values.shape[1] - 1) / 2, (values.shape[2] - 1) / 2])
    offset = middle - matrix @ middle
    turned = [ndimage.affine_transform(part, matrix, offset, order=1) for part in (values, inside)]
    body = turned[1] > 0.5
    return np.where(body, turned[0], 0).astype(np.float32), body
