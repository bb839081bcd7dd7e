"""Files that appear whole or not at all, and their hashes."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from napari_gem3d.errors import InputError, OutputError
from napari_gem3d.io.dicom_files import holds_dicom, is_dicom, series_files

_HASHED_AT_ONCE = 2**20
_LONGEST_NAME = 255  # bytes, of nearly every file system


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`; move it to `path` if the block ends well, else remove it.

    Parameters
    ----------
    path
        The file to write. An existing one is replaced in one step, so readers never see half a file.

    Raises
    ------
    InputError
        If the folder does not exist or cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise OutputError(f"The folder {path.parent} does not exist; create it or write somewhere else.")
    temporary = path.with_name(_temporary_name(path.name))
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error}); choose another place.") from error
    finally:
        with suppress(OSError):  # where nothing can be written, there is nothing to remove
            temporary.unlink(missing_ok=True)


def _temporary_name(name: str) -> str:
    """A hidden name of this process, no longer than file systems allow, with the suffix that tells the format."""
    whole = f".{os.getpid()}-{name}"
    if len(os.fsencode(whole)) <= _LONGEST_NAME or len(os.fsencode(name)) > _LONGEST_NAME:
        return whole
    suffix = "".join(Path(name[-20:]).suffixes[-2:])
    return f".{os.getpid()}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}{suffix}"


def check_writable(folder: Path) -> None:
    """Raise OutputError if nothing can be written to a folder, or it cannot be made; leaves nothing behind.

    For what writes its results after hours of work.
    """
    try:
        there = next(part for part in (folder, *folder.absolute().parents) if part.exists())
        with tempfile.TemporaryDirectory(dir=there, prefix=".gem3d-") as trial:
            Path(trial, folder.name or "x").mkdir()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{folder} cannot be written ({reason}); choose another place, or make room.") from error


def private_folder(folder: Path) -> Path:
    """Make a folder that its user alone may enter, as what belongs to a patient must; one that is there becomes so.

    Folders above it are made likewise. Returns the folder.
    """
    for part in (*reversed(folder.parents), folder):
        if not part.exists():
            part.mkdir(mode=0o700, exist_ok=True)
    with suppress(PermissionError):  # somebody else's, who shares it
        folder.chmod(0o700)
    return folder


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read bytes; devices and pipes, which may have no end, are refused.

    Raises
    ------
    InputError
        If it does not exist, is no regular file, or cannot be read, in the block too.
    """
    try:
        # The open file is asked what it is, not its name, which may lead elsewhere by then.
        with open(path, "rb", opener=_opener) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError(f"{path} is a device or a pipe, no regular file; copy its content to a file.")
            yield file
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; give a file.") from None
    except OSError as error:
        if error.errno is None:  # a library's word for what it cannot decode
            raise
        raise InputError(f"{path} cannot be read ({error.strerror or error}); check the path.") from error


def _opener(name: str, flags: int) -> int:
    if "\0" in name:
        raise InputError(f"The path {name!r} holds a NUL character; check the path.")
    # Opening a pipe would wait for its other end.
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def file_bytes(path: Path, most: int | None = None) -> bytes:
    """The content of a regular file; InputError if it cannot be read, or has more than `most` bytes."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            raise InputError(f"{path} has {size / 2**20:.0f} MB, too much for what it should be; check the path.")
        return file.read()


def sha256(path: Path | str) -> str:
    """SHA-256 of what `read_volume` reads from a path, as 64 hexadecimal digits.

    That is a file, or a folder's files in the order of their names, or, for one file of a DICOM series, the files of
    its series likewise. Names count only by their order, hidden files not at all, sub-folders only if the series lies
    there: a series that was copied elsewhere keeps its hash.

    Raises
    ------
    InputError
        If the file or folder cannot be read, or the folder holds no file.
    """
    path = Path(path)
    if not path.is_dir():
        return _digest(series_files(path) if is_dicom(path) else [path])
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    if not any(map(is_dicom, files)) and holds_dicom(path):  # a disc: its series lies below
        files = series_files(path)
    if not files:
        raise InputError(f"The folder {path} holds no files; give the folder of a DICOM series.")
    return _digest(files)


def _digest(files: list[Path]) -> str:
    total = hashlib.sha256()
    for path in files:
        with open_regular(path) as file:
            if len(files) > 1:
                # Lengths keep files apart: moving bytes from one file to the next must change the hash.
                total.update(os.fstat(file.fileno()).st_size.to_bytes(8, "little"))
            while part := file.read(_HASHED_AT_ONCE):
                total.update(part)
    return total.hexdigest()
