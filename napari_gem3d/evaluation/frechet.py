"""Fréchet distance between sets of slices, plane by plane.

It is not the FID of papers, whose features are those of Inception v3: the extractor here is EfficientNet-Lite0, which
comes as a package. Compare its values with each other only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from napari_gem3d.errors import InputError
from napari_gem3d.networks.efficientnet import EfficientNetLite0

# Axis of a (Z, Y, X) volume that the slices of each plane follow each other along.
PLANES = {"axial": 0, "coronal": 1, "sagittal": 2}
_LAST_BLOCK = 15
_TOGETHER = 16
# The extractor halves a slice five times.
_SMALLEST_SIDE = 96


def slice_features(volumes: Iterable[NDArray[Any]], plane: str) -> NDArray[np.float64]:
    """Features of all slices of volumes in one plane, a mean over each feature map of the last block.

    Parameters
    ----------
    volumes
        (Z, Y, X) in [0, 1] with cubic voxels; slices that are empty are left out.
    plane
        "axial", "coronal" or "sagittal".

    Returns
    -------
    ndarray
        (number of slices, 320).

    Raises
    ------
    InputError
        If there is no such plane or the extractor is not installed.
    """
    if plane not in PLANES:
        raise InputError(f"There is no plane '{plane}'; choose one of {', '.join(PLANES)}.")
    extractor = EfficientNetLite0((_LAST_BLOCK,))
    found = []
    with torch.inference_mode():
        for volume in volumes:
            slices = np.moveaxis(volume, PLANES[plane], 0)
            shown = torch.from_numpy(np.ascontiguousarray(slices[slices.any(axis=(1, 2))], dtype=np.float32))
            missing = [max(0, _SMALLEST_SIDE - length) for length in shown.shape[1:]]
            shown = functional.pad(shown, (0, missing[1], 0, missing[0]))
            for few in shown[:, None].split(_TOGETHER):
                found.append(extractor(few * 2 - 1)[0].mean(dim=(2, 3)).double().numpy())
    return np.concatenate(found)


def frechet_distance(real: NDArray[np.float64], made: NDArray[np.float64]) -> float:
    """Squared Fréchet distance of the normal distributions that two sets of features (N, d) and (M, d) suggest.

    |m₁ − m₂|² + tr(C₁ + C₂ − 2 (C₁ C₂)^½) for means m and covariances C.

    Raises
    ------
    InputError
        If a set has fewer than two features, or their lengths differ.
    """
    if real.ndim != 2 or made.ndim != 2 or real.shape[1] != made.shape[1] or min(len(real), len(made)) < 2:
        raise InputError(f"Features of {real.shape} and {made.shape} have no Fréchet distance; give at least two each.")
    (m1, c1), (m2, c2) = ((f.mean(axis=0), np.cov(f, rowvar=False).reshape(f.shape[1], -1)) for f in (real, made))
    # The eigenvalues of C₁ C₂ are those of the symmetric C₁^½ C₂ C₁^½, which rounding cannot make complex.
    values, vectors = np.linalg.eigh(c1)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ c2 @ root), 0, None)).sum()
    # Rounding alone may make the distance of equal sets negative.
    return max(float(((m1 - m2) ** 2).sum() + np.trace(c1) + np.trace(c2) - 2 * shared), 0.0)
