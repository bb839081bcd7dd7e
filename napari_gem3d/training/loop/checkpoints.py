"""Checkpoints on disk: whole or not there, pruned, and the newest readable one found again."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import torch

from napari_gem3d.errors import InputError
from napari_gem3d.io import replacing

_UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError, BadZipFile)


class Found(NamedTuple):
    """A checkpoint that could be read."""

    path: Path
    content: dict[str, Any]


class Checkpoints:
    """The checkpoints of a stage, ``checkpoint-STEP.pt`` in its folder.

    Parameters
    ----------
    folder
        The stage's folder.
    keep
        How many are kept, the newest.
    anew
        Whether those that are there belong to an earlier run, so that the first one written replaces them.
    """

    def __init__(self, folder: Path, keep: int, anew: bool = False) -> None:
        self.folder, self.keep, self.anew = folder, keep, anew

    def paths(self) -> list[Path]:
        """Those that are there, newest first."""
        numbered = {path: path.stem.removeprefix("checkpoint-") for path in self.folder.glob("checkpoint-*.pt")}
        return sorted((path for path, step in numbered.items() if step.isdigit()), key=_step_of, reverse=True)

    def write(self, content: dict[str, Any], step: int) -> Path:
        """Write a checkpoint, then remove those that are too many.

        Raises
        ------
        InputError
            If it cannot be written; older ones are untouched.
        """
        path = self.folder / f"checkpoint-{step:07d}.pt"
        try:
            with replacing(path) as temporary, temporary.open("wb") as file:
                torch.save(content, file)
                file.flush()
                # Renamed before its content is on the disk, a power cut would leave an empty file in place of a whole.
                os.fsync(file.fileno())
        except RuntimeError as error:  # what torch makes of a full disk
            raise InputError(f"{path} cannot be written ({error}); make room and continue with --resume.") from error
        earlier = [other for other in self.paths() if other != path]
        kept = [] if self.anew else [other for other in earlier if _step_of(other) < step][: self.keep - 1]
        for other in earlier:
            if other not in kept:
                other.unlink(missing_ok=True)
        self.anew = False
        return path

    def newest(self, say: Callable[[str], None]) -> Found | None:
        """Read the newest checkpoint that can be read; None if there is none.

        Raises
        ------
        InputError
            If there are some, and none can be read.
        """
        self._sweep()
        paths = self.paths()
        for path in paths:
            try:
                return Found(path, torch.load(path, weights_only=True, map_location="cpu"))
            except _UNREADABLE as error:
                say(f"{path} cannot be read ({_first_line(error)}); looking for the one before.")
        if paths:
            raise InputError(f"No checkpoint in {self.folder} can be read; start the stage anew, without --resume.")
        return None

    def _sweep(self) -> None:
        """Remove what a killed process was writing."""
        for path in self.folder.glob(".*-checkpoint-*.pt"):
            path.unlink(missing_ok=True)


def _step_of(path: Path) -> int:
    return int(path.stem.removeprefix("checkpoint-"))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
