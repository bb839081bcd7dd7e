"""What a local edit starts from: a scan, its label map as it is and as it shall be, and how far the change reaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.anatomy import AnatomySource
from napari_gem3d.bundle.plan import Plan
from napari_gem3d.bundle.preprocessing import Intensities, body_label, crop_labels, fit_intensities
from napari_gem3d.errors import InputError
from napari_gem3d.foreground import foreground
from napari_gem3d.io import read_label_map
from napari_gem3d.labels import LabelMap
from napari_gem3d.sampling.edit_anatomy import edited_anatomy
from napari_gem3d.sampling.inputs import Inputs, own_case, read_scan
from napari_gem3d.volume import Volume, resample

LARGEST_MARGIN_MM = 50.0


@dataclass(frozen=True, kw_only=True)
class EditInputs(Inputs):
    """The files of one local edit in memory; `case` holds the edited labels, `mask` them on the scan's grid.

    Attributes
    ----------
    image
        The scan to edit, on its own grid.
    image_inside
        (Z, Y, X) foreground of `image`, on its own grid.
    intensities
        Of `image`.
    weight
        (Z, Y, X) float32 on the grid of `image`, from `soft_weight`: the share of what is generated in the result.
    box_weight
        The same on `case.box`.
    """

    image: Volume
    image_inside: NDArray[np.bool_]
    intensities: Intensities
    weight: NDArray[np.float32]
    box_weight: NDArray[np.float32]

    @property
    def reach(self) -> NDArray[np.intp]:
        """Slices of `case.grid` (axis 0, ascending) that the edit reaches."""
        return np.flatnonzero(self.box_weight.any(axis=(1, 2))) + self.case.slices.start


def read_edit_inputs(
    plan: Plan,
    image: Path,
    before: Path,
    after: Path,
    margin_mm: float,
    informed: Path | None = None,
    anatomy: AnatomySource = "scan",
    mass_effect_mm: float = 0.0,
) -> EditInputs:
    """Read and prepare the files of one local edit.

    Parameters
    ----------
    plan
        Of the model.
    image
        The scan to edit.
    before, after
        Its label map and the edited one, each of any orientation; aligned by geometry. Where the edited map says
        background inside the body it means body: a lesion that is erased leaves normal tissue.
    margin_mm
        How far from changed labels voxels may change.
    informed
        The scan of the informed slice, if it is another one than `image`.
    anatomy
        Where the anatomy labels come from, see `complete_anatomy`; the scan is `image`.
    mass_effect_mm
        How far new and larger lesions push what surrounds them, see `edited_anatomy`.

    Raises
    ------
    InputError
        If a file cannot be used, the maps do not differ inside the body, or the margin is out of range.
    """
    if not 0 < margin_mm <= LARGEST_MARGIN_MM:
        raise InputError(f"A margin of {margin_mm} mm is not possible; choose more than 0, up to {LARGEST_MARGIN_MM}.")
    scan = read_scan(plan, image)
    inside = foreground(scan)
    was, shall = _aligned_maps(plan, scan, inside, before, after)
    edit = edited_anatomy(plan, scan, inside, was, shall, anatomy, mass_effect_mm)
    intensities = fit_intensities(plan, scan, inside)
    scan, shall, case = edit.scan, edit.after.labels, crop_labels(plan, edit.after)
    if mass_effect_mm:
        box_changed = resample(LabelMap(edit.changed, scan.affine), case.box, order=0).voxels > 0
    else:
        box_changed = crop_labels(plan, edit.before).labels != case.labels
    if not box_changed.any():
        raise InputError(
            f"{after} differs from {before} in too little for the model {plan.name}, whose voxels are larger; "
            "change more."
        )
    other = scan if informed is None else read_scan(plan, informed)
    other_inside = inside if informed is None else foreground(other)
    return EditInputs(
        mask=shall,
        case=case,
        informed=other,
        inside=other_inside,
        own=own_case(plan, other, other_inside),
        same_patient=informed is None,
        image=scan,
        image_inside=inside,
        intensities=intensities,
        weight=soft_weight(edit.changed, shall.voxels > 0, scan.spacing, margin_mm),
        box_weight=soft_weight(box_changed, case.labels > 0, case.box.spacing, margin_mm),
    )


def _aligned_maps(
    plan: Plan, scan: Volume, inside: NDArray[np.bool_], before: Path, after: Path
) -> tuple[LabelMap, LabelMap]:
    """Both label maps on the scan's grid, with one and the same body."""
    body = body_label(plan).value
    maps = []
    for path in (before, after):
        labels = read_label_map(path)
        labels.check_values(plan.labels)
        maps.append(labels.aligned_to(scan.grid))
    was, shall = (labels.voxels.astype(np.uint8) for labels in maps)
    within = was > 0 if (was == body).any() else (was > 0) | inside
    outside = (was != shall) & ~within
    was, shall = (np.where(within & (labels == 0), np.uint8(body), labels * within) for labels in (was, shall))
    if np.array_equal(was, shall):
        if outside.any():
            raise InputError(
                f"{after} differs from {before} only outside the body, where nothing is drawn; change it inside."
            )
        raise InputError(f"{after} has the same labels as {before}; edit a copy of the label map and give that.")
    return LabelMap(was, scan.affine), LabelMap(shall, scan.affine)


def soft_weight(
    changed: NDArray[np.bool_], within: NDArray[np.bool_], spacing: Sequence[float], margin_mm: float
) -> NDArray[np.float32]:
    """Share of what is generated: 1 where labels change, falling smoothly to 0 at the margin's end.

    Parameters
    ----------
    changed
        (Z, Y, X), where labels change; somewhere they do.
    within
        (Z, Y, X), the body; outside it the weight is 0.
    spacing
        Of the voxels, mm along (z, y, x).
    margin_mm
        Distance (Euclidean, between voxel centres) from the nearest changed voxel from which on the weight is 0.

    Returns
    -------
    ndarray
        (Z, Y, X) float32; half a cosine along the distance.
    """
    # Distances are taken in the part that they can matter in, which is small.
    part = tuple(
        slice(max(where[0] - reach, 0), where[-1] + reach + 1)
        for where, reach in (
            (np.flatnonzero(changed.any(axis=tuple(a for a in range(3) if a != axis))), int(margin_mm / mm) + 1)
            for axis, mm in enumerate(spacing)
        )
    )
    distance = ndimage.distance_transform_edt(~changed[part], sampling=spacing)
    share = np.clip(distance / margin_mm, 0, 1)
    weight = np.zeros(changed.shape, np.float32)
    # The cosine of pi is not exactly -1 in floating point; beyond the margin the weight must be exactly 0.
    weight[part] = np.where((share < 1) & within[part], (1 + np.cos(np.pi * share)) / 2, 0)
    return weight
