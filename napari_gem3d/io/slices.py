"""Single axial pictures: what can inform a generation without being a volume."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from napari_gem3d.errors import InputError
from napari_gem3d.io.checks import Reading, check_dtype, check_intensities, check_reading, guarded
from napari_gem3d.io.dicom import read_lone_slice
from napari_gem3d.io.dicom_files import is_dicom, series_files
from napari_gem3d.io.files import open_regular
from napari_gem3d.io.nifti import SUFFIXES, is_flat_nifti, read_flat_nifti
from napari_gem3d.volume import Volume

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_FAX = ("group", "tiff_ccitt")
# Channels of a picture that differ by less than this are the same grey, however it was compressed.
_SAME_GREY = 12


def is_slice(path: Path | str) -> bool:
    """Whether a file, or a DICOM folder, holds one 2D image instead of a volume."""
    path = Path(path)
    name = path.name.lower()
    if name.endswith(PICTURES):
        return True
    if not path.exists():
        return False
    with guarded(path):
        if path.is_dir() or is_dicom(path):
            try:
                return len(series_files(path)) == 1
            except InputError:
                return False
        return name.endswith(SUFFIXES) and is_flat_nifti(path)


def has_spacing(path: Path | str) -> bool:
    """Whether a 2D image says how large its pixels are."""
    path = Path(path)
    if path.name.lower().endswith(PICTURES):
        return False
    with guarded(path):
        return path.name.lower().endswith(SUFFIXES) or read_lone_slice(path)[1] is not None


def read_slice(path: Path | str, pixel_mm: float | None = None, **how: Unpack[Reading]) -> Volume:
    """Read one axial 2D image as a volume of a single slice.

    Parameters
    ----------
    path
        PNG, JPEG, TIFF or BMP, a 2D NIfTI file, or a single DICOM slice. Pictures and DICOM slices are taken as
        radiologists see them: anterior up, the patient's right on the left.
    pixel_mm
        Size of a pixel in mm, over what the file says; 1 mm if neither is there.
    **how
        Of a NIfTI slice, as for `read_volume`.

    Returns
    -------
    Volume
        (1, Y, X) on RAS axes, or for NIfTI on those of the file, spacing in mm.

    Raises
    ------
    InputError
        If the file is missing, damaged, no 2D image, in colour, constant, or a NIfTI slice is not axial.
    """
    path = Path(path)
    check_reading(how)
    if pixel_mm is not None and not (math.isfinite(pixel_mm) and pixel_mm > 0):
        raise InputError(f"A pixel of {pixel_mm} mm is not possible; choose more than 0.")
    with guarded(path):
        if path.name.lower().endswith(SUFFIXES):
            return _flat_volume(path, pixel_mm, how)
        if path.name.lower().endswith(PICTURES):
            pixels, spacing, modality = _picture(path), (1.0, 1.0), ""
        else:
            pixels, told, modality = read_lone_slice(path)
            spacing = told or (1.0, 1.0)
    check_intensities(pixels, path)
    rows, columns = (pixel_mm, pixel_mm) if pixel_mm is not None else spacing
    # Seen from the feet, rows from front to back and columns from the patient's right to the left.
    return Volume(pixels[None, ::-1, ::-1].copy(), np.diag([columns, rows, 1.0, 1.0]), modality, source=path)  # type: ignore[arg-type]


def _flat_volume(path: Path, pixel_mm: float | None, how: Reading) -> Volume:
    volume = read_flat_nifti(path, how)
    if volume is None:
        raise InputError(f"{path} is a volume, not a 2D image; use it as a scan.")
    if volume.grid.canonical().shape[0] != 1:
        raise InputError(f"{path} is not an axial slice; give one across the head-foot axis.")
    check_intensities(volume.voxels, path)
    return volume if pixel_mm is None else resized(volume, pixel_mm)


def resized(volume: Volume, pixel_mm: float) -> Volume:
    """An axial slice whose pixels are squares of another size, in mm; its thickness stays."""
    sizes = np.linalg.norm(volume.affine[:3, :3], axis=0)
    across = int(np.argmax(np.abs(volume.affine[2, :3])))
    factors = [1.0 if axis == across else pixel_mm / size for axis, size in enumerate(sizes)]
    affine = np.array(volume.affine, dtype=np.float64)
    affine[:3, :3] *= factors
    return replace(volume, affine=affine)


def _picture(path: Path) -> NDArray[np.generic]:
    try:
        with open_regular(path) as file, Image.open(file) as opened:
            if str(opened.info.get("compression", "")).startswith(_FAX):  # of which libtiff prints what it thinks
                raise InputError(f"{path} is compressed as a fax, black and white; save it again as PNG.")
            opened.load()
            image = ImageOps.exif_transpose(opened)  # upright, as viewers show it
            pixels = np.asarray(image.convert("RGB") if image.mode in ("P", "RGBA", "CMYK", "YCbCr") else image)
    except InputError:
        raise
    except Exception as error:  # whatever Pillow stumbles over, a picture of gigapixels too
        raise InputError(f"{path} is damaged or no picture; save it again as PNG.") from error
    if pixels.ndim == 3:
        pixels = pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., :1]
        if int(np.ptp(pixels.astype(np.int32), axis=2).max()) > _SAME_GREY:
            raise InputError(f"{path} is a colour picture; give a grey one.")
        pixels = pixels[..., 0]
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    check_dtype(pixels.dtype, path)
    return pixels
