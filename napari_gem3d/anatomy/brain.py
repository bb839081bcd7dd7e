"""Tissue of a skull-stripped brain in MR: ventricles, other cerebrospinal fluid, grey matter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.anatomy.parts import boxed, smoothed, without_specks
from napari_gem3d.volume import Volume

VENTRICLES, CSF, GREY = BRAIN = ("ventricles", "csf", "grey matter")

# Fluid is darker than this share of the brain's median (brighter than the inverse in T2), after a Gaussian that only
# takes off noise. 12 voxels of 1 mm are no sulcus.
_FLUID, _FLUID_MM, _SPECK_MM3 = 0.62, 0.6, 12.0
# The bias field is smooth over this length; the mean is taken of intensities that are surely neither fluid nor lesion.
_BIAS_MM, _PLAIN = 30.0, (0.7, 1.35)
_BIAS_BOUNDS = (0.6, 1.6)
# Means over a wide Gaussian are taken of voxels so far apart that this many fit in its standard deviation.
_STEPS_A_WIDTH = 4
# Ventricles are fluid whose core lies deep: shares of the depth of the brain's innermost point.
_CORE_DEPTH, _PART_DEPTH, _EDGE_DEPTH = 0.55, 0.45, 0.2
_VENTRICLE_MM3, _OPENING_MM, _REGROWN_MM = 200.0, 1.0, 2.5
# Depth is smooth, so every other voxel of 1 mm is enough.
_DEPTH_STEP_MM = 2.0
# Grey matter is what differs, after a fine Gaussian, from the mean of its surroundings and of the brain. Whole-brain
# thresholds fail on scans whose contrast changes from place to place.
_GREY_MM, _AROUND_MM = 1.0, 12.0
# Noise that the fine Gaussian leaves makes classes 1 or 2 % apart. Grey and white matter are at least so far apart, as
# a share of the brain's median.
_CONTRAST = 0.04
# A brain without any fluid was not imaged as the channel says.
_LEAST_FLUID, _MOST_FLUID = 0.002, 0.6
# The thickest slices in which a ventricle and a sulcus are told from each other.
_THICKEST_MM = 3.5


def brain_tissue(
    scan: Volume, inside: NDArray[np.bool_], free: NDArray[np.bool_], channel: str
) -> dict[str, NDArray[np.bool_] | str]:
    """Tissue of a brain, (Z, Y, X) for each name of `BRAIN`, or why it cannot be told.

    Parameters
    ----------
    scan
        Skull-stripped MR.
    inside
        (Z, Y, X), its brain.
    free
        (Z, Y, X), the brain without lesions, where tissue is looked for.
    channel
        The sequence: fluid is dark in FLAIR and T1, bright in T2; grey matter is brighter than white but in T1.
    """
    if not free.any():
        return dict.fromkeys(BRAIN, "no part of the brain is free of lesions")
    box, spacing = boxed(inside), scan.spacing
    brain, plain, voxels = inside[box], free[box], scan.voxels[box].astype(np.float32)
    lowest = float(voxels[brain].min())
    if lowest < 0:  # z-scores and the like: what is told below are ratios
        voxels -= lowest
    sequence = _sequence(channel)
    even = _without_bias(voxels, plain, spacing)
    fluid = _fluid(even, brain, plain, spacing, bright=sequence == "T2")
    share = np.count_nonzero(fluid) / np.count_nonzero(plain)
    if not _LEAST_FLUID < share < _MOST_FLUID:
        reason = f"{share:.0%} of the brain would be fluid, which no {sequence or 'MR'} shows"
        return dict.fromkeys(BRAIN, reason)
    told: dict[str, NDArray[np.bool_] | str] = {}
    ventricles = _deep(fluid, brain, spacing)
    found = {VENTRICLES: ventricles, CSF: fluid & ~ventricles}
    grey = _grey(even, plain & ~fluid, spacing, sequence)
    if isinstance(grey, str):
        told[GREY] = grey
    else:
        found[GREY] = grey
    for name, where in found.items():
        whole = np.zeros(inside.shape, bool)
        whole[box] = where
        told[name] = whole
    if max(spacing) > _THICKEST_MM:
        told[VENTRICLES] = f"slices of {max(spacing):.2g} mm are too thick to tell ventricles from sulci"
        told[CSF] = told[GREY] = f"slices of {max(spacing):.2g} mm are too thick to tell fluid and grey matter"
    return told


def _sequence(channel: str) -> str:
    """FLAIR, T1 or T2, as a channel is called by its dataset; empty if that says nothing."""
    name = channel.upper()
    return next((word for word in ("FLAIR", "T1", "T2") if word in name), "T1" if name in ("MPRAGE", "SPGR") else "")


def _without_bias(
    voxels: NDArray[np.float32], plain: NDArray[np.bool_], spacing: Sequence[float]
) -> NDArray[np.float32]:
    """Intensities (Z, Y, X) over the brain's median, with the smooth field of a coil taken out."""
    median = float(np.median(voxels[plain]))
    even = voxels / np.float32(max(median, 1e-6))
    usual = plain & (even > _PLAIN[0]) & (even < _PLAIN[1])
    field = _surroundings(even, usual, _BIAS_MM, spacing)
    even /= np.clip(field / np.median(field[plain]), *_BIAS_BOUNDS)
    return even / np.float32(np.median(even[plain]))


