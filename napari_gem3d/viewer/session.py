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
from platformdirs import user_cache_path, user_log_path
from pydantic import BaseModel, ConfigDict, ValidationError

from napari_gem3d.errors import InputError
from napari_gem3d.io import replacing, write_volume
from napari_gem3d.io.files import private_folder
from napari_gem3d.labels import LabelMap

logger = logging.getLogger(__name__)

_APP = "napari-gem3d"
_JOURNAL = "session.json"
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
        The process, and when it began: numbers of processes are used again.
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
    ended: bool = False
    patients: tuple[Path, ...] = ()
    masks: tuple[SavedMask, ...] = ()
    runs: tuple[SavedRun, ...] = ()

    @property
    def lost(self) -> bool:
        """Whether its process is gone without having ended it, and there is something to restore."""
        worth = bool(self.runs) or any(mask.changed for mask in self.masks)
        return worth and not self.ended and not _is_alive(self.pid, self.born)


class Session:
    """One opening of the panel.

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
        self.folder = self.root / f"{datetime.now():%Y-%m-%d-%H%M%S}-{os.getpid()}"
        self._ended = False

    def save_mask(self, mask: LabelMap) -> Path:
        """Write a label map as NIfTI under a new name; returns its path."""
        path = self.new_file("mask")
        write_volume(mask, path)
        return path

    def new_file(self, kind: str) -> Path:
        """A path in the folder that is not taken: KIND-NUMBER.nii.gz, without names, which may be a patient's."""
        private_folder(self.root)
        private_folder(self.folder)
        taken = {path.name.split("-")[1][:3] for path in self.folder.glob(f"{kind}-*")}
        number = next(n for n in range(1, len(taken) + 2) if f"{n:03d}" not in taken)
        return self.folder / f"{kind}-{number:03d}.nii.gz"

    def write(self, journal: Journal) -> None:
        """Write down what there is to restore, whole or not at all; nothing once the session has ended."""
        if self._ended:
            return
        private_folder(self.root)
        private_folder(self.folder)
        _write(journal, self.folder)

    def journal(self) -> Journal:
        """An empty journal of this process."""
        return Journal(pid=os.getpid(), born=psutil.Process().create_time())

    def end(self) -> None:
        """The panel is closed as it should be: nothing is offered the next time."""
        self._ended = True
        end_session(self.folder)

    def adopt(self, folder: Path) -> None:
        """Go on in the folder of a lost session, where the recipes of its results find their masks."""
        end_session(self.folder)
        self.folder = folder


def sessions_folder() -> Path:
    """Where the sessions of this user lie."""
    folder: Path = user_cache_path(_APP) / "sessions"
    return folder


def lost_session(root: Path) -> tuple[Path, Journal] | None:
    """The latest session that a crash has ended, with what it left; None if there is none."""
    for folder in sorted(_folders(root), reverse=True):
        journal = read_journal(folder)
        if journal is not None and journal.lost:
            return folder, journal
    return None


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
    folders = [folder for folder in _folders(root) if folder != keep and not _goes_on(folder)]
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


def _goes_on(folder: Path) -> bool:
    journal = read_journal(folder)
    return journal is not None and not journal.ended and _is_alive(journal.pid, journal.born)


def _is_alive(pid: int, born: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - born) < _SAME_BIRTH
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _changed(folder: Path) -> float:
    return max((path.lstat().st_mtime for path in (folder, *folder.iterdir())), default=0.0)


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))
