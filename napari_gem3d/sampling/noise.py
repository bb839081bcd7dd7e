"""The noise that a volume is generated from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_JITTER = 1e-6


def correlated_noise(
    shape: Sequence[int],
    correlation: float,
    windows: int = 1,
    generator: torch.Generator | None = None,
    decay: str = "exponential",
) -> Tensor:
    """Gaussian noise whose neighbouring slices correlate, a stationary process along the slices.

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
    decay
        How the correlation goes on with the distance d in slices: "exponential", correlation ^ d, an AR(1) process; or
        "gaussian", correlation ^ d²: as smooth between neighbours, and independent after a few slices.

    Returns
    -------
    Tensor
        Noise of the given shape, every slice of unit variance.
    """
    noise = torch.randn(*shape, generator=generator).unflatten(0, (windows, -1))
    if decay == "gaussian":
        return torch.einsum("kj,bj...->bk...", _gaussian_root(noise.shape[1], correlation), noise).flatten(0, 1)
    fresh = (1 - correlation**2) ** 0.5
    for k in range(1, noise.shape[1]):
        noise[:, k] = correlation * noise[:, k - 1] + fresh * noise[:, k]
    return noise.flatten(0, 1)


def _gaussian_root(slices: int, correlation: float) -> Tensor:
    """The lower triangle (n, n) that gives independent slices the correlation ρ ^ d² and unit variance."""
    index = torch.arange(slices, dtype=torch.float64)
    wanted = torch.tensor(correlation, dtype=torch.float64) ** (index[:, None] - index).square()
    # So smooth a covariance is singular up to rounding.
    root: Tensor = torch.linalg.cholesky(wanted + _JITTER * torch.eye(slices, dtype=torch.float64))
    return (root / root.square().sum(dim=1, keepdim=True).sqrt()).float()
