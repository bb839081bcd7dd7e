"""DICOM: one series of single-frame slices, put in order by where they lie in the patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.errors import InputError
from napari_gem3d.grid import check_affine
from napari_gem3d.io.checks import scaled
from napari_gem3d.io.dicom_files import (
    LPS_TO_RAS,
    SEGMENTATIONS,
    damaged,
    numbers,
    only_series,
    read_pixels,
    text,
    whole,
)
from napari_gem3d.io.dicom_seg import read_segmentation
from napari_gem3d.volume import Modality, Volume, check_memory

Vector = NDArray[np.float64]

# Positions are written with few digits; gaps within this fraction of the usual one are the same gap.
_EVEN = 0.05
_MODALITIES: dict[str, Modality] = {"MR": "MR", "CT": "CT"}


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
    series = only_series(path)
    if any(is_segmentation(data) for data in series.values()):
        if len(series) > 1:
            raise InputError(
                f"{path} belongs to {len(series)} segmentations (DICOM SEG) of one series; give one alone."
            )
        return read_segmentation(next(iter(series)))
    slices = [_Slice(file, data, path) for file, data in series.items()]
    first = slices[0]
    for other in slices:
        _check_same_plane(first, other, path)
    normal = np.cross(first.cosines[:3], first.cosines[3:])
    slices.sort(key=lambda one: float(one.position @ normal))
    positions = np.array([one.position for one in slices])
    _check_gaps(positions, normal, path)
    affine = check_affine(_affine(first, positions), str(path))
    voxels = _stack(slices)
    meta = {"synthetic": "yes"} if text(first.data, "SyntheticData") == "YES" else {}
    return Volume(voxels, affine, _MODALITIES.get(text(first.data, "Modality"), ""), source=path, meta=meta)


def is_segmentation(data: Any) -> bool:
    """Whether a header is that of segments (DICOM SEG)."""
    return text(data, "SOPClassUID") in SEGMENTATIONS or text(data, "Modality") == "SEG"


def read_lone_slice(path: Path) -> tuple[NDArray[Any], tuple[float, float] | None, Modality]:
    """Read a DICOM slice that is alone in its series: pixels (row, column), their spacing in mm if told, modality.

    Raises
    ------
    InputError
        If there is no image or more than one, it is in colour, or its pixels cannot be decoded.
    """
    series = only_series(path)
    if len(series) > 1:
        raise InputError(f"{path} belongs to a series of {len(series)} slices; use it as a scan.")
    file, header = next(iter(series.items()))
    if is_segmentation(header):
        raise InputError(f"{path} is a segmentation (DICOM SEG), no picture; give a slice of a scan.")
    _check_frames(header, path)
    told = numbers(header, "PixelSpacing", path, 2)
    spacing = (told[0], told[1]) if told and min(told) > 0 else None
    return _stack([_Slice(file, header, path, lies=False)])[0], spacing, _MODALITIES.get(text(header, "Modality"), "")


class _Slice:
    """What is needed of a slice: its size, where it lies in LPS, and how its values are scaled."""

    def __init__(self, file: Path, data: Any, path: Path, lies: bool = True) -> None:
        _check_frames(data, path)
        self.file, self.data = file, data
        self.size = whole(data, "Rows", file), whole(data, "Columns", file)
        self.rescale = tuple(
            (numbers(data, f"Rescale{n}", path) or [d])[0] for n, d in (("Slope", 1), ("Intercept", 0))
        )
        if not lies:
            return
        placed = [("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2)]
        found = [np.array(numbers(data, keyword, file, count)) for keyword, count in placed]
        for (keyword, _), values in zip(placed, found, strict=True):
            if not values.size:
                raise InputError(
                    f"{path} does not say where its slices lie ({keyword} is missing); give the original series."
                )
        self.position, self.cosines, self.spacing = found


def _check_frames(data: Any, path: Path) -> None:
    if whole(data, "NumberOfFrames", path, 1) > 1:
        raise InputError(f"{path} is multi-frame DICOM, which is not read; convert it to NIfTI with dcm2niix.")
    if whole(data, "SamplesPerPixel", path, 1) > 1:
        raise InputError(f"{path} holds colour pictures, not intensities; give the series of the scan.")


def _check_same_plane(first: _Slice, other: _Slice, path: Path) -> None:
    tilt, zoom = np.abs(other.cosines - first.cosines), np.abs(other.spacing - first.spacing)
    if other.size != first.size or tilt.max() > 1e-3 or zoom.max() > 1e-3:
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


def _affine(first: _Slice, positions: Vector) -> Vector:
    """Affine to RAS mm; a tilted gantry shows as a shear, since the third column is the true step between slices."""
    between_rows, between_columns = first.spacing
    affine = np.eye(4)
    affine[:3, 0] = first.cosines[:3] * between_columns
    affine[:3, 1] = first.cosines[3:] * between_rows
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(positions) - 1)
    affine[:3, 3] = positions[0]
    in_ras: Vector = LPS_TO_RAS @ affine
    return in_ras


def _stack(slices: list[_Slice]) -> NDArray[Any]:
    """Decode the slices in order; (slice, row, column) with the rescale of the header applied."""
    rows, columns = slices[0].size
    largest = max(one.file.stat().st_size for one in slices) // 4
    check_memory(max(rows * columns * len(slices), largest), 4, str(slices[0].file.parent))
    pictures = [read_pixels(one.file) for one in slices]
    for one, pixels in zip(slices, pictures, strict=True):
        if pixels.shape != (rows, columns):
            raise damaged(one.file)
    stored = np.stack(pictures)
    rescales = [one.rescale for one in slices]
    if len(set(rescales)) == 1:
        return scaled(stored, *rescales[0])
    # PET scales every slice by itself; only floats have a unit in common then.
    slopes, intercepts = (np.array(values)[:, None, None] for values in zip(*rescales, strict=True))
    return (stored * slopes + intercepts).astype(np.float32)
