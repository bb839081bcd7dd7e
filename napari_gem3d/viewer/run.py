"""One generation in the viewer: slices stream into a layer of their own while the window stays alive."""

from __future__ import annotations

import threading
import time
from collections import deque
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Layer
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from napari_gem3d.grid import Grid
from napari_gem3d.viewer.engine import Engine, Job, Order, Part
from napari_gem3d.viewer.layers import METADATA, Origin, placement
from napari_gem3d.viewer.patients import Patient
from napari_gem3d.viewer.state import PanelState
from napari_gem3d.viewer.worker import Worker
from napari_gem3d.volume import Volume, resample

# At most ten refreshes a second: one costs tens of milliseconds in software rendering.
REFRESH_MS = 100
# Arrived slices that the view still has to walk through; it skips the oldest rather than lag behind.
_LONGEST_TOUR = 40


class Run:
    """A generation, from the order to the finished or partial layer.

    Parameters
    ----------
    viewer, state, worker, engine
        Those of the workbench.
    order
        What to generate.
    donor
        Whose slice informs the generation; the result has the intensities of this scan.
    number
        Number in the layer's name.

    Attributes
    ----------
    layer
        The result's image layer, None until the job is open.
    job
        The core's job once all is done or cancelled; None before, and after an error.
    """

    def __init__(
        self,
        viewer: Any,
        state: PanelState,
        worker: Worker,
        engine: Engine,
        order: Order,
        donor: Patient,
        number: int,
    ) -> None:
        self.viewer, self.state, self.order, self.donor = viewer, state, order, donor
        self.layer: Layer | None = None
        self.job: Job | None = None
        self._worker, self._engine, self._number = worker, engine, number
        self._cancel = threading.Event()
        self._voxels: NDArray[np.float32] | None = None
        self._changed = False
        self._tour: deque[int] = deque(maxlen=_LONGEST_TOUR)
        self._start: int | None = None
        self._begun = 0.0
        self._timer = QTimer()
        self._timer.setInterval(REFRESH_MS)
        self._timer.timeout.connect(self._refresh)

    def start(self) -> None:
        """Queue the generation; returns at once."""
        self.state.activity = "running"
        self.state.progress, self.state.seconds_left = 0.0, None
        self.state.say("Loading …")
        self._worker.submit(self._generate, self._finish, self._fail)

    def cancel(self) -> None:
        """Ask the core to stop; it does within one denoising step."""
        self._cancel.set()

    def _generate(self) -> tuple[Job, Volume]:
        """In the worker's thread: everything slow."""
        job = self._engine.open(self.order)
        # What is not generated yet looks like the background of the scan whose intensities the result has.
        voxels = np.full(job.grid.shape, self.donor.image.data.min(), np.float32)
        self._worker.call(partial(self._begin, job.grid, voxels))
        for part in job.run(self._cancel):
            self._worker.call(partial(self._receive, part))
        return job, job.result()

    # --- on the GUI thread -------------------------------------------------------------------------------------

    def _begin(self, grid: Grid, voxels: NDArray[np.float32]) -> None:
        self._voxels = voxels
        self._begun = time.monotonic()
        attributes = {
            "name": f"Synthetic {self._number}",
            "metadata": {METADATA: Origin(grid, synthetic=True)},
            "colormap": "gray",
            "contrast_limits": self.donor.image.contrast_limits,
            **placement(grid),
        }
        layer = self.viewer.add_layer(Layer.create(self._voxels, attributes, "image"))
        self.layer = layer
        self._put_below_mask(layer)
        self.state.say(f"Generating with seed {self.order.seed} …")
        self._timer.start()

    def _put_below_mask(self, layer: Layer) -> None:
        """The mask stays on top, as a contour: it says where the lesion has to be without hiding what comes."""
        mask = self.state.mask
        if mask is None or mask not in self.viewer.layers:
            return
        layers = self.viewer.layers
        layers.move(layers.index(layer), layers.index(mask))
        mask.mode = "pan_zoom"
        mask.contour = 1
        layers.selection.active = layer

    def _receive(self, part: Part) -> None:
        assert self._voxels is not None, "parts come after the beginning"
        indices = list(part.indices)
        if indices:
            self._voxels[indices] = part.voxels
            self._changed = True
            # Slices beyond the body are plain background: not worth looking at.
            shown = [i for i, axial in zip(indices, part.voxels, strict=True) if np.ptp(axial) > 0]
            start = self._start if self._start is not None else min(shown, default=0)
            if shown and self._start is None:
                self._start = start
            # As they were generated: upwards from the first window, then downwards.
            self._tour.extend(i for i in sorted(shown) if i >= start)
            self._tour.extend(i for i in sorted(shown, reverse=True) if i < start)
        self.state.progress = part.progress
        elapsed = time.monotonic() - self._begun
        if part.progress > 0.02:
            self.state.seconds_left = elapsed * (1 - part.progress) / part.progress

    def _refresh(self) -> None:
        """Show what arrived since the last time; following, walk through the new slices one at a time."""
        if self.layer is None or self.layer not in self.viewer.layers:
            return
        if self._changed:
            self._changed = False
            self.layer.refresh(extent=False, thumbnail=False)
        if self._tour and self.state.follow:
            self._look_at(self._tour.popleft())

    def _look_at(self, index: int) -> None:
        layer = self.layer
        assert layer is not None, "slices arrive in a layer"
        self.viewer.dims.set_point(self.viewer.dims.ndim - 3, float(layer.translate[0] + index * layer.scale[0]))

    def _finish(self, done: tuple[Job, Volume]) -> None:
        self._timer.stop()
        job, result = done
        seconds = time.monotonic() - self._begun
        if job.finished:
            self._keep(job, result)
            self.state.say(f"Finished in {seconds:.0f} s (seed {self.order.seed}).")
        elif self._start is None:
            self._remove_layer()
            self.state.say("Cancelled before the first slice was finished.")
        else:
            self._keep(job, result)
            self._call_partial()
            self.state.say(f"Cancelled; the finished slices are kept (seed {self.order.seed}).")
        self._rest(self.state.progress)

    def _keep(self, job: Job, result: Volume) -> None:
        """Put the voxels that an export would write in the place of the streamed ones: the mask's grid and dtype."""
        self.job = job
        layer = self.layer
        if layer is None:
            return
        if self.state.follow and self._start is not None and job.finished:
            self._look_at(self._start)
        canonical = resample(result, result.grid.canonical(), order=0)
        layer.metadata[METADATA] = Origin(result.grid, result.modality, synthetic=True)
        layer.metadata["recipe"] = job.recipe.model_dump(mode="json")
        where = placement(result.grid)
        layer.data = canonical.voxels
        layer.scale, layer.translate = where["scale"], where["translate"]

    def _call_partial(self) -> None:
        if self.layer is not None:
            self.layer.name = f"{self.layer.name} (partial)"

    def _remove_layer(self) -> None:
        if self.layer is not None and self.layer in self.viewer.layers:
            self.viewer.layers.remove(self.layer)
        self.layer = None

    def _fail(self, error: BaseException) -> None:
        self._timer.stop()
        if self._start is None:
            self._remove_layer()
        else:
            self._call_partial()
        self.state.say_error(error)
        self._rest(0.0)

    def _rest(self, progress: float) -> None:
        self.state.progress = progress
        self.state.seconds_left = None
        self.state.activity = "idle"
