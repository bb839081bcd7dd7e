"""Made-up patients of any size, in memory or as a prepared dataset, so that benchmarks need no data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_gem3d.bundle import ModelBundle
from napari_gem3d.bundle.preprocessing import prepare_labels
from napari_gem3d.device import choose_device, choose_precision
from napari_gem3d.foreground import foreground
from napari_gem3d.io import write_volume
from napari_gem3d.labels import LabelMap
from napari_gem3d.sampling.inputs import Inputs
from napari_gem3d.sampling.job import Job
from napari_gem3d.sampling.recipe import Recipe, current_versions
from napari_gem3d.sampling.references import InputFile, ModelReference
from napari_gem3d.training.data.cache import Cache
from napari_gem3d.training.stages.latents import encode_cache
from napari_gem3d.volume import Volume, resample

_NOWHERE = InputFile(path="made up", sha256="")


def make_job(
    bundle: ModelBundle,
    slices: int,
    size: tuple[int, int] | None = None,
    *,
    solver: str | None = None,
    steps: int | None = None,
    precision: str = "auto",
    device: str = "cpu",
) -> Job:
    """Make a job whose body fills a box, informed by its own middle slice.

    Parameters
    ----------
    bundle
        The model.
    slices, size
        Slices with body; rows and columns that the networks see, multiples of 32 (the plan's own by default).
    solver, steps, precision, device
        As in `make_recipe`; the plan's own by default.
    """
    plan = bundle.plan if size is None else bundle.plan.model_copy(update={"size": size})
    place = choose_device(device)
    inputs = _inputs(replace(bundle, plan=plan), slices)
    recipe = Recipe(
        mask=_NOWHERE,
        informed=_NOWHERE,
        body=_NOWHERE,
        informed_slice=slices // 2,
        start=slices // 2,
        model=ModelReference(folder=plan.name, sha256=bundle.sha256),
        solver=solver or plan.default_solver,
        steps=steps or plan.default_steps,
        seed=1,
        device=str(place),
        precision=choose_precision(precision, place),
        plan=plan,
        versions=current_versions(),
    )
    return Job(recipe, inputs, replace(bundle, plan=plan))


def write_case(bundle: ModelBundle, folder: Path, slices: int) -> tuple[Path, Path]:
    """Write label map and scan of a made-up patient with some air about it; returns the paths."""
    inputs = _inputs(bundle, slices)
    paths = folder / "labels.nii.gz", folder / "scan.nii.gz"
    z, y, x = inputs.mask.shape
    wider = inputs.mask.grid.box((-8, -24, -40), (z + 16, y + 48, x + 80))
    write_volume(resample(inputs.mask, wider, order=0), paths[0])
    write_volume(resample(inputs.informed, wider, order=0), paths[1])
    return paths


def write_cache(bundle: ModelBundle, folder: Path, patients: int, slices: int) -> Cache:
    """Write what training prepares of a dataset, latents included: made-up patients with their mirror images.

    The last patient is held out.
    """
    assert bundle.vae is not None
    labels = _inputs(bundle, slices).case.labels
    names = [f"patient-{number}" for number in range(patients)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(bundle.plan.model_dump_json(), encoding="utf-8")
    (folder / "split.json").write_text(json.dumps({"train": names[:-1], "validation": names[-1:]}), encoding="utf-8")
    cache = Cache(folder)
    for seed, name in enumerate(names):
        texture = np.random.default_rng(seed).normal(0, 0.3, labels.shape)
        images = np.where(labels > 0, texture.clip(-1, 1), -1).astype(np.float16)
        for kind, array in (("images", images), ("labels", labels)):
            cache.write(name, kind, np.stack([array, array[..., ::-1]]))
    precision = choose_precision("auto", choose_device("cpu"))
    encode_cache(cache, bundle.vae, precision, say=lambda _: None)
    return cache


def _inputs(bundle: ModelBundle, slices: int) -> Inputs:
    plan = bundle.plan
    rows, columns = plan.size
    y, x = np.ogrid[:rows, :columns]
    oval = ((y - rows / 2) / (rows / 2 - 3)) ** 2 + ((x - columns / 2) / (columns / 2 - 3)) ** 2 < 1
    lesion = (y - rows / 3) ** 2 + (x - columns / 3) ** 2 < (columns / 10) ** 2
    body = plan.labels.body
    labels = np.zeros((slices, rows, columns), np.uint8)
    labels[:, oval] = 1 if body is None else body.value
    labels[slices // 3 : slices // 2 + 1, lesion & oval] = plan.labels.labels[0].value
    texture = np.random.default_rng(0).normal(0, 20, labels.shape)
    voxels = np.where(labels > 0, 400 + 2 * y + texture, 0).astype(np.int16)
    affine = np.diag([*reversed(plan.spacing), 1.0])
    mask, scan = LabelMap(labels, affine), Volume(voxels, affine, plan.modality)
    case = prepare_labels(plan, mask)
    return Inputs(mask, case, scan, foreground(scan), case, same_patient=True)
