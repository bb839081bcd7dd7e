"""DICOM: one series of single-frame slices, put in order by where they lie in the patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian

from napari_gem3d.errors import InputError
from napari_gem3d.grid import check_affine
from napari_gem3d.io.checks import scaled
from napari_gem3d.volume import Modality, Volume, check_memory

Vector = NDArray[np.float64]

# Positions are written with few digits; gaps within this fraction of the usual one are the same gap.
_EVEN = 0.05
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MODALITIES: dict[str, Modality] = {"MR": "MR", "CT": "CT"}
_HEADER_TAGS = [
    "SeriesInstanceUID",
    "Modality",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "RescaleSlope",
    "RescaleIntercept",
    "SyntheticData",
]


def is_dicom(path: Path) -> bool:
    """Whether the file has DICOM's mark after its preamble."""
    try:
        return path.is_file() and _starts_as_dicom(path)
    except (OSError, ValueError):
        return False


def _starts_as_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def series_files(path: Path) -> list[Path]:
    """The files of the one series in a folder, or of the series that a file belongs to, by name."""
    return list(_only_series(path))


def read_dicom(path: Path) -> Volume:
    """Read a DICOM series: slices sorted along their normal, rescale slope and intercept applied (HU for CT).

    Parameters
    ----------
    path
        A folder that holds one series (other files are passed over), or one file of a series in a folder of several.

    Returns
    -------
    Volume
        Voxels (slice, row, column); int16 for CT. Nothing of the header but geometry and modality is carried along.

    Raises
    ------
    InputError
        If there is no series or more than one, a slice is missing, several images lie at the same place, slices are
        unevenly spaced, or pixels cannot be decoded.
    """
    series = _only_series(path)
    for data in series.values():
        _check_slice(data, path)
    files = list(series)
    first = series[files[0]]
    for file in files:
        _check_same_plane(first, series[file], path)
    normal = np.cross(*_plane(first))
    files.sort(key=lambda file: float(_position(series[file]) @ normal))
    positions = np.array([_position(series[file]) for file in files])
    _check_gaps(positions, normal, path)
    affine = check_affine(_affine(first, positions), str(path))
    voxels = _stack(files, [series[file] for file in files])
    meta = {"synthetic": "yes"} if first.get("SyntheticData") == "YES" else {}
    return Volume(voxels, affine, _MODALITIES.get(str(first.get("Modality", "")), ""), source=path, meta=meta)


def read_lone_slice(path: Path) -> tuple[NDArray[Any], tuple[float, float] | None, Modality]:
    """Read a DICOM slice that is alone in its series: pixels (row, column), their spacing in mm if told, modality.

    Raises
    ------
    InputError
        If there is no image or more than one, it is in colour, or its pixels cannot be decoded.
    """
    series = _only_series(path)
    if len(series) > 1:
        raise InputError(f"{path} belongs to a series of {len(series)} slices; use it as a scan.")
    file, header = next(iter(series.items()))
    if int(header.get("NumberOfFrames") or 1) > 1 or int(header.get("SamplesPerPixel") or 1) > 1:
        raise InputError(f"{path} is not one grey slice; give a single slice of a scan.")
    told: Any = header.get("PixelSpacing") or ()
    spacing = (float(told[0]), float(told[1])) if len(told) == 2 else None
    return _stack([file], [header])[0], spacing, _MODALITIES.get(str(header.get("Modality", "")), "")


def _only_series(path: Path) -> dict[Path, Any]:
    """Headers by file of the series in a folder, or of the one that a file belongs to."""
    folder = path if path.is_dir() else path.parent
    headers = {file: header for file in sorted(folder.iterdir()) if (header := _header(file)) is not None}
    if path.is_dir():
        if not headers:
            raise InputError(f"The folder {path} holds no DICOM images; give the folder of one series.")
        names = {str(header.get("SeriesInstanceUID", "")) for header in headers.values()}
        if len(names) > 1:
            raise InputError(
                f"The folder {path} holds {len(names)} DICOM series; give one file of the series you want."
            )
        return headers
    if path not in headers:
        raise InputError(f"{path} is a DICOM file without an image; give one of a series of slices.")
    wanted = headers[path].get("SeriesInstanceUID", "")
    return {file: header for file, header in headers.items() if header.get("SeriesInstanceUID", "") == wanted}


def _header(file: Path) -> Any | None:
    """The tags needed of a DICOM image; None for anything else."""
    if not is_dicom(file):
        return None
    try:
        if _syntax(file) == DeflatedExplicitVRLittleEndian:  # a small file may unpack to any size
            raise InputError(f"{file} is deflated DICOM, which is not read; decompress the series first.")
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_HEADER_TAGS))
    except InputError:
        raise
    except (InvalidDicomError, OSError, EOFError, ValueError, RecursionError) as error:
        raise InputError(f"{file} is damaged or truncated DICOM; copy it again.") from error
    return header if "Rows" in header else None


def _syntax(file: Path) -> str:
    """How the file is encoded."""
    return str(pydicom.filereader.read_file_meta_info(file).get("TransferSyntaxUID", ""))


