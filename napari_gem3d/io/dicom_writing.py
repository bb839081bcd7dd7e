"""Writing a synthetic volume as a DICOM series: new identifiers, marked as derived and synthetic, nobody's name.

With pydicom alone, which reading needs anyway: highdicom writes segmentations, reports and parametric maps, but not the
single-frame CT and MR images that every archive and viewer stacks to a volume.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pydicom.valuerep import format_number_as_ds

from napari_gem3d import __version__
from napari_gem3d.errors import InputError
from napari_gem3d.grid import Grid
from napari_gem3d.io.files import put_folder, staging
from napari_gem3d.volume import Volume, resample

SYNTHETIC = "SYNTHETIC"
# Which way columns and rows run on the screen, as radiologists see them, by the axis that runs through the slices.
_ON_SCREEN = {"RL": "PI", "AP": "LI", "SI": "LP"}
_OPPOSITE = dict(zip("RLAPSI", "LRPAIS", strict=True))
_LPS = np.array([-1.0, -1.0, 1.0])
# Cosine of the angle between rows and columns up to which a picture counts as rectangular.
_RECTANGULAR = 1e-3
_SOFT_TISSUE = (40.0, 400.0)  # centre and width, HU
_STORED = (np.iinfo(np.int16), np.iinfo(np.uint16))


def write_dicom(volume: Volume, folder: Path | str, *, modality: Literal["MR", "CT"], description: str) -> Path:
    """Write a synthetic volume as a series of single-frame CT or MR images, the whole folder or nothing.

    The slices are those of the volume's own axis 0, each turned to the way radiologists look at it (axial: front up,
    the patient's right on the left); voxels are copied, never interpolated.

    Parameters
    ----------
    volume
        Voxels (Z, Y, X), HU for CT. Whole numbers of 16 bits are stored as they are. Others are stored in 65 535 steps
        from the lowest to the highest, with a rescale that readers undo: off by half a step at most.
    folder
        A new or empty folder.
    modality
        What the volume looks like; decides the kind of image object.
    description
        How the volume was made, in a sentence without anything that identifies a person; goes into every file.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If the folder has something in it or cannot be written, or the volume's rows and columns are not at a right
        angle, which DICOM cannot say.
    """
    folder = Path(folder)
    check_new_folder(folder)
    shown = resample(volume, _on_screen(volume.grid), order=0)
    _check_rectangular(shown.grid)
    stored, slope, intercept = _stored(shown.voxels)
    common = _common(shown.grid, modality, description)
    _add_pixel_format(common, stored, slope, intercept, modality)
    _add_window(common, shown.voxels, modality)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with staging(folder) as temporary:
            staged = temporary / "series"
            staged.mkdir()
            for index, pixels in enumerate(stored):
                _write_slice(common, shown.grid, index, pixels, staged / f"{index + 1:04d}.dcm")
            put_folder(staged, folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror or error}); choose another place.") from error
    return folder


def check_new_folder(folder: Path) -> None:
    """Raise InputError unless a folder is empty or does not exist yet."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise InputError(f"{folder} has something in it already; give a new or empty folder for the DICOM series.")


def _on_screen(grid: Grid) -> Grid:
    """The same voxels and slices, rows and columns turned as radiologists look at them, axis 0 along their normal."""
    letters = grid.orientation
    wanted = next(xy for through, xy in _ON_SCREEN.items() if letters[2] in through)
    to_old, size_xyz = np.eye(4), [0, 0, grid.shape[0]]
    for new, letter in enumerate(wanted):
        old = next(axis for axis in (0, 1) if letters[axis] in (letter, _OPPOSITE[letter]))
        size = size_xyz[new] = grid.shape[2 - old]
        flipped = letters[old] != letter
        to_old[:3, new] = 0
        to_old[old, new] = -1 if flipped else 1
        to_old[old, 3] = size - 1 if flipped else 0
    if np.linalg.det(grid.affine[:3, :3] @ to_old[:3, :3]) < 0:  # columns × rows has to point along the slices
        to_old[2, 2], to_old[2, 3] = -1, grid.shape[0] - 1
    return Grid((size_xyz[2], size_xyz[1], size_xyz[0]), grid.affine @ to_old)


def _check_rectangular(grid: Grid) -> None:
    along_row, along_column = _directions(grid)
    if abs(float(along_row @ along_column)) > _RECTANGULAR:
        angle = np.degrees(np.arccos(float(along_row @ along_column)))
        raise InputError(
            f"Rows and columns of the volume meet at {angle:.2f}°, which DICOM cannot store; export it as NIfTI."
        )


