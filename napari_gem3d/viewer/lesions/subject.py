"""What a tool works on: a mask as it is on the screen, where lesions may be in it, and lesions of other patients."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Labels, Layer
from numpy.typing import NDArray

from napari_gem3d.errors import InputError
from napari_gem3d.foreground import foreground
from napari_gem3d.grid import FloatArray, Grid
from napari_gem3d.labels import LabelMap, LabelTable
from napari_gem3d.viewer.layers import origin_of, require_numbered, required_origin
from napari_gem3d.viewer.patients import Patient
from napari_gem3d.volume import Volume


def shown_grid(layer: Layer) -> Grid:
    """Where a canonical layer lies in napari's world, as a grid: R, A, S are what the letters on the screen say.

    For an oblique scan that is not the scanner's world, but turned to the slices.
    """
    affine = np.eye(4)
    scale, translate = np.asarray(layer.scale)[-3:], np.asarray(layer.translate)[-3:]
    affine[:3, :3] = np.diag(scale[::-1])
    affine[:3, 3] = translate[::-1]
    z, y, x = (int(n) for n in layer.data.shape[-3:])
    return Grid((z, y, x), affine)


def labels_of(mask: Labels, voxels: NDArray[Any], table: LabelTable) -> LabelMap:
    """A copy of a mask's voxels (Z, Y, X) as a map on the shown grid; where a lesion was erased the body is back."""
    origin = origin_of(mask)
    if origin is not None and origin.body is not None:
        voxels[(voxels == 0) & was_body(mask)] = origin.body_value
    return LabelMap(voxels, shown_grid(mask).affine, table=table)


def was_body(mask: Labels) -> NDArray[np.bool_]:
    """Voxels (Z, Y, X) inside the body when the mask was opened; nowhere if it has no body label."""
    origin = origin_of(mask)
    shape = mask.data.shape
    if origin is None or origin.body is None:
        return np.zeros(shape, bool)
    return np.unpackbits(origin.body, count=int(np.prod(shape))).reshape(shape).astype(bool)


def body_on(mask: Labels, patient: Patient, known: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """The patient's body (Z, Y, X) on the mask's canonical grid; None if nothing stands out in the scan.

    Parameters
    ----------
    mask
        One of the patient's.
    patient
        Whose body it is.
    known
        The body on the scan's canonical grid, if that is known already; else it is the scan's foreground.
    """
    scan, origin = required_origin(patient.image), required_origin(mask)
    grid = scan.grid.canonical()
    if known is None:
        try:
            known = foreground(Volume(np.asarray(patient.image.data), grid.affine, scan.modality))
        except InputError:
            return None
    target = origin.grid.canonical()
    if grid.same_as(target):
        return known
    return LabelMap(known, grid.affine).aligned_to(target).voxels.astype(bool)


def donor_labels(donor: Patient, receiver: Layer, table: LabelTable) -> LabelMap:
    """Another patient's mask, turned so that its directions in the scanner's world are those of the receiver."""
    if donor.mask is None:
        raise InputError(f"{donor.name} has no mask to take a lesion from; choose another patient.")
    theirs, mine = required_origin(donor.mask), required_origin(receiver)
    to_shown: FloatArray = shown_grid(receiver).affine @ np.linalg.inv(mine.grid.canonical().affine)
    labels = LabelMap(np.array(donor.mask.data), to_shown @ theirs.grid.canonical().affine, table=table)
    require_numbered(donor.mask, table)
    labels.check_values(table)
    return labels


def label_volumes(voxels: NDArray[Any], grid: Grid, table: LabelTable) -> dict[int, float]:
    """Volume in ml of every label of lesions and tissue, 0 where it does not occur."""
    volumes = LabelMap(voxels, grid.affine).volumes_ml()
    return {label.value: volumes.get(label.value, 0.0) for label in (*table.lesions, *table.tissues)}
