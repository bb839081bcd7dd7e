"""Kernel distance between sets of features: KID (Bińkowski et al. 2018), with features of Inception."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.errors import InputError

_SUBSETS = 100
_LARGEST_SUBSET = 1000


@dataclass(frozen=True)
class KernelDistance:
    """Squared maximum mean discrepancy over random subsets.

    Attributes
    ----------
    mean, deviation
        Over the subsets. The estimate is without bias: for equal distributions it is about 0, below as often as above.
    subsets, size
        How many there are, and of how many slices from each set.
    """

    mean: float
    deviation: float
    subsets: int
    size: int


def squared_mmd(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy of (N, d) and (M, d), kernel (x·y / d + 1)³.

    Raises
    ------
    InputError
        If a set has fewer than two features, or their lengths differ.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise InputError(f"Features of {a.shape} and {b.shape} have no kernel distance; give at least two each.")
    x, y = (features.astype(np.float64) for features in (a, b))

    def kernel(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
        return (p @ q.T / x.shape[1] + 1) ** 3

    def within(p: NDArray[np.float64]) -> float:
        k = kernel(p, p)
        return float((k.sum() - np.trace(k)) / (len(p) * (len(p) - 1)))

    return within(x) + within(y) - 2 * float(kernel(x, y).mean())


def kernel_distance(real: NDArray[Any], made: NDArray[Any], subsets: int = _SUBSETS, seed: int = 0) -> KernelDistance:
    """`squared_mmd` of random subsets of two sets of features: half the smaller set each, at most 1000 slices.

    Parameters
    ----------
    real, made
        (N, d) and (M, d), four or more each.
    subsets
        How many are drawn.
    seed
        Of the draw.

    Raises
    ------
    InputError
        If a set has fewer than four features.
    """
    size = min(_LARGEST_SUBSET, min(len(real), len(made)) // 2)
    if size < 2:
        raise InputError(f"{len(real)} and {len(made)} slices are too few for a kernel distance; it takes four.")
    rng = np.random.default_rng(seed)
    found = [
        squared_mmd(*(features[rng.choice(len(features), size, replace=False)] for features in (real, made)))
        for _ in range(subsets)
    ]
    return KernelDistance(float(np.mean(found)), float(np.std(found, ddof=1)), subsets, size)