def _directions(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Directions in DICOM's LPS in which the column and the row index increase, length 1."""
    x, y = (_LPS * grid.affine[:3, axis] for axis in (0, 1))
    return x / np.linalg.norm(x), y / np.linalg.norm(y)


def _stored(voxels: NDArray[Any]) -> tuple[NDArray[Any], float, float]:
    """Voxels in 16 bits, and the slope and intercept that give the intensities back."""
    low, high = float(voxels.min()), float(voxels.max())
    whole = voxels.dtype.kind in "biu" or bool((voxels == np.rint(voxels)).all())
    kinds = _STORED[::-1] if voxels.dtype.kind in "bu" else _STORED
    for kind in kinds if whole else ():
        if kind.min <= low and high <= kind.max:
            return voxels.astype(kind.dtype), 1.0, 0.0
    # What is written has 16 characters; stored values are made with what readers will read.
    slope = float(format_number_as_ds((high - low) / _STORED[1].max)) or 1.0
    intercept = float(format_number_as_ds(low))
    steps = np.rint((voxels.astype(np.float64) - intercept) / slope)
    return np.clip(steps, 0, _STORED[1].max).astype(np.uint16), slope, intercept


def _common(grid: Grid, modality: Literal["MR", "CT"], description: str) -> Dataset:
    """What all slices share. Nothing in it comes from a patient."""
    now = datetime.now()
    data, study = Dataset(), generate_uid(prefix=None)
    data.SpecificCharacterSet = "ISO_IR 192"
    data.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    data.ImageType = ["DERIVED", "SECONDARY", "AXIAL" if modality == "CT" else "OTHER", SYNTHETIC]
    data.SyntheticData = "YES"
    data.StudyDate = data.SeriesDate = data.ContentDate = data.InstanceCreationDate = f"{now:%Y%m%d}"
    data.StudyTime = data.SeriesTime = data.ContentTime = data.InstanceCreationTime = f"{now:%H%M%S}"
    data.Modality = modality
    data.AccessionNumber = data.ReferringPhysicianName = data.StudyID = ""
    data.Manufacturer, data.ManufacturerModelName, data.SoftwareVersions = "napari-gem3d", "napari-gem3d", __version__
    data.StudyDescription = data.SeriesDescription = f"{SYNTHETIC} (napari-gem3d)"
    # An archive files by this number, so it must differ from study to study, and say nothing of anybody.
    data.PatientName, data.PatientID = SYNTHETIC, f"{SYNTHETIC}-{study[-8:]}"
    data.PatientBirthDate = data.PatientSex = data.PatientPosition = ""
    data.PatientIdentityRemoved = "YES"
    data.DeidentificationMethod = "Geometry and voxels alone; no attribute of a source is kept"
    data.BurnedInAnnotation, data.LossyImageCompression = "NO", "00"
    data.StudyInstanceUID, data.SeriesInstanceUID = study, generate_uid(prefix=None)
    data.FrameOfReferenceUID, data.PositionReferenceIndicator = generate_uid(prefix=None), ""
    data.SeriesNumber, data.AcquisitionNumber = 1, None
    data.DerivationDescription = description[:1024]
    data.ImageComments = f"{SYNTHETIC}: generated by a model, in whole or in part. No diagnostic value."
    _add_kind(data, modality)
    _add_plane(data, grid)
    return data


def _add_kind(data: Dataset, modality: Literal["MR", "CT"]) -> None:
    """What the image object of a modality must have; how it was acquired stays empty, since it was not."""
    if modality == "CT":
        data.KVP = None
        return
    data.ScanningSequence, data.SequenceVariant = "RM", "NONE"
    data.ScanOptions = data.MRAcquisitionType = ""
    data.RepetitionTime = data.EchoTime = data.EchoTrainLength = data.InversionTime = None


def _add_plane(data: Dataset, grid: Grid) -> None:
    _, between_rows, between_columns = grid.spacing
    along_row, along_column = _directions(grid)
    data.ImageOrientationPatient = [_ds(cosine) for cosine in (*along_row, *along_column)]
    data.PixelSpacing = [_ds(between_rows), _ds(between_columns)]
    gap = abs(float((_LPS * grid.affine[:3, 2]) @ np.cross(along_row, along_column)))
    data.SliceThickness = _ds(gap)
    data.SpacingBetweenSlices = _ds(gap)


def _add_pixel_format(data: Dataset, stored: NDArray[Any], slope: float, intercept: float, modality: str) -> None:
    data.Rows, data.Columns = stored.shape[1:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelRepresentation = int(stored.dtype.kind == "i")
    if modality == "CT" or (slope, intercept) != (1, 0):
        data.RescaleSlope, data.RescaleIntercept = _ds(slope), _ds(intercept)
        data.RescaleType = "HU" if modality == "CT" else "US"


def _add_window(data: Dataset, voxels: NDArray[Any], modality: str) -> None:
    """What a viewer shows at first: soft tissue, or all intensities of the body but the brightest half per cent."""
    centre, width = _SOFT_TISSUE
    if modality != "CT":
        low = float(voxels.min())
        above = voxels[voxels > low]
        high = float(np.percentile(above, 99.5)) if above.size else low + 1
        centre, width = (low + high) / 2, max(high - low, 1.0)
    data.WindowCenter, data.WindowWidth = _ds(centre), _ds(width)


def _write_slice(common: Dataset, grid: Grid, index: int, pixels: NDArray[Any], path: Path) -> None:
    data = Dataset()
    data.update(common)
    data.SOPInstanceUID, data.InstanceNumber = generate_uid(prefix=None), index + 1
    data.ImagePositionPatient = [_ds(mm) for mm in _LPS * grid.index_to_world([[index, 0, 0]])[0]]
    data.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    data["PixelData"].VR = "OW"
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    pydicom.dcmwrite(path, data, enforce_file_format=True)


def _ds(number: float) -> str:
    """A number in the 16 characters that DICOM has for it."""
    return str(format_number_as_ds(float(number)))
