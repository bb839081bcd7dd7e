"""Patients: a scan and the label maps that lie in its space, found among the layers by geometry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels

from napari_gem3d.errors import InputError
from napari_gem3d.grid import Grid
from napari_gem3d.viewer.layers import lesion_in, origin_of, required_origin

_OPPOSITE = str.maketrans("LPI", "RAS")
_FLIPS = {"L": "left–right", "P": "front–back", "I": "up–down"}


@dataclass(eq=False)
class Patient:
    """A scan on the screen, and what belongs to it.

    Attributes
    ----------
    image
        The scan's layer, in canonical axes.
    masks
        Labels layers that may be this patient's mask, in the layers' order.
    mask
        The one chosen, None if there is none.
    """

    image: Image
    masks: list[Labels] = field(default_factory=list)
    mask: Labels | None = None

    @property
    def name(self) -> str:
        """Name of the image layer."""
        return str(self.image.name)

    @property
    def grid(self) -> Grid:
        """Grid of the scan's file."""
        return required_origin(self.image).grid

    @property
    def oriented(self) -> bool:
        """Whether it is known which way the scan's axes run."""
        origin = origin_of(self.image)
        return origin is None or origin.oriented

    @property
    def num_slices(self) -> int:
        """Number of axial slices."""
        return int(self.image.data.shape[0])

    def lesion_slice(self) -> int | None:
        """Axial slice through the middle of the mask's lesions; None where there are none."""
        if self.mask is None or self.mask.data.shape[0] != self.num_slices:
            return None
        origin = origin_of(self.mask)
        # Slice by slice, which stays in the processor's cache: several times faster for hundreds of megabytes.
        rows = np.flatnonzero([lesion_in(axial, origin).any() for axial in np.asarray(self.mask.data)])
        return int((rows[0] + rows[-1]) // 2) if rows.size else None

    def middle_slice(self) -> int:
        """Axial slice through the middle of the lesions; of the scan where there are none."""
        lesion = self.lesion_slice()
        return self.num_slices // 2 if lesion is None else lesion

    def middle(self) -> tuple[float, float, float]:
        """A voxel of the lesion in its middle slice, else the middle of the scan; world mm, (z, y, x)."""
        layer, index = (
            self.image,
            np.array([self.middle_slice(), *(length // 2 for length in self.image.data.shape[1:])]),
        )
        if self.mask is not None and self.lesion_slice() is not None:
            lesion = np.argwhere(lesion_in(np.asarray(self.mask.data[index[0]]), origin_of(self.mask)))
            if len(lesion):  # else two lesions, one above and one below
                # Of a lesion that is bent around its own centre, the voxel nearest to it.
                nearest = lesion[np.argmin(((lesion - lesion.mean(axis=0)) ** 2).sum(axis=1))]
                layer, index = self.mask, np.array([index[0], *nearest])
        z, y, x = (float(v) for v in np.array(layer.translate) + index * np.array(layer.scale))
        return z, y, x

    def describe(self) -> str:
        """One line: axes, voxel size and voxels of the file, and what was reordered for display."""
        grid = self.grid
        z, y, x = grid.spacing
        depth, height, width = grid.shape
        size = f"{x:.4g} × {y:.4g} × {z:.4g} mm, {width} × {height} × {depth} voxels"
        if not self.oriented:
            return f"axes of unknown direction, {size}"
        if grid.is_canonical:
            return f"RAS axes, {size}; shown as stored"
        return f"{grid.orientation} axes, {size}; shown {_changes(grid)}, not resampled"


def find_patients(layers: Iterable[Any], known: Iterable[Patient] = ()) -> list[Patient]:
    """Patients among napari's layers, in the layers' order; those already `known` are kept as objects.

    A label map belongs to the patient on whose grid it lies. If several patients share a grid (registered data sets
    do), the names decide, then the order of opening. A map on another grid belongs to nobody: see `find_misfits`.
    """
    layers = list(layers)
    images = [layer for layer in layers if isinstance(layer, Image) and _is_scan(layer)]
    labels = [layer for layer in layers if isinstance(layer, Labels) and origin_of(layer) is not None]
    old = {id_of(patient.image): patient for patient in known}
    patients = [old.get(id_of(image)) or Patient(image) for image in images]
    for patient in patients:
        patient.masks = []
    for layer in labels:
        owner = _owner(layer, patients)
        if owner is not None:
            owner.masks.append(layer)
    for patient in patients:
        if patient.mask is None or patient.mask not in patient.masks:
            patient.mask = patient.masks[-1] if patient.masks else None
    return patients


@dataclass(frozen=True, eq=False)
class Misfit:
    """A label map on another grid than the scan that it seems to be meant for.

    Attributes
    ----------
    layer, patient
        The map, and the patient.
    differences
        What differs, a clause each.
    overlaps
        Whether it lies, at least in part, where the scan does, so that it can be resampled.
    """

    layer: Labels
    patient: Patient
    differences: tuple[str, ...]
    overlaps: bool

    def describe(self) -> str:
        """One sentence."""
        end = "" if self.overlaps else " They have no place in common."
        return f"{self.layer.name} does not fit {self.patient.name}: {'; '.join(self.differences)}.{end}"


def find_misfits(layers: Iterable[Any], patients: Sequence[Patient], current: Patient | None = None) -> list[Misfit]:
    """Label maps that belong to nobody, with the patient they are taken to be meant for.

    That is one they overlap, where there is one; the `current` one if it is among these, else the one whose name is
    most alike.
    """
    owned = {id_of(mask) for patient in patients for mask in patient.masks}
    misfits = []
    for layer in layers:
        origin = origin_of(layer) if isinstance(layer, Labels) else None
        if origin is None or id_of(layer) in owned or not patients:
            continue
        overlapped = [patient for patient in patients if patient.grid.overlaps(origin.grid)]
        likely = overlapped or list(patients)
        alike = max(likely, key=lambda patient: _similarity(layer.name, patient.name))
        meant = current if current is not None and current in likely else alike
        misfits.append(Misfit(layer, meant, tuple(origin.grid.differences(meant.grid)), bool(overlapped)))
    return misfits


def path_of(patient: Patient) -> Path:
    """The file of a patient's scan; InputError if it is in none."""
    origin = origin_of(patient.image)
    if origin is None or origin.path is None:
        raise InputError(f"{patient.name} is not in a file, so no recipe can refer to it; save it and open it again.")
    return origin.path


def matching_slice(index: int, patient: Patient, other: Patient) -> int:
    """Axial slice of `other` at the relative position p in [0, 1] (as in the paper) of slice `index` of `patient`."""
    position = index / max(1, patient.num_slices - 1)
    return round(position * (other.num_slices - 1))


def id_of(layer: Any) -> int:
    """Identity of a layer, the same whether napari handed out the layer or a proxy of it."""
    return id(getattr(layer, "__wrapped__", layer))


def _is_scan(layer: Image) -> bool:
    origin = origin_of(layer)
    return origin is not None and not origin.synthetic


def _owner(layer: Labels, patients: list[Patient]) -> Patient | None:
    grid = required_origin(layer).grid
    candidates = [patient for patient in patients if not grid.differences(patient.grid)]
    if not candidates:
        return None
    return max(candidates, key=lambda patient: (_similarity(layer.name, patient.name), -len(patient.masks)))


def _similarity(a: str, b: str) -> int:
    """Length of what two names have in common at their beginning, if they begin alike; else 0."""
    match = SequenceMatcher(None, a, b, autojunk=False).find_longest_match()
    return match.size if match.a == match.b == 0 else 0


def _changes(grid: Grid) -> str:
    """What turns the file's axes into canonical ones, in words."""
    parts = []
    if grid.orientation.translate(_OPPOSITE) != "RAS":
        parts.append("with its axes reordered")
    flipped = [_FLIPS[letter] for letter in grid.orientation if letter in _FLIPS]
    if flipped:
        parts.append(f"flipped {' and '.join(flipped)}")
    return ", ".join(parts)
