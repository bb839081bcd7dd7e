"""Results on disk: a recipe carried out and written, whole or in part, and a part that is gone on with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

from napari_gem3d.bundle import ModelBundle
from napari_gem3d.io.outputs import check_output
from napari_gem3d.sampling.generation import open_job
from napari_gem3d.sampling.job import Job, Part
from napari_gem3d.sampling.pair import belongs, write_pair
from napari_gem3d.sampling.partial import identity, load_state, partial_result, save_state, state_of
from napari_gem3d.sampling.recipe import Recipe, read_recipe, result_of, sidecar


def run_recipe(
    recipe: Recipe,
    out: Path | str,
    *,
    cancel: Event | None = None,
    progress: Callable[[Part], None] | None = None,
    keep_partial: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    beside: Path | None = None,
    bundle: ModelBundle | None = None,
) -> Path | None:
    """Generate a volume and write it with its recipe beside it.

    Parameters
    ----------
    recipe
        What to generate.
    out
        Ends in .nii or .nii.gz; its folder is made if needed, an existing result of this package is replaced.
    cancel
        Stops the generation; then nothing is written, unless `keep_partial`.
    progress
        Called with every part; before them with one that says what anatomy cannot be told from the scan, if any.
    keep_partial
        Write the slices that were finished before the cancel, if any, as NAME.partial.nii.gz, the rest background (the
        scan, for an edit), with all that is needed to go on beside it.
    resume
        Go on with the partial result that lies beside `out`, which is removed once the whole one is written. On a
        processor the bytes are those of a run that was never stopped.
    overwrite
        Whether a file that this package has not written may be replaced; inputs never are.
    beside, bundle
        See `open_job`; who makes many volumes loads the model once.

    Returns
    -------
    Path or None
        What was written; None if nothing was.

    Raises
    ------
    InputError
        As `open_job`; if `out` cannot be written or is one of the inputs; if there is no partial result of this
        recipe to go on with.
    """
    out = Path(out)
    check_result(recipe, out, beside=beside, overwrite=overwrite)
    job = open_job(recipe, beside=beside, bundle=bundle)
    how: dict[str, Any] = {"keep_partial": keep_partial, "resume": resume, "overwrite": overwrite}
    return run_job(job, out, cancel=cancel, progress=progress, **how)


def run_job(
    job: Job,
    out: Path | str,
    *,
    cancel: Event | None = None,
    progress: Callable[[Part], None] | None = None,
    keep_partial: bool = False,
    resume: bool = False,
    overwrite: bool = False,
) -> Path | None:
    """Run a job that is open, and write its volume with the recipe beside it; see `run_recipe`."""
    out = Path(out)
    check_result(job.recipe, out, overwrite=overwrite, size=job.prepared.mask.voxels.size * 4)
    partial = partial_result(out)
    if resume:
        load_state(job, state_of(partial))
    if progress is not None and (message := job.prepared.said):
        progress(Part([], job.voxels[:0], 0.0, message))
    for part in job.run(cancel, resume=resume):
        if progress is not None:
            progress(part)
    if job.finished:
        written = write_result(job, out)
        if resume:
            for path in (partial, sidecar(partial), state_of(partial)):
                path.unlink(missing_ok=True)
        return written
    if keep_partial and job.generated[list(job.todo)].any():
        save_state(job, state_of(partial))
        return write_result(job, partial)
    return None


def replay(
    recipe: Path | str,
    out: Path | str | None = None,
    *,
    device: str | None = None,
    overwrite: bool = False,
    cancel: Event | None = None,
    progress: Callable[[Part], None] | None = None,
) -> Path | None:
    """Generate the volume of a recipe's file again; the same versions on the same device give the same bytes.

    Parameters
    ----------
    recipe
        The JSON file.
    out
        Where to write; over the first result, beside the recipe, if not given.
    device
        Another device than the recipe's, whose voxels then differ slightly.
    overwrite, cancel, progress
        As for `run_recipe`, which also says what is returned and raised.
    """
    path = Path(recipe)
    read = read_recipe(path)
    if device is not None:
        read = read.on_device(device)
    where = result_of(path) if out is None else out
    return run_recipe(read, where, overwrite=overwrite, cancel=cancel, progress=progress, beside=path.absolute().parent)


def check_result(
    recipe: Recipe, out: Path, *, beside: Path | None = None, overwrite: bool = False, size: int = 0
) -> None:
    """Find out before the work whether a result can be written; see `check_output` for what is refused."""
    paths = [Path(file.path) for file in recipe.files if file.path]
    if beside is not None:
        paths += [moved for path in paths for moved in (beside / path, beside / path.name)]
    check_output(out, record=sidecar(out), inputs=paths, overwrite=overwrite, size=size)


def is_made(recipe: Recipe, out: Path) -> bool:
    """Whether `out` is the result of this recipe, by the recipe beside it, wherever the files lay when it was made."""
    beside = sidecar(out)
    there = out.exists() and beside.exists() and belongs(out)
    return there and identity(read_recipe(beside)) == identity(recipe)


def write_result(job: Job, out: Path | str) -> Path:
    """Write a job's result as NIfTI and its recipe beside it, both or neither; returns the path."""
    out = Path(out)
    write_pair(job.result(), job.recipe, out)
    return out
