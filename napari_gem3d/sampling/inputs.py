"""What a generation starts from: a label map, a slice of a scan and where the body is, read, checked and prepared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.anatomy import AnatomySource
from napari_gem3d.bundle.plan import Plan
from napari_gem3d.bundle.preprocessing import (
    Case,
    Intensities,
    body_label,
    complete_labels,
    crop_labels,
    fit_intensities,
    prepare_labels,
    prepare_scan,
)
from napari_gem3d.errors import InputError
from napari_gem3d.foreground import foreground, is_ct
from napari_gem3d.io import read_label_map, read_slice, read_volume
from napari_gem3d.io.slices import has_spacing, is_slice
from napari_gem3d.labels import LabelMap
from napari_gem3d.masks.mass_effect import MassEffect
from napari_gem3d.volume import Volume

# Intensity of the body in an MR whose informed slice is drawn and whose scan nobody has.
_STAND_IN = 1000


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
    drawn
        Whether no scan gives the informed slice, but the position U-Net draws it. Then `informed` only stands for the
        intensities of the result: the scan that shows the body, or a body of 1000.
    """

    mask: LabelMap
    case: Case
    informed: Volume
    inside: NDArray[np.bool_]
    own: Case
    same_patient: bool
    drawn: bool = False


def read_inputs(
    plan: Plan,
    mask: Path,
    informed: Path | None,
    body: Path | None,
    same_patient: bool,
    pixel_mm: float | None = None,
    position: float = 0.5,
    anatomy: AnatomySource = "scan",
    mass_effect_mm: float = 0.0,
) -> Inputs:
    """Read and prepare the files of one generation.

    Parameters
    ----------
    plan
        Of the model.
    mask
        Label map with values of the plan's table.
    informed
        Any scan of the plan's modality, or a 2D image; None if the informed slice is drawn.
    body
        Scan whose foreground is the body, needed if the label map has no body label.
    same_patient
        Whether `body` and `informed` are the same scan.
    pixel_mm
        Size of a pixel, if `informed` is a picture. By default what the file says, else such that the body it shows
        is as long, from front to back, as that of the label map.
    position
        Where a picture stands in the label map, 0 (lowest slice) to 1 (highest).
    anatomy
        Where the anatomy labels come from, see `complete_labels`; the scan is that of the body.
    mass_effect_mm
        How far lesions push the anatomy labels around them.

    Raises
    ------
    InputError
        If a file cannot be used, the label map has unknown values, nothing says where the body is, or the body's scan
        lies elsewhere.
    """
    labels = read_label_map(mask)
    if informed is None:
        shown = None if body is None else _shown(plan, body, mask, labels)
        case = _case(plan, labels, shown, anatomy, mass_effect_mm)
        scan = _stand_in(plan, case) if shown is None else shown
        inside = foreground(scan)
        return Inputs(labels, case, scan, inside, own_case(plan, scan, inside), shown is not None, drawn=True)
    if is_slice(informed):
        shown = None if body is None else _shown(plan, body, mask, labels)
        case = _case(plan, labels, shown, anatomy, mass_effect_mm)
        return _with_picture(plan, labels, case, informed, pixel_mm, position)
    scan = read_scan(plan, informed)
    shown = None if body is None else _shown(plan, body, mask, labels, scan if same_patient else None)
    case = _case(plan, labels, shown, anatomy, mass_effect_mm)
    inside = foreground(scan)
    return Inputs(labels, case, scan, inside, own_case(plan, scan, inside), same_patient)


def _case(plan: Plan, labels: LabelMap, body: Volume | None, anatomy: AnatomySource, mass_effect_mm: float) -> Case:
    """The label map as the networks see it, its anatomy pushed by its lesions."""
    known = complete_labels(plan, labels, body, anatomy=anatomy)
    lesions = np.isin(known.labels.voxels, [label.value for label in plan.labels.lesions])
    if mass_effect_mm and lesions.any() and plan.labels.tissues:
        voxels = known.labels.voxels
        plain = np.where(lesions, body_label(plan).value, voxels).astype(np.uint8)
        pushed = MassEffect.of(lesions, voxels > 0, known.labels.grid, mass_effect_mm).pushed(plain, 0)
        known = replace(known, labels=known.labels.with_voxels(np.where(lesions, voxels, pushed)))
    return crop_labels(plan, known)


