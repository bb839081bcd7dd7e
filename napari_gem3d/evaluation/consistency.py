"""Volumetric consistency: whether neighbouring axial slices belong together as those of a real scan do.

The slices of a volume are generated in windows that follow one another (section 3.3 of the paper). Where one fits
badly to the next, anatomy jumps and brightness flickers from slice to slice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.errors import InputError

# Slices that share fewer voxels of body say little about how they follow each other.
_FEWEST_VOXELS = 50


def neighbours(volume: NDArray[Any], inside: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How alike neighbouring axial slices are, and how much brighter the upper one is.

    Parameters
    ----------
    volume
        (Z, Y, X).
    inside
        The body, the same shape: voxels inside both slices count.

    Returns
    -------
    tuple of ndarray
        For each pair of neighbours that share 50 voxels of body or more, from the lowest: the correlation
        coefficient (0 if a slice is constant) and the difference of the means in the volume's units.

    Raises
    ------
    InputError
        If there is no such pair.
    """
    likeness, steps = [], []
    for z in range(len(volume) - 1):
        both = inside[z] & inside[z + 1]
        if np.count_nonzero(both) >= _FEWEST_VOXELS:
            lower, upper = (volume[k][both].astype(np.float64) for k in (z, z + 1))
            steps.append(upper.mean() - lower.mean())
            lower, upper = lower - lower.mean(), upper - upper.mean()
            norm = np.sqrt((lower**2).sum() * (upper**2).sum())
            likeness.append(float((lower * upper).sum() / norm) if norm > 0 else 0.0)
    if not likeness:
        raise InputError("No two neighbouring slices show the same body; give a scan with more of it.")
    return np.array(likeness), np.array(steps)


def slice_means(volume: NDArray[Any], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean inside of each axial slice with 50 voxels of body or more, from the lowest; arguments as `neighbours`."""
    seen = np.count_nonzero(inside, axis=(1, 2)) >= _FEWEST_VOXELS
    return np.array([volume[z][inside[z]].mean(dtype=np.float64) for z in np.flatnonzero(seen)])


def consistency(real: NDArray[Any], made: NDArray[Any], inside: NDArray[np.bool_]) -> dict[str, float | None]:
    """Compare how the axial slices of a synthetic scan follow each other with how those of the real one do.

    Parameters
    ----------
    real, made
        (Z, Y, X) on one grid, in the same units.
    inside
        The real scan's foreground.

    Returns
    -------
    dict
        ``slice_correlation``, the mean of the synthetic scan, and ``real_slice_correlation``; ``flicker``, the root
        mean square step of the slices' mean brightness, synthetic / real: 1 is right, more flickers, None if the real
        scan has no such steps at all.

    Raises
    ------
    InputError
        As `neighbours`.
    """
    (ours, our_steps), (theirs, their_steps) = neighbours(made, inside), neighbours(real, inside)
    flicker, natural = (float(np.sqrt(np.square(steps).mean())) for steps in (our_steps, their_steps))
    return {
        "slice_correlation": float(ours.mean()),
        "real_slice_correlation": float(theirs.mean()),
        "flicker": flicker / natural if natural else None,
    }
