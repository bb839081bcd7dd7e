"""What a generation that was stopped leaves on disk, so that it can go on: in another process, on another day."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from napari_gem3d.errors import InputError
from napari_gem3d.io import replacing
from napari_gem3d.sampling.job import Job
from napari_gem3d.sampling.recipe import Recipe, read_recipe, sidecar

_FORMAT = "napari-gem3d state 1"


def partial_result(out: Path) -> Path:
    """Where a part of the result `out` lies: NAME.partial.nii.gz beside NAME.nii.gz."""
    suffix = ".nii.gz" if out.name.lower().endswith(".gz") else ".nii"
    return out.with_name(f"{out.name[: -len(suffix)]}.partial{suffix}")


def state_of(result: Path) -> Path:
    """Where the state of a partial result lies: NAME.partial.safetensors beside NAME.partial.nii.gz."""
    return sidecar(result).with_suffix(".safetensors")


def recipe_to_resume(out: Path) -> Recipe:
    """The recipe of the partial result that lies beside `out`; InputError if there is none."""
    beside = sidecar(partial_result(out))
    if not beside.exists():
        raise InputError(f"There is no {beside.name} in {out.parent} to go on with; leave out --resume.")
    return read_recipe(beside)


def save_state(job: Job, path: Path) -> None:
    """Write the latents that a job has finished, and where its noise stands, whole or not at all.

    Decoded slices are not in it: they are decoded again, which takes less time than their file would take room.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        save_file(job.state(), temporary, metadata={"format": _FORMAT, "recipe": identity(job.recipe)})


def load_state(job: Job, path: Path) -> None:
    """Bring a job, just opened, to where another one of the same recipe was when `save_state` wrote `path`.

    Raises
    ------
    InputError
        If there is no such file, or it belongs to another recipe.
    """
    if not path.exists():
        raise InputError(f"There is no {path.name} in {path.parent} to go on with; generate from the beginning.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 — it is no mapping
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read ({error}); generate from the beginning.") from error
    if metadata.get("format") != _FORMAT:
        raise InputError(f"{path} is not what this version of napari-gem3d leaves; generate from the beginning.")
    if metadata.get("recipe") != identity(job.recipe):
        raise InputError(
            f"{path} was made with other inputs, settings or versions; give those of {path.with_suffix('.json').name}, "
            "or generate from the beginning."
        )
    job.restore(state)


def identity(recipe: Recipe) -> str:
    """A hash of all that decides the voxels: files by their content, wherever they lie."""

    def without_places(value: object) -> object:
        if isinstance(value, dict):
            return {key: without_places(item) for key, item in value.items() if key not in ("path", "folder")}
        return value

    described = json.dumps(without_places(recipe.model_dump(mode="json")), sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()
