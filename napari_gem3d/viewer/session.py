"""The folder of a session: what recipes made in the viewer refer to, and what a crash must not take."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from datetime import datetime
from pathlib import Path
from typing import Literal

import psutil
from filelock import BaseFileLock, FileLock, Timeout
from platformdirs import user_cache_path, user_log_path
from pydantic import BaseModel, ConfigDict, ValidationError

from napari_gem3d.errors import InputError
from napari_gem3d.io import replacing, write_volume
from napari_gem3d.io.files import private_folder
from napari_gem3d.labels import LabelMap

logger = logging.getLogger(__name__)

_APP = "napari-gem3d"
_JOURNAL, _LOCK = "session.json", "session.lock"
# Sessions go after two weeks, and the oldest ones earlier if all of them together take more than this.
KEPT_DAYS = 14
KEPT_BYTES = 8 * 2**30
# Clocks of the system that say when a process began differ by less.
_SAME_BIRTH = 2.0


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class SavedMask(_Entry):
    """A mask as it was last seen: its layer's name, its file, the scan of its patient, and whether it was changed.

    `before` is what its layer's `Origin` has of that name.
    """

    name: str
    file: Path
    patient: Path
    changed: bool = True
    before: Path | None = None


class SavedRun(_Entry):
    """A result: its file, beside which its recipe lies, and what its card shows."""

    name: str
    file: Path
    patient: Path
    donor: Path | None
    mode: Literal["volume", "edit"]
    seconds: float
    finished: bool


class Journal(_Entry):
    """What a session has to restore, and whether it came to an end.

    Attributes
    ----------
    pid, born
        The process, and when it began.
    locked
        Whether the session holds a lock as long as it goes on. Those of earlier versions did not: their process tells.
    ended
        Whether the panel was closed, or the user has let go of the session.
    patients
        Scans that were open, in their order.
    masks, runs
        Masks that were open or painted, and what was generated.
    """

    format: Literal["napari-gem3d session"] = "napari-gem3d session"
    format_version: Literal[1] = 1
    pid: int
    born: float
    locked: bool = False
    ended: bool = False
    patients: tuple[Path, ...] = ()
    masks: tuple[SavedMask, ...] = ()
    runs: tuple[SavedRun, ...] = ()

    @property
    def unfinished(self) -> bool:
        """Whether nobody has ended it, and there is something to restore."""
        return not self.ended and (bool(self.runs) or any(mask.changed for mask in self.masks))


class Session:
    """One opening of the panel, which holds the lock of its folder as long as it goes on.

    Parameters
    ----------
    root
        Where session folders go; by default the user's cache directory.

    Attributes
    ----------
    root
        Where session folders go.
    folder
        This session's own folder, made when the first file is written.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = sessions_folder() if root is None else root
        self.folder = self.root / f"{datetime.now():%Y-%m-%d-%H%M%S%f}-{os.getpid()}"
        self._ended = False
        self._lock: BaseFileLock | None = None

    def save_mask(self, mask: LabelMap) -> Path:
        """Write a label map as NIfTI under a new name; returns its path."""
        path = self.new_file("mask")
        write_volume(mask, path)
        return path

    def new_file(self, kind: str) -> Path:
        """A path in the folder that is not taken: KIND-NUMBER.nii.gz, without names, which may be a patient's."""
        self._open()
        taken = {path.name.split("-")[1][:3] for path in self.folder.glob(f"{kind}-*")}
        number = next(n for n in range(1, len(taken) + 2) if f"{n:03d}" not in taken)
        return self.folder / f"{kind}-{number:03d}.nii.gz"

    def write(self, journal: Journal) -> None:
        """Write down what there is to restore, whole or not at all; nothing once the session has ended."""
        if self._ended:
            return
        self._open()
        _write(journal, self.folder)

    def journal(self) -> Journal:
        """An empty journal of this process."""
        return Journal(pid=os.getpid(), born=psutil.Process().create_time(), locked=True)

    def end(self) -> None:
        """The panel is closed as it should be: nothing is offered the next time."""
        self._ended = True
        end_session(self.folder)
        self.leave()

    def leave(self) -> None:
        """Give the lock back, as the system does for a process that was killed."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def adopt(self, folder: Path, lock: BaseFileLock | None) -> None:
        """Go on in the folder of a lost session that was claimed: recipes of its results find their masks there."""
        if folder != self.folder:
            end_session(self.folder)
            self.leave()
            self.folder, self._lock = folder, lock

    def _open(self) -> None:
        private_folder(self.root)
        private_folder(self.folder)
        if self._lock is None:
            self._lock = claim(self.folder)


def sessions_folder() -> Path:
    """Where the sessions of this user lie."""
    folder: Path = user_cache_path(_APP) / "sessions"
    return folder


def lost_session(root: Path) -> tuple[Path, Journal] | None:
    """The latest session that a crash has ended, with what it left; None if there is none."""
    for folder in sorted(_folders(root), reverse=True):
        journal = read_journal(folder)
        if journal is not None and journal.unfinished and not is_held(folder, journal):
            return folder, journal
    return None


def claim(folder: Path) -> BaseFileLock | None:
    """Take the lock of a session, for as long as the process lives or until it is released; None if another has it."""
    lock = FileLock(folder / _LOCK, thread_local=False)  # taken in one thread, given back in another
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):  # or a file system without locks
        return None
    return lock


def is_held(folder: Path, journal: Journal | None) -> bool:
    """Whether a process goes on with a session, or offers it to its user."""
    if journal is not None and not journal.locked:
        return not journal.ended and _is_alive(journal.pid, journal.born)
    if not (folder / _LOCK).exists():
        return False
    lock = claim(folder)
    if lock is None:
        return True
    lock.release()
    return False


def read_journal(folder: Path) -> Journal | None:
    """What a session has written down; None where there is nothing, or nothing that is understood."""
    try:
        return Journal.model_validate_json((folder / _JOURNAL).read_bytes())
    except (OSError, ValidationError):
        return None


def end_session(folder: Path) -> None:
    """Note that a session is not to be offered any more."""
    journal = read_journal(folder)
    if journal is not None:
        with contextlib.suppress(InputError):  # its folder is read-only or gone: then so is what could be offered
            _write(journal.model_copy(update={"ended": True}), folder)


def discard_session(folder: Path) -> None:
    """Delete a session and all that it kept."""
    shutil.rmtree(folder, ignore_errors=True)


def clean_sessions(root: Path, keep: Path, days: float = KEPT_DAYS, size: float = KEPT_BYTES) -> list[Path]:
    """Delete sessions that are older than `days`, then the oldest until what is left takes `size` bytes at most.

    Parameters
    ----------
    root
        Where session folders lie; nothing else in it is touched.
    keep
        The session that is going on. Those of other processes that are running are kept as well, and so is, whatever
        its size, the latest that a crash has ended.

    Returns
    -------
    list of Path
        What was deleted.
    """
    lost = lost_session(root)
    spared = {keep} if lost is None else {keep, lost[0]}
    folders = [folder for folder in _folders(root) if folder != keep and not is_held(folder, read_journal(folder))]
    oldest = time.time() - days * 86400
    deleted = [folder for folder in folders if _changed(folder) < oldest]
    left = sorted((folder for folder in folders if folder not in deleted), key=_changed)
    total = sum(_size(folder) for folder in left)
    for folder in left:
        if total <= size:
            break
        if folder not in spared:
            total -= _size(folder)
            deleted.append(folder)
    for folder in deleted:
        discard_session(folder)
    return deleted


def speeds_file() -> Path:
    """Where is remembered how fast this machine generates."""
    path: Path = user_cache_path(_APP) / "speeds.json"
    return path


def start_log() -> Path:
    """Write what the package logs to a file; returns its path. Further calls only return the path."""
    path: Path = user_log_path(_APP) / "viewer.log"
    logger = logging.getLogger("napari_gem3d")
    if not any(isinstance(handler, logging.FileHandler) for handler in logger.handlers):
        private_folder(path.parent)
        handler = logging.FileHandler(path, mode="a", encoding="utf-8", delay=True)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
    return path


def _write(journal: Journal, folder: Path) -> None:
    with replacing(folder / _JOURNAL) as temporary:
        temporary.write_text(journal.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _folders(root: Path) -> list[Path]:
    """Folders named as `Session` names them."""
    return [folder for folder in root.glob("[0-9]*-[0-9]*-[0-9]*-[0-9]*-[0-9]*") if folder.is_dir()]


def _is_alive(pid: int, born: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - born) < _SAME_BIRTH
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _changed(folder: Path) -> float:
    # Asking for the lock touches its file and the folder.
    files = [path for path in folder.iterdir() if path.name != _LOCK]
    return max((path.lstat().st_mtime for path in files), default=folder.lstat().st_mtime)


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))
