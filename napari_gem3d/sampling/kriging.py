"""What the networks miss at known slices, carried over into their neighbours.

At a known slice the networks' own prediction can be held against what is there. What they miss, such as a brightness
that is a little off, they miss in the neighbours too, and where only the known slice is put right a seam remains, which
coronal and sagittal planes show as a horizontal line. Simple kriging (Krige 1951) estimates it there: with a
covariance that falls exponentially with the distance, from the nearest known slices on either side.
"""

from __future__ import annotations

import torch
from torch import Tensor


def kriging_weights(known: Tensor, spacing: float, range_mm: float) -> Tensor:
    """Weights of what is missed at known slices of a window, for all its slices.

    Parameters
    ----------
    known
        (n,) bool, which slices are known.
    spacing
        Distance of neighbouring slices, mm.
    range_mm
        Distance over which the covariance falls to 1/e, mm; 0 for weights of 0.

    Returns
    -------
    Tensor
        (n, n) float32. Row i has the weights for slice i: 0 in the columns of slices that are not known, and in all
        columns if slice i is known itself.
    """
    weights = torch.zeros(len(known), len(known), device=known.device)
    if range_mm <= 0 or not known.any() or known.all():
        return weights
    place = torch.arange(len(known), device="cpu", dtype=torch.float64) * spacing
    covariance = torch.exp(-(place[:, None] - place).abs() / range_mm)
    here = known.cpu()
    found = torch.linalg.solve(covariance[here][:, here], covariance[here][:, ~here]).T
    free = torch.zeros(int((~here).sum()), len(here), dtype=torch.float64)
    free[:, here] = found
    weights[~known] = free.to(weights)
    return weights


def carried(weights: Tensor, missed: Tensor) -> Tensor:
    """What is missed (N, c, h, w) at known slices, in all slices of windows with weights (windows, n, n)."""
    windows, n, _ = weights.shape
    return torch.einsum("bij,bjp->bip", weights, missed.reshape(windows, n, -1)).reshape(missed.shape)
