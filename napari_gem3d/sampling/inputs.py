"""What a generation starts from: a label map, a slice of a scan and where the body is, read, checked and prepared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.bundle.plan import Plan
from napari_gem3d.bundle.preprocessing import Case, Intensities, fit_intensities, prepare_labels, prepare_scan
from napari_gem3d.errors import InputError
from napari_gem3d.foreground import foreground, is_ct
from napari_gem3d.io import read_label_map, read_volume
from napari_gem3d.labels import LabelMap
from napari_gem3d.volume import Volume


@dataclass(frozen=True)
class Inputs:
    """The files of one generation in memory.

    Attributes
    ----------
    mask
        The label map, on its own grid.
    case
        The label map with the body, on the plan's grid.
    informed
        The scan that gives the informed slice, on its own grid.
    inside
        (Z, Y, X) foreground of `informed`, on its own grid.
    own
        The body of `informed` with its own distance between slices: indices along axis 0 of `own.grid` are its axial
        slices from the lowest to the highest.
    same_patient
        Whether `informed` is also the scan that shows the body. Then the informed slice stands for the slice of the
        case at the same place in the patient; else for the one at the same position in its volume.
    """

    mask: LabelMap
    case: Case
    informed: Volume
    inside: NDArray[np.bool_]
    own: Case
    same_patient: bool


def read_inputs(plan: Plan, mask: Path, informed: Path, body: Path | None, same_patient: bool) -> Inputs:
    """Read and prepare the files of one generation.

    Parameters
    ----------
    plan
        Of the model.
    mask
        Label map with values of the plan's table.
    informed
        Any scan of the plan's modality.
    body
        Scan whose foreground is the body, needed if the label map has no body label.
    same_patient
        Whether `body` and `informed` are the same scan.

    Raises
    ------
    InputError
        If a file cannot be used, the label map has unknown values, nothing says where the body is, or the body's scan
        lies elsewhere.
    """
    labels, scan = read_label_map(mask), read_volume(informed)
    _check_modality(plan, scan)
    shown = scan if same_patient else None if body is None else read_volume(body)
    if shown is not None and not shown.grid.overlaps(labels.grid):
        raise InputError(
            f"The body's scan {body} does not overlap the label map {mask} in the patient's space; "
            "give the scan that the map was drawn on."
        )
    case = prepare_labels(plan, labels, shown)
    inside = foreground(scan)
    return Inputs(labels, case, scan, inside, _own_case(plan, scan, inside), same_patient)


def _check_modality(plan: Plan, scan: Volume) -> None:
    modality = "CT" if is_ct(scan) else scan.modality
    if modality and modality != plan.modality:
        raise InputError(
            f"{scan.source} is {modality}, but the model {plan.name} draws {plan.modality}; "
            "choose another scan or another model."
        )


def _own_case(plan: Plan, scan: Volume, inside: NDArray[np.bool_]) -> Case:
    body = plan.labels.body
    value = 1 if body is None else body.value
    own_plan = plan.model_copy(update={"spacing": (scan.grid.canonical().spacing[0], *plan.spacing[1:])})
    return prepare_labels(own_plan, LabelMap(inside.astype(np.uint8) * np.uint8(value), scan.affine))


def choose_slice(inputs: Inputs, index: int | None, position: float | None) -> int:
    """Axial index, in the informed scan's canonical order (0 is the lowest), of the informed slice.

    Parameters
    ----------
    inputs
        The files.
    index
        The slice itself.
    position
        Instead, the share of the way from the lowest slice (0) to the highest (1); 0.5 if neither is given.

    Raises
    ------
    InputError
        If both are given, one is out of range, or the slice shows no body.
    """
    if index is not None and position is not None:
        raise InputError("The informed slice is given both by slice and by position; give one of the two.")
    name, count = inputs.informed.source, inputs.own.grid.shape[0]
    if index is None:
        share = 0.5 if position is None else position
        if not 0 <= share <= 1:
            raise InputError(f"The position {share} is not possible; choose 0 (lowest slice) to 1 (highest).")
        index = round(share * (count - 1))
    if not 0 <= index < count:
        raise InputError(f"{name} has no slice {index}; choose one from 0 to {count - 1}.")
    shown = inputs.own.slices
    if index not in shown:
        raise InputError(
            f"Slice {index} of {name} shows no body to draw from; choose one from {shown.start} to {shown.stop - 1}."
        )
    return index


def matching_start(inputs: Inputs, informed_slice: int) -> int:
    """Slice of the case's grid (axis 0) that the informed slice stands for, moved to the nearest one with body."""
    slices = inputs.case.slices
    return min(max(_matching_slice(inputs, informed_slice), slices.start), slices.stop - 1)


def _matching_slice(inputs: Inputs, informed_slice: int) -> int:
    ours, theirs = inputs.case.grid, inputs.own.grid
    if inputs.same_patient:
        middle = (informed_slice, theirs.shape[1] / 2, theirs.shape[2] / 2)
        return round(float(ours.world_to_index(theirs.index_to_world([middle]))[0, 0]))
    return round(informed_slice / max(theirs.shape[0] - 1, 1) * (ours.shape[0] - 1))


def informed_picture(plan: Plan, inputs: Inputs, informed_slice: int) -> tuple[NDArray[np.float32], Intensities]:
    """The informed slice as the networks see it, and the map back to the scan's intensities.

    Parameters
    ----------
    plan
        Of the model.
    inputs
        The files.
    informed_slice
        From `choose_slice`.

    Returns
    -------
    tuple
        (H, W) in [-1, 1], of the size of the case's box and, as in training, about the body of its own patient.
    """
    height, width = inputs.case.box.shape[1:]
    if inputs.same_patient:
        up = _matching_slice(inputs, informed_slice) - inputs.case.slices.start
        plane = inputs.case.box.box((up, 0, 0), (1, height, width))
    else:
        own = inputs.own
        up = informed_slice - own.slices.start
        # The box of either patient may have grown beyond the plan's size; keep the middle.
        rows, columns = (own.box.shape[1] - height) // 2, (own.box.shape[2] - width) // 2
        plane = own.box.box((up, rows, columns), (1, height, width))
    picture = prepare_scan(plan, inputs.informed, plane, inputs.inside)[0]
    return picture, fit_intensities(plan, inputs.informed, inputs.inside)
