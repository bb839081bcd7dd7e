"""Window and level: presets for each modality, and what a drag does to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.volume import Modality

Limits = tuple[float, float]

# Level and width in HU, as they are usual.
CT_WINDOWS = {"Brain": (40, 80), "Soft tissue": (40, 400), "Lung": (-600, 1500), "Bone": (400, 1800)}
# MR intensities have no unit: percentiles of what is not background.
MR_PERCENTILES = {"Standard": (1, 99.5), "Strong contrast": (10, 98), "Full range": (0, 100)}
_DARKEST_TISSUE_BLACK = ("Strong contrast",)
_DEFAULTS = {"CT": "Soft tissue", "MR": "Standard"}

# So many pixels of a drag double the width of the window, or move it by its width.
_PIXELS = 300
_SAMPLE = 100_000


def preset_names(modality: Modality) -> tuple[str, ...]:
    """Names of the presets for "CT" (voxels in HU) or for anything else."""
    return tuple(CT_WINDOWS) if modality == "CT" else tuple(MR_PERCENTILES)


def preset_hint(name: str) -> str:
    """What a preset does, in a few words."""
    if name in CT_WINDOWS:
        level, width = CT_WINDOWS[name]
        return f"window {width} HU, level {level} HU"
    low, high = MR_PERCENTILES[name]
    return f"from the {low:g}. to the {high:g}. percentile of what is not background"


def preset_limits(name: str, voxels: NDArray[Any]) -> Limits:
    """Lowest and highest intensity that a preset shows.

    Parameters
    ----------
    name
        One of `preset_names`.
    voxels
        (Z, Y, X); about a hundred thousand of them are looked at.
    """
    if name in CT_WINDOWS:
        level, width = CT_WINDOWS[name]
        return level - width / 2, level + width / 2
    return _percentiles(voxels, *MR_PERCENTILES[name], with_background=name not in _DARKEST_TISSUE_BLACK)


def contrast_limits(voxels: NDArray[Any], modality: Modality = "") -> Limits:
    """Soft tissue for CT, else nearly all intensities of what is not background; `voxels` (Z, Y, X)."""
    return preset_limits(_DEFAULTS["CT" if modality == "CT" else "MR"], voxels)


def _percentiles(voxels: NDArray[Any], low: float, high: float, with_background: bool) -> Limits:
    sample = np.asarray(voxels.ravel()[:: max(1, voxels.size // _SAMPLE)], dtype=np.float64)
    background = float(voxels[0, 0, 0])
    inside = sample[sample != background]
    if inside.size == 0:
        return background, background + 1
    lowest, highest = (float(v) for v in np.percentile(inside, (low, high)))
    if with_background:
        lowest = min(lowest, background)
    return (lowest, highest) if highest > lowest else (lowest, lowest + 1)


def dragged(limits: Limits, right: float, up: float) -> Limits:
    """Window and level after a drag, as in 3D Slicer: to the right wider, upwards brighter.

    Parameters
    ----------
    limits
        Lowest and highest intensity shown when the drag began.
    right, up
        The way from there, in pixels.
    """
    low, high = limits
    width = max(high - low, float(np.finfo(np.float32).tiny))
    level = (low + high) / 2 - width * up / _PIXELS
    width *= 2.0 ** (right / _PIXELS)
    return level - width / 2, level + width / 2
