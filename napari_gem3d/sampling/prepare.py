"""A generation before its first step: inputs brought to the model's grid, settings decided, the slices chosen."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_gem3d.anatomy.notes import untold
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
from napari_gem3d.device import choose_device, choose_precision
from napari_gem3d.errors import InputError
from napari_gem3d.foreground import foreground, is_ct
from napari_gem3d.io.slices import resized
from napari_gem3d.labels import LabelMap
from napari_gem3d.masks.mass_effect import MassEffect
from napari_gem3d.sampling.inputs import Inputs
from napari_gem3d.sampling.labelling import accepted, numbered, skull, uncropped
from napari_gem3d.sampling.references import InputFile
from napari_gem3d.sampling.settings import Drawing, Settings
from napari_gem3d.sampling.solver import check_solver
from napari_gem3d.volume import Volume

# Intensity of the body in an MR whose informed slice is drawn and whose scan nobody has.
_STAND_IN = 1000
_BOTH = "The informed slice is given both by slice and by position; give one of the two."


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """The inputs of one generation as the model needs them, and what was decided.

    Attributes
    ----------
    plan
        Of the model.
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
    drawing
        How noise becomes a volume.
    informed_slice
        Axial index in the informed scan's canonical order, 0 the lowest; 0 where there is no scan.
    start
        The slice that it stands for, on axis 0 of `case.grid`.
    pixel_mm
        Size of a pixel if `informed` is a 2D image.
    informed_seed
        Of a slice that is drawn, where it is not the seed of `drawing`.
    relabel
        Values of the plan's table by those of the label map as it came; empty if they are the same.
    notes
        What people should know of the inputs, in sentences.
    files
        For the recipe: the files that the inputs were read from.
    """

    plan: Plan
    mask: LabelMap
    case: Case
    informed: Volume
    inside: NDArray[np.bool_]
    own: Case
    same_patient: bool
    drawn: bool = False
    drawing: Drawing
    informed_slice: int = 0
    start: int = 0
    pixel_mm: float | None = None
    informed_seed: int | None = None
    relabel: Mapping[int, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: Mapping[str, InputFile] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """All that people should know before anything is drawn; empty if there is nothing."""
        return " ".join([*self.notes, untold(self.case.notes)]).strip()


def decide_seed() -> int:
    """A seed, where people have given none."""
    return secrets.randbelow(2**31)


def decide(plan: Plan, settings: Settings) -> Drawing:
    """Fill in what the settings leave to the model, the machine or chance.

    Raises
    ------
    InputError
        If the model cannot take so many steps, or the device is not there.
    """
    steps, solver = settings.steps or plan.default_steps, settings.solver or plan.default_solver
    check_solver(plan.schedule, solver, steps, settings.eta)
    device = choose_device(settings.device)
    decided = {
        "solver": solver,
        "steps": steps,
        "seed": decide_seed() if settings.seed is None else settings.seed,
        "device": str(device),
        "precision": choose_precision(settings.precision, device),
    }
    return Drawing(**{name: decided.get(name, getattr(settings, name)) for name in Drawing.model_fields})


def prepare(plan: Plan, inputs: Inputs, settings: Settings, rng: np.random.Generator | None = None) -> Prepared:
    """Bring the inputs of a whole volume to the model's grid, and decide everything.

    Parameters
    ----------
    plan
        Of the model.
    inputs
        The arrays.
    settings
        What people chose. The seed decides a random position.
    rng
        Draws the random position, where the seed has decided something already.

    Raises
    ------
    InputError
        If an input cannot be used, the label map has unknown values, nothing says where the body is, the body's scan
        lies elsewhere, or a setting does not fit the inputs.
    """
    drawing = decide(plan, settings)
    rng = np.random.default_rng(drawing.seed) if rng is None else rng
    flat = inputs.informed is not None and inputs.informed.grid.canonical().shape[0] == 1
    if inputs.informed is None or flat:
        if settings.slice is not None:
            raise InputError("The informed slice comes from no volume, so it has no number; give its position instead.")
        position = settings.position
        share = 0.5 if position is None else float(rng.random()) if position == "random" else float(position)
        prepared = _arranged(plan, inputs, drawing, settings.labels, settings.pixel_mm, share)
        pixel_mm = prepared.informed.spacing[1] if flat else None
        prepared = replace(prepared, start=_nearest_with_body(prepared.case, _share(share)), pixel_mm=pixel_mm)
    elif settings.pixel_mm is not None:
        raise InputError(
            f"{_name(inputs.informed)} is a volume, which says how large its voxels are; leave the size of a pixel out."
        )
    else:
        prepared = _arranged(plan, inputs, drawing, settings.labels)
        if settings.position == "random":
            if settings.slice is not None:
                raise InputError(_BOTH)
            index = int(rng.choice(prepared.own.slices))
        else:
            index = choose_slice(prepared.own, _name(prepared.informed), settings.slice, settings.position)
        prepared = replace(prepared, informed_slice=index, start=matching_start(prepared, index))
    if settings.informed_seed is not None and not prepared.drawn:
        raise InputError("The informed slice is not drawn, so it has no seed of its own; leave the seed out.")
    return replace(prepared, informed_seed=settings.informed_seed)


def prepare_again(
    plan: Plan,
    inputs: Inputs,
    drawing: Drawing,
    *,
    start: int,
    informed_slice: int,
    pixel_mm: float | None = None,
    informed_seed: int | None = None,
    relabel: Mapping[int, int] | None = None,
) -> Prepared:
    """Bring inputs to the model's grid where a recipe says what was decided; see `prepare`."""
    chosen = {"start": start, "informed_slice": informed_slice, "pixel_mm": pixel_mm, "informed_seed": informed_seed}
    return replace(_arranged(plan, inputs, drawing, relabel or {}, pixel_mm, grow=relabel is not None), **chosen)  # type: ignore[arg-type]


