"""What the panel asks of the core, in the worker's thread: load a model, open a generation, write its result."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.anatomy import Completed
from napari_gem3d.grid import Grid
from napari_gem3d.io import write_volume
from napari_gem3d.io.nifti import SUFFIXES
from napari_gem3d.labels import AnatomySource, LabelMap, LabelTable
from napari_gem3d.viewer.informed.state import DrawnSlice
from napari_gem3d.viewer.layers import Origin, restored_labels
from napari_gem3d.viewer.session import Session, speeds_file
from napari_gem3d.volume import Volume

if TYPE_CHECKING:
    from napari_gem3d.bundle import ModelBundle
    from napari_gem3d.sampling.forecast import Speeds
    from napari_gem3d.sampling.recipe import Recipe


Mode = Literal["volume", "edit"]


class Part(Protocol):
    """Slices that are finished."""

    @property
    def indices(self) -> Sequence[int]:
        """Along axis 0 of the job's grid; none if the part only tells progress."""

    @property
    def voxels(self) -> NDArray[Any]:
        """(n, Y, X) on the job's grid."""

    @property
    def progress(self) -> float:
        """From 0 to 1."""

    @property
    def message(self) -> str:
        """What people should know, such as that memory ran out; mostly empty."""


class Job(Protocol):
    """A generation that can start."""

    recipe: Any
    grid: Grid
    total: int

    @property
    def voxels(self) -> NDArray[Any]:
        """(Z, Y, X) on the job's grid, what is there so far; for the background and what an edit leaves as it is."""

    @property
    def finished(self) -> bool:
        """Whether all slices are generated."""

    def run(self, cancel: threading.Event | None = None, *, resume: bool = False) -> Iterator[Part]:
        """Yield finished slices, first those that are there already; stop soon after `cancel` is set."""

    def result(self) -> Volume:
        """What is finished, on the mask's own grid."""


@dataclass(frozen=True)
class LoadedModel:
    """What the panel shows of a bundle.

    Attributes
    ----------
    table, steps
        The labels it knows, and its own number of denoising steps.
    informed
        Whether it looks at the informed slice; a baseline does not.
    devices, models
        Where it may run, and the bundles found, itself among them.
    draws
        Whether it can draw an informed slice itself.
    """

    table: LabelTable
    steps: int
    informed: bool = True
    devices: tuple[str, ...] = ("auto", "cpu")
    models: tuple[str, ...] = ()
    draws: bool = False


@dataclass(frozen=True)
class Order:
    """What the panel ordered.

    Attributes
    ----------
    mask, mask_origin, mask_name
        A copy of the mask layer's voxels (canonical axes), what the layer remembers, and its name.
    body
        The patient's own scan, whose foreground is the body where the mask has no body label.
    informed, informed_slice
        A scan, and the axial index (canonical order) of the slice that informs the generation; no scan if the model
        draws it.
    position, informed_seed
        For a drawn slice: its place from 0, the lowest of the label map, to 1, and its seed.
    steps, seed, model
        Denoising steps, seed, bundle.
    mode
        A whole volume, or an edit of `body`.
    device, precision
        Where it runs and in which numbers, "auto" for what is fastest.
    before
        For an edit: the label map of the scan as it is; None if nothing was labelled.
    own_neighbours
        For an edit: whether the scan's own slices beside it inform it, not the informed slice.
    margin_mm
        For an edit: how far from changed labels voxels may change; the core's own margin by default.
    anatomy
        Where labels of anatomy come from, for models that know some.
    mass_effect_mm
        How far lesions push what surrounds them.
    """

    mask: NDArray[Any]
    mask_origin: Origin
    mask_name: str
    body: Path
    informed: Path | None
    informed_slice: int
    steps: int
    seed: int
    model: str
    mode: Mode = "volume"
    device: str = "auto"
    precision: str = "auto"
    before: Path | None = None
    own_neighbours: bool = True
    position: float | None = None
    informed_seed: int | None = None
    margin_mm: float | None = None
    anatomy: AnatomySource = "scan"
    mass_effect_mm: float = 0.0


@dataclass(frozen=True)
class Prospect:
    """What can be said of an order before it is carried out.

    Attributes
    ----------
    seconds
        How long it will take; None if that is not known.
    measured
        By how many generations on this machine; 0: by a single denoising step.
    memory, free
        Bytes that it will take beside what is taken now, and bytes that are free; None if that is not known.
    notices
        What people should know before: each a sentence.
    """

    seconds: float | None = None
    measured: int = 0
    memory: int | None = None
    free: int | None = None
    notices: tuple[str, ...] = ()


class Engine(Protocol):
    """The core as the panel sees it; tests put a small one in its place."""

    def load(self, model: str) -> LoadedModel:
        """Load a bundle and keep it for the runs to come."""

    def open(self, order: Order) -> Job:
        """Write the mask, make the recipe, check and load everything."""

    def draw(self, order: Order) -> DrawnSlice:
        """Let the model draw the informed slice of an order, as its generation will."""

    def find_anatomy(self, model: str, scan: Volume, labels: LabelMap) -> Completed:
        """Complete a label map on the grid of its scan by the tissue that the scan shows, if the model knows any."""

    def measure(self, order: Order) -> None:
        """Time a step of the order's model where it would run, unless that is known on this machine."""

    def foresee(self, order: Order, rows: range) -> Prospect:
        """Say how long an order will take whose scan shows the body on these of its axial slices."""

    def run(self, job: Job, cancel: threading.Event, *, resume: bool, opening: float) -> Iterator[Part]:
        """Run a job, and learn from it how fast this machine is; `opening` is how many seconds opening it took."""

    def notes(self, job: Job) -> Sequence[str]:
        """Why some anatomy cannot be told from the scan, a sentence for each reason; none if all of it can."""

    def save(self, volume: Volume, recipe: Any, path: Path) -> None:
        """Write a result as NIfTI and its recipe beside it, to read both back later."""

    def read_recipe(self, path: Path) -> Any:
        """The recipe beside a result that was saved."""

    def export(self, volume: Volume, recipe: Any, path: Path, sources: Sequence[Path]) -> list[Path]:
        """Write a result for others; `sources` are never replaced. A folder's name is a DICOM series. Returns files."""

    def command(self, recipe: Any, out: Path) -> str:
        """The line for the shell that generates a recipe's volume again."""


