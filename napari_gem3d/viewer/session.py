"""The folder of a session: what recipes made in the viewer refer to lies there, so that they can be replayed."""

from __future__ import annotations

import logging
import os
from datetime import datetime
from pathlib import Path

from platformdirs import user_cache_path, user_log_path

from napari_gem3d import __version__
from napari_gem3d.io import write_volume
from napari_gem3d.labels import LabelMap

_APP = "napari-gem3d"


class Session:
    """One opening of the panel.

    Parameters
    ----------
    root
        Where session folders go; by default the user's cache directory.

    Attributes
    ----------
    folder
        This session's own folder, made when the first file is written.
    """

    def __init__(self, root: Path | None = None) -> None:
        root = user_cache_path(_APP) / "sessions" if root is None else root
        self.folder = root / f"{datetime.now():%Y-%m-%d-%H%M%S}-{os.getpid()}"
        self._masks = 0

    def save_mask(self, mask: LabelMap, name: str) -> Path:
        """Write a label map as NIfTI under a new name; returns its path."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._masks += 1
        path = self.folder / f"mask-{self._masks:03d}-{_file_name(name)}.nii.gz"
        write_volume(mask, path, description="label map: napari-gem3d")
        return path


def samples_folder() -> Path:
    """Where the sample patients are written when they are first opened; another one for every version."""
    folder: Path = user_cache_path(_APP) / "samples" / __version__
    return folder


def start_log() -> Path:
    """Write what the package logs to a file; returns its path. Further calls only return the path."""
    path: Path = user_log_path(_APP) / "viewer.log"
    logger = logging.getLogger("napari_gem3d")
    if not any(isinstance(handler, logging.FileHandler) for handler in logger.handlers):
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, mode="a", encoding="utf-8", delay=True)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
    return path


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[:60]
