"""The core behind the panel, in the worker's thread: load a model, open a generation, write its result."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gem3d.anatomy import Completed
from napari_gem3d.io.nifti import SUFFIXES
from napari_gem3d.labels import LabelMap
from napari_gem3d.numbering import MODEL
from napari_gem3d.sampling.settings import MARGIN_MM, Settings
from napari_gem3d.viewer.core import DrawnSlice, Estimate, Job, LoadedModel, Request, Slices
from napari_gem3d.viewer.layers import restored_labels
from napari_gem3d.viewer.session import Session, speeds_file
from napari_gem3d.volume import Volume

if TYPE_CHECKING:
    from napari_gem3d.bundle import ModelBundle
    from napari_gem3d.sampling.forecast import Speeds
    from napari_gem3d.sampling.job import Job as CoreJob
    from napari_gem3d.sampling.recipe import Recipe

# Bundles that stay in memory: a model and one that it is compared with.
_LOADED = 2


class CoreEngine:
    """The core itself. Its modules are imported in the worker's thread: PyTorch takes seconds to load.

    Parameters
    ----------
    session
        Where the masks go that recipes refer to.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._bundles: dict[str, ModelBundle] = {}  # the one used last comes last
        self._named: dict[str, None] = {}

    @cached_property
    def _speeds(self) -> Speeds:
        from napari_gem3d.sampling.forecast import Speeds

        return Speeds(speeds_file())

    def load(self, model: str) -> LoadedModel:
        """Load a bundle, or return the one that is loaded; InputError as `load_bundle`."""
        from napari_gem3d.bundle import known_models

        plan = self._bundle(model).plan
        models = tuple(dict.fromkeys([*known_models(), *self._named]))
        draws = self._bundle(model).position_unet is not None
        return LoadedModel(plan.labels, plan.default_steps, _devices(), models, draws)

    def open(self, request: Request) -> Job:
        """Keep the mask for the recipe, and check everything; InputError says what does not fit."""
        from napari_gem3d.sampling.generation import open_edit

        labels = self._kept(self._labels(request))
        if request.mode == "volume":
            return self._open_volume(request, labels)
        before: Path | LabelMap | None = request.before
        if before is None:
            before = self._kept(labels.with_voxels(np.zeros_like(labels.voxels)))
        settings = _settings(request).changed(margin_mm=request.margin_mm or MARGIN_MM)
        if request.own_neighbours:
            return open_edit(request.body, before, labels, **self._model(request), settings=settings)
        settings = settings.changed(slice=request.informed_slice)
        informed = request.informed
        return open_edit(request.body, before, labels, informed=informed, **self._model(request), settings=settings)

    def draw(self, request: Request) -> DrawnSlice:
        """Draw the informed slice as the generation would; InputError as `open`."""
        job = self._open_volume(request, self._labels(request))
        _, row, column = job.prepared.case.box.spacing
        return DrawnSlice(job.informed_picture, (row, column))

    def _open_volume(self, request: Request, labels: LabelMap) -> CoreJob:
        from napari_gem3d.sampling.generation import open_volume
        from napari_gem3d.sampling.recipe import GENERATED

        settings, how = _settings(request), self._model(request)
        if request.informed is None:
            drawn = settings.changed(position=request.position, informed_seed=request.informed_seed)
            return open_volume(labels, GENERATED, request.body, **how, settings=drawn)
        chosen = settings.changed(slice=request.informed_slice)
        return open_volume(labels, request.informed, request.body, **how, settings=chosen)

    def _labels(self, request: Request) -> LabelMap:
        """The mask of a request on its own grid; it came from no file."""
        table = self._bundle(request.model).plan.labels
        return replace(restored_labels(request.mask.copy(), request.mask_origin, table), source=None)

    def _kept(self, labels: LabelMap) -> LabelMap:
        """A label map with the file that recipes name."""
        return replace(labels, source=self._session.save_mask(labels))

    def _model(self, request: Request) -> dict[str, Any]:
        return {"model": request.model, "bundle": self._bundle(request.model)}

    def find_anatomy(self, model: str, scan: Volume, labels: LabelMap) -> Completed:
        """Complete a label map by the tissue that its scan shows, as an edit does; see `complete_anatomy`."""
        from napari_gem3d.anatomy import complete_anatomy
        from napari_gem3d.masks.scene import with_body
        from napari_gem3d.sampling.prepare import said_by_plan

        plan = self._bundle(model).plan
        scan = said_by_plan(plan, scan)
        whole = with_body(replace(labels, table=plan.labels), scan)
        return complete_anatomy(whole, plan.labels, "scan", scan, None, plan.channel)

    def measure(self, request: Request) -> None:
        """Time a step of the request's model where it would run, unless that is known on this machine."""
        from napari_gem3d.device import choose_device, choose_precision
        from napari_gem3d.sampling.forecast import measure_step

        bundle, device = self._bundle(request.model), choose_device(request.device)
        precision = choose_precision(request.precision, device)
        key = self._speeds.key(bundle.sha256, str(device), precision)
        if self._speeds.find(key) is None:
            self._speeds.remember(key, measure_step(bundle, device, precision))

    def estimate(self, request: Request, rows: range) -> Estimate:
        """Say how long a request will take; see `estimate.estimate`."""
        from napari_gem3d.viewer.estimate import estimate

        return estimate(self._bundle(request.model), request, rows, self._speeds)

    def run(self, job: Job, cancel: threading.Event, *, resume: bool, opening: float) -> Iterator[Slices]:
        """Run a job; one that is not interrupted shows how fast this machine is."""
        from napari_gem3d.device import choose_device
        from napari_gem3d.sampling.forecast import Speed, peak_memory, volume_memory
        from napari_gem3d.sampling.job import Job as CoreJob

        assert isinstance(job, CoreJob), "`open` made it"
        recipe, begun = job.recipe, time.perf_counter()
        with peak_memory(choose_device(recipe.device)) as peak:
            yield from job.run(cancel, resume=resume)
        if resume or not job.finished:
            return
        seconds = time.perf_counter() - begun
        networks = peak.growth - volume_memory(recipe.task, int(np.prod(job.grid.shape)))
        speed = Speed(seconds=seconds / job.work.units, opening=opening, memory=max(networks, 0), runs=1)
        self._speeds.remember(self._speeds.key(recipe.model.sha256, recipe.device, recipe.precision), speed)

    def notes(self, job: Job) -> str:
        """What people should know of the inputs, such as why the scan does not show some anatomy."""
        from napari_gem3d.sampling.job import Job as CoreJob

        assert isinstance(job, CoreJob), "`open` made it"
        return job.prepared.said

    def save(self, volume: Volume, recipe: Recipe, path: Path) -> None:
        """Write a result as NIfTI and its recipe beside it."""
        from napari_gem3d.sampling.pair import write_pair

        write_pair(volume, recipe, path)

    def read_recipe(self, path: Path) -> Recipe:
        """The recipe beside a result; InputError as `read_recipe`."""
        from napari_gem3d.sampling.recipe import read_recipe, sidecar

        return read_recipe(sidecar(path))

    def export(self, volume: Volume, recipe: Recipe, path: Path, sources: Sequence[Path]) -> list[Path]:
        """Write a result as NIfTI, or, if `path` has no suffix of one, as a DICOM series; see `export_nifti`."""
        from napari_gem3d.sampling.export import export_dicom, export_nifti

        if path.name.lower().endswith(SUFFIXES):
            return export_nifti(volume, recipe, path, sources=sources)
        return [export_dicom(volume, recipe, path)]

    def command(self, recipe: Recipe, out: Path) -> str:
        """The line for the shell that generates a recipe's volume again; InputError as `recipe_command`."""
        from napari_gem3d.sampling.command_line import recipe_command, shell_line

        return shell_line(recipe_command(recipe, out))

    def _bundle(self, model: str) -> ModelBundle:
        from napari_gem3d.bundle import load_bundle

        self._named.setdefault(model)
        bundle = self._bundles.pop(model, None) or load_bundle(model)
        self._bundles[model] = bundle
        while len(self._bundles) > _LOADED:
            del self._bundles[next(iter(self._bundles))]
        return bundle


def _devices() -> tuple[str, ...]:
    """What people may choose from on this machine."""
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return ("auto", "cpu", *(name for name, is_there in there.items() if is_there))


def _settings(request: Request) -> Settings:
    """The settings that requests of both kinds have; the panel's label maps have the model's numbers by then."""
    names = ("steps", "seed", "anatomy", "mass_effect_mm", "device", "precision")
    return Settings(labels=MODEL, **{name: getattr(request, name) for name in names})
