"""DICOM files: which they are, which belong to one series, and what their attributes say, whatever type they have."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from napari_gem3d.errors import InputError
from napari_gem3d.io.checks import quiet

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # of segments, and of a label map
_HEADER_TAGS = [
    "SOPClassUID",
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
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# The first elements of a data set, of what lies in front of it and of itself, and the longest of them that is believed.
_FIRST = {2: (0x00, 0x01, 0x02, 0x10), 8: (0x00, 0x01, 0x05, 0x06, 0x08, 0x12, 0x14, 0x16, 0x18)}
_LONGEST_FIRST = 512
# How deep under a folder its series may lie, and how many files are looked at: a disc has four levels.
_DEEPEST, _MOST_FILES, _ASKED = 6, 20_000, 200
_LISTED = 5
# Bytes that a byte of the file can stand for, by how pixels are compressed.
_EXPANSION, _EXPANSION_RLE, _EXPANSION_OTHER = 1, 128, 4000


def is_dicom(path: Path) -> bool:
    """Whether the file has DICOM's mark after its preamble, or begins as a data set without preamble does."""
    try:
        return path.is_file() and (_has_preamble(path) or _begins_as_data_set(_start(path)))
    except (OSError, ValueError):
        return False


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(132)


def _has_preamble(path: Path) -> bool:
    return _start(path)[128:] == b"DICM"


def _begins_as_data_set(start: bytes) -> bool:
    """Whether bytes begin with an element that a data set begins with, its type written or not."""
    if len(start) < 132:
        return False
    group, element = struct.unpack("<HH", start[:4])
    if element not in _FIRST.get(group, ()):
        return False
    type_written = start[4:6].isalpha() and start[4:6].isupper()
    length: int = struct.unpack("<H", start[6:8])[0] if type_written else struct.unpack("<I", start[4:8])[0]
    return length <= _LONGEST_FIRST


def series_files(path: Path) -> list[Path]:
    """The files of the one series in a folder, or of the series that a file belongs to, by name."""
    return list(only_series(path))


def only_series(path: Path) -> dict[Path, Any]:
    """Headers by file of the series in a folder or below it, or of the one that a file belongs to.

    Raises
    ------
    InputError
        If there is none, or more than one.
    """
    with quiet:
        folder = path if path.is_dir() else path.parent
        found = _headers(sorted(folder.iterdir()))
        if not path.is_dir():
            if path not in found:
                raise InputError(f"{path} is a DICOM file without an image; give one of a series of slices.")
            wanted = text(found[path], "SeriesInstanceUID")
            return {file: header for file, header in found.items() if text(header, "SeriesInstanceUID") == wanted}
        if not found:
            found = _headers(_files_below(folder))
        if not found:
            raise InputError(f"The folder {path} holds no DICOM images; give the folder of one series.")
        series: dict[str, list[Path]] = {}
        for file, header in found.items():
            series.setdefault(text(header, "SeriesInstanceUID"), []).append(file)
        if len(series) > 1:
            raise InputError(_several(path, list(series.values())))
        return found


def _several(path: Path, series: list[list[Path]]) -> str:
    """Where the series of a folder lie."""
    if len({file.parent for files in series for file in files}) == 1:
        return f"The folder {path} holds {len(series)} DICOM series; give one file of the series you want."
    places = [f"{files[0].parent.relative_to(path).as_posix()} ({len(files)} images)" for files in series[:_LISTED]]
    more = f" and {len(series) - _LISTED} more" if len(series) > _LISTED else ""
    return f"The folder {path} holds {len(series)} DICOM series: {', '.join(places)}{more}; give the folder of one."


def holds_dicom(folder: Path) -> bool:
    """Whether a DICOM file lies in a folder, or in the folders of a disc below it."""
    return any(is_dicom(file) for file in folder.iterdir()) or any(map(is_dicom, islice(_files_below(folder), _ASKED)))


def _files_below(folder: Path) -> Iterator[Path]:
    """Files in the folders below one, in the order of their names; hidden ones and links to folders left out."""
    looked_at = 0
    for name_of_place, folders, names in os.walk(folder):
        place = Path(name_of_place)
        deep = len(place.relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if deep < _DEEPEST else []
        for name in sorted(names):
            looked_at += 1
            if looked_at > _MOST_FILES:
                raise InputError(
                    f"The folder {folder} holds more than {_MOST_FILES} files; give the folder of one series."
                )
            if deep and not name.startswith("."):
                yield place / name


def _headers(files: Any) -> dict[Path, Any]:
    return {file: header for file in files if (header := read_header(file)) is not None}


def read_header(file: Path) -> Any | None:
    """The tags needed of a DICOM image; None for anything else."""
    if not is_dicom(file):
        return None
    sure = _has_preamble(file)
    try:
        check_not_deflated(file)
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_HEADER_TAGS), force=not sure)
        return header if "Rows" in header else None
    except InputError:
        raise
    except Exception as error:  # whatever pydicom stumbles over
        if not sure:
            return None
        raise damaged(file) from error


