"""NRRD: .nrrd and .nhdr with a patient space, as 3D Slicer writes them."""

from __future__ import annotations

import bz2
import math
import os
import zlib
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import nrrd
import numpy as np
from numpy.typing import NDArray

from napari_gem3d.errors import InputError
from napari_gem3d.grid import Grid, check_affine
from napari_gem3d.io.checks import (
    Reading,
    assumed_affine,
    centred,
    check_dimensions,
    check_dtype,
    check_scale,
    pick_volume,
    without_position,
)
from napari_gem3d.io.files import open_regular
from napari_gem3d.io.segments import merged, names_of, slicer_segments
from napari_gem3d.labels import LabelMap
from napari_gem3d.volume import Volume, check_memory

# Sign of the file's world axes in RAS.
_TO_RAS = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}
# Bytes of a header, of a voxel of any real type, of what may follow the voxels, and of a part that is decompressed.
_LONGEST_HEADER, _BYTES_PER_VOXEL, _BEYOND, _READ_AT_ONCE = 2**20, 8, 2**16, 2**20
# Characters of a number in a file of text, for a byte of a voxel.
_DIGITS = 8
_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    **dict.fromkeys(("gzip", "gz"), lambda: zlib.decompressobj(zlib.MAX_WBITS | 16)),
    **dict.fromkeys(("bzip2", "bz2"), bz2.BZ2Decompressor),
}
_MOST_AXES = 16
_LISTS = ("list", "vector", "point", "covariant-vector", "time")
_MM_PER_UNIT = {"m": 1000.0, "cm": 10.0, "mm": 1.0, "um": 0.001, "µm": 0.001}


def read_nrrd(path: Path, how: Reading) -> Volume:
    """Read an NRRD file: its own axes, world converted to RAS mm, dtype kept.

    Raises
    ------
    InputError
        If the file is missing, truncated, not NRRD, not three-dimensional, or does not say where the patient's right
        is ('space' and 'space directions'), which must not be guessed.
    """
    header, begin = _header(path)
    segments = slicer_segments(header)
    sizes, listed = _axes(header, path)
    in_space = [size for axis, size in enumerate(sizes) if axis != listed]
    layers = 1 if listed is None else sizes[listed]
    if listed is None or (segments and layers > 1):
        shape, channel = check_dimensions(in_space, path), None
    else:
        shape, channel = pick_volume([*in_space, layers], path, how)
    check_memory(math.prod(sizes), 4, str(path))
    affine = check_affine(_affine(header, shape, path, how), str(path))
    check_scale(Grid(shape[::-1], affine), path, ", ".join(map(str, header.get("space units", []))))
    voxels = _voxels(header, begin, path)
    check_dtype(voxels.dtype, path)
    voxels = voxels.astype(voxels.dtype.newbyteorder("="), copy=False)
    if listed is not None:
        apart = np.moveaxis(voxels.reshape(sizes, order="F"), listed, 0)
        if segments and layers > 1:
            voxels, segments = merged(list(apart), segments, path)
        else:
            voxels = apart[channel or 0]
    out = np.ascontiguousarray(voxels.reshape(shape, order="F").T)
    if segments and out.dtype.kind in "biu":
        return LabelMap(out, affine, source=path, meta={"segments": names_of(segments)})
    return Volume(out, affine, source=path)


