"""What the values of a label map mean, where its file says so: segments of 3D Slicer, label files of ITK-SNAP."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.errors import InputError
from napari_gem3d.io.files import file_bytes

# Names longer than this are no names; DICOM has 64 characters for them.
_LONGEST_NAME = 200
_SEGMENT = re.compile(r"Segment(\d{1,5})_(Name|LabelValue|Layer)")
# A line of ITK-SNAP's label file: index, colour, opacity, two switches, and the name in quotes.
_SNAP = re.compile(r'\s*(\d{1,9})(?:\s+[\d.]+){6}\s+"(.*)"\s*')
_LONGEST_LABEL_FILE = 2**20


@dataclass(frozen=True)
class Segment:
    """One segment: its value in the voxels of its layer, or the number of its frames, and its name."""

    value: int
    name: str
    layer: int = 0


def tidy_name(name: object) -> str:
    """A name as it can be shown: one line, of a sensible length."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(name)).split())[:_LONGEST_NAME]


def slicer_segments(header: Mapping[str, Any]) -> tuple[Segment, ...]:
    """The segments that the header of a .seg.nrrd describes, in their order; none for other files.

    Files of Slicer before 4.11 have one layer a segment and say neither layer nor value.
    """
    fields: dict[int, dict[str, str]] = {}
    for key, value in header.items():
        if match := _SEGMENT.fullmatch(str(key)):
            fields.setdefault(int(match.group(1)), {})[match.group(2)] = str(value)
    return tuple(
        Segment(
            _whole(said.get("LabelValue"), 1),
            tidy_name(said.get("Name", f"Segment_{number + 1}")),
            _whole(said.get("Layer"), place),
        )
        for place, (number, said) in enumerate(sorted(fields.items()))
    )


def names_of(segments: Iterable[Segment]) -> dict[int, str]:
    """Names by value, without those of no name."""
    return {segment.value: segment.name for segment in segments if segment.name and segment.value > 0}


def merged(
    layers: Sequence[NDArray[Any]], segments: Sequence[Segment], path: Path
) -> tuple[NDArray[Any], tuple[Segment, ...]]:
    """Layers of segments as one label map, and the segments with their values in it.

    Values stay where every segment has one of its own; otherwise segments are numbered in their order, from 1 on.

    Raises
    ------
    InputError
        If two segments claim a voxel, or a segment's layer or a value's segment is not there.
    """
    own = [segment.value for segment in segments]
    apart = len(set(own)) == len(own) and min(own, default=1) > 0
    values = own if apart else list(range(1, len(own) + 1))
    out = np.zeros(layers[0].shape, np.min_scalar_type(max(values, default=1)))
    explained = [0] * len(layers)
    for segment, value in zip(segments, values, strict=True):
        if not 0 <= segment.layer < len(layers):
            raise InputError(
                f"{path} has {len(layers)} layers, but places the segment '{segment.name}' on layer {segment.layer}; "
                "save it again in 3D Slicer."
            )
        inside = layers[segment.layer] == segment.value
        explained[segment.layer] += int(np.count_nonzero(inside))
        taken = out[inside]
        if taken.any():
            other = segments[values.index(int(taken[taken != 0][0]))].name
            raise overlapping(path, other, segment.name, int(np.count_nonzero(taken)))
        out[inside] = value
    for index, (layer, voxels) in enumerate(zip(layers, explained, strict=True)):
        if np.count_nonzero(layer) != voxels:
            raise InputError(
                f"{path} has values on layer {index} that belong to none of its segments; save it again in 3D Slicer."
            )
    return out, tuple(Segment(value, s.name) for s, value in zip(segments, values, strict=True))


def overlapping(path: Path, one: str, other: str, voxels: int) -> InputError:
    """The refusal of a file of which two segments claim the same voxels, which no label map can hold."""
    return InputError(
        f"{path} holds segments that overlap ('{one}' and '{other}' in {voxels} voxels), and a voxel has one label; "
        "use 'Export to labelmap' of 3D Slicer's Segmentations, which gives a voxel to one of them, and give that."
    )


def snap_names(path: Path) -> dict[int, str]:
    """Names by value of ITK-SNAP's label file beside a label map (NAME.label or NAME.txt); none if there is none."""
    name = path.name
    for ending in (".gz", ".nii", ".nrrd", ".mgz", ".mgh"):
        name = name[: -len(ending)] if name.lower().endswith(ending) else name
    for beside in (path.with_name(f"{name}.label"), path.with_name(f"{name}.txt")):
        if beside.is_file() and (names := snap_file(beside)):
            return names
    return {}


def snap_file(path: Path) -> dict[int, str]:
    """Names by value of a label file; none if it is anything else, which is no fault of the label map."""
    try:
        lines = file_bytes(path, _LONGEST_LABEL_FILE).decode("utf-8-sig", "replace").splitlines()
    except InputError:
        return {}
    matches = [_SNAP.fullmatch(line) for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not all(matches):
        return {}
    named = {int(match.group(1)): tidy_name(match.group(2)) for match in matches if match}
    return {value: name for value, name in named.items() if value > 0 and name}


def _whole(text: str | None, default: int) -> int:
    try:
        return default if text is None else int(text)
    except ValueError:
        return default