def _arranged(
    plan: Plan,
    inputs: Inputs,
    drawing: Drawing,
    labels: str | Mapping[int, int] | None,
    pixel_mm: float | None = None,
    position: float = 0.5,
    grow: bool = True,
) -> Prepared:
    """The inputs on the model's grid; nothing is chosen yet. Every foreground is found once.

    `labels` says what the values of the label map stand for; with `grow` a cropped map is brought to its scan's grid.
    """
    informed, same = inputs.informed, inputs.informed is not None and inputs.informed is inputs.body
    if informed is not None:
        check_modality(plan, informed)
        informed = said_by_plan(plan, informed)
    shown = informed if same else None if inputs.body is None else said_by_plan(plan, inputs.body)
    if shown is not None and not shown.grid.overlaps(inputs.mask.grid):
        raise InputError(
            f"The body's scan {shown.source or ''} does not overlap the label map {inputs.mask.source or ''} in the "
            "patient's space; give the scan that the map was drawn on."
        )
    shows_body = None if shown is None else foreground(shown)
    if isinstance(labels, Mapping):
        mask, relabel, notes = numbered(plan, inputs.mask, labels, shown, shows_body)
        mask = uncropped(plan, mask, shown, shows_body) if grow else mask
    else:
        mask, relabel, notes = accepted(plan, inputs.mask, labels, shown, shows_body)
        scans = (informed,) if informed is shown else (informed, shown)
        notes = (*(note for scan in scans for note in skull(plan, scan)), *notes)
    case = _case(plan, mask, shown, shows_body, drawing)
    if informed is not None and informed.grid.canonical().shape[0] == 1:
        scan, inside = _flat(plan, case, informed, inputs.spacing_known, pixel_mm, position)
    elif informed is not None:
        scan, inside = informed, shows_body if same and shows_body is not None else foreground(informed)
    else:
        scan = _stand_in(plan, case) if shown is None else shown
        inside = foreground(scan) if shows_body is None else shows_body
    return Prepared(
        plan=plan,
        mask=mask,
        case=case,
        informed=scan,
        inside=inside,
        own=own_case(plan, scan, inside),
        same_patient=same or (informed is None and shown is not None),
        drawn=informed is None,
        drawing=drawing,
        relabel=relabel,
        notes=notes,
        files=inputs.files,
    )


def _case(
    plan: Plan, labels: LabelMap, body: Volume | None, inside: NDArray[np.bool_] | None, drawing: Drawing
) -> Case:
    """The label map as the networks see it, its anatomy pushed by its lesions."""
    known = complete_labels(plan, labels, body, inside, anatomy=drawing.anatomy)
    lesions = np.isin(known.labels.voxels, [label.value for label in plan.labels.lesions])
    if drawing.mass_effect_mm and lesions.any() and plan.labels.tissues:
        voxels = known.labels.voxels
        plain = np.where(lesions, body_label(plan).value, voxels).astype(np.uint8)
        pushed = MassEffect.of(lesions, voxels > 0, known.labels.grid, drawing.mass_effect_mm).pushed(plain, 0)
        known = replace(known, labels=known.labels.with_voxels(np.where(lesions, voxels, pushed)))
    return crop_labels(plan, known)


