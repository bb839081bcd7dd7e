"""Read a volume or a label map from whatever holds it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Unpack

import numpy as np
from scipy import ndimage

from napari_gem3d.errors import InputError
from napari_gem3d.io.checks import Reading, SegmentationError, check_finite, check_intensities, check_reading, guarded
from napari_gem3d.io.dicom import read_dicom
from napari_gem3d.io.dicom_files import is_dicom
from napari_gem3d.io.files import open_regular
from napari_gem3d.io.label_names import names_beside
from napari_gem3d.io.nifti import FREESURFER, GZIP_MAGIC, SUFFIXES, read_nifti
from napari_gem3d.io.nrrd import read_nrrd
from napari_gem3d.labels import LabelMap, LabelTable
from napari_gem3d.volume import Volume

# How far from a whole number a label may be that a header's scaling has moved, and the largest one.
_NEARLY_WHOLE, _LARGEST_LABEL = 1e-3, 2**32 - 1


def read_volume(path: Path | str, **how: Unpack[Reading]) -> Volume:
    """Read a scan from a NIfTI or NRRD file, a DICOM folder, or one file of a DICOM series.

    Parameters
    ----------
    path
        .nii, .nii.gz, .mgz, .mgh, .nrrd, .nhdr, a folder that holds one DICOM series or has it below it, or one DICOM
        file (its series is read).
    **how
        ``assume_orientation``, of files that do not say how they lie in the patient: letters of the directions in
        which x, y and z increase, such as "RAS"; voxels keep the header's size, and the middle is at 0 mm.
        ``channel``, which volume of a file that holds several (4D), from 0 on.

    Returns
    -------
    Volume
        Voxels (Z, Y, X) with the file's own axes, not reoriented; header scaling applied (HU for CT), the file's
        dtype kept where nothing was scaled. NaN that reaches the border of the volume, as masked maps have it outside,
        becomes 0, or the lowest value below; ``meta["note"]`` says so.

    Raises
    ------
    InputError
        If the file is missing, truncated, no image, a segmentation, 2D, or 4D without `channel`; has infinite voxels,
        or NaN inside; is empty or constant; has a size that no patient has; or does not say where it lies in the
        patient and nothing is assumed.
    """
    path = Path(path)
    volume = _read(path, how)
    if isinstance(volume, LabelMap):
        names = ", ".join(volume.meta["segments"].values())
        raise SegmentationError(f"{path} is a segmentation ({names[:80]}), no scan; give it as the label map.")
    volume = without_nan(volume, path)
    check_intensities(volume.voxels, path)
    return volume


def read_label_map(path: Path | str, table: LabelTable | None = None, **how: Unpack[Reading]) -> LabelMap:
    """Read a label map from the formats of `read_volume`; it may be empty (all zero).

    Parameters
    ----------
    path
        The file or DICOM folder.
    table
        What the values mean; every value that occurs must be in it.
    **how
        As for `read_volume`.

    Returns
    -------
    LabelMap
        Whole numbers (Z, Y, X); whole numbers stored as floats, and what scaling left within 0.001 of them, become the
        smallest unsigned type that holds them. NaN outside is 0.
        Where the file says what its values mean, ``meta["segments"]`` has the names by value: segments of a .seg.nrrd
        or a DICOM SEG, or ITK-SNAP's label file NAME.label or NAME.txt beside it.

    Raises
    ------
    InputError
        As for `read_volume`, and if a voxel is not a whole number of 0 or more, or not in `table`.
    """
    path = Path(path)
    volume = without_nan(_read(path, how), path, fill=0)
    voxels = volume.voxels
    check_finite(voxels, path)
    if voxels.dtype.kind == "f":
        whole = np.rint(voxels)
        if np.abs(voxels - whole).max() > _NEARLY_WHOLE:
            raise InputError(f"{path} holds fractions, so it is no label map; give one with whole numbers.")
        if whole.max() > _LARGEST_LABEL:
            raise InputError(f"{path} holds the value {whole.max():g}, so it is no label map; renumber its labels.")
        voxels = whole.astype(np.min_scalar_type(int(max(whole.max(), 0)))) if whole.min() >= 0 else whole
    if voxels.min() < 0:
        raise InputError(f"{path} holds the value {voxels.min():g}, so it is no label map; labels are 0 or more.")
    meta = {**volume.meta}
    if names := meta.get("segments") or names_beside(path):
        meta["segments"] = names
    labels = LabelMap(voxels, volume.affine, volume.modality, volume.source, meta, table)
    if table is not None:
        labels.check_values(table)
    return labels


def without_nan(volume: Volume, path: Path, fill: float | None = None) -> Volume:
    """The volume with NaN outside, where nothing was measured, as `fill`, by default the lowest value.

    Raises
    ------
    InputError
        If all is NaN, or some of it lies inside.
    """
    if volume.voxels.dtype.kind != "f" or not np.isnan(volume.voxels.min()):
        return volume
    unknown = np.isnan(volume.voxels)
    if unknown.all():
        raise InputError(f"{path} has no voxel that is a number (all are NaN); give a scan with something in it.")
    parts, _ = ndimage.label(unknown, np.ones((3, 3, 3)))
    sides = [np.take(parts, end, axis=axis).ravel() for axis in range(3) for end in (0, -1)]
    inside = int(np.count_nonzero(unknown & ~np.isin(parts, np.unique(np.concatenate(sides)))))
    if inside:
        raise InputError(f"{path} has {inside} NaN voxels inside the image; replace them before opening it.")
    value = min(volume.voxels[~unknown].min(), 0) if fill is None else fill
    note = f"{np.count_nonzero(unknown)} voxels of {path.name} are NaN; they are background ({value:.4g}) now."
    return replace(volume, voxels=np.where(unknown, value, volume.voxels), meta={**volume.meta, "note": note})


def _read(path: Path, how: Reading) -> Volume:
    """Read by content where the content tells, else by name."""
    check_reading(how)
    with guarded(path):
        return _by_content(path, how)


def _by_content(path: Path, how: Reading) -> Volume:
    if path.is_dir():
        return read_dicom(path)
    name = path.name.lower()
    with open_regular(path) as file:
        start = file.read(4)
    if not start:
        raise InputError(f"{path} is an empty file; copy it again.")
    if start == b"NRRD" or name.endswith((".nrrd", ".nhdr")):
        return read_nrrd(path, how)
    if start[:2] == GZIP_MAGIC or name.endswith((*SUFFIXES, *FREESURFER)):
        return read_nifti(path, how)
    if is_dicom(path):
        return read_dicom(path)
    if name.endswith(".dcm"):
        raise InputError(f"{path} does not begin as DICOM does, so it is damaged or no DICOM; copy it again.")
    raise InputError(
        f"{path} is not an image this program reads; give NIfTI (.nii, .nii.gz), FreeSurfer's .mgz, NRRD or a DICOM "
        "folder."
    )
