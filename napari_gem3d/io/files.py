"""Files that appear whole or not at all, and their hashes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_gem3d.errors import InputError
from napari_gem3d.io.dicom import is_dicom, series_files


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
        raise InputError(f"The folder {path.parent} does not exist; create it or write somewhere else.")
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}); choose another place.") from error
    finally:
        temporary.unlink(missing_ok=True)


def file_bytes(path: Path) -> bytes:
    """The content of a file; InputError if it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); check the path.") from error


def sha256(path: Path | str) -> str:
    """SHA-256 of what `read_volume` reads from a path, as 64 hexadecimal digits.

    That is a file, or a folder's files in the order of their names, or, for one file of a DICOM series, the files of
    its series likewise. Names count only by their order, hidden files and sub-folders not at all: a series that was
    copied elsewhere keeps its hash.

    Raises
    ------
    InputError
        If the file or folder cannot be read, or the folder holds no file.
    """
    path = Path(path)
    if not path.is_dir():
        return _digest(series_files(path) if is_dicom(path) else [path])
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    if not files:
        raise InputError(f"The folder {path} holds no files; give the folder of a DICOM series.")
    return _digest(files)


def _digest(files: list[Path]) -> str:
    total = hashlib.sha256()
    for file in files:
        content = file_bytes(file)
        if len(files) > 1:
            # Lengths keep files apart: moving bytes from one file to the next must change the hash.
            total.update(len(content).to_bytes(8, "little"))
        total.update(content)
    return total.hexdigest()
