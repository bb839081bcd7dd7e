"""Foreground: which voxels belong to the patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.errors import InputError
from napari_gem3d.volume import Volume, resample

# Below this many HU is air around and inside the patient.
_AIR_HU = -500
# No MR has intensities below this; every CT has air, -1000 HU, in it or around it.
_SURELY_HU = -900
# A scan is skull-stripped if at least this fraction of its voxels has exactly the value of its corners. Noise around a
# head never is that constant; a brain fills at most half of any usual field of view.
_CONSTANT_BACKGROUND = 0.3
# A body has a halo if this share of its rim has less than this share of the tissue's signal: of 44 skull-stripped scans
# at most 0.49 (dark fluid), smoothed ones 0.6 to 1. What counts as tissue, and as clearly more than halo.
_HALO, _DIM, _FAINT, _CLEAR = 0.55, 0.05, 0.25, 0.15
# The edge is where the signal falls to this share of that of the tissue nearby, below this depth.
_EDGE, _CORE_MM, _NEAR_MM = 0.35, 2.0, 2.5
# Percentile of bright tissue, and shares of it: how far below 0 interpolation overshoots, how dark air is at most.
_BRIGHT, _RINGING, _OFFSET = 99.5, 0.05, 0.25


def is_ct(volume: Volume) -> bool:
    """Whether the intensities are HU: CT by the header, or, if that is silent, the values of air occur."""
    if volume.modality:
        return volume.modality == "CT"
    return bool(volume.voxels.min() <= _SURELY_HU)


def is_skull_stripped(volume: Volume) -> bool:
    """Whether everything around the organ was set to one constant value, as after skull-stripping."""
    if is_ct(volume):
        return False
    background = _corner_value(volume.voxels)
    return bool(np.count_nonzero(volume.voxels == background) >= _CONSTANT_BACKGROUND * volume.voxels.size)


def foreground(volume: Volume) -> NDArray[np.bool_]:
    """The patient's body in a CT, the head or brain in an MR: the largest connected part, without holes.

    Parameters
    ----------
    volume
        CT in HU: what is denser than -500 HU, lungs included. MR with a constant background (skull-stripped): what
        differs from the background, without the halo that smoothing, interpolation and JPEG leave around it. Other MR:
        what is brighter than air, by Otsu's threshold on a logarithmic scale.

    Returns
    -------
    ndarray of bool
        (Z, Y, X), on the grid of `volume`.

    Raises
    ------
    InputError
        If nothing stands out from the background.
    """
    body = largest_part(stands_out(volume))
    if body is None:
        name = str(volume.source) if volume.source else "The volume"
        raise InputError(f"{name} shows no body that stands out from the background; give a label map with a body.")
    if is_skull_stripped(volume):
        body = _without_halo(volume, body)
    canonical = resample(volume.with_voxels(body), volume.grid.canonical(), order=0)
    filled = _without_holes(canonical.voxels)
    if is_ct(volume) or not is_skull_stripped(volume):
        # Lungs and sinuses are open at the first and last slice, yet closed within most slices.
        filled = np.stack([ndimage.binary_fill_holes(axial) for axial in filled])
    result: NDArray[np.bool_] = resample(canonical.with_voxels(filled), volume.grid, order=0).voxels
    return result


def stands_out(volume: Volume) -> NDArray[np.bool_]:
    """Voxels (Z, Y, X) that differ from what is around the patient, stray ones and other objects among them."""
    if is_ct(volume):
        return volume.voxels > _AIR_HU
    if is_skull_stripped(volume):
        return volume.voxels != _corner_value(volume.voxels)
    # On a linear scale fat is so bright that the threshold may cut between it and the brain. In decades the step
    # from air to tissue is the greatest.
    low, high = np.percentile(volume.voxels, (0, 99.9))
    decades = np.log10(1 + 100 * np.clip((volume.voxels - low) / max(high - low, 1e-12), 0, 1))
    return decades > otsu(decades)


def _without_halo(volume: Volume, body: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The body (Z, Y, X) without the dark margin that it has where a stripped scan was smoothed or compressed."""
    contrast = np.abs(volume.voxels.astype(np.float32) - np.float32(_corner_value(volume.voxels)))
    bright = contrast[body]
    bright = bright[bright > _FAINT * np.percentile(bright, 95)]
    if not bright.size:
        return body
    rim = body & ~ndimage.binary_erosion(body, border_value=1)
    if np.mean(contrast[rim] < _DIM * np.median(bright)) < _HALO:
        return body
    clear = largest_part(contrast > _CLEAR * np.median(bright))
    assert clear is not None, "something is bright"
    whole = np.pad(_without_holes(clear), 1, mode="edge")
    depth = ndimage.distance_transform_edt(whole, sampling=volume.spacing)[1:-1, 1:-1, 1:-1]
    core, sigma = depth > _CORE_MM, [_NEAR_MM / mm for mm in volume.spacing]
    weight = ndimage.gaussian_filter(core.astype(np.float32), sigma, truncate=3)
    nearby = ndimage.gaussian_filter(np.where(core, contrast, 0), sigma, truncate=3) / np.maximum(weight, 1e-3)
    trimmed = largest_part(body & ((depth > 2 * _CORE_MM) | (contrast > _EDGE * nearby)))
    return body if trimmed is None else trimmed


