"""The shell command that generates a recipe's volume again."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from napari_gem3d.bundle.preprocessing import canonical_grid
from napari_gem3d.io import read_label_map
from napari_gem3d.io.slices import is_slice
from napari_gem3d.numbering import MODEL
from napari_gem3d.sampling.recipe import GENERATED, Recipe
from napari_gem3d.sampling.settings import Drawing, Settings, words_of


def recipe_command(recipe: Recipe, out: Path | str, *, beside: Path | None = None) -> list[str]:
    """The arguments of ``napari-gem3d`` that make the same recipe, and so the same voxels, with the same versions.

    Parameters
    ----------
    recipe
        Its files are named by absolute paths, so that the command works in any folder.
    out
        The file that the command writes.
    beside
        Folder of the recipe's file, where relative paths are looked for if the working folder has no such file.

    Raises
    ------
    InputError
        If an input is missing or has changed, so that no command could make the same.
    """
    inputs = (_edit_inputs if recipe.task == "edit" else _whole_inputs)(recipe, beside)
    names = (name for name in Settings.model_fields if name in Drawing.model_fields and name != "compiled")
    drawn = {words_of(name)["option"]: getattr(recipe, name) for name in names}
    drawn["--model"], drawn["--labels"] = _model(recipe), _labels(recipe)
    if recipe.task == "edit":
        del drawn["--known-level"]
    said = {name: value for file in recipe.files for name, value in file.reading.items() if value is not None}
    reading = {words_of(name)["option"]: value for name, value in said.items()}
    arguments = {**inputs, **reading, **drawn, "--out": Path(out).absolute()}
    words = [word for option, value in arguments.items() for word in (option, str(value))]
    command = "edit" if recipe.task == "edit" else "generate"
    return ["napari-gem3d", command, *words, *(["--compile"] if recipe.compiled else [])]


def shell_line(words: list[str]) -> str:
    """Words of a command as one line for the shell of this system, quoted where needed."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def _whole_inputs(recipe: Recipe, beside: Path | None) -> dict[str, object]:
    informed = None if recipe.informed is None else recipe.informed.found(beside).absolute()
    mask = recipe.mask.found(beside).absolute()
    options: dict[str, object] = {"--mask": mask, "--informed": informed or GENERATED}
    if informed is None or is_slice(informed):
        height = canonical_grid(recipe.plan, read_label_map(mask, **recipe.mask.reading).grid).shape[0]
        options["--position"] = recipe.start / max(height - 1, 1)
    else:
        options["--slice"] = recipe.informed_slice
    if recipe.informed_seed is not None:
        options["--informed-seed"] = recipe.informed_seed
    if recipe.pixel_mm is not None:
        options["--pixel-mm"] = recipe.pixel_mm
    if recipe.body is not None:
        options["--body"] = recipe.body.found(beside).absolute()
    return options


def _edit_inputs(recipe: Recipe, beside: Path | None) -> dict[str, object]:
    assert recipe.edit is not None and recipe.informed is not None, "an edit has both"
    edit = recipe.edit
    options: dict[str, object] = {
        "--image": edit.image.found(beside).absolute(),
        "--mask": recipe.mask.found(beside).absolute(),
        "--edited": edit.edited.found(beside).absolute(),
        "--margin": edit.margin_mm,
    }
    if not edit.own_neighbours:
        options |= {"--informed": recipe.informed.found(beside).absolute(), "--slice": recipe.informed_slice}
    return options


def _labels(recipe: Recipe) -> str:
    """What the values of the label maps stand for, as it was found."""
    names = {label.value: label.name for label in recipe.plan.labels}
    return ",".join(f"{names[new]}={old}" for old, new in (recipe.relabel or {}).items()) or MODEL


def _model(recipe: Recipe) -> str:
    """A bundled model by its name, any other by the absolute path of its folder."""
    folder = Path(recipe.model.folder)
    return str(folder.absolute()) if (folder / "model.json").is_file() else recipe.model.folder
