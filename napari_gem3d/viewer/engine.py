"""What the panel asks of the core, in the worker's thread: load a model, open a generation, write its result."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from numpy.typing import NDArray

from napari_gem3d.grid import Grid
from napari_gem3d.io import write_volume
from napari_gem3d.io.nifti import SUFFIXES
from napari_gem3d.labels import LabelTable
from napari_gem3d.viewer.informed.state import DrawnSlice
from napari_gem3d.viewer.layers import Origin, restored_labels
from napari_gem3d.viewer.session import Session
from napari_gem3d.volume import Volume

if TYPE_CHECKING:
    from napari_gem3d.bundle import ModelBundle
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

    @property
    def voxels(self) -> NDArray[Any]:
        """(Z, Y, X) on the job's grid, what is there so far; for the background and what an edit leaves as it is."""

    @property
    def finished(self) -> bool:
        """Whether all slices are generated."""

    def run(self, cancel: threading.Event | None = None) -> Iterator[Part]:
        """Yield finished slices; stop within one denoising step after `cancel` is set."""

    def result(self) -> Volume:
        """What is finished, on the mask's own grid."""


@dataclass(frozen=True)
class LoadedModel:
    """What the panel shows of a bundle: labels, own number of steps, whether it can draw an informed slice itself."""

    table: LabelTable
    steps: int
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
    position: float | None = None
    informed_seed: int | None = None


class Engine(Protocol):
    """The core as the panel sees it; tests put a small one in its place."""

    def load(self, model: str) -> LoadedModel:
        """Load a bundle and keep it for the runs to come."""

    def open(self, order: Order) -> Job:
        """Write the mask, make the recipe, check and load everything."""

    def draw(self, order: Order) -> DrawnSlice:
        """Let the model draw the informed slice of an order, as its generation will."""

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

    def load(self, model: str) -> LoadedModel:
        """Load a bundle, or return the one that is loaded; InputError as `load_bundle`."""
        bundle = self._bundle(model)
        return LoadedModel(bundle.plan.labels, bundle.plan.default_steps, bundle.position_unet is not None)

    def open(self, order: Order) -> Job:
        """Write the mask, make the recipe, check everything; InputError says what does not fit."""
        from napari_gem3d.sampling.job import open_job
        from napari_gem3d.viewer.informed.ordering import whole_recipe

        bundle = self._bundle(order.model)
        labels = restored_labels(order.mask.copy(), order.mask_origin, bundle.plan.labels)
        mask = self._session.save_mask(labels, order.mask_name)
        names = ("model", "steps", "seed", "device", "precision")
        recipe = whole_recipe(order, mask, {name: getattr(order, name) for name in names})
        return open_job(recipe, bundle=bundle)

    def draw(self, order: Order) -> DrawnSlice:
        """Let the model draw the informed slice of an order; see `draw_informed`."""
        from napari_gem3d.viewer.informed.ordering import draw_informed

        return draw_informed(self._bundle(order.model), order)

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
