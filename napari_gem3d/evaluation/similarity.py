"""Likeness of a synthetic scan to the real one on the same grid: MS-SSIM, SSIM, PSNR."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.frame import in_real_units

Floats = NDArray[np.float32]

# Five scales halve a slice four times, and the smallest must still hold the 11 × 11 window.
_SMALLEST_SIDE = 176
_WINDOW = 11
# Of the body's ends, which show next to nothing.
_END_SLICES = 5
_TOGETHER = 16


def axial_pairs(real: Floats, made: Floats, smallest: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of axial slices (N, 1, H, W) of two scans, without five slices at either end.

    Parameters
    ----------
    real, made
        (Z, Y, X) in [0, 1], cropped to the body's box.
    smallest
        Sides of fewer pixels are padded with 0 up to this.

    Raises
    ------
    InputError
        If there are too few slices.
    """
    if len(real) <= 2 * _END_SLICES:
        raise InputError(f"{len(real)} slices of body are too few to compare; it takes {2 * _END_SLICES + 1}.")
    missing = [max(0, smallest - length) for length in real.shape[1:]]
    few = (torch.from_numpy(v)[_END_SLICES:-_END_SLICES, None].split(_TOGETHER) for v in (real, made))
    for a, b in zip(*few, strict=True):
        yield tuple(functional.pad(v, (0, missing[1], 0, missing[0])) for v in (a, b))  # type: ignore[misc]


def likeness(real: Floats, made: Floats) -> dict[str, float]:
    """``ms_ssim``, ``ssim`` and ``psnr`` (dB) of two scans (Z, Y, X) in [0, 1], cropped to the body's box.

    MS-SSIM (Wang et al. 2003) and SSIM (Wang et al. 2004) are means over axial slices, without five at either end;
    PSNR is that of all voxels, for a peak of 1.

    Raises
    ------
    InputError
        If there are too few slices, or torchmetrics is not installed.
    """
    try:
        from torchmetrics.functional import image
    except ImportError as error:
        raise InputError(f"MS-SSIM needs torchmetrics ({error}): pip install 'napari-gem3d[evaluation]'.") from error
    whole: dict[str, Any] = {"data_range": 1.0, "reduction": "none"}
    several: list[Any] = [
        image.multiscale_structural_similarity_index_measure(b, a, **whole)
        for a, b in axial_pairs(real, made, _SMALLEST_SIDE)
    ]
    single: list[Any] = [
        image.structural_similarity_index_measure(b, a, **whole) for a, b in axial_pairs(real, made, _WINDOW)
    ]
    return {"ms_ssim": _mean(several), "ssim": _mean(single), "psnr": psnr(real, made)}


def _mean(scores: list[Tensor]) -> float:
    return float(torch.cat([score.reshape(-1) for score in scores]).mean())


def psnr(real: Floats, made: Floats) -> float:
    """Peak signal-to-noise ratio, dB, of two arrays in [0, 1]; the peak is 1."""
    # Equal scans would be infinitely alike, which no report can hold.
    return float(-10 * np.log10(max(float(np.square(real - made).mean(dtype=np.float64)), 1e-12)))


def ms_ssim(real: NDArray[Any], made: NDArray[Any]) -> float:
    """Mean MS-SSIM of pairs of axial slices, as `likeness` has it; 1 is best.

    Parameters
    ----------
    real, made
        (Z, Y, X) on one canonical grid; the background of `real` is 0. What counts is the box of its foreground.

    Raises
    ------
    InputError
        As `in_real_units` and `likeness`.
    """
    return likeness(*in_real_units(real, made))["ms_ssim"]
