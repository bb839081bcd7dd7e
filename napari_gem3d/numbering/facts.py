"""What a label map shows of how it is numbered, whatever anybody says."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# Of the voxels around a lesion, the share that is body at least, where a map holds both.
_ENCLOSED = 0.5
# Of the body that the scan shows, the share that the map's labels cover at least.
_COVERED = 0.5
# Of the map's field of view, the share that a patient fills at least; the largest edema fills 3 % of an uncropped one.
_FILLED = 0.03


def surfaces(voxels: NDArray[np.integer], values: Collection[int]) -> dict[int, int]:
    """How many faces of voxels of each value lie towards what bears none of the values.

    Parameters
    ----------
    voxels
        (Z, Y, X) labels.
    values
        Of the lesion.
    """
    part = _box(np.isin(voxels, list(values)))
    inner = np.pad(voxels[part], 1)
    lesion = np.isin(inner, list(values))
    faces = np.zeros(inner.shape, np.uint8)
    for axis in range(3):
        for step in (-1, 1):
            faces += lesion & ~np.roll(lesion, step, axis)
    return {value: int(faces[inner == value].sum()) for value in values}


def no_body(voxels: NDArray[np.integer], body: int, lesions: Collection[int], inside: NDArray[np.bool_] | None) -> str:
    """Why a label cannot be the body, in words; empty if nothing speaks against it.

    Parameters
    ----------
    voxels
        (Z, Y, X) labels.
    body, lesions
        The value that should be the body, and those of lesions.
    inside
        (Z, Y, X), the foreground of the patient's scan, if it is known.
    """
    shown, lesion = voxels == body, np.isin(voxels, list(lesions))
    if inside is not None and inside.any():
        covered = np.count_nonzero((shown | lesion) & inside) / np.count_nonzero(inside)
        if covered < _COVERED:
            return f"covers {covered:.0%} of what the scan shows"
    if not lesion.any():
        return ""
    if inside is None and np.count_nonzero(shown) < _FILLED * shown.size:
        return f"fills {np.count_nonzero(shown) / shown.size:.1%} of the field of view"
    if np.count_nonzero(shown) < np.count_nonzero(lesion):
        return "is smaller than the lesion"
    part = _box(lesion)
    rim = ndimage.binary_dilation(lesion[part]) & ~lesion[part]
    enclosed = np.count_nonzero(rim & shown[part]) / max(int(np.count_nonzero(rim)), 1)
    return f"encloses {enclosed:.0%} of the lesion's surface" if enclosed < _ENCLOSED else ""


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The box of what is true, a voxel wider; the whole array if nothing is."""
    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found:
        return tuple(slice(0, length) for length in mask.shape)
    return tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in found[0])
