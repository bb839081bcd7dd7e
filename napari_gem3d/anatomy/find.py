"""Finding anatomy: what scans show which tissue, and label maps completed by it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.anatomy.brain import BRAIN, brain_tissue
from napari_gem3d.anatomy.ct import CT, ct_tissue
from napari_gem3d.foreground import find_floor, foreground, is_ct, is_skull_stripped
from napari_gem3d.volume import Modality, Volume


@dataclass(frozen=True)
class Anatomy:
    """Tissue found in one scan.

    Attributes
    ----------
    voxels
        (Z, Y, X) uint8 on the scan's grid: 0, or 1 + the index of a tissue in `names`.
    names
        The tissues that were looked for, such as "ventricles".
    missing
        Why a tissue could not be told, a sentence for each name concerned.
    """

    voxels: NDArray[np.uint8]
    names: tuple[str, ...]
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def found(self) -> tuple[str, ...]:
        """The tissues that could be told, whether or not a voxel shows them."""
        return tuple(name for name in self.names if name not in self.missing)

    def where(self, name: str) -> NDArray[np.bool_]:
        """The voxels (Z, Y, X) of a tissue."""
        return self.voxels == 1 + self.names.index(name)

    def volumes_ml(self, voxel_mm3: float) -> dict[str, float]:
        """Volume in ml of every tissue that could be told, for voxels of so many mm³."""
        return {name: float(np.count_nonzero(self.where(name))) * voxel_mm3 / 1000 for name in self.found}


def tissue_names(modality: Modality, brain: bool) -> tuple[str, ...]:
    """The tissues that can be found: in a CT, in an MR of the brain; none in other scans."""
    if modality == "CT":
        return CT
    return BRAIN if brain else ()


def find_anatomy(
    scan: Volume,
    inside: NDArray[np.bool_] | None = None,
    lesion: NDArray[np.bool_] | None = None,
    channel: str = "",
    names: Iterable[str] | None = None,
) -> Anatomy:
    """Find the tissue of a scan.

    Parameters
    ----------
    scan
        CT in HU, or an MR of the skull-stripped brain, of any orientation and spacing.
    inside
        (Z, Y, X) its foreground, if that is known already.
    lesion
        (Z, Y, X) voxels of lesions, where no tissue is told.
    channel
        The sequence of an MR, such as "FLAIR": it decides which tissue is bright.
    names
        The tissues that are wanted; by default all that can be found in such a scan.

    Returns
    -------
    Anatomy
        With a sentence for every tissue that is wanted and cannot be told from this scan.

    Raises
    ------
    InputError
        If nothing stands out from the background.
    """
    if inside is None:
        inside = foreground(scan)
    wanted = tuple(tissue_names("CT" if is_ct(scan) else "MR", True) if names is None else names)
    free = inside if lesion is None else inside & ~lesion
    if is_ct(scan):
        told = ct_tissue(scan, free)
    elif is_skull_stripped(scan):
        told = brain_tissue(_from_zero(scan, inside), inside, free, channel)
    else:
        told = dict.fromkeys(BRAIN, "tissue is found in skull-stripped brains only, and this head has its skull")
    voxels, missing = np.zeros(scan.shape, np.uint8), dict[str, str]()
    for number, name in enumerate(wanted, start=1):
        which = told.get(name, f"{name} is no tissue that can be found in this kind of scan")
        if isinstance(which, str):
            missing[name] = which
        else:
            voxels[which] = number
    return Anatomy(voxels, wanted, missing)


def _from_zero(scan: Volume, inside: NDArray[np.bool_]) -> Volume:
    """A brain whose intensities begin at 0, outside of which is 0."""
    floor = find_floor(scan, inside)
    if floor.is_zero:
        return scan
    return scan.with_voxels(np.where(inside, scan.voxels.astype(np.float32) - np.float32(floor.low), np.float32(0)))