class CoreEngine:
    """The core itself. Its modules are imported in the worker's thread: PyTorch takes seconds to load.

    Parameters
    ----------
    session
        Where the masks go that recipes refer to.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._bundles: dict[str, ModelBundle] = {}

    @cached_property
    def _speeds(self) -> Speeds:
        from napari_gem3d.sampling.forecast import Speeds

        return Speeds(speeds_file())

    def load(self, model: str) -> LoadedModel:
        """Load a bundle, or return the one that is loaded; InputError as `load_bundle`."""
        from napari_gem3d.bundle import known_models

        plan = self._bundle(model).plan
        models = tuple(dict.fromkeys([*known_models(), *self._bundles]))
        draws = self._bundle(model).position_unet is not None
        return LoadedModel(plan.labels, plan.default_steps, plan.informed, _devices(), models, draws)

    def open(self, order: Order) -> Job:
        """Write the mask, make the recipe, check everything; InputError says what does not fit."""
        from napari_gem3d.sampling.generation import open_job
        from napari_gem3d.viewer.informed.ordering import whole_recipe

        bundle = self._bundle(order.model)
        labels = restored_labels(order.mask.copy(), order.mask_origin, bundle.plan.labels)
        mask = self._session.save_mask(labels)
        names = ("model", "steps", "seed", "anatomy", "mass_effect_mm", "device", "precision")
        settings = {name: getattr(order, name) for name in names}
        if order.mode == "edit":
            recipe = self._edit_recipe(order, labels, mask, settings)
        else:
            recipe = whole_recipe(order, mask, settings)
        return open_job(recipe, bundle=bundle)

    def draw(self, order: Order) -> DrawnSlice:
        """Let the model draw the informed slice of an order; see `draw_informed`."""
        from napari_gem3d.viewer.informed.ordering import draw_informed

        return draw_informed(self._bundle(order.model), order)

    def find_anatomy(self, model: str, scan: Volume, labels: LabelMap) -> Completed:
        """Complete a label map by the tissue that its scan shows, as an edit does; see `complete_anatomy`."""
        from napari_gem3d.anatomy import complete_anatomy
        from napari_gem3d.masks.scene import with_body
        from napari_gem3d.sampling.prepare import said_by_plan

        plan = self._bundle(model).plan
        scan = said_by_plan(plan, scan)
        whole = with_body(replace(labels, table=plan.labels), scan)
        return complete_anatomy(whole, plan.labels, "scan", scan, None, plan.channel)

    def _edit_recipe(self, order: Order, labels: LabelMap, mask: Path, settings: dict[str, Any]) -> Recipe:
        from napari_gem3d.sampling.recipe import make_edit_recipe
        from napari_gem3d.sampling.settings import MARGIN_MM

        before = order.before
        if before is None:
            nothing = labels.with_voxels(np.zeros_like(labels.voxels))
            before = self._session.save_mask(nothing)
        if not order.own_neighbours:
            settings |= {"informed": order.informed, "slice": order.informed_slice}
        return make_edit_recipe(order.body, before, mask, margin_mm=order.margin_mm or MARGIN_MM, **settings)

    def measure(self, order: Order) -> None:
        """Time a step of the order's model where it would run, unless that is known on this machine."""
        from napari_gem3d.device import choose_device, choose_precision
        from napari_gem3d.sampling.forecast import measure_step

        bundle, device = self._bundle(order.model), choose_device(order.device)
        precision = choose_precision(order.precision, device)
        key = self._speeds.key(bundle.sha256, str(device), precision)
        if self._speeds.find(key) is None:
            self._speeds.remember(key, measure_step(bundle, device, precision))

    def foresee(self, order: Order, rows: range) -> Prospect:
        """Say how long an order will take; see `prospect.foresee`."""
        from napari_gem3d.viewer.prospect import foresee

        return foresee(self._bundle(order.model), order, rows, self._speeds)

    def run(self, job: Job, cancel: threading.Event, *, resume: bool, opening: float) -> Iterator[Part]:
        """Run a job; one that is not interrupted tells how fast this machine is."""
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

    def notes(self, job: Job) -> Sequence[str]:
        """Why some anatomy cannot be told from the scan."""
        from napari_gem3d.sampling.job import Job as CoreJob

        assert isinstance(job, CoreJob), "`open` made it"
        return job.prepared.case.notes

    def save(self, volume: Volume, recipe: Recipe, path: Path) -> None:
        """Write a result as NIfTI and its recipe beside it."""
        from napari_gem3d.sampling.recipe import sidecar, write_recipe

        write_volume(volume, path)
        write_recipe(recipe, sidecar(path))

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

        if model not in self._bundles:
            self._bundles[model] = load_bundle(model)
        return self._bundles[model]


def _devices() -> tuple[str, ...]:
    """What people may choose from on this machine."""
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return ("auto", "cpu", *(name for name, is_there in there.items() if is_there))
