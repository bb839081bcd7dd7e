"""Tell a head with its skull from a brain without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.errors import InputError
from napari_gem3d.foreground import foreground, is_ct, stands_out
from napari_gem3d.volume import Volume, resample

Kind = Literal["head", "brain", "ct", "other"]

# Litres inside the outline. Brains with their fluid have 0.9 to 2.0; heads without neck from 2.8 on; the trunk of a
# small adult 20.
_LARGEST_BRAIN = 2.2
_SMALLEST_BRAIN = 0.3
_LARGEST_HEAD = 9.0
# A dark skull may part scalp and brain; smaller parts (ml) are noise, or something beside the head.
_SMALLEST_PART = 20
# Rays from the skin inwards, in the slices of the vault (mm below the top): there the wall is steep, and no face.
_ANGLES = 48
_VAULT_MM = (25.0, 90.0)
_SLICE_MM = 4.0
_RAY_MM = 45
# A ray crosses a skull if, 3 to 22 mm below the skin, it is this much darker than the brighter tissue on both sides.
_SKULL_MM = range(3, 22)
_BEHIND_MM = 20
_DARKER = 0.4
# Share of rays that do. Of 37 skull-stripped FLAIR scans at most 39 % do (sulci), of a head 73 %.
_SHARE = 0.5


@dataclass(frozen=True)
class Head:
    """What was found.

    Attributes
    ----------
    kind
        "head": an MR of a head with its skull; "brain": skull-stripped; "ct", which nothing more is said of; "other":
        an MR of something else, too small or too large.
    litres
        Volume of what stands out from the background.
    skull
        Share of the rays, from the skin of the vault inwards, that cross a dark layer between two brighter ones;
        0 where none was sent.
    """

    kind: Kind
    litres: float
    skull: float = 0.0

    def describe(self) -> str:
        """One clause for people; empty for CT and what is no head."""
        if self.kind == "brain":
            return "skull-stripped"
        if self.kind == "head":
            why = f"{self.litres:.1f} l stand out from the air"
            if self.skull >= _SHARE:
                why += f", with a dark layer under the skin on {self.skull:.0%} of the rays"
            return f"not skull-stripped ({why})"
        return ""


def look_at_head(scan: Volume) -> Head:
    """Tell a head with its skull from a skull-stripped brain.

    Two things decide, and a constant background is not one of them (many scanners set air to 0): how much stands out
    from the background, and whether rays from the surface inwards cross a dark layer, the skull, between two brighter
    ones, scalp and brain.

    Parameters
    ----------
    scan
        (Z, Y, X), any axes and spacing.

    Returns
    -------
    Head
        Of kind "ct" for CT, whatever it shows.

    Raises
    ------
    InputError
        If nothing stands out from the background.

    Examples
    --------
    >>> z, y, x = np.ogrid[-40:41, -40:41, -40:41]
    >>> ball = z**2 + y**2 + x**2 < 36**2
    >>> look_at_head(Volume(np.where(ball, 300, 0).astype(np.int16), np.diag([1.8, 1.8, 1.8, 1.0]), "MR")).kind
    'brain'
    """
    ct = is_ct(scan)
    inside = foreground(scan) if ct else _outline(scan)
    litres = float(np.count_nonzero(inside)) * scan.grid.voxel_volume / 1e6
    if ct:
        return Head("ct", litres)
    if not _SMALLEST_BRAIN <= litres <= _LARGEST_HEAD:
        return Head("other", litres)
    skull = _share_of_rays(scan, inside)
    return Head("head" if skull >= _SHARE or litres > _LARGEST_BRAIN else "brain", litres, skull)


def _outline(scan: Volume) -> NDArray[np.bool_]:
    """All large parts of what stands out, without the holes of axial slices (Z, Y, X)."""
    parts, number = ndimage.label(stands_out(scan))
    millilitres = np.bincount(parts.ravel(), minlength=number + 1) * scan.grid.voxel_volume / 1000
    large = millilitres >= _SMALLEST_PART
    large[0] = False
    if not large.any():
        name = str(scan.source) if scan.source else "The volume"
        raise InputError(f"{name} shows no body that stands out from the background.")
    upright = resample(scan.with_voxels(large[parts].astype(np.uint8)), scan.grid.canonical(), order=0)
    filled = np.stack([ndimage.binary_fill_holes(axial) for axial in upright.voxels > 0])
    outline: NDArray[np.bool_] = resample(upright.with_voxels(filled), scan.grid, order=0).voxels
    return outline


def _share_of_rays(scan: Volume, inside: NDArray[np.bool_]) -> float:
    """Share of the rays that cross a skull."""
    grid = scan.grid.canonical().with_spacing((_SLICE_MM, 1.0, 1.0))
    outline = resample(scan.with_voxels(inside.astype(np.uint8)), grid, order=0).voxels > 0
    voxels = resample(scan, grid, order=1, fill=float(scan.voxels.min())).voxels
    air = float(np.median(voxels[~outline])) if not outline.all() else float(voxels.min())
    filled = np.flatnonzero(outline.any(axis=(1, 2)))
    top = int(filled[-1])
    upper, lower = (top - round(mm / _SLICE_MM) for mm in _VAULT_MM)
    planes = range(max(lower, int(filled[0])), upper + 1)
    rays = [ray for index in planes for ray in _rays(voxels[index] - air, outline[index])]
    return float(_crosses(np.stack(rays)).mean()) if rays else 0.0


def _rays(plane: NDArray[np.float32], outline: NDArray[np.bool_]) -> list[NDArray[np.float32]]:
    """Intensities above air at every mm from the surface towards the middle of an axial plane, `_RAY_MM` of each."""
    if not outline.any():
        return []
    middle = np.array(ndimage.center_of_mass(outline))[:, None, None]
    angles = np.arange(_ANGLES) * (2 * np.pi / _ANGLES)
    directions = np.stack([np.sin(angles), np.cos(angles)])[:, :, None]
    radii = np.arange(max(outline.shape))
    points = middle + directions * radii
    values = ndimage.map_coordinates(plane, points, order=1, mode="nearest")
    within = ndimage.map_coordinates(outline.astype(np.uint8), points, order=0, mode="constant") > 0
    rays = []
    for value, reached in zip(values, within, strict=True):
        ends = np.flatnonzero(reached)
        if len(ends) and ends[-1] >= _RAY_MM - 1:
            rays.append(value[ends[-1] :: -1][:_RAY_MM])
    return rays


def _crosses(rays: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of the rays (N, mm) get much darker under the skin and bright again behind."""
    found = np.zeros(len(rays), bool)
    for depth in _SKULL_MM:
        behind = np.percentile(rays[:, depth : depth + _BEHIND_MM], 90, axis=1)
        brighter = np.minimum(rays[:, :depth].max(axis=1), behind)
        found |= (brighter > 0) & (rays[:, depth] < (1 - _DARKER) * brighter)
    return found
