"""NIfTI: .nii and .nii.gz, version 1 and 2; FreeSurfer's .mgz and .mgh, which nibabel reads the same way."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from nibabel.freesurfer.mghformat import MGHError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from napari_gem3d.errors import InputError
from napari_gem3d.grid import Grid, check_affine
from napari_gem3d.io.checks import (
    NoPositionError,
    Reading,
    assumed_affine,
    check_dtype,
    check_scale,
    pick_volume,
    scaled,
    without_position,
)
from napari_gem3d.io.files import open_regular, replacing
from napari_gem3d.labels import LabelMap
from napari_gem3d.volume import Volume, check_memory

SUFFIXES = (".nii", ".nii.gz")
FREESURFER = (".mgz", ".mgh", ".mgh.gz")
GZIP_MAGIC = b"\x1f\x8b"
# What the headers of results and of their label maps say, by which they are known again.
SYNTHETIC, LABEL_MAP = "synthetic: napari-gem3d", "label map: napari-gem3d"

# How FreeSurfer's files begin (version 1), and where they say whether their position is known.
_MGH_MAGIC, _MGH_PLACED, _PLACED = b"\0\0\0\1", slice(28, 30), "placed"
# What else is found in gzip: its mark, where that stands, and what it is.
_PACKED = ((b"DICM", 128, "DICOM file"), (b"NRRD", 0, "NRRD file"), (b"ustar", 257, "archive"))
# Bytes of the longest header; that may follow the voxels; that a compressed byte can stand for (deflate's limit).
_HEADERS, _BEYOND, _BEYOND_MGH, _GZIP_AT_MOST = 544, 2**16, 2**24, 1040
# By the code of the unit; all other codes, which do not exist, mean mm, as for ITK.
_UNITS = {1: ("metres", 1000.0), 3: ("micrometres", 0.001)}
# NIfTI's code of the space an affine leads to; a result stays in the space of its source.
_SPACES = {"scanner": 1, "aligned": 2, "talairach": 3, "mni": 4}


def read_nifti(path: Path, how: Reading) -> Volume:
    """Read a NIfTI file: its own axes, header scaling applied, dtype kept where nothing was scaled.

    Raises
    ------
    InputError
        If the file is missing, truncated, not NIfTI, not three-dimensional, or does not say how it lies in the patient.
    """
    image = _opened(path)
    shape, channel = pick_volume(image.shape, path, how)
    return _read_as(image, shape, path, how, channel)


def is_flat_nifti(path: Path) -> bool:
    """Whether a NIfTI file holds one slice; InputError if its header cannot be read."""
    with _uncompressed(path) as (stream, _):
        header = _header(stream, path)
    try:
        return _flat_shape(header.get_data_shape()) is not None
    except (HeaderDataError, ValueError, OverflowError) as error:
        raise _damaged(path) from error


def read_flat_nifti(path: Path, how: Reading) -> Volume | None:
    """Read a NIfTI file that holds one slice as a volume of one slice; None if it holds a volume.

    Raises
    ------
    InputError
        If the file is missing, truncated, not NIfTI, or does not say how it lies in the patient.
    """
    image = _opened(path)
    shape = _flat_shape(image.shape)
    return None if shape is None else _read_as(image, shape, path, how)


def _flat_shape(sizes: Sequence[int]) -> tuple[int, int, int] | None:
    """The shape with one axis of 1 if an image is a slice."""
    shape = [int(size) for size in sizes]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    shape += [1] * (3 - len(shape))
    return (shape[0], shape[1], shape[2]) if len(shape) == 3 and shape.count(1) == 1 else None


def header_description(path: Path) -> str:
    """What the header of a NIfTI file says that it holds; "" for files that are no NIfTI."""
    if not path.name.lower().endswith(SUFFIXES):
        return ""
    try:
        with _uncompressed(path) as (stream, _):
            return _description(_header(stream, path))
    except InputError:
        return ""


def is_ours(path: Path) -> bool:
    """Whether a file bears the mark of this package in its header."""
    words = header_description(path)
    return "napari-gem3d" in words or words == "body"  # the mark of bodies in earlier versions


def _description(header: Any) -> str:
    return bytes(header["descrip"]).rstrip(b"\0").decode("utf-8", "replace")


def _opened(path: Path) -> Any:
    with _uncompressed(path) as (stream, stored):
        size = _size(_header(stream, path), path)
        if size > stored:
            raise InputError(f"{path} is truncated (its header says {size} bytes); copy it again.")
        stream.seek(0)
        content = stream.read(size)
        # To the end, not only what the header asks for: the checksum there tells whether the file is whole.
        most = _BEYOND_MGH if content[:4] == _MGH_MAGIC else _BEYOND
        beyond = sum(len(stream.read(most)) for _ in range(2))
    if beyond > most:
        raise InputError(f"{path} holds more than its header says ({size} bytes); convert the scan again.")
    if len(content) < size:
        raise InputError(f"{path} is truncated ({len(content)} bytes instead of {size}); copy it again.")
    return _parsed(content, path)


@contextmanager
def _uncompressed(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a file, through gzip if it is compressed; with the most bytes that it can hold."""
    with open_regular(path) as file:
        stored = os.fstat(file.fileno()).st_size
        compressed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if not compressed:
            yield file, stored
            return
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                yield cast(BinaryIO, stream), stored * _GZIP_AT_MOST
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(f"{path} is truncated or damaged ({_first_line(error)}); copy it again.") from error


