"""Likeness of a synthetic scan to the real one on the same grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from napari_gem3d.errors import InputError

# Five scales halve a slice four times, and the smallest must still hold the 11 × 11 window.
_SMALLEST_SIDE = 176
# Of the body's ends, which show next to nothing.
_END_SLICES = 5
_PERCENTILE = 99.5
_TOGETHER = 16


def in_real_units(real: NDArray[Any], made: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both scans in [0, 1], by the real one's 99.5th percentile, cropped to the box of its foreground.

    Parameters
    ----------
    real, made
        (Z, Y, X) on one grid; the background of `real` is 0.

    Raises
    ------
    InputError
        If the shapes differ or `real` is empty.
    """
    if real.shape != made.shape:
        raise InputError(f"Scans of {real.shape} and {made.shape} voxels cannot be compared; bring them to one grid.")
    inside = real > 0
    if not inside.any():
        raise InputError("The real scan is empty; give one with a background of 0.")
    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(inside))
    top = float(np.percentile(real[inside], _PERCENTILE))
    cropped, against = (np.clip(v[box].astype(np.float32) / np.float32(top), 0, 1) for v in (real, made))
    return cropped, against


def ms_ssim(real: NDArray[Any], made: NDArray[Any]) -> float:
    """Mean MS-SSIM (Wang et al. 2003) of pairs of axial slices; 1 is best.

    Parameters
    ----------
    real, made
        (Z, Y, X) on one canonical grid; the background of `real` is 0. What counts is the box of its foreground
        without five slices at either end.

    Raises
    ------
    InputError
        As `in_real_units`, if there are too few slices, or torchmetrics is not installed.
    """
    try:
        from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as similarity
    except ImportError as error:
        raise InputError("MS-SSIM needs torchmetrics: pip install 'napari-gem3d[evaluation]'.") from error
    pair = in_real_units(real, made)
    if len(pair[0]) <= 2 * _END_SLICES:
        raise InputError(f"{len(pair[0])} slices of body are too few to compare; it takes {2 * _END_SLICES + 1}.")
    missing = [max(0, _SMALLEST_SIDE - length) for length in pair[0].shape[1:]]
    a, b = (functional.pad(torch.from_numpy(v)[:, None], (0, missing[1], 0, missing[0])) for v in pair)
    few = [v[_END_SLICES:-_END_SLICES].split(_TOGETHER) for v in (b, a)]
    scores = [similarity(x, y, data_range=1.0, reduction="none").reshape(-1) for x, y in zip(*few, strict=True)]
    return float(torch.cat(scores).mean())


def psnr(real: NDArray[Any], made: NDArray[Any]) -> float:
    """Peak signal-to-noise ratio in dB inside the box of the real foreground; the peak is its 99.5th percentile.

    Parameters
    ----------
    real, made
        (Z, Y, X) on one canonical grid; the background of `real` is 0.

    Raises
    ------
    InputError
        As `in_real_units`.
    """
    a, b = in_real_units(real, made)
    # Equal scans would be infinitely alike, which no report can hold.
    return float(-10 * np.log10(max(float(np.square(a - b, dtype=np.float64).mean()), 1e-12)))
