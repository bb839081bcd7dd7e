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
from napari_gem3d.evaluation.protocol import END_SLICES, EVERY, SIDE

Floats = NDArray[np.float32]
Size = tuple[int, int]

PAPER_SIZE: Size = (SIDE, SIDE)
# Five scales halve a slice four times, and the smallest must still hold the 11 × 11 window.
_SMALLEST_SIDE = 176
WINDOW = 11
_TOGETHER = 16


def metrics() -> Any:
    """The functions of torchmetrics for pictures; InputError if it is not installed."""
    try:
        from torchmetrics.functional import image
    except ImportError as error:
        raise InputError(f"MS-SSIM needs torchmetrics ({error}): pip install 'napari-gem3d[evaluation]'.") from error
    return image


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
    few = (inner.split(_TOGETHER) for inner in _inner(real, made))
    for a, b in zip(*few, strict=True):
        yield padded(a, smallest), padded(b, smallest)


def padded(slices: Tensor, smallest: int) -> Tensor:
    """Slices (…, H, W) with rows and columns of 0 at their ends, up to `smallest` pixels a side."""
    missing = [max(0, smallest - length) for length in slices.shape[-2:]]
    return functional.pad(slices, (0, missing[1], 0, missing[0]))


def _inner(*volumes: Floats) -> Iterator[Tensor]:
    """The axial slices (N, 1, H, W) of each volume without its ends."""
    count = len(volumes[0])
    if count <= 2 * END_SLICES:
        raise InputError(f"{count} slices of body are too few to compare; it takes {2 * END_SLICES + 1}.")
    for volume in volumes:
        yield torch.from_numpy(volume)[END_SLICES:-END_SLICES, None]


def mean_ms_ssim(real: Floats, made: Floats, size: Size | None = PAPER_SIZE) -> float:
    """Mean MS-SSIM (Wang et al. 2003, five scales) of every fourth pair of axial slices, without five at either end.

    Parameters
    ----------
    real, made
        (Z, Y, X) in [0, 1], cropped to the body's box.
    size
        Rows and columns that slices are resized to, bilinearly; None compares them as they are.

    Raises
    ------
    InputError
        If there are too few slices, they are too small for five scales, or torchmetrics is not installed.
    """
    rows, columns = size or real.shape[1:]
    if min(rows, columns) < _SMALLEST_SIDE:
        raise InputError(
            f"Slices of {rows} × {columns} pixels are too small for the five scales of MS-SSIM; resize them to "
            f"{_SMALLEST_SIDE} pixels a side or more."
        )
    measure = metrics().multiscale_structural_similarity_index_measure
    scores = []
    a, b = (inner[::EVERY] for inner in _inner(real, made))
    # One after the other: a pair of 512 × 512 pixels takes 50 MB on its way.
    for pair in zip(a.split(1), b.split(1), strict=True):
        one, other = (v if size is None else functional.interpolate(v, size, mode="bilinear") for v in pair)
        scores.append(float(measure(other, one, data_range=1.0)))
    return float(np.mean(scores))


def likeness(real: Floats, made: Floats) -> dict[str, float]:
    """``ms_ssim``, ``ssim`` and ``psnr`` (dB) of two scans (Z, Y, X) in [0, 1], cropped to the body's box.

    MS-SSIM is `mean_ms_ssim` at the paper's size. SSIM (Wang et al. 2004) is the mean over axial slices as they are,
    without five at either end; PSNR is that of all voxels, for a peak of 1.

    Raises
    ------
    InputError
        If there are too few slices, or torchmetrics is not installed.
    """
    single: list[Tensor] = [
        metrics().structural_similarity_index_measure(b, a, data_range=1.0, reduction="none").reshape(-1)
        for a, b in axial_pairs(real, made, WINDOW)
    ]
    return {"ms_ssim": mean_ms_ssim(real, made), "ssim": float(torch.cat(single).mean()), "psnr": psnr(real, made)}


def psnr(real: Floats, made: Floats) -> float:
    """Peak signal-to-noise ratio, dB, of two arrays in [0, 1]; the peak is 1."""
    # Equal scans would be infinitely alike, which no report can hold.
    return float(-10 * np.log10(max(float(np.square(real - made).mean(dtype=np.float64)), 1e-12)))


def ms_ssim(real: NDArray[Any], made: NDArray[Any], size: Size | None = PAPER_SIZE) -> float:
    """`mean_ms_ssim` of two scans in their own units; 1 is best.

    Parameters
    ----------
    real, made
        (Z, Y, X) on one canonical grid; the background of `real` is 0. What counts is the box of its foreground, from 0
        to its 99.5th percentile.
    size
        As `mean_ms_ssim` takes it.

    Raises
    ------
    InputError
        As `in_real_units` and `mean_ms_ssim`.
    """
    return mean_ms_ssim(*in_real_units(real, made), size)
