"""A generation: from arrays, from files or from a recipe to a job that can run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.bundle import ModelBundle, load_bundle
from napari_gem3d.bundle.plan import Plan
from napari_gem3d.bundle.store import find_bundle, read_plan
from napari_gem3d.device import choose_device
from napari_gem3d.errors import InputError
from napari_gem3d.labels import LabelMap
from napari_gem3d.sampling.edit import EditJob
from napari_gem3d.sampling.inputs import EditInputs, Inputs, read_edit_files, read_edit_inputs, read_files
from napari_gem3d.sampling.job import Job, Part
from napari_gem3d.sampling.prepare import Prepared, prepare, prepare_again
from napari_gem3d.sampling.prepare_edit import PreparedEdit, prepare_edit, prepare_edit_again
from napari_gem3d.sampling.recipe import Recipe, read_volume_files, recipe_of
from napari_gem3d.sampling.settings import Drawing, Settings
from napari_gem3d.volume import Volume


class Generation:
    """A generation that runs while it is iterated over; made by `generate` and `edit`.

    Iterating yields every finished part once. `result` runs what is left; as an array, the generation is its result.

    Attributes
    ----------
    job
        What runs.
    """

    def __init__(self, job: Job, cancel: Event | None) -> None:
        self.job = job
        self._parts = job.run(cancel)

    @property
    def recipe(self) -> Recipe:
        """What is carried out."""
        return self.job.recipe

    def __iter__(self) -> Iterator[Part]:
        return self

    def __next__(self) -> Part:
        return next(self._parts)

    def result(self) -> Volume:
        """The volume, on the grid of the label map (of the scan, for an edit), in the units of the informed scan."""
        for _ in self._parts:
            pass
        return self.job.result()

    @property
    def voxels(self) -> NDArray[Any]:
        """(Z, Y, X), those of `result`."""
        return self.result().voxels

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4), that of `result`."""
        return self.result().affine

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.voxels, dtype)


def generate(
    bundle: ModelBundle | Recipe,
    inputs: Inputs | None = None,
    settings: Settings | None = None,
    *,
    cancel: Event | None = None,
) -> Generation:
    """Generate a whole volume from arrays; or carry out a recipe, of a volume or an edit, with the files it names.

    Everything is checked at once, before the first part is asked for.

    Parameters
    ----------
    bundle
        The model, or a recipe alone.
    inputs
        Label map and scans.
    settings
        What differs from the defaults.
    cancel
        Once it is set, the generation ends within its denoising step.

    Returns
    -------
    Generation
        An iterator of finished slices; its ``result()`` is the volume.

    Raises
    ------
    InputError
        If an input cannot be used or a setting does not fit.

    Examples
    --------
    >>> bundle = gem.load_bundle("brain-flair")
    >>> scan, mask = gem.Volume(voxels, affine), gem.LabelMap(labels, affine)
    >>> result = gem.generate(bundle, gem.Inputs(mask, informed=scan, body=scan), gem.Settings(seed=1)).result()
    """
    if isinstance(bundle, Recipe):
        return Generation(open_job(bundle), cancel)
    if inputs is None:
        raise InputError("Nothing says what to generate; give Inputs with a label map.")
    return Generation(job_of(bundle, prepare(bundle.plan, inputs, settings or Settings())), cancel)


def edit(
    bundle: ModelBundle, inputs: EditInputs, settings: Settings | None = None, *, cancel: Event | None = None
) -> Generation:
    """Edit a scan given as an array: what the changed label map reaches is generated; see `generate`."""
    return Generation(job_of(bundle, prepare_edit(bundle.plan, inputs, settings or Settings())), cancel)


def job_of(bundle: ModelBundle, prepared: Prepared, model: Path | str = "") -> Job:
    """The job of what was prepared; `model` is how people named the bundle."""
    recipe = recipe_of(prepared, model or bundle.path or bundle.plan.name, bundle.sha256 or "unsaved")
    if isinstance(prepared, PreparedEdit):
        return EditJob(recipe, prepared, bundle)
    return Job(recipe, prepared, bundle)


