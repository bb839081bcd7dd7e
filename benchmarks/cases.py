"""Made-up patients of any size, in memory or as a prepared dataset, so that benchmarks need no data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_gem3d.bundle import ModelBundle
from napari_gem3d.bundle.plan import Plan
from napari_gem3d.bundle.preprocessing import prepare_labels
from napari_gem3d.device import choose_device, choose_precision
from napari_gem3d.io import write_volume
from napari_gem3d.labels import LabelMap
from napari_gem3d.sampling.generation import job_of
from napari_gem3d.sampling.inputs import Inputs
from napari_gem3d.sampling.job import Job
from napari_gem3d.sampling.prepare import prepare
from napari_gem3d.sampling.settings import Settings
from napari_gem3d.training.data.cache import Cache
from napari_gem3d.training.stages.latents import encode_cache
from napari_gem3d.volume import Volume, resample


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
        As in `Settings`; the plan's own by default.
    """
    plan = bundle.plan if size is None else bundle.plan.model_copy(update={"size": size})
    settings = Settings(slice=slices // 2, solver=solver, steps=steps, seed=1, device=device, precision=precision)
    return job_of(replace(bundle, plan=plan), prepare(plan, _inputs(plan, slices), settings))


def write_case(bundle: ModelBundle, folder: Path, slices: int) -> tuple[Path, Path]:
    """Write label map and scan of a made-up patient with some air about it; returns the paths."""
    inputs = _inputs(bundle.plan, slices)
    assert inputs.body is not None
    paths = folder / "labels.nii.gz", folder / "scan.nii.gz"
    z, y, x = inputs.mask.shape
    # Slices of 240 × 240 for the size of brain-flair.
    wider = inputs.mask.grid.box((-8, -(y // 8), -(x // 4)), (z + 16, y + 2 * (y // 8), x + 2 * (x // 4)))
    write_volume(resample(inputs.mask, wider, order=0), paths[0])
    write_volume(resample(inputs.body, wider, order=0), paths[1])
    return paths


def write_cache(bundle: ModelBundle, folder: Path, patients: int, slices: int) -> Cache:
    """Write what training prepares of a dataset, latents included: made-up patients with their mirror images.

    The last patient is held out.
    """
    assert bundle.vae is not None
    labels = prepare_labels(bundle.plan, _inputs(bundle.plan, slices).mask).labels
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


def _inputs(plan: Plan, slices: int) -> Inputs:
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
    return Inputs(mask, scan, scan)
