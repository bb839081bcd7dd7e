"""What happens to scans and label maps before a network sees them: one code for training and generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.anatomy import Completed, complete_anatomy
from napari_gem3d.bundle.plan import Plan
from napari_gem3d.errors import InputError
from napari_gem3d.foreground import find_floor, foreground, signal
from napari_gem3d.grid import Grid
from napari_gem3d.labels import AnatomySource, Label, LabelMap
from napari_gem3d.volume import Volume, resample

# How often U-Nets halve the latent grid, at least and at most.
_HALVINGS = (2, 4)


@dataclass(frozen=True)
class Intensities:
    """The affine map of one scan's intensities to [-1, 1], and back.

    Attributes
    ----------
    low, high
        Intensities (the scan's units, HU for CT) that become -1 and 1; what lies beyond is clipped.
    outside
        What networks see outside the body and the scan; `low` if None.
    background
        What a result has there; `low` if None.
    """

    low: float
    high: float
    outside: float | None = None
    background: float | None = None

    @property
    def around(self) -> float:
        """What a result has outside the body."""
        return self.low if self.background is None else self.background

    def forward(self, voxels: NDArray[Any]) -> NDArray[np.float32]:
        """Map intensities of any shape to [-1, 1]."""
        scaled = (voxels.astype(np.float32) - self.low) / (self.high - self.low)
        return np.clip(scaled, 0.0, 1.0) * np.float32(2.0) - np.float32(1.0)

    def inverse(self, scaled: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map values of any shape in [-1, 1] (clipped to it) to intensities."""
        share = (np.clip(scaled, -1.0, 1.0) + np.float32(1.0)) / np.float32(2.0)
        return (share * np.float32(self.high - self.low) + np.float32(self.low)).astype(np.float32)


def fit_intensities(plan: Plan, volume: Volume, inside: NDArray[np.bool_]) -> Intensities:
    """Find the map to [-1, 1] that the plan prescribes for a scan.

    Parameters
    ----------
    plan
        Its intensity scheme decides: MR runs from 0, or where the scan begins (`find_floor`), to a percentile of the
        foreground without voxels of the background's value; CT over a fixed window in HU; imported weights may want
        the scan's own lowest to highest voxel.
    volume
        The scan.
    inside
        (Z, Y, X), its foreground.

    Raises
    ------
    InputError
        If nothing in the foreground is brighter than its low end (MR), or all voxels are equal.
    """
    scheme = plan.intensity
    mean = float(volume.voxels[inside].mean()) if scheme.outside == "mean" and inside.any() else None
    if scheme.kind == "window":
        return Intensities(scheme.low, scheme.high, mean)
    if scheme.kind == "minmax":
        low, high = float(volume.voxels.min()), float(volume.voxels.max())
        if low == high:
            raise InputError(f"{volume.source or 'The scan'} has one intensity everywhere; give a scan of a patient.")
        return Intensities(low, high, mean)
    values, floor = signal(volume, inside), find_floor(volume, inside)
    high = float(np.percentile(values, scheme.percentile)) if values.size else floor.low
    if high <= floor.low:
        name = volume.source or "The scan"
        raise InputError(
            f"{name} has one intensity in all of its foreground; give a scan of {plan.channel or plan.modality}."
        )
    return Intensities(floor.low, high, mean, None if floor.background == floor.low else floor.background)


@dataclass(frozen=True)
class Case:
    """A label map brought to the plan's grid and cropped to the body.

    Attributes
    ----------
    grid
        Canonical (RAS) grid of the source with its whole field of view: at the plan's spacing, or with the source's
        own voxels where the plan's framing squashes slices to its size.
    box
        The part that networks see: the slices that hold body, in-plane the plan's size about the body's centre
        (larger where the body is), or what is squashed to the plan's size.
    slices
        Indices along the axis of `grid` of the slices of `box`.
    labels
        (Z, H, W) uint8 on `box`: the plan's label values, the body wherever no other label is, `UNKNOWN` where it is
        body whose tissue is not known.
    unknown
        Values of the plan's tissue labels that are known nowhere.
    notes
        Why tissues are not known although a scan was to show them, a sentence each.
    """

    grid: Grid
    box: Grid
    slices: range
    labels: NDArray[np.uint8]
    unknown: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def canonical_grid(plan: Plan, grid: Grid) -> Grid:
    """The canonical (RAS) grid of a source, whole field of view; at the plan's spacing if its framing is ``crop``."""
    return grid.canonical().with_spacing(plan.spacing) if plan.framing == "crop" else grid.canonical()


def body_label(plan: Plan) -> Label:
    """The label of the body; InputError if the plan has none."""
    if plan.labels.body is None:
        raise InputError(f"The model {plan.name} has no body label; use a bundle whose label table names one.")
    return plan.labels.body


def prepare_labels(
    plan: Plan,
    mask: LabelMap,
    body: Volume | None = None,
    body_inside: NDArray[np.bool_] | None = None,
    anatomy: AnatomySource = "scan",
) -> Case:
    """Bring a label map to the plan's grid, add the body and its anatomy, and crop to it: see `complete_labels`."""
    return crop_labels(plan, complete_labels(plan, mask, body, body_inside, anatomy))


def complete_labels(
    plan: Plan,
    mask: LabelMap,
    body: Volume | None = None,
    body_inside: NDArray[np.bool_] | None = None,
    anatomy: AnatomySource = "scan",
) -> Completed:
    """Bring a label map to the plan's grid, and add the body and its anatomy.

    Parameters
    ----------
    plan
        The bundle's plan.
    mask
        Label map with values of the plan's table, any orientation and spacing.
    body
        The scan whose foreground is the body, where the map has no body label of its own; aligned by geometry.
    body_inside
        (Z, Y, X), the foreground of `body`, if that is known already.
    anatomy
        Where tissue labels come from: "scan", those that the map does not hold are found in `body`; "map", from the map
        alone; "none", from nowhere. Tissue that is not known is body.

    Returns
    -------
    Completed
        The label map on the canonical grid with its whole field of view.

    Raises
    ------
    InputError
        If there are values that the table does not name, no body is known, or map and scan do not overlap.
    """
    mask.check_values(plan.labels)
    label = body_label(plan)
    grid = canonical_grid(plan, mask.grid)
    labels = resample(mask, grid, order=0).voxels.astype(np.uint8)
    if not (labels == label.value).any():
        # A model that draws the whole field of view, and sees no difference there, can do without a body.
        everywhere = body is None and plan.framing == "field" and not plan.background_outside_body
        inside = everywhere or _body_of(body, body_inside, mask, grid, label)
        labels = np.where((labels == 0) & inside, np.uint8(label.value), labels)
    whole = LabelMap(labels, grid.affine)
    return complete_anatomy(whole, plan.labels, anatomy, body, body_inside, plan.channel)


def crop_labels(plan: Plan, known: Completed) -> Case:
    """Bring a label map that holds the body to the plan's grid, and crop to the body.

    Parameters
    ----------
    plan
        The bundle's plan.
    known
        The label map, of any orientation and spacing, with what is known of its tissue.
    """
    grid = canonical_grid(plan, known.labels.grid)
    labels = resample(known.labels, grid, order=0).voxels
    slices, start, shape = _body_box(plan, labels != 0)
    box = grid.box(start, shape)
    if plan.framing != "crop":
        (_, rows, columns), (_, height, width) = box.spacing, box.shape
        box = box.with_spacing((None, rows * height / plan.size[0], columns * width / plan.size[1]))
    cropped = resample(LabelMap(labels.astype(np.uint8), grid.affine), box, order=0)
    return Case(grid, box, slices, cropped.voxels.astype(np.uint8), known.unknown, known.notes)


def _body_of(
    body: Volume | None, known: NDArray[np.bool_] | None, mask: LabelMap, grid: Grid, label: Label
) -> NDArray[np.bool_]:
    if body is None:
        which = f"The label map {mask.source}" if mask.source else "The label map"
        raise InputError(
            f"{which} does not say where the {label.name} is: give a map with label {label.value} ({label.name}), or "
            "the patient's scan with --body."
        )
    voxels = foreground(body) if known is None else known
    inside = LabelMap(voxels.astype(np.uint8), body.affine, source=body.source)
    return inside.aligned_to(grid).voxels.astype(bool)


def _body_box(plan: Plan, inside: NDArray[np.bool_]) -> tuple[range, tuple[int, int, int], tuple[int, int, int]]:
    """Slices with body, and start and shape (Z, Y, X) of the box about it."""
    rows = np.flatnonzero(inside.any(axis=(1, 2)))
    slices = range(int(rows[0]), int(rows[-1]) + 1)
    start, shape = [slices.start], [len(slices)]
    if plan.framing == "field":
        return slices, (slices.start, 0, 0), (len(slices), inside.shape[1], inside.shape[2])
    step = _step(plan)
    for axis, size in zip((1, 2), plan.size, strict=True):
        where = np.flatnonzero(inside.any(axis=(0, 3 - axis)))
        low, high = int(where[0]), int(where[-1])
        if plan.framing == "stretch":
            start.append(low)
            shape.append(high - low + 1)
            continue
        length = size if high - low + 1 <= size else -(-(high - low + 1) // step) * step
        start.append((low + high + 1) // 2 - length // 2)
        shape.append(length)
    return slices, (start[0], start[1], start[2]), (shape[0], shape[1], shape[2])


def _step(plan: Plan) -> int:
    """What rows and columns must be a multiple of, voxels: the plan's own are, whatever the depth of its U-Nets."""
    latents = [size // plan.latents.factor for size in plan.size]
    least, most = _HALVINGS
    fitting = [n for n in range(least, most + 1) if all(length % 2**n == 0 for length in latents)]
    return int(plan.latents.factor * 2 ** max(fitting, default=least))


def prepare_scan(
    plan: Plan, volume: Volume, box: Grid, inside: NDArray[np.bool_], intensities: Intensities | None = None
) -> NDArray[np.float32]:
    """Bring a scan to a box in [-1, 1]; voxels outside the foreground become background (-1) where the plan says so.

    Parameters
    ----------
    plan
        The bundle's plan.
    volume
        The scan, any orientation and spacing.
    box
        The grid wanted, usually :attr:`Case.box`.
    inside
        (Z, Y, X) on the scan's own grid: its foreground.
    intensities
        What `fit_intensities` finds for the scan, if that is known already.

    Returns
    -------
    ndarray
        (Z, H, W) on `box`.
    """
    if intensities is None:
        intensities = fit_intensities(plan, volume, inside)
    outside = intensities.low if intensities.outside is None else intensities.outside
    voxels = np.where(inside, volume.voxels, outside) if plan.background_outside_body else volume.voxels
    return intensities.forward(resample(volume.with_voxels(voxels), box, fill=outside).voxels)