def _stand_in(plan: Plan, case: Case) -> Volume:
    """A scan without any picture in it, where nothing says which intensities the result should have."""
    voxels = np.zeros(case.box.shape, np.int16)
    voxels[case.labels > 0] = _STAND_IN
    if plan.intensity.kind == "window":
        voxels[case.labels == 0] = round(plan.intensity.low)
    return Volume(voxels, case.box.affine, plan.modality)


def _flat(
    plan: Plan, case: Case, picture: Volume, spacing_known: bool, pixel_mm: float | None, position: float
) -> tuple[Volume, NDArray[np.bool_]]:
    """A lone slice with the spacing that is asked for, known or fitted to the body at its position; its foreground."""
    if plan.intensity.kind == "window" and picture.voxels.dtype == np.uint8:
        raise InputError(f"{_name(picture)} has grey values, not HU; give a NIfTI or DICOM slice to a model of CT.")
    # In a volume of one slice every hole is open towards the next.
    inside = np.stack([ndimage.binary_fill_holes(plane) for plane in foreground(picture)])
    if pixel_mm is None and not spacing_known:
        beside = case.labels[_nearest_with_body(case, position) - case.slices.start] > 0
        length = float(np.ptp(np.flatnonzero(beside.any(axis=1))) + 1) * plan.spacing[1]
        pixel_mm = length / float(np.ptp(np.flatnonzero(inside.any(axis=(0, 2)))) + 1)
    return picture if pixel_mm is None else resized(picture, pixel_mm), inside


def _name(scan: Volume) -> str:
    return str(scan.source or "The informed scan")


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


def choose_slice(own: Case, name: object, index: int | None, position: float | None) -> int:
    """Axial index, in the informed scan's canonical order (0 is the lowest), of the informed slice.

    Parameters
    ----------
    own
        The body of the informed scan, from `own_case`.
    name
        What to call the scan.
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
        raise InputError(_BOTH)
    count, shown = own.grid.shape[0], own.slices
    if index is None:
        index = round(_share(0.5 if position is None else position) * (count - 1))
    if not 0 <= index < count:
        raise InputError(f"{name} has no slice {index}; choose one from 0 to {count - 1}.")
    if index not in shown:
        raise InputError(
            f"Slice {index} of {name} shows no body to draw from; choose one from {shown.start} to {shown.stop - 1}."
        )
    return index


def _share(position: float) -> float:
    if not 0 <= position <= 1:
        raise InputError(f"The position {position} is not possible; choose 0 (lowest slice) to 1 (highest).")
    return position


def _nearest_with_body(case: Case, position: float) -> int:
    return min(max(round(position * (case.grid.shape[0] - 1)), case.slices.start), case.slices.stop - 1)


def matching_start(prepared: Prepared, informed_slice: int) -> int:
    """Slice of the case's grid (axis 0) that the informed slice stands for, moved to the nearest one with body."""
    slices = prepared.case.slices
    return min(max(_matching_slice(prepared, informed_slice), slices.start), slices.stop - 1)


def _matching_slice(prepared: Prepared, informed_slice: int) -> int:
    ours, theirs = prepared.case.grid, prepared.own.grid
    if prepared.same_patient:
        middle = (informed_slice, theirs.shape[1] / 2, theirs.shape[2] / 2)
        return round(float(ours.world_to_index(theirs.index_to_world([middle]))[0, 0]))
    return round(informed_slice / max(theirs.shape[0] - 1, 1) * (ours.shape[0] - 1))


def informed_picture(prepared: Prepared) -> tuple[NDArray[np.float32], Intensities]:
    """The informed slice as the networks see it, and the map back to the scan's intensities.

    Returns
    -------
    tuple
        (H, W) in [-1, 1], of the size of the case's box and, as in training, about the body of its own patient.
    """
    height, width = prepared.case.box.shape[1:]
    if prepared.same_patient:
        up = _matching_slice(prepared, prepared.informed_slice) - prepared.case.slices.start
        plane = prepared.case.box.box((up, 0, 0), (1, height, width))
    else:
        own = prepared.own
        up = prepared.informed_slice - own.slices.start
        # The box of either patient may have grown beyond the plan's size; keep the middle.
        rows, columns = (own.box.shape[1] - height) // 2, (own.box.shape[2] - width) // 2
        plane = own.box.box((up, rows, columns), (1, height, width))
    plan = prepared.plan
    intensities = fit_intensities(plan, prepared.informed, prepared.inside)
    return prepare_scan(plan, prepared.informed, plane, prepared.inside, intensities)[0], intensities
