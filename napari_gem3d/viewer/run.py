"""One generation in the viewer: from the order to a layer of its own, while the window stays alive."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray

from napari_gem3d.grid import Grid
from napari_gem3d.viewer.engine import Engine, Job, Order, Part
from napari_gem3d.viewer.layers import METADATA, Origin, placement
from napari_gem3d.viewer.patients import Patient
from napari_gem3d.viewer.state import PanelState
from napari_gem3d.viewer.stream import SliceStream
from napari_gem3d.viewer.worker import Worker
from napari_gem3d.volume import Volume, resample


class Run:
    """A generation, from the order to the finished or partial layer.

    Parameters
    ----------
    viewer, state, worker, engine
        Those of the workbench.
    order
        What to generate.
    patient
        Whose mask it is.
    donor
        Whose slice informs the generation; the result has the intensities of this scan.
    name
        Of the result's layer.

    Attributes
    ----------
    layer
        The result's image layer, None until the job is open and after a run without any finished slice.
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
        patient: Patient,
        donor: Patient,
        name: str,
    ) -> None:
        self.order, self.patient, self.donor, self.name = order, patient, donor, name
        self.layer: Image | None = None
        self.job: Job | None = None
        self._viewer, self._state, self._worker, self._engine = viewer, state, worker, engine
        self._mask: Labels | None = patient.mask
        self._cancel = threading.Event()
        self._stream: SliceStream | None = None

    def start(self) -> None:
        """Queue the generation; returns at once."""
        self._state.activity = "running"
        self._state.progress, self._state.seconds_left = 0.0, None
        self._state.say("Loading …")
        self._worker.submit(self._generate, self._finish, self._fail)

    def cancel(self) -> None:
        """Ask the core to stop; it does within one denoising step."""
        self._cancel.set()

    @property
    def started(self) -> bool:
        """Whether a slice that shows something has arrived."""
        return self._stream is not None and self._stream.start is not None

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
        attributes = {
            "name": self.name,
            "metadata": {METADATA: Origin(grid, synthetic=True)},
            "colormap": "gray",
            "contrast_limits": self.donor.image.contrast_limits,
            **placement(grid),
        }
        layer = self._viewer.add_layer(Layer.create(voxels, attributes, "image"))
        self.layer = layer
        layer.visible = self._state.patient is self.patient
        if layer.visible:
            # Hidden by the result anyway, and every visible layer costs time at each refresh.
            self.patient.image.visible = False
        self._put_below_mask(layer)
        self._stream = SliceStream(self._viewer, self._state, layer, voxels)
        self._state.say(f"Generating with seed {self.order.seed} …")

    def _put_below_mask(self, layer: Image) -> None:
        """The mask stays on top, as a contour: it says where the lesion has to be without hiding what comes."""
        mask, layers = self._mask, self._viewer.layers
        if mask is None or mask not in layers:
            return
        layers.move(layers.index(layer), layers.index(mask))
        mask.mode = "pan_zoom"
        mask.contour = 1
        layers.selection.active = layer

    def _receive(self, part: Part) -> None:
        assert self._stream is not None, "parts come after the beginning"
        self._stream.write(part)
        if part.message:
            self._state.say(part.message)

    def _finish(self, done: tuple[Job, Volume]) -> None:
        job, result = done
        seed = f"seed {self.order.seed}"
        seconds = self._stop_stream()
        if not job.finished and not self.started:
            self._remove_layer()
            self._rest(0.0, "Cancelled before the first slice was finished.")
            return
        self.job = job
        self._keep(job, result)
        if job.finished:
            self._rest(1.0, f"Finished in {seconds:.0f} s ({seed}).")
        else:
            self._call_partial()
            self._rest(self._state.progress, f"Cancelled; the finished slices are kept ({seed}).")

    def _keep(self, job: Job, result: Volume) -> None:
        """Put the voxels that an export would write in the place of the streamed ones: the mask's grid and dtype."""
        layer, stream = self.layer, self._stream
        if layer is None or stream is None:
            return
        if self._state.follow and job.finished and stream.start is not None and layer.visible:
            stream.look_at(stream.start)
        where = placement(result.grid)
        layer.metadata[METADATA] = Origin(result.grid, result.modality, synthetic=True)
        layer.metadata["recipe"] = job.recipe.model_dump(mode="json")
        layer.data = resample(result, result.grid.canonical(), order=0).voxels
        layer.scale, layer.translate = where["scale"], where["translate"]

    def _fail(self, error: BaseException) -> None:
        self._stop_stream()
        if self.started:
            self._call_partial()
        else:
            self._remove_layer()
        self._rest(0.0)
        self._state.say_error(error)

    def _stop_stream(self) -> float:
        """End the streaming; returns its seconds. The scan below the result can be seen again by hiding the result."""
        if self._stream is None:
            return 0.0
        self._stream.stop()
        if self._state.patient is self.patient:
            self.patient.image.visible = True
        return self._stream.seconds

    def _call_partial(self) -> None:
        if self.layer is not None:
            self.layer.name = f"{self.layer.name} (partial)"

    def _remove_layer(self) -> None:
        if self.layer is not None and self.layer in self._viewer.layers:
            self._viewer.layers.remove(self.layer)
        self.layer = None

    def _rest(self, progress: float, message: str = "") -> None:
        self._state.seconds_left = None
        self._state.progress = progress
        self._state.activity = "idle"
        self._state.say(message)
