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
from napari_gem3d.grid import check_affine
from napari_gem3d.io.checks import check_dimensions, check_dtype
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
_MM_PER_UNIT = {"m": 1000.0, "cm": 10.0, "mm": 1.0, "um": 0.001, "µm": 0.001}


def read_nrrd(path: Path) -> Volume:
    """Read an NRRD file: its own axes, world converted to RAS mm, dtype kept.

    Raises
    ------
    InputError
        If the file is missing, truncated, not NRRD, not three-dimensional, or does not say where the patient's right
        is ('space' and 'space directions'), which must not be guessed.
    """
    header, begin = _header(path)
    segments = slicer_segments(header)
    sizes = _sizes(header, path)
    layers = sizes[0] if segments and len(sizes) == 4 else 1
    shape = check_dimensions(sizes[1:] if layers > 1 else sizes, path)
    check_memory(math.prod(sizes), 4, str(path))
    affine = check_affine(_affine(header, path), str(path))
    voxels = _voxels(header, begin, path)
    check_dtype(voxels.dtype, path)
    voxels = voxels.astype(voxels.dtype.newbyteorder("="), copy=False)
    if layers > 1:
        found, segments = merged(voxels.reshape((layers, *shape), order="F"), segments, path)
    else:
        found = voxels.reshape(shape, order="F")
    out = np.ascontiguousarray(found.T)
    if segments and out.dtype.kind in "biu":
        return LabelMap(out, affine, source=path, meta={"segments": names_of(segments)})
    return Volume(out, affine, source=path)


def _sizes(header: Mapping[str, Any], path: Path) -> list[int]:
    """The sizes of the axes, the first of them the fastest."""
    sizes = [int(size) for size in header["sizes"]]
    if any(size < 0 for size in sizes):
        raise InputError(f"{path} is not an NRRD file or its header is damaged; convert the scan again.")
    return sizes


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The fields of the header, and where what follows it begins."""
    with open_regular(path) as file:
        start = BytesIO(file.read(_LONGEST_HEADER))
    try:
        header = nrrd.read_header(start)
        header["sizes"], header["encoding"]
    except (ValueError, KeyError, StopIteration, nrrd.NRRDError) as error:
        raise InputError(f"{path} is not an NRRD file or its header is damaged; convert the scan again.") from error
    return dict(header), start.tell()


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


def _affine(header: Mapping[str, Any], path: Path) -> NDArray[np.float64]:
    """Affine to RAS mm from 'space', 'space directions' (one row per axis) and 'space origin'."""
    space = str(header.get("space", "")).lower()
    directions = np.array(header.get("space directions", np.empty((0, 3))), dtype=np.float64)
    if len(directions) == 4:  # an axis that does not lie in space, such as the list of layers, has none
        directions = directions[~np.isnan(directions).all(axis=1)]
    if space not in _TO_RAS or directions.ndim != 2 or len(directions) < 3 or directions.shape[1] != 3:
        raise InputError(f"{path} does not say how it lies in the patient (NRRD 'space'); save it again in 3D Slicer.")
    scale = 1.0
    for unit in header.get("space units", []):
        if unit.lower() not in _MM_PER_UNIT:
            raise InputError(f"{path} measures space in '{unit}', not in mm; save it again in 3D Slicer.")
        scale = _MM_PER_UNIT[unit.lower()]
    affine = np.eye(4)
    affine[:3, :3] = directions[:3].T
    affine[:3, 3] = header.get("space origin", np.zeros(3))
    affine[:3] *= np.array(_TO_RAS[space])[:, None] * scale
    return affine