def check_not_deflated(file: Path) -> None:
    """Raise InputError for a file that is deflated as a whole: a small one may unpack to any size."""
    if _has_preamble(file):
        deflated = _syntax(file) == DeflatedExplicitVRLittleEndian
    else:
        with file.open("rb") as opened:
            deflated = DeflatedExplicitVRLittleEndian.encode() in opened.read(2**20)
    if deflated:
        raise InputError(f"{file} is deflated DICOM, which is not read; decompress the series first.")


def _syntax(file: Path) -> str:
    """How the file is encoded."""
    return str(pydicom.filereader.read_file_meta_info(file).get("TransferSyntaxUID", ""))


def damaged(file: Path) -> InputError:
    """The refusal of a file that cannot be parsed."""
    return InputError(f"{file} is damaged or truncated DICOM; copy it again.")


def read_whole(file: Path) -> Any:
    """The whole data set of a file; InputError if it cannot be parsed."""
    try:
        check_not_deflated(file)
        data = pydicom.dcmread(file, force=not _has_preamble(file))
        if not hasattr(data, "file_meta"):
            data.file_meta = pydicom.dataset.FileMetaDataset()
        if "TransferSyntaxUID" not in data.file_meta:
            implicit = data.original_encoding[0] is not False
            data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    except InputError:
        raise
    except Exception as error:
        raise damaged(file) from error
    return data


def read_pixels(file: Path, data: Any | None = None) -> NDArray[Any]:
    """Decode the pixels of a file, (row, column) or (frame, row, column).

    Raises
    ------
    InputError
        If they are fewer than the header says, or compressed in a way that is not read.
    """
    data = read_whole(file) if data is None else data
    syntax: Any = data.file_meta.TransferSyntaxUID
    if not isinstance(syntax, pydicom.uid.UID) or not syntax.is_transfer_syntax:
        raise damaged(file)
    most = _EXPANSION if not syntax.is_compressed else _EXPANSION_RLE if syntax == RLELossless else _EXPANSION_OTHER
    shape = [whole(data, name, file) for name in ("Rows", "Columns")] + [whole(data, "NumberOfFrames", file, 1)]
    bits = int(np.prod([float(n) for n in shape])) * whole(data, "BitsAllocated", file)
    if bits > 8 * most * file.stat().st_size:
        raise damaged(file)
    try:
        pixels: NDArray[Any] = data.pixel_array
    except (RuntimeError, NotImplementedError) as error:
        raise InputError(
            f"{file} is compressed as {syntax.name}, which is not read; decompress the series first."
        ) from error
    except Exception as error:
        raise damaged(file) from error
    return pixels


def text(data: Any, keyword: str) -> str:
    """An attribute as text; empty where it is missing or not text."""
    try:
        return str(data.get(keyword, "") or "").strip()
    except Exception:
        return ""


def numbers(data: Any, keyword: str, path: Path, count: int | None = None) -> list[float]:
    """The numbers of an attribute, with decimal points or commas; none where it is missing or empty.

    Raises
    ------
    InputError
        If one is no finite number, or there are some, but not `count` of them.
    """
    try:
        raw = data.get_item(keyword)
        value = None if raw is None else raw.value
        if isinstance(raw, RawDataElement) and isinstance(value, bytes) and not _is_binary(keyword):
            value = value.decode("latin-1").strip(" \0").split("\\")
        else:
            value = data.get(keyword)
        several = not isinstance(value, str | bytes) and hasattr(value, "__iter__")
        words = [str(word).strip() for word in ((value or ()) if several else (value,))]
    except Exception:
        raise InputError(f"{path} gives {keyword} in a way that cannot be read; give the original series.") from None
    words = [] if words in ([""], ["None"]) else words
    try:
        found = [float(word.replace(",", ".")) for word in words]
        if not np.isfinite(found).all():
            raise ValueError(keyword)
    except ValueError:
        shown = ", ".join(words)[:60]
        raise InputError(
            f"{path} gives {keyword} as '{shown}', which are no numbers; give the original series."
        ) from None
    if count is not None and found and len(found) != count:
        raise InputError(
            f"{path} gives {len(found)} of the {count} numbers of {keyword} ({', '.join(words)[:60]}); give the "
            "original series."
        )
    return found


def _is_binary(keyword: str) -> bool:
    return pydicom.datadict.dictionary_VR(keyword) not in ("DS", "IS")


def whole(data: Any, keyword: str, path: Path, default: int = 0) -> int:
    """The whole number of an attribute, 0 or more, `default` where there is none; InputError as `numbers`."""
    found = numbers(data, keyword, path, 1)
    if found and not (found[0].is_integer() and 0 <= found[0] < 2**31):
        raise InputError(f"{path} gives {keyword} as {found[0]:g}, which cannot be; give the original series.")
    return int(found[0]) if found else default
