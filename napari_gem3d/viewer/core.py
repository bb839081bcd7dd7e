"""What the viewer asks of the core: requests, estimates, jobs and the slices they yield; data and protocols alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from napari_gem3d.anatomy import Completed
from napari_gem3d.grid import Grid
from napari_gem3d.labels import AnatomySource, LabelMap, LabelTable
from napari_gem3d.viewer.layers import Origin
from napari_gem3d.volume import Volume

Mode = Literal["volume", "edit"]


class Slices(Protocol):
    """What has just been finished."""

    @property
    def indices(self) -> Sequence[int]:
        """Along axis 0 of the job's grid; none if it only reports progress."""

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

    def run(self, cancel: threading.Event | None = None, *, resume: bool = False) -> Iterator[Slices]:
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
    devices, models
        Where it may run, and the bundles found, itself among them.
    draws
        Whether it can draw an informed slice itself.
    """

    table: LabelTable
    steps: int
    devices: tuple[str, ...] = ("auto", "cpu")
    models: tuple[str, ...] = ()
    draws: bool = False


@dataclass(frozen=True)
class Request:
    """A generation that was asked for.

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
class Estimate:
    """What can be said of a request before it is carried out.

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


@dataclass(frozen=True, eq=False)
class DrawnSlice:
    """A slice that the model drew.

    Attributes
    ----------
    voxels
        (Y, X), canonical axes, in the intensities that the result will have.
    spacing
        Size of a pixel in mm, (y, x).
    """

    voxels: NDArray[Any]
    spacing: tuple[float, float]


class Engine(Protocol):
    """The core as the panel sees it; tests put a small one in its place."""

    def load(self, model: str) -> LoadedModel:
        """Load a bundle and keep it for the runs to come."""

    def open(self, request: Request) -> Job:
        """Write the mask, make the recipe, check and load everything."""

    def draw(self, request: Request) -> DrawnSlice:
        """Let the model draw the informed slice of a request, as its generation will."""

    def find_anatomy(self, model: str, scan: Volume, labels: LabelMap) -> Completed:
        """Complete a label map on the grid of its scan by the tissue that the scan shows, if the model knows any."""

    def measure(self, request: Request) -> None:
        """Time a step of the request's model where it would run, unless that is known on this machine."""

    def estimate(self, request: Request, rows: range) -> Estimate:
        """Say how long a request will take whose scan shows the body on these of its axial slices."""

    def run(self, job: Job, cancel: threading.Event, *, resume: bool, opening: float) -> Iterator[Slices]:
        """Run a job, and learn from it how fast this machine is; `opening` is how many seconds opening it took."""

    def notes(self, job: Job) -> str:
        """What people should know of the inputs, such as why the scan does not show some anatomy; mostly empty."""

    def save(self, volume: Volume, recipe: Any, path: Path) -> None:
        """Write a result as NIfTI and its recipe beside it, to read both back later."""

    def read_recipe(self, path: Path) -> Any:
        """The recipe beside a result that was saved."""

    def export(self, volume: Volume, recipe: Any, path: Path, sources: Sequence[Path]) -> list[Path]:
        """Write a result for others; `sources` are never replaced. A folder's name is a DICOM series. Returns files."""

    def command(self, recipe: Any, out: Path) -> str:
        """The line for the shell that generates a recipe's volume again."""
