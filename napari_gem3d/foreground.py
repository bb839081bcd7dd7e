"""Foreground: which voxels belong to the patient."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.errors import InputError
from napari_gem3d.volume import Volume, resample

# Below this many HU is air around and inside the patient.
_AIR_HU = -500
# No MR has intensities below this; every CT has air, -1000 HU, in it or around it.
_SURELY_HU = -900
# A scan is skull-stripped if at least this fraction of its voxels has exactly the value of its corners. Noise around a
# head never is that constant; a brain fills at most half of any usual field of view.
_CONSTANT_BACKGROUND = 0.3


def is_ct(volume: Volume) -> bool:
    """Whether the intensities are HU: CT by the header, or, if that is silent, the values of air occur."""
    if volume.modality:
        return volume.modality == "CT"
    return bool(volume.voxels.min() <= _SURELY_HU)


def is_skull_stripped(volume: Volume) -> bool:
    """Whether everything around the organ was set to one constant value, as after skull-stripping."""
    if is_ct(volume):
        return False
    background = _corner_value(volume.voxels)
    return bool(np.count_nonzero(volume.voxels == background) >= _CONSTANT_BACKGROUND * volume.voxels.size)


def foreground(volume: Volume) -> NDArray[np.bool_]:
    """The patient's body in a CT, the head or brain in an MR: the largest connected part, without holes.

    Parameters
    ----------
    volume
        CT in HU: what is denser than -500 HU, lungs included. MR with a constant background (skull-stripped): what
        differs from the background. Other MR: what is brighter than air, by Otsu's threshold on a
        logarithmic scale.

    Returns
    -------
    ndarray of bool
        (Z, Y, X), on the grid of `volume`.

    Raises
    ------
    InputError
        If nothing stands out from the background.
    """
    body = largest_part(stands_out(volume))
    if body is None:
        name = str(volume.source) if volume.source else "The volume"
        raise InputError(f"{name} shows no body that stands out from the background; give a label map with a body.")
    canonical = resample(volume.with_voxels(body), volume.grid.canonical(), order=0)
    filled = _without_holes(canonical.voxels)
    if is_ct(volume) or not is_skull_stripped(volume):
        # Lungs and sinuses are open at the first and last slice, yet closed within most slices.
        filled = np.stack([ndimage.binary_fill_holes(axial) for axial in filled])
    result: NDArray[np.bool_] = resample(canonical.with_voxels(filled), volume.grid, order=0).voxels
    return result


def stands_out(volume: Volume) -> NDArray[np.bool_]:
    """Voxels (Z, Y, X) that differ from what is around the patient, stray ones and other objects among them."""
    if is_ct(volume):
        return volume.voxels > _AIR_HU
    if is_skull_stripped(volume):
        return volume.voxels != _corner_value(volume.voxels)
    # On a linear scale fat is so bright that the threshold may cut between it and the brain. In decades the step
    # from air to tissue is the greatest.
    low, high = np.percentile(volume.voxels, (0, 99.9))
    decades = np.log10(1 + 100 * np.clip((volume.voxels - low) / max(high - low, 1e-12), 0, 1))
    return decades > otsu(decades)


def _without_holes(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What `scipy.ndimage.binary_fill_holes` gives, in a third of its time: outside is what the border reaches."""
    parts, _ = ndimage.label(np.pad(~inside, 1, constant_values=True))
    return (parts != parts[0, 0, 0])[1:-1, 1:-1, 1:-1]


def otsu(voxels: NDArray[Any]) -> float:
    """Threshold that separates two classes with the greatest variance between them (Otsu 1979), over 256 bins."""
    counts, edges = np.histogram(voxels, bins=256)
    middles = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts)[:-1], np.cumsum(counts[::-1])[::-1][1:]
    sum_below = np.cumsum(counts * middles)[:-1]
    sum_above = (counts * middles).sum() - sum_below
    difference = sum_below / np.maximum(below, 1) - sum_above / np.maximum(above, 1)
    between = below * above * difference**2
    # All thresholds in a gap between the classes are equally good; the middle one leaves room on both sides.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float(edges[1:-1][best[len(best) // 2]])


def _corner_value(voxels: NDArray[Any]) -> Any:
    """The value most of the eight corners share."""
    ends = (0, -1)
    values, counts = np.unique(voxels[np.ix_(ends, ends, ends)], return_counts=True)
    return values[np.argmax(counts)]


def largest_part(inside: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """The largest connected part; None if there is none."""
    parts, number = ndimage.label(inside)
    if number == 0:
        return None
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    largest: NDArray[np.bool_] = parts == int(np.argmax(sizes))
    return largest
