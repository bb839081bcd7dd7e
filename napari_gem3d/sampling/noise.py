"""The noise that a volume is generated from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def correlated_noise(
    shape: Sequence[int], correlation: float, windows: int = 1, generator: torch.Generator | None = None
) -> Tensor:
    """Gaussian noise whose neighbouring slices correlate, a stationary AR(1) process along the slices.

    Parameters
    ----------
    shape
        (windows * n, c, h, w).
    correlation
        Of neighbouring slices, 0 (independent) up to below 1.
    windows
        How many windows, or volumes, follow each other in the batch; their noise is independent.
    generator
        Draws the noise, on the processor; torch's own by default.

    Returns
    -------
    Tensor
        Noise of the given shape, every slice of unit variance.
    """
    noise = torch.randn(*shape, generator=generator).unflatten(0, (windows, -1))
    fresh = (1 - correlation**2) ** 0.5
    for k in range(1, noise.shape[1]):
        noise[:, k] = correlation * noise[:, k - 1] + fresh * noise[:, k]
    return noise.flatten(0, 1)
