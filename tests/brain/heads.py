"""Heads made of ellipsoids: scalp, skull, fluid, brain, in several contrasts."""

import numpy as np
from scipy import ndimage

from napari_gem3d.volume import Volume

# Above air: scalp, skull, fluid around the brain, brain.
CONTRASTS = {
    "T1": (1800, 150, 250, 900),
    "FLAIR": (700, 60, 100, 500),
    "fat-suppressed FLAIR": (260, 40, 90, 500),
    "T2": (500, 50, 1500, 550),
}


def head(
    contrast: str, *, air: str = "noise", skull: bool = True, spacing=(3.0, 2.0, 2.0), size: float = 1.0
) -> Volume:
    """An MR of a head of 3.2 l (times size³), or its brain of 1.4 l alone; axes LPS."""
    scalp, bone, fluid, brain = CONTRASTS[contrast]
    shape = (80, 125, 100)
    z, y, x = (np.arange(n) * mm - (n - 1) * mm / 2 for n, mm in zip(shape, spacing, strict=True))
    z, y, x = z[:, None, None] / size, y[:, None] / size, x / size

    def within(shrink: float) -> np.ndarray:
        return (z / (92 - shrink)) ** 2 + (y / (98 - shrink)) ** 2 + (x / (82 - shrink)) ** 2 < 1

    rng = np.random.default_rng(0)
    folds = ndimage.gaussian_filter(rng.standard_normal(shape), 2)
    tissue = brain * (1 + folds / np.abs(folds).max() / 3)
    voxels = np.select([within(19), within(16), within(7), within(0)], [tissue, fluid, bone, scalp], 0.0)
    if not skull:
        voxels = np.where(within(17), voxels, 0)
    if air == "noise":
        voxels = np.hypot(voxels + 12 * rng.standard_normal(shape), 12 * rng.standard_normal(shape))
    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    return Volume(voxels.astype(np.int16), affine, "MR")


def brain_of(scan: Volume, spacing=(3.0, 2.0, 2.0)) -> np.ndarray:
    """Where `head` put the brain: (Z, Y, X) bool."""
    z, y, x = (np.arange(n) * mm - (n - 1) * mm / 2 for n, mm in zip(scan.shape, spacing, strict=True))
    return (z[:, None, None] / 73) ** 2 + (y[:, None] / 79) ** 2 + (x / 63) ** 2 < 1