def _axes(header: Mapping[str, Any], path: Path) -> tuple[list[int], int | None]:
    """The sizes of the axes, the first of them the fastest; and which one lists layers or channels, of four."""
    try:
        sizes = [int(size) for size in header["sizes"]]
        if min(sizes, default=0) < 0 or len(sizes) > _MOST_AXES:
            raise ValueError(sizes)
        kinds = [str(kind).lower() for kind in header.get("kinds", [])]
    except (TypeError, ValueError, OverflowError):
        raise _damaged(path) from None
    if len(sizes) != 4:
        return sizes, None
    directions = _directions(header)
    lists = (
        [axis for axis in range(len(directions)) if np.isnan(directions[axis]).all()] if len(directions) == 4 else []
    )
    lists = lists or [axis for axis, kind in enumerate(kinds[:4]) if kind in _LISTS]
    return sizes, lists[0] if len(lists) == 1 else None


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The fields of the header, and where what follows it begins."""
    with open_regular(path) as file:
        start = BytesIO(file.read(_LONGEST_HEADER))
    try:
        header = nrrd.read_header(start)
        header["sizes"], header["encoding"]
    except (ValueError, KeyError, StopIteration, nrrd.NRRDError) as error:
        raise _damaged(path) from error
    return dict(header), start.tell()


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is not an NRRD file or its header is damaged; convert the scan again.")


def _voxels(header: dict[str, Any], begin: int, path: Path) -> NDArray[Any]:
    """Read the data, in the header's file or another, no more of it than the header says."""
    apart = [header.pop(key) for key in ("data file", "datafile") if key in header]
    source = path.parent / str(apart[0]) if apart else path
    if apart and not source.exists():
        raise InputError(f"{path} names a data file that does not exist; copy that file beside it.")
    skipped = [max(int(header.get(key, 0)), 0) for key in ("byte skip", "byteskip")]
    most = math.prod(map(int, header["sizes"])) * _BYTES_PER_VOXEL + max(skipped) + _BEYOND
    try:
        with open_regular(source) as file:
            file.seek(0 if apart else begin)
            if header["encoding"] in _DECOMPRESSORS:
                for _ in range(int(header.pop("line skip", header.pop("lineskip", 0)))):
                    file.readline(_LONGEST_HEADER)
                stream: BinaryIO = BytesIO(_decompressed(file, _DECOMPRESSORS[header["encoding"]](), most))
                header = {**header, "encoding": "raw"}
            elif header["encoding"] != "raw" and os.fstat(file.fileno()).st_size > most * _DIGITS:
                raise ValueError("more digits than voxels")
            else:
                stream = file
            return nrrd.read_data(header, stream)
    except InputError:
        raise
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error, nrrd.NRRDError) as error:
        raise InputError(f"{path} is truncated or damaged; copy it again.") from error


def _decompressed(file: BinaryIO, decompressor: Any, most: int) -> bytearray:
    """Decompress the rest of a file; ValueError if there is more than `most` bytes in it."""
    found = bytearray()
    while not decompressor.eof and (part := file.read(_READ_AT_ONCE)):
        found += decompressor.decompress(part, most + 1 - len(found))
        if len(found) > most:
            raise ValueError("more data than the header says")
    return found


def _affine(
    header: Mapping[str, Any], shape_xyz: tuple[int, int, int], path: Path, how: Reading
) -> NDArray[np.float64]:
    """Affine to RAS mm from 'space', 'space directions' (one row per axis) and 'space origin'."""
    space, directions, scale = str(header.get("space", "")).lower(), _directions(header), _scale(header, path)
    directions = directions[~np.isnan(directions).all(axis=1)]  # of axes that do not lie in space
    origin = _numbers(header.get("space origin"))
    placed = {
        "space": space in _TO_RAS,
        "space directions": directions.shape == (3, 3),
        "space origin": len(origin) == 3,
    }
    missing = [f"NRRD '{field}'" for field, there in placed.items() if not there]
    if missing:
        letters = how.get("assume_orientation")
        if letters is None:
            raise without_position(missing[0], path)
        if missing == ["NRRD 'space origin'"]:  # its directions are known, its place is not
            return centred(directions.T * np.array(_TO_RAS[space])[:, None] * scale, shape_xyz)
        lengths = np.linalg.norm(directions, axis=1) if len(directions) == 3 else _numbers(header.get("spacings"))[-3:]
        if len(lengths) != 3 or not np.isfinite(lengths).all():
            raise InputError(f"{path} does not say how large its voxels are (NRRD 'space directions'); save it again.")
        return assumed_affine(letters, [abs(float(length)) * scale for length in lengths], shape_xyz)
    affine = np.eye(4)
    affine[:3, :3] = directions.T
    affine[:3, 3] = origin
    affine[:3] *= np.array(_TO_RAS[space])[:, None] * scale
    return affine


def _directions(header: Mapping[str, Any]) -> NDArray[np.float64]:
    """'space directions', a row an axis, NaN for axes that do not lie in space; no rows where there are none."""
    try:
        rows = np.array(
            [[np.nan] * 3 if row is None else row for row in header.get("space directions", ())], dtype=np.float64
        )
    except (TypeError, ValueError):
        rows = np.empty((0, 3))
    return rows if rows.ndim == 2 and rows.shape[1] == 3 else np.empty((0, 3))


def _numbers(values: Any) -> NDArray[np.float64]:
    """Numbers of a field; none where it is missing or holds something else."""
    try:
        found = np.atleast_1d(np.array([] if values is None else values, dtype=np.float64))
    except (TypeError, ValueError):
        return np.empty(0)
    return found if found.ndim == 1 else np.empty(0)


def _scale(header: Mapping[str, Any], path: Path) -> float:
    """Millimetres of the unit of space."""
    scale = 1.0
    for unit in header.get("space units", []):
        if str(unit).lower() not in _MM_PER_UNIT:
            raise InputError(f"{path} measures space in '{str(unit)[:40]}', not in mm; save it again in 3D Slicer.")
        scale = _MM_PER_UNIT[str(unit).lower()]
    return scale
