"""Fréchet distance between sets of slices, plane by plane.

With the features of Inception v3 it is the FID of papers (Heusel et al. 2017), FID-A, FID-C and FID-S in section 4;
with others, such as those of EfficientNet-Lite0, which need no download, compare its values with each other only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.extractors import Extractor, make_extractor

Floats = NDArray[np.float64]

# Axis of a (Z, Y, X) volume that the slices of each plane follow each other along.
PLANES = {"axial": 0, "coronal": 1, "sagittal": 2}


def features_of(extractor: Extractor, volume: NDArray[Any], plane: str) -> NDArray[np.float32]:
    """Features (N, d) of the N slices of a volume in one plane that are not empty.

    Parameters
    ----------
    extractor
        What makes them.
    volume
        (Z, Y, X) in [0, 1]; cubic voxels, or the slices of two planes are squeezed.
    plane
        "axial", "coronal" or "sagittal".

    Raises
    ------
    InputError
        If there is no such plane.
    """
    if plane not in PLANES:
        raise InputError(f"There is no plane '{plane}'; choose one of {', '.join(PLANES)}.")
    slices = np.moveaxis(volume, PLANES[plane], 0)
    return extractor(np.ascontiguousarray(slices[slices.any(axis=(1, 2))], dtype=np.float32))


def slice_features(volumes: Iterable[NDArray[Any]], plane: str, extractor: Extractor | None = None) -> Floats:
    """Features of all slices of volumes in one plane, as `features_of` makes them; EfficientNet-Lite0 by default.

    Returns
    -------
    ndarray
        (number of slices, length of the features).

    Raises
    ------
    InputError
        If there is no such plane or the extractor is not installed.
    """
    if plane not in PLANES:
        raise InputError(f"There is no plane '{plane}'; choose one of {', '.join(PLANES)}.")
    chosen = extractor or make_extractor()
    return np.concatenate([features_of(chosen, volume, plane) for volume in volumes]).astype(np.float64)


def frechet_distance(real: Floats, made: Floats) -> float:
    """Squared Fréchet distance of the normal distributions that two sets of features (N, d) and (M, d) suggest.

    Raises
    ------
    InputError
        If a set has fewer than two features, or their lengths differ.
    """
    if real.ndim != 2 or made.ndim != 2 or real.shape[1] != made.shape[1] or min(len(real), len(made)) < 2:
        raise InputError(f"Features of {real.shape} and {made.shape} have no Fréchet distance; give at least two each.")
    (m1, c1), (m2, c2) = ((f.mean(axis=0), np.cov(f, rowvar=False).reshape(f.shape[1], -1)) for f in (real, made))
    return distance_of_normals(m1, c1, m2, c2)


def distance_of_normals(m1: Floats, c1: Floats, m2: Floats, c2: Floats) -> float:
    """|m₁ − m₂|² + tr(C₁ + C₂ − 2 (C₁ C₂)^½) for means m (d,) and covariances C (d, d) (Dowson and Landau 1982)."""
    # The eigenvalues of C₁ C₂ are those of the symmetric C₁^½ C₂ C₁^½, which rounding cannot make complex.
    values, vectors = np.linalg.eigh(c1)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ c2 @ root), 0, None)).sum()
    # Rounding alone may make the distance of equal sets negative.
    return max(float(((m1 - m2) ** 2).sum() + np.trace(c1) + np.trace(c2) - 2 * shared), 0.0)
