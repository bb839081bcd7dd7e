"""Small tasks for workers, in a module of their own so that every process finds them."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from napari_gem3d.cohorts.outcome import LeftOut
from napari_gem3d.errors import InputError


@dataclass(frozen=True)
class Chore:
    """Write a file of its name; `how` says what goes wrong before."""

    name: str
    folder: Path
    how: str = ""


def tries(chore: Chore) -> int:
    """How often a chore was begun, over all processes."""
    return len(list(chore.folder.glob(f"{chore.name}.try*")))


def do(chore: Chore) -> str:
    (chore.folder / f"{chore.name}.try{time.time_ns()}").touch()
    out = chore.folder / f"{chore.name}.txt"
    if out.exists():
        return "there"
    if chore.how == "bad":
        raise InputError("The scan is empty; give another.")
    if chore.how == "empty":
        raise LeftOut("There is no lesion.")
    if chore.how == "broken":
        raise RuntimeError("the disk is full\nsecond line")
    if chore.how == "shaky" and tries(chore) < 3:
        raise OSError("stale file handle")
    if chore.how == "interrupted":
        raise KeyboardInterrupt
    if chore.how == "deadly" or (chore.how == "killed" and tries(chore) < 2):
        os.kill(os.getpid(), signal.SIGKILL)
    out.write_text(f"{chore.name}\n")
    return "made"
