"""A local edit before its first step: how far the change reaches, and which slices inform it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.bundle.plan import Plan
from napari_gem3d.bundle.preprocessing import Intensities, body_label, crop_labels, fit_intensities
from napari_gem3d.errors import InputError
from napari_gem3d.foreground import foreground
from napari_gem3d.labels import LabelMap
from napari_gem3d.sampling.edit_anatomy import edited_anatomy
from napari_gem3d.sampling.inputs import EditInputs
from napari_gem3d.sampling.labelling import facts, numbered, skull
from napari_gem3d.sampling.prepare import (
    Prepared,
    check_modality,
    choose_slice,
    decide,
    matching_start,
    own_case,
    said_by_plan,
)
from napari_gem3d.sampling.settings import Drawing, Settings
from napari_gem3d.volume import Volume, resample


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedEdit(Prepared):
    """The inputs of one local edit as the model needs them.

    `case` holds the edited labels, `mask` them on the scan's grid.

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
    margin_mm
        How far from changed labels voxels may change.
    own_neighbours
        Whether the scan's own slices beside the edit inform it, rather than the informed slice alone.
    """

    image: Volume
    image_inside: NDArray[np.bool_]
    intensities: Intensities
    weight: NDArray[np.float32]
    box_weight: NDArray[np.float32]
    margin_mm: float
    own_neighbours: bool = True

    @property
    def reach(self) -> NDArray[np.intp]:
        """Slices of `case.grid` (axis 0, ascending) that the edit reaches."""
        return np.flatnonzero(self.box_weight.any(axis=(1, 2))) + self.case.slices.start


def prepare_edit(plan: Plan, inputs: EditInputs, settings: Settings) -> PreparedEdit:
    """Bring the inputs of a local edit to the model's grid, and decide everything.

    Raises
    ------
    InputError
        If an input cannot be used, or the maps do not differ inside the body.
    """
    prepared = _arranged(plan, inputs, decide(plan, settings), settings.margin_mm, settings.labels)
    index, position = settings.slice, settings.position
    neighbours = inputs.informed is None and index is None and position is None
    if neighbours:
        start = _nearest_untouched(prepared)
        index = _matching_index(prepared, start)
    else:
        if position == "random":
            raise InputError("An edit takes no random slice; give a slice or a position from 0 to 1.")
        middle = float(prepared.reach.mean()) / max(prepared.case.grid.shape[0] - 1, 1)
        position = middle if index is None and position is None else position
        index = choose_slice(prepared.own, prepared.informed.source or "The scan", index, position)
        start = matching_start(prepared, index)
    return replace(prepared, informed_slice=index, start=start, own_neighbours=neighbours)


def prepare_edit_again(
    plan: Plan,
    inputs: EditInputs,
    drawing: Drawing,
    *,
    start: int,
    informed_slice: int,
    margin_mm: float,
    own_neighbours: bool,
    relabel: Mapping[int, int] | None = None,
) -> PreparedEdit:
    """Bring inputs to the model's grid where a recipe says what was decided; see `prepare_edit`."""
    prepared = _arranged(plan, inputs, drawing, margin_mm, relabel or {})
    return replace(prepared, start=start, informed_slice=informed_slice, own_neighbours=own_neighbours)


