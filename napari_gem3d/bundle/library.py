"""The library of models on this computer: what there is, and how more come into it."""

from __future__ import annotations

import re
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from napari_gem3d.bundle.parts import MOST_BYTES
from napari_gem3d.bundle.places import added_models, known_models, models_folder
from napari_gem3d.bundle.plan import Plan
from napari_gem3d.bundle.store import PARTS, check_folder, load_bundle, read_plan, save_bundle
from napari_gem3d.errors import InputError
from napari_gem3d.io.documents import read_text
from napari_gem3d.io.files import staging

_MOST_FILES = 1000
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class ModelInfo:
    """What can be said of a model without loading its networks.

    Attributes
    ----------
    name, folder
        What it is called on this computer, and where it lies.
    added
        Whether the user has added it; otherwise it came with the package.
    size
        In bytes, all files.
    plan
        Labels, modality, sizes; None if it is not understood.
    parts
        Which of `PARTS` it has.
    card
        The model card, Markdown; empty if there is none.
    problem
        What is wrong with it, in a sentence; mostly empty.
    """

    name: str
    folder: Path
    added: bool
    size: int
    plan: Plan | None
    parts: tuple[str, ...]
    card: str
    problem: str = ""

    @property
    def draws(self) -> bool:
        """Whether it can draw an informed slice itself, by a position U-Net."""
        return "position_unet" in self.parts

    @property
    def baseline(self) -> bool:
        """Whether it looks at no informed slice: a model to compare with."""
        return self.plan is not None and not self.plan.informed

    def describe(self) -> list[str]:
        """What it is, in a few lines."""
        origin = "added by you" if self.added else "came with the package"
        lines = [f"{self.name}: {self.size / 1e6:.0f} MB, {origin}"]
        if self.plan is None:
            return [*lines, self.problem]
        plan = self.plan
        spacing = " × ".join(f"{mm:g}" for mm in plan.spacing)
        lines.append(f"{plan.scans}, {spacing} mm, slices of {plan.size[0]} × {plan.size[1]}")
        lines.append("labels: " + ", ".join(f"{label.value} {label.name}" for label in plan.labels))
        lines.append("baseline: looks at no informed slice" if self.baseline else "looks at an informed slice")
        lines.append("has a position U-Net: draws informed slices itself" if self.draws else "has no position U-Net")
        return lines


def list_models() -> list[ModelInfo]:
    """Everything in the library, in the order in which it is offered."""
    added = added_models()
    return [describe_model(folder, name, added.get(name) == folder) for name, folder in known_models().items()]


def describe_model(folder: Path, name: str = "", added: bool = False) -> ModelInfo:
    """What can be said of a bundle in a folder; what is wrong with it is said as well, never raised."""
    plan, problem = None, ""
    try:
        plan = read_plan(folder)
    except InputError as error:
        problem = str(error)
    return ModelInfo(
        name=name or folder.name,
        folder=folder,
        added=added,
        size=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        plan=plan,
        parts=tuple(part for part in PARTS if (folder / part).is_dir()),
        card=_card(folder / "README.md"),
        problem=problem,
    )


def _card(path: Path) -> str:
    try:
        return read_text(path, MOST_BYTES)
    except InputError:
        return ""


def add_model(folder: Path, name: str = "") -> Path:
    """Copy a bundle into the library, after it was loaded to see that it is whole.

    Parameters
    ----------
    folder
        A bundle: a folder with a ``model.json``.
    name
        What it is to be called; by default what its ``model.json`` says.

    Returns
    -------
    Path
        Its folder in the library.

    Raises
    ------
    InputError
        If it is no bundle or not a whole one, the name is taken or no name for a folder, or it cannot be copied.
    """
    if not (folder / "model.json").is_file():
        raise InputError(f"{folder} is no model: choose the folder that holds its model.json.")
    _check_files(folder.resolve())
    bundle = load_bundle(folder.resolve())
    target = _place_for(name or bundle.plan.name)
    try:
        with staging(target) as temporary:
            staged = temporary / "bundle"
            shutil.copytree(folder, staged, symlinks=True)
            staged.rename(target)
    except OSError as error:
        reason = error.strerror or "a file cannot be read or written"
        raise InputError(f"{folder} cannot be copied to {target} ({reason}); nothing was added.") from error
    return target


def _check_files(folder: Path) -> None:
    """Refuse a folder with links, devices or pipes in it: what is copied must be the model's own files."""
    for count, path in enumerate(folder.rglob("*"), 1):
        mode = path.lstat().st_mode
        if count > _MOST_FILES:
            raise InputError(f"{folder} holds more than {_MOST_FILES} files, so it is no model; nothing was added.")
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            what = "a link" if stat.S_ISLNK(mode) else "a device or a pipe"
            raise InputError(f"{path} is {what}, which is not followed; put the file itself there and add again.")


def add_published(checkpoints: Sequence[Path], name: str, **options: Any) -> tuple[Path, tuple[str, ...]]:
    """Convert published checkpoints to a bundle in the library.

    Parameters
    ----------
    checkpoints
        Those of the slice, volume and position model, any of them.
    name
        What the model is to be called.
    options
        As `napari_gem3d.bundle.published.bundles.convert` takes them.

    Returns
    -------
    Path, tuple of str
        Its folder in the library, and what to mind, a sentence each.

    Raises
    ------
    InputError
        If the name is taken or no name for a folder, or a file is no such checkpoint.
    """
    from napari_gem3d.bundle.published.bundles import convert

    target = _place_for(name)
    converted = convert(list(checkpoints), name=name, **options)
    save_bundle(converted.bundle, target, torch.float32)
    return target, converted.warnings


def _place_for(name: str) -> Path:
    """The folder for a new model in the library."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"'{name}' is no name for a model: give one of letters, digits, '-', '_' and '.' that begins with a "
            "letter or digit."
        )
    if name in known_models():
        raise InputError(f"There is a model '{name}' already, in {known_models()[name]}; give another name.")
    target = models_folder() / name
    if target.exists():
        raise InputError(f"{target} exists and is no model; move it away or give another name.")
    check_folder(target)
    return target
