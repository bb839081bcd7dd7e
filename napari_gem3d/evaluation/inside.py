"""Figures without the background, which is alike in any two scans: SSIM, where the fluid is, the inside of a lesion."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.evaluation.frame import Frame
from napari_gem3d.evaluation.protocol import MARGIN_MM
from napari_gem3d.evaluation.similarity import WINDOW, metrics, padded

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

# Fluid is darker than this share of the median of healthy tissue, after a Gaussian of this many mm.
_FLUID, _FLUID_MM = 0.62, 0.6
_TOGETHER = 16


def figures_inside(real: Floats, made: Floats, frame: Frame, lesion: Mask | None) -> dict[str, float | None]:
    """``ssim_brain``, ``csf_dice`` unless the scan is a CT, and, given a lesion, ``lesion_corr``.

    Parameters
    ----------
    real, made
        (Z, Y, X) in [0, 1], cropped to the frame's box.
    frame
        Of the real scan.
    lesion
        Where the lesion is, the same shape.

    Returns
    -------
    dict
        None for a figure that the scan is too small or too even for.

    Raises
    ------
    InputError
        If torchmetrics is not installed.
    """
    inside = frame.cropped
    deep = deep_inside(inside, frame.spacing)
    found: dict[str, float | None] = {"ssim_brain": ssim_inside(real, made, deep)}
    if not frame.ct:
        healthy = inside if lesion is None else inside & ~lesion
        found["csf_dice"] = fluid_overlap(real, made, healthy, deep, frame.spacing)
    if lesion is not None:
        found["lesion_corr"] = correlation(real, made, lesion)
    return found


def deep_inside(inside: Mask, spacing: tuple[float, float, float]) -> Mask:
    """Which voxels (Z, Y, X) of a body are more than 4 mm from its background; the box ends in background.

    Parameters
    ----------
    inside
        The body.
    spacing
        Of the voxels along (Z, Y, X), mm.
    """
    distance = ndimage.distance_transform_edt(np.pad(inside, 1), sampling=spacing)
    return np.asarray(distance[1:-1, 1:-1, 1:-1] > MARGIN_MM)


def ssim_inside(real: Floats, made: Floats, where: Mask) -> float | None:
    """SSIM (Wang et al. 2004; Gaussian of 1.5 voxels in axial slices), mean over some voxels.

    Parameters
    ----------
    real, made
        (Z, Y, X) in [0, 1].
    where
        The voxels that count, the same shape.

    Returns
    -------
    float or None
        None if no voxel counts.

    Raises
    ------
    InputError
        If torchmetrics is not installed.
    """
    shown = np.flatnonzero(where.any(axis=(1, 2)))
    if not len(shown):
        return None
    rows, columns = real.shape[1:]
    total = 0.0
    for few in np.array_split(shown, -(-len(shown) // _TOGETHER)):
        a, b = (padded(torch.from_numpy(volume[few])[:, None], WINDOW) for volume in (real, made))
        _, picture = metrics().structural_similarity_index_measure(b, a, data_range=1.0, return_full_image=True)
        total += float(picture[:, 0, :rows, :columns].numpy()[where[few]].sum(dtype=np.float64))
    return total / int(np.count_nonzero(where))


def fluid_overlap(
    real: Floats, made: Floats, healthy: Mask, deep: Mask, spacing: tuple[float, float, float]
) -> float | None:
    """Dice coefficient of what is dark in both scans: ventricles and sulci, where fluid is dark (FLAIR, T1).

    Parameters
    ----------
    real, made
        (Z, Y, X) in [0, 1].
    healthy
        The body without its lesion: its median, in each scan, tells what is dark.
    deep
        Where to look, within `healthy`.
    spacing
        Of the voxels along (Z, Y, X), mm.

    Returns
    -------
    float or None
        None if neither scan is dark anywhere.
    """
    width = [_FLUID_MM / length for length in spacing]
    dark = []
    for volume in (real, made):
        tissue = volume[healthy & (volume > 0)]
        level = _FLUID * float(np.median(tissue)) if len(tissue) else 0.0
        dark.append((ndimage.gaussian_filter(volume, width) < level) & healthy & deep)
    total = sum(int(np.count_nonzero(d)) for d in dark)
    return 2 * int(np.count_nonzero(dark[0] & dark[1])) / total if total else None


def correlation(real: NDArray[Any], made: NDArray[Any], where: Mask) -> float | None:
    """Pearson's correlation of two scans over some voxels; None of fewer than two, or if one scan is even there."""
    a, b = (volume[where].astype(np.float64) for volume in (real, made))
    if len(a) < 2 or not a.std() or not b.std():
        return None
    return float(np.corrcoef(a, b)[0, 1])
