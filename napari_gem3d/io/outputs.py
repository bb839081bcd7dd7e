"""Where something is written: asked before the work, so that nothing is lost after it, and no original is replaced."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from napari_gem3d.errors import InputError, OutputError
from napari_gem3d.io.documents import read_json
from napari_gem3d.io.files import LONGEST_NAME, check_writable
from napari_gem3d.io.nifti import SUFFIXES, is_ours

# Room on the disk beyond what is written, for what others write meanwhile.
_RESERVE = 2**24
# Formats of all JSON files that this package writes begin so.
_FORMATS = "napari-gem3d"


def check_output(
    out: Path,
    *,
    record: Path | None = None,
    inputs: Iterable[Path] = (),
    overwrite: bool = False,
    size: int = 0,
    make_folder: bool = True,
) -> None:
    """Find out before the work whether a NIfTI file can be written, and make its folder.

    Parameters
    ----------
    out
        The file. It may replace what this package has written, known by the mark in its header.
    record
        The JSON file that goes beside it; it may replace a record of this package.
    inputs
        Files and folders that must stay, whatever they are called: they are compared as files.
    overwrite
        Whether files that are not of this package may be replaced as well; inputs never are.
    size
        Bytes that will be written, at most.
    make_folder
        Whether a folder that is missing is made.

    Raises
    ------
    InputError
        If the name cannot be used, something else would be replaced, or an input.
    OutputError
        If nothing can be written there, or there is too little room.
    """
    if not out.name.lower().endswith(SUFFIXES):
        raise InputError(f"{out} does not end in .nii or .nii.gz; results are written as NIfTI, change the name.")
    for path in (out,) if record is None else (out, record):
        _check_name(path)
        if path.is_dir():
            raise InputError(f"{path} is a folder; give the name of a file.")
    for kept in inputs:
        if _same(out, kept) or (record is not None and _same(record, kept)):
            raise InputError(f"{out} is one of the inputs; write the result somewhere else.")
    if not overwrite and out.exists() and not is_ours(out):
        raise InputError(
            f"{out} exists and was not written by napari-gem3d; give another name, or say --overwrite to replace it."
        )
    if record is not None and record.exists() and not is_record(record):
        raise InputError(f"{record} exists and is no record of napari-gem3d; give the result another name.")
    folder = out.absolute().parent
    if not make_folder and not folder.is_dir():
        raise OutputError(f"The folder {out.parent} does not exist; create it or write somewhere else.")
    check_writable(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise OutputError(
            f"The folder {out.parent} cannot be made ({error.strerror or error}); choose another place."
        ) from error
    if size and free < size + _RESERVE:
        raise OutputError(
            f"{folder} has {free / 2**20:.0f} MB free, and up to {size / 2**20:.0f} MB are to be written; make room, "
            "or choose another place."
        )


def _check_name(path: Path) -> None:
    """Raise InputError for a name that no file can have, or that not every program can read."""
    name = os.fsencode(path.name)
    if len(name) > LONGEST_NAME:
        raise InputError(f"The name {path.name[:40]}… has {len(name)} bytes, {LONGEST_NAME} are possible; shorten it.")
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(
            f"The name {path.name!a} has bytes that are no UTF-8, which many programs cannot read; give another name."
        ) from None


def _same(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same file or folder, by whatever names."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def is_record(path: Path) -> bool:
    """Whether a JSON file is a recipe or another record of this package."""
    try:
        raw = read_json(path)
    except InputError:
        return False
    return isinstance(raw, dict) and str(raw.get("format", "")).startswith(_FORMATS)
