"""What the sampler corrects in the networks' predictions of a window, at every step.

**Seams.** At a known slice the prediction can be held against what is there. What the networks miss, such as a
brightness that is a little off, they miss in the neighbours too, and where only the known slice is put right a seam
remains, which coronal and sagittal planes show as a horizontal line. Simple kriging (Krige 1951) estimates it there,
with a covariance that falls exponentially with distance, from the nearest known slices on either side.

**Persistence.** Few steps make the slice at the start a copy of the informed one and its second neighbours slices of
their own: anatomy jumps between them. While noise is high, neighbours of the start slice therefore keep to what is
predicted for it, the less the further they are, and only where the label map is the same.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    here = known.cpu()
    place = torch.arange(len(here), dtype=torch.float64) * spacing
    covariance = torch.exp(-(place[:, None] - place).abs() / range_mm)
    free = torch.zeros(int((~here).sum()), len(here), dtype=torch.float64)
    free[:, here] = torch.linalg.solve(covariance[here][:, here], covariance[here][:, ~here]).T
    weights[~known] = free.to(weights)
    return weights


def persistence_weights(labels: Tensor, start: int, spacing: float, range_mm: float) -> Tensor:
    """How far each slice of a window keeps to its start slice.

    Parameters
    ----------
    labels
        (n, K, h, w), label shares of the latents' area.
    start
        Which slice of the window is the start slice.
    spacing
        Distance of neighbouring slices, mm.
    range_mm
        Distance over which the weight falls to 1/e, as a Gaussian, mm; 0 for weights of 0.

    Returns
    -------
    Tensor
        (n, 1, h, w), 0 to 1: the weight of the distance times the share of the area with the same labels.
    """
    if range_mm <= 0:
        return torch.zeros_like(labels[:, :1])
    distance = (torch.arange(len(labels), device=labels.device) - start) * spacing
    nearness = torch.exp(-((distance / range_mm) ** 2))[:, None, None, None]
    # What no label covers is a class too: its change is that of the sum.
    changed = (labels - labels[start]).abs().sum(dim=1, keepdim=True)
    changed = changed + (labels.sum(dim=1, keepdim=True) - labels[start].sum(dim=0)).abs()
    return nearness * (1 - changed / 2).clamp(min=0)


@dataclass(frozen=True)
class Corrections:
    """Corrects the predictions of windows of equal length in a batch.

    Attributes
    ----------
    latents
        (windows * n, c, h, w), true at known slices.
    carry
        (windows, n, n) from `kriging_weights`.
    persistence
        (windows * n, 1, h, w) from `persistence_weights`, 0 in windows without start slice.
    starts
        Index of the start slice of each window in the batch; of any of its slices where persistence is 0.
    steps
        How many steps there are; slices keep to the start slice in the first half of them.
    """

    latents: Tensor
    carry: Tensor
    persistence: Tensor
    starts: Tensor
    steps: int

    def __call__(self, x0: Tensor, step: int) -> Tensor:
        """Corrected clean latents (N, c, h, w) at a step, counted from 0."""
        windows, n, _ = self.carry.shape
        missed = (self.latents - x0).reshape(windows, n, -1)
        x0 = x0 + torch.einsum("bij,bjp->bip", self.carry, missed).reshape(x0.shape)
        if 2 * step >= self.steps:
            return x0
        start = x0[self.starts].repeat_interleave(n, dim=0)
        return x0 + self.persistence * (start - x0)
