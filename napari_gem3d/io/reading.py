"""Read a volume or a label map from whatever holds it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_gem3d.errors import InputError
from napari_gem3d.io.checks import check_finite, check_intensities
from napari_gem3d.io.dicom import read_dicom
from napari_gem3d.io.dicom_files import is_dicom
from napari_gem3d.io.files import open_regular
from napari_gem3d.io.nifti import GZIP_MAGIC, SUFFIXES, read_nifti
from napari_gem3d.io.nrrd import read_nrrd
from napari_gem3d.io.segments import snap_names
from napari_gem3d.labels import LabelMap, LabelTable
from napari_gem3d.volume import Volume


def read_volume(path: Path | str) -> Volume:
    """Read a scan from a NIfTI or NRRD file, a DICOM folder, or one file of a DICOM series.

    Parameters
    ----------
    path
        .nii, .nii.gz, .nrrd, .nhdr, a folder that holds one DICOM series, or one DICOM file (its series is read).

    Returns
    -------
    Volume
        Voxels (Z, Y, X) with the file's own axes, not reoriented; header scaling applied (HU for CT), the file's
        dtype kept where nothing was scaled.

    Raises
    ------
    InputError
        If the file is missing, truncated, no image, 2D or 4D, has NaN or infinite voxels, is empty or constant, or
        does not say where it lies in the patient.
    """
    path = Path(path)
    volume = _read(path)
    if isinstance(volume, LabelMap):
        names = ", ".join(volume.meta["segments"].values())
        raise InputError(f"{path} is a segmentation ({names[:80]}), no scan; give it as the label map.")
    check_intensities(volume.voxels, path)
    return volume


def read_label_map(path: Path | str, table: LabelTable | None = None) -> LabelMap:
    """Read a label map from the formats of `read_volume`; it may be empty (all zero).

    Parameters
    ----------
    path
        The file or DICOM folder.
    table
        What the values mean; every value that occurs must be in it.

    Returns
    -------
    LabelMap
        Whole numbers (Z, Y, X); whole numbers stored as floats become the smallest unsigned type that holds them.
        Where the file says what its values mean, ``meta["segments"]`` has the names by value: segments of a .seg.nrrd
        or a DICOM SEG, or ITK-SNAP's label file NAME.label or NAME.txt beside it.

    Raises
    ------
    InputError
        As for `read_volume`, and if a voxel is not a whole number of 0 or more, or not in `table`.
    """
    path = Path(path)
    volume = _read(path)
    voxels = volume.voxels
    check_finite(voxels, path)
    if voxels.dtype.kind == "f":
        whole = np.rint(voxels)
        if not np.array_equal(whole, voxels):
            raise InputError(f"{path} holds fractions, so it is no label map; give one with whole numbers.")
        voxels = whole.astype(np.min_scalar_type(int(max(whole.max(), 0)))) if whole.min() >= 0 else whole
    if voxels.min() < 0:
        raise InputError(f"{path} holds the value {voxels.min():g}, so it is no label map; labels are 0 or more.")
    meta = {**volume.meta}
    if names := meta.get("segments") or snap_names(path):
        meta["segments"] = names
    labels = LabelMap(voxels, volume.affine, volume.modality, volume.source, meta, table)
    if table is not None:
        labels.check_values(table)
    return labels


def _read(path: Path) -> Volume:
    """Read by content where the content tells, else by name."""
    if path.is_dir():
        return read_dicom(path)
    name = path.name.lower()
    with open_regular(path) as file:
        start = file.read(4)
    if not start:
        raise InputError(f"{path} is an empty file; copy it again.")
    if start == b"NRRD" or name.endswith((".nrrd", ".nhdr")):
        return read_nrrd(path)
    if start[:2] == GZIP_MAGIC or name.endswith(SUFFIXES):
        return read_nifti(path)
    if is_dicom(path):
        return read_dicom(path)
    raise InputError(f"{path} is not an image this program reads; give NIfTI (.nii, .nii.gz), NRRD or a DICOM folder.")
