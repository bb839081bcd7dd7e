"""Files that appear whole or not at all, and their hashes."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from napari_gem3d.errors import InputError, OutputError
from napari_gem3d.io.dicom_files import holds_dicom, is_dicom, series_files

_HASHED_AT_ONCE = 2**20
LONGEST_NAME = 255  # bytes, of nearly every file system
# Names of files that are being written: machine, process, a random part, and the name that they get; earlier versions
# had the process alone.
LITTER = re.compile(r"\.(?:([0-9a-f]{8})-(\d+)-[0-9a-f]{8}|()(\d+))-.+", re.DOTALL)
_MACHINE = f"{zlib.crc32(platform.node().encode()):08x}"


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
    tidy(path.parent, path.name)
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
    """A hidden name that no other process has, of this machine or another one, no longer than file systems allow.

    It ends with the suffix that tells the format.
    """
    start = f".{_MACHINE}-{os.getpid()}-{secrets.token_hex(4)}-"
    if len(os.fsencode(start + name)) <= LONGEST_NAME or len(os.fsencode(name)) > LONGEST_NAME:
        return start + name
    return start + _shortened(name)


def _shortened(name: str) -> str:
    suffix = "".join(Path(name[-20:]).suffixes[-2:])
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16] + suffix


@contextmanager
def staging(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path`, in which what goes there is made; removed at the end, or by the next run."""
    tidy(path.parent, path.name)
    folder = path.with_name(_temporary_name(path.name))
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def temporary_folder(name: str) -> AbstractContextManager[Path]:
    """A private folder in the system's temp directory; see `staging`."""
    return staging(Path(tempfile.gettempdir(), f"napari-gem3d-{name}"))


def put_folder(staged: Path, folder: Path) -> None:
    """Bring a finished folder to its place; what was there is beside `staged` then, or in its place, to be removed.

    Where the system can exchange two folders in one step (Linux), one of the two is there at every moment.
    """
    if not folder.exists():
        staged.rename(folder)
        return
    if _exchanged(staged, folder):
        return
    aside = staged.with_name(f"{staged.name}-replaced")
    folder.rename(aside)
    try:
        staged.rename(folder)
    except BaseException:
        aside.rename(folder)
        raise


def _exchanged(one: Path, other: Path) -> bool:
    """Whether the system has exchanged two folders by ``renameat2``."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(call(here, os.fsencode(one.absolute()), here, os.fsencode(other.absolute()), exchange) == 0)


def tidy(folder: Path, name: str | None = None) -> None:
    """Remove what processes that were killed have left in a folder: files and folders that they were writing.

    What processes that live are writing stays, and so does that of other machines. With a name, only what would have
    got it goes.
    """
    with suppress(OSError):
        hidden = [entry.name for entry in os.scandir(folder) if entry.name.startswith(".")]
        for match in filter(None, map(LITTER.fullmatch, hidden)):
            if match[1] not in (_MACHINE, None) or _lives(int(match[2] or match[4])):
                continue
            if name is None or match[0].endswith((f"-{name}", f"-{_shortened(name)}")):
                path = folder / match[0]
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    """Whether a process of this machine lives; unknown counts as yes."""
    import psutil

    return bool(psutil.pid_exists(process))


def check_writable(folder: Path) -> None:
    """Raise OutputError if nothing can be written to a folder, or it cannot be made; leaves nothing behind.

    For what writes its results after hours of work.
    """
    try:
        there = next(part for part in (folder, *folder.absolute().parents) if part.exists())
        with staging(there / "trial") as trial:
            (trial / (folder.name or "x")).mkdir()
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