def _arranged(
    plan: Plan, inputs: EditInputs, drawing: Drawing, margin_mm: float, labels: str | Mapping[int, int] | None
) -> PreparedEdit:
    """The inputs on the model's grid; no slice is chosen yet. `labels` says what the label maps' values stand for."""
    scan = _of_model(plan, inputs.image)
    inside = foreground(scan)
    mask, relabel, notes = numbered(plan, inputs.mask, labels, scan, inside)
    edited, also, more = numbered(plan, inputs.edited, _of_both(inputs, labels, relabel), scan, inside)
    inputs = replace(inputs, mask=mask, edited=edited)
    if not isinstance(labels, Mapping):
        notes = (*dict.fromkeys((*notes, *more)), *skull(plan, scan), *facts(plan, mask, scan, inside))
    was, new = _aligned_maps(plan, scan, inside, inputs)
    edit = edited_anatomy(plan, scan, inside, was, new, drawing.anatomy, drawing.mass_effect_mm)
    intensities = fit_intensities(plan, scan, inside)
    scan, new, case = edit.scan, edit.after.labels, crop_labels(plan, edit.after)
    if drawing.mass_effect_mm:
        box_changed = resample(LabelMap(edit.changed, scan.affine), case.box, order=0).voxels > 0
    else:
        box_changed = crop_labels(plan, edit.before).labels != case.labels
    if not box_changed.any():
        raise InputError(
            f"{_edited(inputs)} differs from {_mask(inputs)} in too little for the model {plan.name}, whose voxels are "
            "larger; change more."
        )
    same = inputs.informed is None or inputs.informed is inputs.image
    other = scan if same or inputs.informed is None else _of_model(plan, inputs.informed)
    other_inside = inside if same else foreground(other)
    return PreparedEdit(
        plan=plan,
        mask=new,
        case=case,
        informed=other,
        inside=other_inside,
        own=own_case(plan, other, other_inside),
        same_patient=same,
        drawing=drawing,
        relabel={**relabel, **also},
        notes=notes,
        files=inputs.files,
        image=scan,
        image_inside=inside,
        intensities=intensities,
        weight=soft_weight(edit.changed, new.voxels > 0, scan.spacing, margin_mm),
        box_weight=soft_weight(box_changed, case.labels > 0, case.box.spacing, margin_mm),
        margin_mm=margin_mm,
    )


def _of_both(
    inputs: EditInputs, labels: str | Mapping[int, int] | None, relabel: Mapping[int, int]
) -> str | Mapping[int, int] | None:
    """What the values of the edited map stand for: the same as before the edit, if it has no names of its own."""
    named = inputs.edited.table is not None or inputs.edited.meta.get("segments")
    known = not relabel or set(inputs.edited.values()) <= set(relabel)
    return relabel if labels is None and not named and known else labels


def _of_model(plan: Plan, scan: Volume) -> Volume:
    check_modality(plan, scan)
    return said_by_plan(plan, scan)


def _mask(inputs: EditInputs) -> str:
    return str(inputs.mask.source or "the label map before the edit")


def _edited(inputs: EditInputs) -> str:
    return str(inputs.edited.source or "The edited label map")


def _aligned_maps(plan: Plan, scan: Volume, inside: NDArray[np.bool_], inputs: EditInputs) -> tuple[LabelMap, LabelMap]:
    """Both label maps on the scan's grid, with one and the same body."""
    body = body_label(plan).value
    maps = []
    for labels in (inputs.mask, inputs.edited):
        maps.append(labels.aligned_to(scan.grid))
    was, new = (labels.voxels.astype(np.uint8) for labels in maps)
    within = was > 0 if (was == body).any() else (was > 0) | inside
    outside = (was != new) & ~within
    was, new = (np.where(within & (labels == 0), np.uint8(body), labels * within) for labels in (was, new))
    if np.array_equal(was, new):
        if outside.any():
            raise InputError(
                f"{_edited(inputs)} differs from {_mask(inputs)} only outside the body, where nothing is drawn; change "
                "it inside."
            )
        raise InputError(
            f"{_edited(inputs)} has the same labels as {_mask(inputs)}; edit a copy of the label map and give that."
        )
    return LabelMap(was, scan.affine), LabelMap(new, scan.affine)


def _nearest_untouched(prepared: PreparedEdit) -> int:
    """Slice of the case's grid that the edit leaves alone, nearest to it; the least changed one if it reaches all."""
    reach, slices = prepared.reach, prepared.case.slices
    outside = np.setdiff1d(slices, reach)
    if not outside.size:
        return slices.start + int(prepared.box_weight.sum(axis=(1, 2)).argmin())
    return int(min(outside, key=lambda i: int(np.abs(reach - i).min())))


def _matching_index(prepared: PreparedEdit, start: int) -> int:
    """Axial index, in the scan's canonical order, of the slice nearest to a slice of the case's grid."""
    ours, theirs = prepared.case.grid, prepared.own.grid
    middle = (start, ours.shape[1] / 2, ours.shape[2] / 2)
    index = round(float(theirs.world_to_index(ours.index_to_world([middle]))[0, 0]))
    return min(max(index, prepared.own.slices.start), prepared.own.slices.stop - 1)


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