@dataclass(frozen=True)
class Floor:
    """Where the intensities of an MR begin.

    Attributes
    ----------
    low
        What stands for no signal: 0 as scanners have it, else what the data say, as after a z-score.
    background
        What lies around the patient in a result.
    """

    low: float = 0.0
    background: float = 0.0

    @property
    def is_zero(self) -> bool:
        """Whether the scan is as scanners give it."""
        return self.low == 0 and self.background == 0


def signal(volume: Volume, inside: NDArray[np.bool_]) -> NDArray[Any]:
    """The intensities (n,) of an MR in its foreground `inside` (Z, Y, X), without those of the background's value."""
    background = _corner_value(volume.voxels) if is_skull_stripped(volume) else 0
    values: NDArray[Any] = volume.voxels[inside & (volume.voxels != background)]
    return values


def find_floor(volume: Volume, inside: NDArray[np.bool_]) -> Floor:
    """Find where the intensities of an MR begin.

    Scans with z-scores, from -1 to 1, or with an offset, have their low end from the data: the background's value where
    all else is brighter, else the darkest tissue. Slightly negative voxels, as interpolation leaves, count as 0.

    Parameters
    ----------
    volume
        MR.
    inside
        (Z, Y, X), its foreground.
    """
    values = signal(volume, inside)
    if not values.size:
        return Floor()
    lowest, high = float(values.min()), float(np.percentile(values, _BRIGHT))
    if not is_skull_stripped(volume):
        least = float(volume.voxels.min())
        usual = -_RINGING * high <= least <= _OFFSET * high
        return Floor() if usual else Floor(least, least)
    background = float(_corner_value(volume.voxels))
    if background == 0 and lowest >= -_RINGING * high:
        return Floor()
    if background <= lowest + _RINGING * (high - lowest):
        return Floor(background, background)
    # One broken voxel must not decide.
    dark, middle = (float(value) for value in np.percentile(values, (1, 50)))
    return Floor(max(lowest, 2 * dark - middle), background)


def _without_holes(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What `scipy.ndimage.binary_fill_holes` gives, in a third of its time: outside is what the border reaches."""
    parts, _ = ndimage.label(np.pad(~inside, 1, constant_values=True))
    return (parts != parts[0, 0, 0])[1:-1, 1:-1, 1:-1]


def otsu(voxels: NDArray[Any]) -> float:
    """Threshold that separates two classes with the greatest variance between them (Otsu 1979), over 256 bins."""
    counts, edges = np.histogram(voxels, bins=256)
    middles = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts)[:-1], np.cumsum(counts[::-1])[::-1][1:]
    sum_below = np.cumsum(counts * middles)[:-1]
    sum_above = (counts * middles).sum() - sum_below
    difference = sum_below / np.maximum(below, 1) - sum_above / np.maximum(above, 1)
    between = below * above * difference**2
    # All thresholds in a gap between the classes are equally good; the middle one leaves room on both sides.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float(edges[1:-1][best[len(best) // 2]])


def _corner_value(voxels: NDArray[Any]) -> Any:
    """The value most of the eight corners share."""
    ends = (0, -1)
    values, counts = np.unique(voxels[np.ix_(ends, ends, ends)], return_counts=True)
    return values[np.argmax(counts)]


def largest_part(inside: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """The largest connected part; None if there is none."""
    parts, number = ndimage.label(inside)
    if number == 0:
        return None
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    largest: NDArray[np.bool_] = parts == int(np.argmax(sizes))
    return largest