def open_volume(
    mask: Path | str | LabelMap,
    informed: Path | str,
    body: Path | str | None = None,
    *,
    model: Path | str = "brain-flair",
    settings: Settings | None = None,
    allow_own: bool = False,
    bundle: ModelBundle | None = None,
) -> Job:
    """Read and check what a whole volume needs, each file once; see `make_recipe` for what is what.

    A label map may be given in memory; its ``source`` is the file that the recipe names.

    Parameters
    ----------
    bundle
        The model, if it is loaded already.
    """
    plan, draws = _known(model, bundle)
    prepared = read_volume_files(mask, informed, body, plan, draws, settings or Settings(), allow_own)
    return job_of(bundle or load_bundle(model), prepared, model)


def open_edit(
    image: Path | str,
    mask: Path | str | LabelMap,
    edited: Path | str | LabelMap,
    *,
    informed: Path | str | None = None,
    model: Path | str = "brain-flair",
    settings: Settings | None = None,
    bundle: ModelBundle | None = None,
) -> Job:
    """Read and check what a local edit needs, each file once; see `make_edit_recipe` for what is what."""
    plan, _ = _known(model, bundle)
    settings = settings or Settings()
    prepared = prepare_edit(plan, read_edit_inputs(image, mask, edited, informed, **settings.reading), settings)
    return job_of(bundle or load_bundle(model), prepared, model)


def _known(model: Path | str, bundle: ModelBundle | None) -> tuple[Plan, bool]:
    """The plan of a model and whether it draws informed slices: what inputs are checked by, before weights are read."""
    if bundle is not None:
        return bundle.plan, bundle.position_unet is not None
    folder = find_bundle(model)
    return read_plan(folder), (folder / "position_unet").is_dir()


def open_job(recipe: Recipe, *, beside: Path | None = None, bundle: ModelBundle | None = None) -> Job:
    """Read and check all that a recipe names; nothing is generated yet.

    Parameters
    ----------
    recipe
        What to carry out.
    beside
        Folder of the recipe's file, where relative paths are looked for if the working folder has no such file.
    bundle
        The recipe's model, if it is loaded already.

    Raises
    ------
    InputError
        If an input or the model is missing, has changed or cannot be used, or the device is not there.
    """
    choose_device(recipe.device)
    if bundle is None:
        bundle = load_bundle(_model_folder(recipe, beside))
    if bundle.sha256 != recipe.model.sha256:
        raise InputError(
            f"The model {recipe.model.folder} is not the one that the recipe was made with; "
            "get that version of it or generate again."
        )
    drawing = Drawing(**{name: getattr(recipe, name) for name in Drawing.model_fields})
    chosen = {"start": recipe.start, "informed_slice": recipe.informed_slice}
    if recipe.edit is not None:
        files = {"image": recipe.edit.image, "mask": recipe.mask, "edited": recipe.edit.edited}
        if recipe.informed is not None and not recipe.same_patient:
            files["informed"] = recipe.informed
        edited = read_edit_files(files, {name: file.found(beside) for name, file in files.items()})
        prepared_edit = prepare_edit_again(
            bundle.plan,
            edited,
            drawing,
            **chosen,
            margin_mm=recipe.edit.margin_mm,
            own_neighbours=recipe.edit.own_neighbours,
            relabel=recipe.relabel,
        )
        return EditJob(recipe, prepared_edit, bundle)
    named = {"mask": recipe.mask, "informed": recipe.informed, "body": recipe.body}
    files = {name: file for name, file in named.items() if file is not None}
    inputs = read_files(files, {name: file.found(beside) for name, file in files.items()})
    prepared = prepare_again(
        bundle.plan,
        inputs,
        drawing,
        **chosen,
        pixel_mm=recipe.pixel_mm,
        informed_seed=recipe.informed_seed,
        relabel=recipe.relabel,
    )
    return Job(recipe, prepared, bundle)


def _model_folder(recipe: Recipe, beside: Path | None) -> Path:
    folder = recipe.model.folder
    if beside is not None and not Path(folder).exists() and (beside / folder / "model.json").is_file():
        return beside / folder
    return find_bundle(folder)