def stretched(coarse: NDArray[np.float32], shape: tuple[int, ...], steps: Sequence[int]) -> NDArray[np.float32]:
    """An array that was taken at every n-th voxel, linearly interpolated between them; (Z, Y, X) of `shape`."""
    result = coarse
    for axis, (length, step) in enumerate(zip(shape, steps, strict=True)):
        place = np.arange(length, dtype=np.float32) / step
        low = np.minimum(place.astype(np.intp), result.shape[axis] - 1)
        high = np.minimum(low + 1, result.shape[axis] - 1)
        share = (place - low).reshape([-1 if other == axis else 1 for other in range(3)])
        result = np.take(result, low, axis) * (1 - share) + np.take(result, high, axis) * share
    return result.astype(np.float32)


def _fluid(
    even: NDArray[np.float32],
    brain: NDArray[np.bool_],
    plain: NDArray[np.bool_],
    spacing: Sequence[float],
    bright: bool,
) -> NDArray[np.bool_]:
    """Cerebrospinal fluid (Z, Y, X) of a brain whose median is 1."""
    fine = smoothed(even, brain, _FLUID_MM, spacing)
    fluid = fine > 1 / _FLUID if bright else fine < _FLUID
    return without_specks(fluid & plain, _SPECK_MM3, spacing)


def _deep(fluid: NDArray[np.bool_], brain: NDArray[np.bool_], spacing: Sequence[float]) -> NDArray[np.bool_]:
    """The ventricles: connected fluid whose core lies deep in the brain, cut from sulci where the link is thin."""
    steps = [max(1, round(_DEPTH_STEP_MM / mm)) for mm in spacing]
    coarse = np.pad(brain[tuple(slice(None, None, step) for step in steps)], 1)
    sampling = [step * mm for step, mm in zip(steps, spacing, strict=True)]
    depth = ndimage.distance_transform_edt(coarse, sampling=sampling)[1:-1, 1:-1, 1:-1].astype(np.float32)
    depth = stretched(depth / depth.max(), brain.shape, steps)
    ball = _ball(_OPENING_MM, spacing)
    thick = ndimage.binary_opening(fluid, ball) & (depth > _EDGE_DEPTH)
    parts, count = ndimage.label(thick)
    if not count:
        return np.zeros(brain.shape, bool)
    which, depths = parts[thick], depth[thick]
    numbers = np.bincount(which, minlength=count + 1)
    middle = np.bincount(which, depths, minlength=count + 1) / np.maximum(numbers, 1)
    deepest = np.zeros(count + 1)
    np.maximum.at(deepest, which, depths)
    sizes = numbers * float(np.prod(spacing))
    chosen = (sizes >= _VENTRICLE_MM3) & (deepest >= _CORE_DEPTH) & (middle >= _PART_DEPTH)
    chosen[0] = False
    grown = max(1, round(_REGROWN_MM / float(np.mean(spacing))))
    result: NDArray[np.bool_] = ndimage.binary_dilation(
        chosen[parts], iterations=grown, mask=fluid & (depth > _EDGE_DEPTH)
    )
    return result


def _ball(radius_mm: float, spacing: Sequence[float]) -> NDArray[np.bool_]:
    """A ball (Z, Y, X); of thick slices it is a disc."""
    reach = [int(radius_mm / mm + 1e-6) for mm in spacing]
    places = np.meshgrid(*(np.arange(-n, n + 1) * mm for n, mm in zip(reach, spacing, strict=True)), indexing="ij")
    ball: NDArray[np.bool_] = sum(place**2 for place in places) <= radius_mm**2 + 1e-6
    return ball


def _grey(
    even: NDArray[np.float32], solid: NDArray[np.bool_], spacing: Sequence[float], sequence: str
) -> NDArray[np.bool_] | str:
    """Grey matter (Z, Y, X) among the voxels of the brain that are no fluid, or why it cannot be told."""
    if not sequence:
        return "the sequence is not known, so nothing says whether grey matter is bright or dark"
    fine = smoothed(even, solid, _GREY_MM, spacing)
    around = (_surroundings(fine, solid, _AROUND_MM, spacing) + np.float32(np.median(fine[solid]))) / 2
    brighter = fine > around
    upper, lower = (np.median(fine[solid & where]) for where in (brighter, ~brighter))
    if not upper - lower > _CONTRAST:
        return "grey and white matter do not differ in this scan"
    grey = ~brighter if sequence == "T1" else brighter
    return without_specks(grey & solid, _SPECK_MM3, spacing)


def _surroundings(
    voxels: NDArray[np.float32], where: NDArray[np.bool_], sigma_mm: float, spacing: Sequence[float]
) -> NDArray[np.float32]:
    """The Gaussian mean (Z, Y, X) of the voxels of a mask over a width that needs no more than every n-th of them."""
    steps = [max(1, round(sigma_mm / _STEPS_A_WIDTH / mm)) for mm in spacing]
    coarse = tuple(slice(None, None, step) for step in steps)
    sparse = [step * mm for step, mm in zip(steps, spacing, strict=True)]
    return stretched(smoothed(voxels[coarse], where[coarse], sigma_mm, sparse), voxels.shape, steps)
