"""NRRD: .nrrd and .nhdr with a patient space, as 3D Slicer writes them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
from numpy.typing import NDArray

from napari_gem3d.errors import InputError
from napari_gem3d.grid import check_affine
from napari_gem3d.io.checks import check_dimensions, check_dtype
from napari_gem3d.volume import Volume

# Sign of the file's world axes in RAS.
_TO_RAS = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
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
    try:
        header = nrrd.read_header(str(path))
        sizes = header["sizes"]
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path.") from None
    except (OSError, ValueError, KeyError, nrrd.NRRDError) as error:
        raise InputError(f"{path} is not an NRRD file or its header is damaged; convert the scan again.") from error
    shape = check_dimensions(sizes, path)
    affine = check_affine(_affine(header, path), str(path))
    try:
        voxels, _ = nrrd.read(str(path), index_order="F")
    except FileNotFoundError as error:
        raise InputError(f"{path} names a data file that does not exist; copy that file beside it.") from error
    except (OSError, EOFError, ValueError, KeyError, zlib.error, nrrd.NRRDError) as error:
        raise InputError(f"{path} is truncated or damaged; copy it again.") from error
    check_dtype(voxels.dtype, path)
    voxels = voxels.astype(voxels.dtype.newbyteorder("="), copy=False)
    return Volume(np.ascontiguousarray(voxels.reshape(shape, order="F").T), affine, source=path)


def _affine(header: Mapping[str, Any], path: Path) -> NDArray[np.float64]:
    """Affine to RAS mm from 'space', 'space directions' (one row per axis) and 'space origin'."""
    space = str(header.get("space", "")).lower()
    directions = np.array(header.get("space directions", np.empty((0, 3))), dtype=np.float64)
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