def _check_slice(data: Any, path: Path) -> None:
    if int(data.get("NumberOfFrames") or 1) > 1:
        raise InputError(f"{path} is multi-frame DICOM, which is not read; convert it to NIfTI with dcm2niix.")
    if int(data.get("SamplesPerPixel") or 1) > 1:
        raise InputError(f"{path} holds colour pictures, not intensities; give the series of the scan.")
    for tag, count in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2)):
        if len(data.get(tag) or ()) != count:
            raise InputError(f"{path} does not say where its slices lie ({tag} is missing); give the original series.")


def _check_same_plane(first: Any, data: Any, path: Path) -> None:
    same_size = (data.Rows, data.Columns) == (first.Rows, first.Columns)
    tilt = np.abs(np.subtract(_numbers(data, "ImageOrientationPatient"), _numbers(first, "ImageOrientationPatient")))
    zoom = np.abs(np.subtract(_numbers(data, "PixelSpacing"), _numbers(first, "PixelSpacing")))
    if not same_size or tilt.max() > 1e-3 or zoom.max() > 1e-3:
        raise InputError(f"{path} holds slices of different size or direction; remove those of localisers.")


def _check_gaps(positions: Vector, normal: Vector, path: Path) -> None:
    """Raise InputError unless the slices follow one another at even gaps along one line."""
    if len(positions) < 2:
        raise InputError(f"{path} is a single DICOM slice (2D), not a volume; give the folder of the whole series.")
    gaps = np.diff(positions @ normal)
    usual = float(np.median(gaps))
    if gaps.min() < 0.01:
        raise InputError(f"{path} holds several images at the same place (echoes, time points?); keep one of each.")
    relative = gaps / usual
    if np.abs(relative - 1).max() > _EVEN:
        wide = int(np.argmax(relative))
        whole = np.abs(relative - np.rint(relative)).max() <= _EVEN
        if whole:
            number = round(relative.sum()) - len(gaps)
            lacking = "1 slice" if number == 1 else f"{number} slices"
            where = f"after slice {wide + 1} of {len(positions)}"
            raise InputError(f"{path} lacks {lacking} ({where}); copy the whole series.")
        raise InputError(
            f"{path} has uneven gaps between slices ({gaps.min():.2f} to {gaps.max():.2f} mm); resample it evenly."
        )
    steps = np.diff(positions, axis=0)
    if np.linalg.norm(steps - steps.mean(axis=0), axis=1).max() > max(_EVEN * usual, 0.02):
        raise InputError(f"{path} holds slices that are shifted sideways against one another; give one series.")


def _affine(first: Any, positions: Vector) -> Vector:
    """Affine to RAS mm; a tilted gantry shows as a shear, since the third column is the true step between slices."""
    along_row, along_column = _plane(first)
    between_rows, between_columns = _numbers(first, "PixelSpacing")
    affine = np.eye(4)
    affine[:3, 0] = along_row * between_columns
    affine[:3, 1] = along_column * between_rows
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(positions) - 1)
    affine[:3, 3] = positions[0]
    in_ras: Vector = _LPS_TO_RAS @ affine
    return in_ras


def _stack(files: list[Path], headers: list[Any]) -> NDArray[Any]:
    """Decode the slices in order; (slice, row, column) with the rescale of the header applied."""
    size = int(headers[0].Rows) * int(headers[0].Columns) * len(files)
    check_memory(max(size, max(file.stat().st_size for file in files) // 4), 4, str(files[0].parent))
    stored = np.stack([_pixels(file) for file in files])
    rescales = [(float(h.get("RescaleSlope") or 1), float(h.get("RescaleIntercept") or 0)) for h in headers]
    if len(set(rescales)) == 1:
        return scaled(stored, *rescales[0])
    # PET scales every slice by itself; only floats have a unit in common then.
    slopes, intercepts = (np.array(values)[:, None, None] for values in zip(*rescales, strict=True))
    return (stored * slopes + intercepts).astype(np.float32)


def _pixels(file: Path) -> NDArray[Any]:
    try:
        data = pydicom.dcmread(file)
        pixels: NDArray[Any] = data.pixel_array
    except (RuntimeError, NotImplementedError) as error:
        syntax = data.file_meta.TransferSyntaxUID.name
        raise InputError(
            f"{file} is compressed as {syntax}, which is not read; decompress the series first."
        ) from error
    except (AttributeError, InvalidDicomError, OSError, EOFError, ValueError, RecursionError) as error:
        raise InputError(f"{file} is damaged or truncated DICOM; copy it again.") from error
    return pixels


def _numbers(data: Any, tag: str) -> list[float]:
    return [float(number) for number in data[tag].value]


def _position(data: Any) -> Vector:
    return np.array(_numbers(data, "ImagePositionPatient"))


def _plane(data: Any) -> tuple[Vector, Vector]:
    """Directions (LPS) in which the column and the row index increase."""
    cosines = np.array(_numbers(data, "ImageOrientationPatient"))
    return cosines[:3], cosines[3:]
