"""What people do with results: show, compare, generate again, export, delete, copy their command line."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QApplication

from napari_gem3d.errors import InputError
from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.generation import Generation
from napari_gem3d.viewer.informed.controller import Informed
from napari_gem3d.viewer.informed.thumbnails import grey
from napari_gem3d.viewer.layers import is_tool, origin_of, volume_of
from napari_gem3d.viewer.run import Run
from napari_gem3d.viewer.runs.comparison import Comparison
from napari_gem3d.viewer.runs.mark import SyntheticMark
from napari_gem3d.viewer.signals import State

_THUMBNAIL = 96


class ResultsState(State):
    """What is going on with results.

    Attributes
    ----------
    shown
        The run whose result was asked for last, None before.
    deleted
        The run that was deleted last and can be brought back, None if there is none.
    """

    shown: Any = None
    deleted: Any = None


class Results:
    """The results of `state.runs`, as people use them.

    Parameters
    ----------
    comparison
        Shows a result against the scan or another result.
    informed, generation
        Choose what informed a result, to generate it again.

    Attributes
    ----------
    state
        What is shown and what can be brought back.
    mark
        Says SYNTHETIC on the canvases.
    """

    def __init__(self, context: Context, comparison: Comparison, informed: Informed, generation: Generation) -> None:
        self._context, self._panel, self._viewer = context, context.state, context.viewer
        self._informed, self._generation = informed, generation
        self.state = ResultsState()
        self.comparison = comparison
        self.mark = SyntheticMark(context.planes)
        context.viewer.layers.events.removed.connect(self._on_removed)

    def close(self) -> None:
        """Let go of the viewer."""
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        self.mark.close()

    def show(self, run: Run) -> None:
        """Show a result on its patient, in the place of the other ones; the crosshair stays where it is."""
        self.comparison.stop()
        if run.layer is None:
            self._panel.say(f"{run.name} has nothing to show yet.")
            return
        self._panel.patient = run.patient
        for other in self._panel.runs:
            if other.layer is not None:
                other.layer.visible = other is run
        layers = self._viewer.layers
        if run.patient.image in layers and layers.index(run.layer) < layers.index(run.patient.image):
            layers.move(layers.index(run.layer), layers.index(run.patient.image) + 1)
        self.state.shown = run

    def again(self, run: Run) -> Run | None:
        """Generate with this run's seed and settings, from the mask as it is now."""
        recipe, state = run.recipe, self._panel
        if recipe is None or run.patient not in state.patients:
            state.say_error(InputError(f"{run.name} cannot be generated again; its scan is closed or it never began."))
            return None
        state.patient = run.patient
        if run.donor is not None and run.donor in state.patients:
            self._informed.choose(run.donor)
        elif run.request is None or run.request.informed is not None:
            state.say_error(
                InputError(f"The scan that gave the informed slice of {run.name} is closed; open it again.")
            )
            return None
        state.donor_slice, state.steps = recipe.informed_slice, recipe.steps
        state.random_seed, state.seed = False, recipe.seed
        for name in ("anatomy", "mass_effect_mm"):
            setattr(state, name, getattr(recipe, name, getattr(state, name)))
        return self._generation.generate(run.mode)

    def delete(self, run: Run) -> None:
        """Take a result away, or a waiting run out of the queue; the last one can be brought back."""
        if self.comparison.state.run is run or self.comparison.state.other is run:
            self.comparison.stop()
        self._panel.runs = tuple(other for other in self._panel.runs if other is not run)
        if run.layer is None or run.status not in ("finished", "partial"):
            return
        if run.layer in self._viewer.layers:
            self._viewer.layers.remove(run.layer)
        self.state.deleted = run
        self._panel.say(f"{run.name} is deleted.")

    def undelete(self) -> None:
        """Bring back the result that was deleted last."""
        run = self.state.deleted
        if run is None:
            return
        self.state.deleted = None
        self._viewer.add_layer(run.layer)
        self._panel.runs = (*self._panel.runs, run)
        self._panel.say(f"{run.name} is back.")
        self.show(run)

    def export(self, run: Run | None, path: Path) -> None:
        """Write a result in the background: NIfTI with label maps and recipe, or, to a name without .nii, DICOM."""
        if run is None or run.layer is None or run.recipe is None or run.status not in ("finished", "partial"):
            self._panel.say_error(InputError("There is no result to export yet; generate one first."))
            return
        layer, recipe, sources = run.layer, run.recipe, self._sources()
        self._panel.say(f"Exporting {run.name} …")

        def write() -> list[Path]:
            return self._context.engine.export(volume_of(layer), recipe, path, sources)

        def tell(written: list[Path]) -> None:
            others = f" (with {', '.join(file.name for file in written[1:])})" if len(written) > 1 else ""
            self._panel.say(f"Exported {written[0].name}{others} to {written[0].parent}.")

        self._context.files.submit(write, tell, self._panel.say_error)

    def copy_command(self, run: Run) -> None:
        """Put the command line that generates a result again into the clipboard."""
        if run.recipe is None:
            self._panel.say_error(InputError(f"{run.name} has not begun, so that it has no recipe yet."))
            return
        out = Path.home() / f"{file_name(run)}.nii.gz"

        def tell(line: str) -> None:
            QApplication.clipboard().setText(line)
            self._panel.say("The command is in the clipboard; its masks stay in the session folder for two weeks.")

        self._context.files.submit(partial(self._context.engine.command, run.recipe, out), tell, self._panel.say_error)

    def thumbnail(self, run: Run) -> NDArray[np.uint8] | None:
        """The axial slice through the lesion, (rows, columns) of grey values, as radiologists look at it."""
        layer = run.layer
        if layer is None or layer.data.ndim != 3:
            return None
        shown, depth = run.patient.middle_slice(), layer.data.shape[0]
        if layer.data.shape[0] != run.patient.num_slices:
            shown = depth // 2
        picture = grey(layer.data[min(max(shown, 0), depth - 1)], layer.contrast_limits)
        step = max(1, max(picture.shape) // _THUMBNAIL)
        return picture[::step, ::step]

    def _sources(self) -> list[Path]:
        """The files of everything that is open, which no export may replace."""
        origins = [origin_of(layer) for layer in self._viewer.layers if not is_tool(layer)]
        return [origin.path for origin in origins if origin is not None and origin.path is not None]

    def _on_removed(self, event: Any = None) -> None:
        """A result whose layer was deleted in napari's own list is deleted."""
        layers = self._viewer.layers
        for run in self._panel.runs:
            if run.layer is not None and run.status in ("finished", "partial") and run.layer not in layers:
                self.delete(run)


def file_name(run: Run) -> str:
    """What a result's file may be called: nothing that a shell or a file system takes amiss."""
    words = f"{run.patient.name} {run.name}".lower()
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in words).strip("-")
