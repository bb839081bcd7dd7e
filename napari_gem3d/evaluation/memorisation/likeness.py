"""Correlation of slices inside both bodies: over all small shifts, or of many channels at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Complex = NDArray[np.complex64]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

# Share of the smaller of two bodies that must overlap for their likeness to mean anything.
LEAST_OVERLAP = 0.7
_TINY = 1e-6


@dataclass(frozen=True)
class Spectra:
    """Fourier transforms of N slices in a common frame: of bodies, of values inside them, and of their squares.

    Attributes
    ----------
    inside, values, squares
        (N, H, W // 2 + 1).
    areas
        (N,), pixels of each body.
    frame
        (H, W).
    """

    inside: Complex
    values: Complex
    squares: Complex
    areas: NDArray[np.intp]
    frame: tuple[int, int]

    @classmethod
    def of(cls, values: Floats, inside: Mask, frame: tuple[int, int]) -> Spectra:
        """Transform slices `values` (N, h, w), 0 outside the bodies `inside`, at the middle of a frame (H, W)."""
        bodies = in_frame(inside.astype(np.float32), frame)
        framed = in_frame(values, frame)
        inside_, values_, squares = (fft.rfft2(part) for part in (bodies, framed, framed * framed))
        return cls(inside_, values_, squares, inside.sum(axis=(1, 2)), frame)

    def __getitem__(self, chosen: Any) -> Spectra:
        return Spectra(self.inside[chosen], self.values[chosen], self.squares[chosen], self.areas[chosen], self.frame)


def in_frame(slices: Floats, frame: tuple[int, int]) -> Floats:
    """Slices (N, h, w) at the middle of frames (N, H, W) of zeros; what is larger than the frame is cut."""
    result = np.zeros((len(slices), *frame), np.float32)
    target, source = [slice(None)], [slice(None)]
    for have, want in zip(slices.shape[1:], frame, strict=True):
        length = min(have, want)
        target.append(slice((want - length) // 2, (want - length) // 2 + length))
        source.append(slice((have - length) // 2, (have - length) // 2 + length))
    result[tuple(target)] = slices[tuple(source)]
    return result


def shifted(product: Complex, frame: tuple[int, int], reach: int) -> Floats:
    """Correlations at the shifts of up to `reach` pixels, (…, (2 · reach + 1)²), of products of spectra."""
    whole: Floats = fft.irfft2(product, s=frame)
    rows = np.r_[0 : reach + 1, -reach:0]
    return whole[..., rows[:, None], rows].reshape(*whole.shape[:-2], -1)


def correlation_over_shifts(one: Spectra, other: Spectra, reach: int) -> Floats:
    """Largest normalised cross-correlation of N pairs of slices over all shifts in the plane.

    Mean and variance are those of the overlap of both bodies at each shift (Padfield 2012, masked object registration
    in the Fourier domain), so the outlines have no say in it.

    Parameters
    ----------
    one, other
        N slices each, or one that is compared with all; the frames are equal and leave `reach` pixels free.
    reach
        Largest shift along rows and along columns, pixels.

    Returns
    -------
    ndarray
        (N,) from -1 to 1; -1 where bodies overlap too little at every shift.
    """

    def over(a: Complex, b: Complex) -> Floats:
        return shifted(np.conj(a) * b, one.frame, reach)

    overlap = np.rint(over(one.inside, other.inside))
    count = np.maximum(overlap, 1)
    mean_one, mean_other = over(one.values, other.inside) / count, over(one.inside, other.values) / count
    shared = over(one.values, other.values) - count * mean_one * mean_other
    spread_one = over(one.squares, other.inside) - count * mean_one**2
    spread_other = over(one.inside, other.squares) - count * mean_other**2
    found = shared / np.sqrt(np.maximum(spread_one, _TINY) * np.maximum(spread_other, _TINY))
    least = LEAST_OVERLAP * np.minimum(one.areas, other.areas)[:, None]
    # A spread that rounding leaves of nothing is no likeness.
    usable = (overlap >= np.maximum(least, 1)) & (spread_one > _TINY * count) & (spread_other > _TINY * count)
    return np.where(usable, np.clip(found, -1, 1), np.float32(-1)).max(axis=1)


def correlation_of_channels(one: Floats, one_inside: Mask, other: Floats, other_inside: Mask) -> Floats:
    """Normalised correlation of every slice of one set with every slice of another, over all channels together.

    Each channel is taken relative to its mean over the overlap of both bodies.

    Parameters
    ----------
    one, other
        (N, C, h, w) and (M, C, h, w).
    one_inside, other_inside
        (N, h, w) and (M, h, w).

    Returns
    -------
    ndarray
        (N, M) from -1 to 1; -1 where bodies overlap too little.
    """
    (n, channels), m = one.shape[:2], len(other)
    a, b = (v.astype(np.float32) * inside[:, None] for v, inside in ((one, one_inside), (other, other_inside)))
    bodies = [inside.reshape(len(inside), -1).astype(np.float32) for inside in (one_inside, other_inside)]
    overlap = bodies[0] @ bodies[1].T
    count = np.maximum(overlap, 1)
    shared, spread_one, spread_other = (np.zeros((n, m), np.float32) for _ in range(3))
    for channel in range(channels):
        x, y = a[:, channel].reshape(n, -1), b[:, channel].reshape(m, -1)
        sum_one, sum_other = x @ bodies[1].T, bodies[0] @ y.T
        shared += x @ y.T - sum_one * sum_other / count
        spread_one += (x * x) @ bodies[1].T - sum_one**2 / count
        spread_other += bodies[0] @ (y * y).T - sum_other**2 / count
    found = shared / np.sqrt(np.maximum(spread_one, _TINY) * np.maximum(spread_other, _TINY))
    least = LEAST_OVERLAP * np.minimum(bodies[0].sum(axis=1)[:, None], bodies[1].sum(axis=1))
    return np.where(overlap >= np.maximum(least, 1), np.clip(found, -1, 1), np.float32(-1))