def _header(stream: BinaryIO, path: Path) -> Any:
    """The header at the begin of a stream, of version 1 or 2."""
    start = stream.read(_HEADERS)
    for mark, place, what in _PACKED:
        if start[place : place + len(mark)] == mark:
            raise InputError(f"{path} is a compressed {what}; unpack it (gunzip) and give what is in it.")
    if len(start) < 4:
        raise InputError(f"{path} is truncated ({len(start)} bytes); copy it again.")
    kind = _class_of(start).header_class
    length = kind.template_dtype.itemsize if kind is nib.MGHImage.header_class else kind.sizeof_hdr
    if len(start) < length:
        raise InputError(f"{path} is truncated ({len(start)} bytes); copy it again.")
    try:
        return kind(start[:length], check=True)  # without extensions, which may be long
    except (HeaderDataError, nib.filebasedimages.ImageFileError, ValueError, KeyError) as error:
        raise _damaged(path) from error


def _size(header: Any, path: Path) -> int:
    """Bytes up to the end of the voxels; InputError if they do not fit in the free memory."""
    try:
        itemsize, sizes = header.get_data_dtype().itemsize, [int(size) for size in header.get_data_shape()]
        offset = int(header.get_data_offset())
    except (HeaderDataError, KeyError, ValueError, OverflowError) as error:
        raise _damaged(path) from error
    if min(sizes, default=0) < 0 or offset < 0 or not itemsize:
        raise _damaged(path)
    voxels = math.prod(sizes)
    check_memory(voxels + offset // itemsize, itemsize, str(path))
    return offset + voxels * itemsize


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is not a NIfTI file or its header is damaged; convert the scan again.")


def _class_of(start: bytes) -> Any:
    """The class of images with such a begin: FreeSurfer's, or NIfTI of version 1 or 2, whatever the byte order."""
    if start[:4] == _MGH_MAGIC:
        return nib.MGHImage
    size_of_header = {struct.unpack(order + "i", start[:4])[0] for order in "<>"}
    return nib.Nifti2Image if 540 in size_of_header else nib.Nifti1Image


def _read_as(image: Any, shape: tuple[int, int, int], path: Path, how: Reading, channel: int | None = None) -> Volume:
    check_dtype(image.header.get_data_dtype(), path)
    freesurfer = isinstance(image, nib.MGHImage)
    find = _affine_of_mgh if freesurfer else _affine_mm
    affine = check_affine(find(image, shape, path, how), str(path))
    check_scale(Grid(shape[::-1], affine), path, "" if freesurfer else _UNITS.get(_unit(image.header), ("", 1))[0])
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    try:
        stored = np.asarray(image.dataobj.get_unscaled())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is truncated or damaged ({_first_line(error)}); copy it again.") from error
    if channel is not None:
        stored = stored.reshape(*shape, -1, order="F")[..., channel]
    voxels = scaled(_native(stored).reshape(shape, order="F").T, float(slope), float(intercept))
    if freesurfer:
        return Volume(voxels, affine, source=path)
    meta = {"space": _space(image.header)}
    words = _description(image.header).lower()
    if words.startswith("synthetic") and "napari-gem3d" in words and "label map" not in words:
        meta["synthetic"] = "yes"
    return Volume(voxels, affine, source=path, meta=meta)


def _parsed(content: bytes, path: Path) -> Any:
    try:
        image = _class_of(content).from_bytes(content)
        image.extra[_PLACED] = any(content[_MGH_PLACED])  # nibabel puts an own position where there is none
        return image
    except (HeaderDataError, nib.filebasedimages.ImageFileError, MGHError, ValueError, KeyError) as error:
        raise _damaged(path) from error


def _unit(header: Any) -> int:
    return int(header["xyzt_units"]) & 7


def _affine_of_mgh(image: Any, shape_xyz: tuple[int, int, int], path: Path, how: Reading) -> NDArray[np.float64]:
    """Affine to RAS mm of a FreeSurfer file, or what is assumed where it says that it knows none."""
    if image.extra[_PLACED]:
        return np.array(image.affine, dtype=np.float64)
    letters = how.get("assume_orientation")
    if letters is None:
        raise without_position("goodRASFlag is 0", path)
    return assumed_affine(letters, np.abs(image.header["delta"].astype(np.float64)), shape_xyz)


def _affine_mm(image: Any, shape_xyz: tuple[int, int, int], path: Path, how: Reading) -> NDArray[np.float64]:
    """Affine to RAS mm: the header's sform, its qform where that is unusable, or what is assumed where it has none."""
    header = image.header
    factor = _UNITS.get(_unit(header), ("", 1.0))[1]
    coded = [name for name in ("sform", "qform") if int(header[f"{name}_code"]) > 0]
    for name in coded:
        try:
            affine = np.array(getattr(header, f"get_{name}")(), dtype=np.float64)
            affine[:3] *= factor
            return check_affine(affine, str(path))
        except (HeaderDataError, ValueError, ArithmeticError, np.linalg.LinAlgError):  # InputError is a ValueError
            continue
    letters = how.get("assume_orientation")
    if letters is not None:
        return assumed_affine(letters, np.abs(header["pixdim"][1:4].astype(np.float64)) * factor, shape_xyz)
    if coded:
        raise NoPositionError(
            f"{path} has a singular affine, so its voxels have no size or place in mm ({' and '.join(coded)}); convert "
            "it again from the original scan, or say which way its axes run, where the command takes "
            "--assume-orientation RAS."
        )
    raise without_position("sform_code and qform_code are 0", path)


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
