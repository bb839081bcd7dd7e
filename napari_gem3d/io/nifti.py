"""NIfTI: .nii and .nii.gz, version 1 and 2."""

from __future__ import annotations

import gzip
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from napari_gem3d.errors import InputError
from napari_gem3d.grid import check_affine
from napari_gem3d.io.checks import check_dimensions, check_dtype, scaled
from napari_gem3d.io.files import file_bytes, replacing
from napari_gem3d.labels import LabelMap
from napari_gem3d.volume import Volume

SUFFIXES = (".nii", ".nii.gz")
GZIP_MAGIC = b"\x1f\x8b"
# What the headers of results and of their label maps say, by which they are known again.
SYNTHETIC, LABEL_MAP = "synthetic: napari-gem3d", "label map: napari-gem3d"

_MM_PER_UNIT = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
# NIfTI's code of the space an affine leads to; a result stays in the space of its source.
_SPACES = {"scanner": 1, "aligned": 2, "talairach": 3, "mni": 4}


def read_nifti(path: Path) -> Volume:
    """Read a NIfTI file: its own axes, header scaling applied, dtype kept where nothing was scaled.

    Raises
    ------
    InputError
        If the file is missing, truncated, not NIfTI, not three-dimensional, or has a singular affine.
    """
    image = _opened(path)
    return _read_as(image, check_dimensions(image.shape, path), path)


def read_flat_nifti(path: Path) -> Volume | None:
    """Read a NIfTI file that holds one slice as a volume of one slice; None if it holds a volume.

    Raises
    ------
    InputError
        If the file is missing, truncated, not NIfTI, or has a singular affine.
    """
    image = _opened(path)
    shape = [int(size) for size in image.shape]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    shape += [1] * (3 - len(shape))
    if len(shape) != 3 or shape.count(1) != 1:
        return None
    return _read_as(image, (shape[0], shape[1], shape[2]), path)


def header_description(path: Path) -> str:
    """What the header of a NIfTI file says that it holds; "" for files that are no NIfTI."""
    try:
        return _description(nib.load(path).header)
    except (nib.filebasedimages.ImageFileError, OSError, EOFError, ValueError, KeyError, zlib.error):
        return ""


def _description(header: Any) -> str:
    return bytes(header["descrip"]).rstrip(b"\0").decode("utf-8", "replace")


def _opened(path: Path) -> Any:
    content = file_bytes(path)
    if content.startswith(GZIP_MAGIC):
        try:
            # All of it, not only what the header asks for: the checksum at the end tells whether the file is whole.
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(f"{path} is truncated or damaged ({_first_line(error)}); copy it again.") from error
    if len(content) < 348:
        raise InputError(f"{path} is truncated ({len(content)} bytes); copy it again.")
    return _parsed(content, path)


def _read_as(image: Any, shape: tuple[int, int, int], path: Path) -> Volume:
    check_dtype(image.header.get_data_dtype(), path)
    affine = check_affine(_affine_mm(image), str(path))
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    try:
        stored = image.dataobj.get_unscaled()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is truncated or damaged ({_first_line(error)}); copy it again.") from error
    voxels = scaled(_native(np.asarray(stored)).reshape(shape, order="F").T, float(slope), float(intercept))
    meta = {"space": _space(image.header)}
    words = _description(image.header).lower()
    if words.startswith("synthetic") and "napari-gem3d" in words and "label map" not in words:
        meta["synthetic"] = "yes"
    return Volume(voxels, affine, source=path, meta=meta)


def _parsed(content: bytes, path: Path) -> Any:
    size_of_header = {struct.unpack(order + "i", content[:4])[0] for order in "<>"}
    image_class = nib.Nifti2Image if 540 in size_of_header else nib.Nifti1Image
    try:
        return image_class.from_bytes(content)
    except (HeaderDataError, nib.filebasedimages.ImageFileError, ValueError, KeyError) as error:
        raise InputError(f"{path} is not a NIfTI file or its header is damaged; convert the scan again.") from error


def _affine_mm(image: Any) -> NDArray[np.float64]:
    affine = np.array(image.affine, dtype=np.float64)
    affine[:3] *= _MM_PER_UNIT[image.header.get_xyzt_units()[0]]
    return affine


def _native(voxels: NDArray[Any]) -> NDArray[Any]:
    """The voxels in the machine's byte order, and in a type torch and scipy know."""
    if voxels.dtype.kind == "f" and voxels.dtype.itemsize > 8:
        return voxels.astype(np.float64)
    return voxels.astype(voxels.dtype.newbyteorder("="), copy=False)


def _space(header: Any) -> str:
    code = int(header["sform_code"]) or int(header["qform_code"])
    return next((name for name, number in _SPACES.items() if number == code), "scanner")


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:100] if str(error) else type(error).__name__


def write_volume(volume: Volume, path: Path | str, *, description: str | None = None) -> None:
    """Write a volume as NIfTI, whole or not at all, the same bytes for the same volume.

    Parameters
    ----------
    volume
        Voxels (Z, Y, X) of any real dtype (bool becomes uint8) with their affine in mm; both are kept.
    path
        Ends in .nii or .nii.gz; an existing file is replaced.
    description
        Goes into the header (79 bytes at most); by default it marks the volume as synthetic, or as a label map.
        Nothing else of the source's header is written, so nothing in it can identify the patient.

    Raises
    ------
    InputError
        If the name does not end in .nii or .nii.gz, or the file cannot be written.
    """
    path = Path(path)
    if not path.name.lower().endswith(SUFFIXES):
        raise InputError(f"{path} does not end in .nii or .nii.gz; results are written as NIfTI, change the name.")
    if description is None:
        description = LABEL_MAP if isinstance(volume, LabelMap) else SYNTHETIC
    content = _serialised(volume, description)
    with replacing(path) as temporary, temporary.open("wb") as raw:
        if path.name.lower().endswith(".gz"):
            # No file name and no time in the gzip header: the same volume gives the same bytes.
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as compressed:
                compressed.write(content)
        else:
            raw.write(content)


def _serialised(volume: Volume, description: str) -> bytes:
    voxels = volume.voxels
    if voxels.dtype == bool:
        voxels = voxels.astype(np.uint8)
    elif voxels.dtype == np.float16:
        voxels = voxels.astype(np.float32)
    new: Any = nib.Nifti1Image  # nibabel is only partly typed
    image = new(voxels.T, volume.affine, dtype=voxels.dtype)
    header = image.header
    header["descrip"] = description.encode("utf-8", "replace")[:79]
    header.set_xyzt_units("mm")
    code = _SPACES.get(volume.meta.get("space", ""), 1)
    image.set_sform(volume.affine, code=code)
    try:
        image.set_qform(volume.affine, code=code, strip_shears=False)
    except HeaderDataError:
        # A quaternion cannot hold the shear of a tilted gantry; readers then take the sform.
        image.set_qform(None, code=0)
    stream = BytesIO()
    image.to_stream(stream)
    return stream.getvalue()
