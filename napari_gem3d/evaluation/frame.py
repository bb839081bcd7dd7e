"""How scans are brought to [0, 1] before they are compared: by the real one's background, range and box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.errors import InputError
from napari_gem3d.evaluation.protocol import PERCENTILE
from napari_gem3d.foreground import foreground, is_ct
from napari_gem3d.volume import Volume

_AIR_HU = -1000.0


@dataclass(frozen=True, eq=False)
class Frame:
    """The part of a real scan that is compared, and the intensities that become 0 and 1.

    Attributes
    ----------
    inside
        (Z, Y, X), the foreground.
    low, high
        Background and 99.5th percentile of the foreground, in the scan's units (HU for CT).
    highest
        Maximum of the scan.
    spacing
        Of the voxels along (Z, Y, X), mm.
    ct
        Whether the units are HU.
    """

    inside: NDArray[np.bool_]
    low: float
    high: float
    highest: float
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ct: bool = False

    @classmethod
    def of_voxels(cls, real: NDArray[Any]) -> Self:
        """The frame of a scan (Z, Y, X) of 1 mm whose background is 0; InputError if it is empty."""
        return cls._of(real, real > 0, 0.0)

    @classmethod
    def of(cls, real: Volume) -> Self:
        """The frame of any scan.

        MR without negative voxels: what is above 0. CT: the body; air, -1000 HU, becomes 0, as padding below it
        does. Other scans with negative voxels: the head or brain; the 0.5th percentile of its voxels, or the background
        if that is darker, becomes 0.

        Raises
        ------
        InputError
            If the scan is empty.
        """
        ct = is_ct(real)
        if real.voxels.min() >= 0 and not ct:
            return cls._of(real.voxels, real.voxels > 0, 0.0, real.spacing)
        inside = foreground(real)
        low = _AIR_HU
        if not ct:
            dark = [np.percentile(real.voxels[inside], 100 - PERCENTILE)]
            low = float(min(dark + ([] if inside.all() else [np.median(real.voxels[~inside])])))
        return cls._of(real.voxels, inside, low, real.spacing, ct)

    @classmethod
    def _of(
        cls,
        real: NDArray[Any],
        inside: NDArray[np.bool_],
        low: float,
        spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
        ct: bool = False,
    ) -> Self:
        if not inside.any():
            raise InputError("The real scan is empty; give one with a background of 0.")
        high = float(np.percentile(real[inside], PERCENTILE))
        if not high > low:
            raise InputError("The real scan is as dark inside as around it; take it out of its folder.")
        return cls(inside, low, high, float(real.max()), spacing, ct)

    @property
    def box(self) -> tuple[slice, ...]:
        """The smallest box that holds the foreground."""
        return tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(self.inside))

    @property
    def cropped(self) -> NDArray[np.bool_]:
        """The foreground inside `box`."""
        return self.inside[self.box]

    def apply(self, voxels: NDArray[Any], by_maximum: bool = False) -> NDArray[np.float32]:
        """A scan of the same grid in [0, 1], inside `box`.

        Parameters
        ----------
        voxels
            (Z, Y, X), in the scan's units.
        by_maximum
            Whether the maximum, not the 99.5th percentile, becomes 1.

        Raises
        ------
        InputError
            If it has another shape.
        """
        if voxels.shape != self.inside.shape:
            raise InputError(
                f"Scans of {self.inside.shape} and {voxels.shape} voxels cannot be compared; bring them to one grid."
            )
        shown = voxels[self.box].astype(np.float32)
        shown -= np.float32(self.low)
        shown /= np.float32((self.highest if by_maximum else self.high) - self.low)
        return np.clip(shown, 0, 1, out=shown)


def in_real_units(real: NDArray[Any], made: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both scans in [0, 1], by the real one's 99.5th percentile, cropped to the box of its foreground.

    Parameters
    ----------
    real, made
        (Z, Y, X) on one grid; the background of `real` is 0.

    Raises
    ------
    InputError
        If the shapes differ or `real` is empty.
    """
    frame = Frame.of_voxels(real)
    return frame.apply(real), frame.apply(made)