def _shown(plan: Plan, body: Path, mask: Path, labels: LabelMap, scan: Volume | None = None) -> Volume:
    """The scan that shows the body, which is `scan` if that is read already."""
    shown = said_by_plan(plan, read_volume(body)) if scan is None else scan
    if not shown.grid.overlaps(labels.grid):
        raise InputError(
            f"The body's scan {body} does not overlap the label map {mask} in the patient's space; "
            "give the scan that the map was drawn on."
        )
    return shown


def _stand_in(plan: Plan, case: Case) -> Volume:
    """A scan without any picture in it, where nothing says which intensities the result should have."""
    voxels = np.zeros(case.box.shape, np.int16)
    voxels[case.labels > 0] = _STAND_IN
    if plan.intensity.kind == "window":
        voxels[case.labels == 0] = round(plan.intensity.low)
    return Volume(voxels, case.box.affine, plan.modality)


def _with_picture(
    plan: Plan, labels: LabelMap, case: Case, picture: Path, pixel_mm: float | None, position: float
) -> Inputs:
    scan = read_slice(picture, pixel_mm)
    check_modality(plan, scan)
    scan = said_by_plan(plan, scan)
    if plan.intensity.kind == "window" and scan.voxels.dtype == np.uint8:
        raise InputError(f"{picture} has grey values, not HU; give a NIfTI or DICOM slice to a model of CT.")
    inside = foreground(scan)
    # In a volume of one slice every hole is open towards the next.
    inside = np.stack([ndimage.binary_fill_holes(plane) for plane in inside])
    if pixel_mm is None and not has_spacing(picture):
        beside = case.labels[_nearest_with_body(case, position) - case.slices.start] > 0
        length = float(np.ptp(np.flatnonzero(beside.any(axis=1))) + 1) * plan.spacing[1]
        fitted = length / float(np.ptp(np.flatnonzero(inside.any(axis=(0, 2)))) + 1)
        return _with_picture(plan, labels, case, picture, fitted, position)
    return Inputs(labels, case, scan, inside, own_case(plan, scan, inside), same_patient=False)


def read_scan(plan: Plan, path: Path) -> Volume:
    """Read a scan of the plan's modality; InputError if it cannot be read or the model draws another kind."""
    scan = read_volume(path)
    check_modality(plan, scan)
    return said_by_plan(plan, scan)


def said_by_plan(plan: Plan, scan: Volume) -> Volume:
    """A scan of which nothing says what it is (NIfTI, NRRD), taken for what the model draws, as in training."""
    if scan.modality or (plan.modality == "MR" and is_ct(scan)):
        return scan
    return replace(scan, modality=plan.modality)


def check_modality(plan: Plan, scan: Volume) -> None:
    """Raise InputError if the model does not draw scans of this kind."""
    modality = "CT" if is_ct(scan) else scan.modality
    if modality and modality != plan.modality:
        raise InputError(
            f"{scan.source} is {modality}, but the model {plan.name} draws {plan.modality}; "
            "choose another scan or another model."
        )


def own_case(plan: Plan, scan: Volume, inside: NDArray[np.bool_]) -> Case:
    """The body of a scan, its foreground `inside` (Z, Y, X), with the scan's own distance between slices."""
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


def start_at(inputs: Inputs, position: float) -> int:
    """Slice of the case's grid (axis 0) at a position, 0 the lowest to 1 the highest, moved to the nearest with body.

    Raises
    ------
    InputError
        If the position is out of range.
    """
    if not 0 <= position <= 1:
        raise InputError(f"The position {position} is not possible; choose 0 (lowest slice) to 1 (highest).")
    return _nearest_with_body(inputs.case, position)


def _nearest_with_body(case: Case, position: float) -> int:
    return min(max(round(position * (case.grid.shape[0] - 1)), case.slices.start), case.slices.stop - 1)


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
    intensities = fit_intensities(plan, inputs.informed, inputs.inside)
    return prepare_scan(plan, inputs.informed, plane, inputs.inside, intensities)[0], intensities
