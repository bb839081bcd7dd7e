"""Make one volume of a dataset, with its label map, recipe and record; the work of a task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch

from napari_gem3d.bundle import ModelBundle, load_bundle
from napari_gem3d.bundle.plan import Plan
from napari_gem3d.bundle.preprocessing import fit_intensities
from napari_gem3d.bundle.store import find_bundle, hash_bundle, read_plan
from napari_gem3d.cohorts.layout import ENDING, Layout, Record, relative
from napari_gem3d.cohorts.target import Target, case_labels, dataset_labels, make_target
from napari_gem3d.cohorts.variants import Variant
from napari_gem3d.errors import InputError
from napari_gem3d.foreground import foreground
from napari_gem3d.io import read_label_map, read_volume, sha256, write_volume
from napari_gem3d.numbering import MODEL
from napari_gem3d.sampling.generation import open_edit, open_volume
from napari_gem3d.sampling.job import Job
from napari_gem3d.sampling.prepare import check_modality
from napari_gem3d.sampling.recipe import GENERATED, Recipe
from napari_gem3d.sampling.references import InputFile
from napari_gem3d.sampling.results import run_job
from napari_gem3d.sampling.settings import Settings


def make_variant(variant: Variant) -> Literal["made", "there"]:
    """Make a volume, unless it is there and whole.

    Raises
    ------
    InputError
        If its case cannot be used; nothing of it is left then. What was made already stays if a file is gone that it
        was made of: a folder that is out of reach for an hour must not cost what took days.
    LeftOut
        If it is an edit and its case has no lesion.
    """
    layout = Layout(variant.out)
    record = layout.read_record(variant.name)
    if record is not None and _is_there(layout, record, variant):
        return "there"
    layout.remove(variant.name)
    try:
        with _threads(variant.how.threads):
            made = _copy(variant, layout) if variant.kind == "real" else _generate(variant, layout)
        layout.write_record(made)
    except BaseException:
        layout.remove(variant.name)
        raise
    return "made"


def _is_there(layout: Layout, record: Record, variant: Variant) -> bool:
    """Whether a volume was made of the same files, by the same settings, and is as it was then."""
    if (record.settings, record.kind, record.seed) != (variant.how.digest, variant.kind, _seed(variant)):
        return False
    donors = dict(variant.donors)
    if record.donor is not None and record.donor not in donors:
        return False
    files = {"image": variant.image, "labels": variant.labels}
    if record.donor is not None:
        files["donor"] = donors[record.donor]
    return {what: sha256(path) for what, path in files.items()} == record.sources and layout.is_whole(record)


def _seed(variant: Variant) -> int | None:
    return None if variant.kind == "real" else variant.seed


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _copy(variant: Variant, layout: Layout) -> Record:
    """Take a scan over: its voxels and their place, and nothing else of its header."""
    scan = read_volume(variant.image, **variant.how.settings.reading)
    labels = read_label_map(variant.labels, **variant.how.settings.reading).aligned_to(scan.grid)
    image, out = layout.image(variant.name), layout.labels / f"{variant.name}{ENDING}"
    write_volume(scan, image, description=None if "synthetic" in scan.meta else "")
    write_volume(dataset_labels(labels, variant.how), out)
    return Record(
        name=variant.name,
        kind="real",
        synthetic="synthetic" in scan.meta,
        case=variant.case,
        image_sha256=sha256(image),
        labels_sha256=sha256(out),
        sources={"image": sha256(variant.image), "labels": sha256(variant.labels)},
        settings=variant.how.digest,
    )


def _generate(variant: Variant, layout: Layout) -> Record:
    plan = read_plan(find_bundle(variant.how.model))
    target = make_target(variant, plan)
    mask, image = layout.masks / f"{variant.name}{ENDING}", layout.image(variant.name)
    out = layout.labels / f"{variant.name}{ENDING}"
    # nnU-Net's label map is checked before the work is done, but written after it: no label map without scan.
    named = dataset_labels(target.labels, variant.how, plan, target.found)
    write_volume(target.labels, mask)
    job, donor, more = _job(variant, plan, target, mask)
    job.recipe = recipe = _from_folder(job.recipe, image.parent)
    run_job(job, image)
    write_volume(named, out)
    sources = {"image": sha256(variant.image), "labels": sha256(variant.labels)}
    if donor is not None and recipe.informed is not None:
        sources["donor"] = recipe.informed.sha256
    return Record(
        name=variant.name,
        kind=variant.kind,
        synthetic=True,
        case=variant.case,
        donor=donor,
        seed=recipe.seed,
        operations=target.operations,
        notes=(*target.notes, *more),
        model=plan.name,
        model_sha256=recipe.model.sha256,
        image_sha256=sha256(image),
        labels_sha256=sha256(out),
        sources=sources,
        settings=variant.how.digest,
    )


def _job(variant: Variant, plan: Plan, target: Target, mask: Path) -> tuple[Job, str | None, list[str]]:
    """The job, the name of the donor if there is one, and notes."""
    folder = find_bundle(variant.how.model)
    bundle = _loaded(variant.how.model, hash_bundle(folder))
    # What is drawn from has the numbers of the model by now.
    own_seed = variant.how.settings.changed(seed=variant.seed, anatomy=target.anatomy, labels=MODEL)
    opening: dict[str, Any] = {"model": variant.how.model, "settings": own_seed, "bundle": bundle}
    if variant.kind == "edit":
        opening["settings"] = own_seed.changed(position=None)
        before = replace(case_labels(variant, plan), source=variant.labels)
        return open_edit(variant.image, before, mask, **opening), None, []
    opening["body"] = variant.image
    if variant.kind == "IG":
        return open_volume(mask, GENERATED, **opening), None, []
    if variant.kind == "baseline":
        return open_volume(mask, variant.image, **opening), None, []
    if variant.kind == "harmonised":
        ((name, scan),) = variant.donors
        return open_volume(mask, scan, **opening), name, []
    own = sha256(variant.image)
    notes: list[str] = []
    for name, scan in variant.donors:
        try:
            if sha256(scan) != own:
                return open_volume(mask, scan, **opening), name, notes
            why = "It is the same scan under another name."
        except InputError:
            fault = _fault(scan, plan, variant.how.settings)
            if fault is None:
                raise
            why = fault
        notes.append(f"{name} does not inform it: {why}")
    raise InputError(
        f"No scan of another patient can inform {variant.case}"
        f"{f' ({notes[0]})' if notes else ''}; add some to the dataset, or give a folder of scans."
    )


def _fault(scan: Path, plan: Plan, settings: Settings) -> str | None:
    """Why a scan cannot inform any volume; None if it can, so that the fault lies with the case."""
    try:
        volume = read_volume(scan, **settings.reading)
        check_modality(plan, volume)
        fit_intensities(plan, volume, foreground(volume))
    except InputError as error:
        return str(error)
    return None


def _from_folder(recipe: Recipe, folder: Path) -> Recipe:
    """The same recipe with all files named from the folder of its results on, which may then move together."""

    def moved(file: InputFile | None) -> InputFile | None:
        return None if file is None else file.model_copy(update={"path": relative(file.path, folder)})

    update: dict[str, Any] = {name: moved(getattr(recipe, name)) for name in ("mask", "informed", "body")}
    if recipe.edit is not None:
        files = {"image": moved(recipe.edit.image), "edited": moved(recipe.edit.edited)}
        update["edit"] = recipe.edit.model_copy(update=files)
    return recipe.model_copy(update=update)


@lru_cache(maxsize=1)
def _loaded(model: str, digest: str) -> ModelBundle:
    """The model, once a process; `digest` is there so that one that has changed is loaded anew."""
    return load_bundle(model)
