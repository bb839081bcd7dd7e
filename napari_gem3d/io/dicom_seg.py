"""DICOM SEG: segments in frames, as a label map on the grid that their frames lie on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.errors import InputError
from napari_gem3d.grid import check_affine
from napari_gem3d.io.dicom_files import LPS_TO_RAS, numbers, read_pixels, read_whole, text, whole
from napari_gem3d.io.segments import Segment, names_of, overlapping, tidy_name
from napari_gem3d.labels import LabelMap
from napari_gem3d.volume import check_memory

Vector = NDArray[np.float64]

# Gaps within this fraction of the usual one are the same gap; no segmentation has more planes.
_EVEN, _MOST_PLANES = 0.05, 20_000


def read_segmentation(file: Path) -> LabelMap:
    """Read a DICOM SEG as a label map: the number of a segment is its value, each frame lies where it says.

    Planes that no frame lies on, since nothing is segmented there, are empty. Names of segments are in
    ``meta["segments"]``.

    Raises
    ------
    InputError
        If frames do not say where they lie or to which segment they belong, segments overlap or are probabilities, or
        the file is damaged.
    """
    data = read_whole(file)
    segments = _segments(data, file)
    described = _items(data, "PerFrameFunctionalGroupsSequence")
    if len(described) != whole(data, "NumberOfFrames", file, 1) or not described:
        raise InputError(f"{file} does not describe each of its frames; save the segmentation again.")
    shared = _items(data, "SharedFunctionalGroupsSequence")[:1]
    frames = [_Frame([own, *shared], index, file) for index, own in enumerate(described)]
    for frame in frames:
        _check_same_plane(frames[0], frame, file)
    planes, affine = _planes(frames, file)
    shape = (max(planes) + 1, whole(data, "Rows", file), whole(data, "Columns", file))
    check_memory(int(np.prod([float(n) for n in shape])), 4, str(file))
    pixels = read_pixels(file, data).reshape(-1, *shape[1:])
    if len(pixels) != len(frames):
        raise InputError(
            f"{file} holds {len(pixels)} frames, but describes {len(frames)}; save the segmentation again."
        )
    if text(data, "SegmentationType") == "FRACTIONAL":
        pixels = _binary(pixels, whole(data, "MaximumFractionalValue", file, 255), file)
    grid = check_affine(LPS_TO_RAS @ affine, str(file))
    if text(data, "SegmentationType") == "LABELMAP":
        voxels = np.zeros(shape, pixels.dtype)
        voxels[planes] = pixels
    else:
        voxels = _painted(shape, pixels, planes, [frame.segment for frame in frames], segments, file)
    return LabelMap(voxels, grid, source=file, meta={"segments": names_of(segments.values())})


def _segments(data: Any, file: Path) -> dict[int, Segment]:
    """The segments by their numbers."""
    found = {}
    for item in _items(data, "SegmentSequence"):
        number = whole(item, "SegmentNumber", file)
        found[number] = Segment(number, tidy_name(text(item, "SegmentLabel") or text(item, "SegmentDescription")))
    if not found:
        raise InputError(f"{file} names no segments, so it is no whole DICOM SEG; save the segmentation again.")
    return found


class _Frame:
    """Where a frame lies in LPS, and the number of its segment."""

    def __init__(self, groups: Sequence[Any], index: int, file: Path) -> None:
        def said(sequence: str, keyword: str, count: int) -> list[float]:
            for group in groups:
                for item in _items(group, sequence):
                    if found := numbers(item, keyword, file, count):
                        return found
            return []

        self.position = np.array(said("PlanePositionSequence", "ImagePositionPatient", 3))
        self.cosines = np.array(said("PlaneOrientationSequence", "ImageOrientationPatient", 6))
        self.spacing = np.array(said("PixelMeasuresSequence", "PixelSpacing", 2))
        for what, values in (("position", self.position), ("direction", self.cosines), ("spacing", self.spacing)):
            if not values.size:
                raise InputError(
                    f"{file} does not say where its frames lie (the {what} of frame {index + 1} is missing); save the "
                    "segmentation again on its scan."
                )
        self.between = (said("PixelMeasuresSequence", "SpacingBetweenSlices", 1) or [0.0])[0]
        self.thickness = (said("PixelMeasuresSequence", "SliceThickness", 1) or [0.0])[0]
        self.segment = int((said("SegmentIdentificationSequence", "ReferencedSegmentNumber", 1) or [0])[0])


def _items(data: Any, sequence: str) -> Sequence[Any]:
    """The items of a sequence; none where it is missing or something else."""
    try:
        found = data.get(sequence)
        return found if found is not None and all(hasattr(item, "get_item") for item in found) else []
    except Exception:  # whatever pydicom stumbles over
        return []


def _check_same_plane(first: _Frame, other: _Frame, file: Path) -> None:
    if np.abs(other.cosines - first.cosines).max() > 1e-3 or np.abs(other.spacing - first.spacing).max() > 1e-3:
        raise InputError(f"{file} holds frames of several directions or spacings; save the segmentation on one scan.")


def _planes(frames: list[_Frame], file: Path) -> tuple[list[int], Vector]:
    """The plane of each frame, counted along the normal, and the affine of the planes to LPS."""
    first = frames[0]
    normal = np.cross(first.cosines[:3], first.cosines[3:])
    heights = np.array([frame.position @ normal for frame in frames])
    lowest = frames[int(np.argmin(heights))].position
    step = _step(np.unique(np.round(heights - heights.min(), 3)), first, file)
    planes = (heights - heights.min()) / step
    sideways = [
        np.linalg.norm((frame.position - lowest) - (frame.position - lowest) @ normal * normal) for frame in frames
    ]
    if np.abs(planes - np.rint(planes)).max() > _EVEN or max(sideways) > max(_EVEN * step, 0.02):
        raise InputError(f"{file} holds frames at uneven gaps or shifted sideways; save the segmentation on its scan.")
    if planes.max() > _MOST_PLANES:
        raise InputError(f"{file} spans {planes.max():.0f} planes of {step:g} mm; save the segmentation on its scan.")
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = first.cosines[:3] * first.spacing[1], first.cosines[3:] * first.spacing[0]
    affine[:3, 2], affine[:3, 3] = normal * step, lowest
    return [int(plane) for plane in np.rint(planes)], affine


def _step(heights: Vector, first: _Frame, file: Path) -> float:
    """The distance of planes in mm. Empty planes have no frames, so gaps may be whole multiples of it."""
    gaps = np.diff(heights)
    for told in (first.between, first.thickness):
        parts = gaps / told if told > 0.01 else np.array([0.5])
        if told > 0.01 and (not gaps.size or (np.abs(parts - np.rint(parts)).max() <= _EVEN and parts.min() > 0.5)):
            return float(told)
    if not gaps.size:
        raise InputError(f"{file} does not say how thick its one plane is; save the segmentation again on its scan.")
    return float(gaps.min())


def _binary(pixels: NDArray[Any], most: int, file: Path) -> NDArray[Any]:
    """Shares of a voxel that are all or nothing."""
    inside = pixels == most
    if (pixels[~inside] != 0).any():
        raise InputError(f"{file} holds probabilities of segments, no labels; save the segmentation as binary.")
    return inside.astype(np.uint8)


def _painted(
    shape: tuple[int, int, int],
    pixels: NDArray[Any],
    planes: list[int],
    numbers_of_frames: list[int],
    segments: dict[int, Segment],
    file: Path,
) -> NDArray[Any]:
    """Each frame's voxels with the number of its segment, (plane, row, column)."""
    voxels = np.zeros(shape, np.min_scalar_type(max(segments)))
    for frame, plane, number in zip(pixels, planes, numbers_of_frames, strict=True):
        if number not in segments or number == 0:
            raise InputError(f"{file} has a frame of segment {number}, which it does not name; save it again.")
        inside = frame != 0
        taken = voxels[plane][inside]
        other = taken[(taken != 0) & (taken != number)]
        if other.size:
            names = [segments[int(value)].name for value in (other[0], number)]
            raise overlapping(file, names[0], names[1], int(other.size))
        voxels[plane][inside] = number
    return voxels
