"""A run at work: from the request to a layer of its own, while the window stays alive."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.core import Job, Slices
from napari_gem3d.viewer.curve import Curves, SliceChange
from napari_gem3d.viewer.layers import METADATA, Origin, placement
from napari_gem3d.viewer.patients import id_of
from napari_gem3d.viewer.run import Run, Status
from napari_gem3d.viewer.stream import SliceStream
from napari_gem3d.volume import Volume, resample

Outcome = tuple[Job, Volume, NDArray[np.generic]]


class RunAtWork:
    """Carries out a run, or goes on with one that was cancelled.

    Parameters
    ----------
    run
        What to carry out; kept up to date.
    changed
        Called, on the GUI thread, whenever the run's status or layer has changed.
    ended
        Called once, when it is over.

    Attributes
    ----------
    run
        What is carried out.
    """

    def __init__(
        self, context: Context, run: Run, changed: Callable[[], None], ended: Callable[[RunAtWork], None]
    ) -> None:
        self.run = run
        self._viewer, self._state = context.viewer, context.state
        self._engine, self._worker = context.engine, context.worker
        self._changed, self._ended = changed, ended
        self._mask: Labels | None = run.patient.mask
        self._resuming = run.job is not None
        self._job: Job | None = None
        self._cancel = threading.Event()
        self._stream: SliceStream | None = None
        self._over = False
        self._notes = ""
        self._viewer.layers.events.removed.connect(self._on_removed)

    def start(self) -> None:
        """Hand it to the worker; returns at once."""
        # The collector walks through all that is loaded, some 850 000 objects of PyTorch and napari, every now and then
        # while slices come: half a second in which the window stands still. For the time of the run it leaves them be.
        gc.freeze()
        self._set("running")
        self._state.progress, self._state.seconds_left = 0.0, None
        self._state.say("Loading …")
        self._worker.submit(self._generate, self._finish, self._fail)

    def _on_removed(self, event: Any) -> None:
        """Nobody wants a result whose layer was taken away; what is finished is kept for Continue all the same."""
        if self.run.layer is not None and id_of(event.value) == id_of(self.run.layer) and not self._over:
            self.run.layer = None
            self.cancel()

    def cancel(self) -> None:
        """Stop: at once before the first slice is begun, else as soon as the core does."""
        if self._over:
            return
        self._cancel.set()
        if self._stream is None and not self._resuming:
            # The files are still being read, which nobody needs to wait for.
            self._end("cancelled", 0.0, "Cancelled before the first slice was finished.")
        else:
            self._state.activity = "cancelling"
            self._set("cancelling")

    def abandon(self) -> None:
        """Stop, and touch neither state nor layers any more: the window is being closed."""
        self._over = True
        gc.unfreeze()
        self._cancel.set()
        if self._stream is not None:
            self._stream.stop()

    def _generate(self) -> Outcome | None:
        """In the worker's thread: everything slow."""
        run = self.run
        begun = time.perf_counter()
        job = run.job if self._resuming else None
        if job is None:
            assert run.request is not None, "runs without a request are finished"
            job = self._engine.open(run.request)
        if self._cancel.is_set() and not self._resuming:
            return None
        self._worker.call(partial(self._begin, job, job.voxels.copy()))
        self._carry_out(job, time.perf_counter() - begun)
        result = job.result()
        return job, result, resample(result, result.grid.canonical(), order=0).voxels

    def _carry_out(self, job: Job, opening: float) -> None:
        """Let the slices come, and look at how they change."""
        scan = Volume(np.asarray(self.run.patient.image.data), self.run.patient.grid.canonical().affine)
        change = SliceChange(scan, job.grid)
        new = False  # the first part is what is there already
        for part in self._engine.run(job, self._cancel, resume=self._resuming, opening=opening):
            if part.indices:
                change.take(part.indices, job.voxels)
            self._worker.call(partial(self._receive, part, change.curves(), new))
            new = True

    def _begin(self, job: Job, voxels: NDArray[np.float32]) -> None:
        if self._over:
            return
        run = self.run
        run.job, run.recipe = job, job.recipe
        self._notes = self._engine.notes(job)
        if run.layer is None or run.layer not in self._viewer.layers:
            run.layer = self._add_layer(job, voxels)
        else:
            self._put(run.layer, voxels, Origin(job.grid, synthetic=True))
            run.layer.name = run.name
        run.layer.visible = self._state.patient is run.patient
        self._stream = SliceStream(self._viewer, self._state, run.layer, voxels, self._show_curves)
        if not self._cancel.is_set():
            verb = "Continuing" if self._resuming else "Generating"
            self._state.say(f"{verb} with seed {job.recipe.seed} … {self._notes}".rstrip())
        self._changed()
        # In turns of the event loop of their own: a new layer in three canvases takes long enough.
        QTimer.singleShot(0, self._hide_scan)

    def _add_layer(self, job: Job, voxels: NDArray[np.float32]) -> Image:
        run = self.run
        shown = run.patient if run.mode == "edit" or run.donor is None else run.donor
        attributes = {
            "name": run.name,
            "metadata": {METADATA: Origin(job.grid, synthetic=True)},
            "colormap": "gray",
            "contrast_limits": (shown or run.patient).image.contrast_limits,
            **placement(job.grid),
        }
        layers = self._viewer.layers
        below_mask = layers.index(self._mask) if self._mask in layers else len(layers)
        layers.insert(below_mask, Layer.create(voxels, attributes, "image"))
        layer: Image = layers[below_mask]
        return layer

    def _hide_scan(self) -> None:
        """Hidden by the result anyway, and every visible layer costs time at each refresh."""
        if not self._over:
            if self._state.patient is self.run.patient:
                self.run.patient.image.visible = False
            QTimer.singleShot(0, self._outline_mask)

    def _outline_mask(self) -> None:
        """The mask stays on top, as a contour: it says where the lesion has to be without hiding what comes."""
        mask, layers = self._mask, self._viewer.layers
        if self._over or mask is None or mask not in layers:
            return
        mask.mode = "pan_zoom"
        mask.contour = 1
        if self.run.layer is not None and self.run.layer in layers:
            layers.selection.active = self.run.layer

    def _receive(self, part: Slices, curves: Curves, new: bool) -> None:
        if self._over or self._stream is None:
            return
        self.run.curves = curves
        self._stream.write(part, new=new)
        self.run.started = self.run.started or self._stream.start is not None
        if part.message:
            self._state.say(part.message)

    def _show_curves(self) -> None:
        self._state.curves = self.run.curves

    def _finish(self, outcome: Outcome | None) -> None:
        if self._over or outcome is None:
            return
        job, result, shown = outcome
        seconds = self._stop_stream()
        if not job.finished and not self.run.started:
            self._remove_layer()
            self._end("cancelled", 0.0, "Cancelled before the first slice was finished.")
            return
        self.run.seconds += seconds
        self._show_curves()
        self._keep(job, result, shown)
        seed = f"seed {job.recipe.seed}"
        if job.finished:
            self.run.job = None  # holds whole volumes, and there is nothing to go on with
            self._end("finished", 1.0, f"Finished in {self.run.seconds:.0f} s ({seed}). {self._notes}".rstrip())
        else:
            self._call_partial()
            words = f"Cancelled; the finished slices are kept ({seed}). Continue goes on where it was."
            self._end("partial", self._state.progress, words)

    def _keep(self, job: Job, result: Volume, shown: NDArray[np.generic]) -> None:
        """Put the voxels that an export would write in the place of the streamed ones: the mask's grid and dtype."""
        layer, stream = self.run.layer, self._stream
        if layer is None:
            return
        if stream is not None and stream.start is not None and self._state.follow and job.finished and layer.visible:
            stream.look_at(stream.start)
        layer.metadata["recipe"] = job.recipe.model_dump(mode="json")
        self._put(layer, shown, Origin(result.grid, result.modality, synthetic=True))
        if self.run.donor is None:  # intensities of no scan
            layer.reset_contrast_limits()

    @staticmethod
    def _put(layer: Image, voxels: NDArray[np.generic], origin: Origin) -> None:
        """Give a layer other voxels, on another grid."""
        where = placement(origin.grid)
        layer.metadata[METADATA] = origin
        layer.data = voxels
        layer.scale, layer.translate = where["scale"], where["translate"]

    def _fail(self, error: BaseException) -> None:
        if self._over:
            return
        self._stop_stream()
        if self.run.started:
            self._call_partial()
        else:
            self._remove_layer()
            self.run.job = None
        self._end("failed", 0.0, "")
        self._state.say_error(error)

    def _stop_stream(self) -> float:
        """End the streaming; returns its seconds. The scan below the result can be seen again by hiding the result."""
        if self._stream is None:
            return 0.0
        self._stream.stop()
        if self._state.patient is self.run.patient:
            self.run.patient.image.visible = True
        return self._stream.seconds

    def _call_partial(self) -> None:
        if self.run.layer is not None:
            self.run.layer.name = f"{self.run.name} (partial)"

    def _remove_layer(self) -> None:
        layer, self.run.layer = self.run.layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def _set(self, status: Status) -> None:
        self.run.status = status
        self._changed()

    def _end(self, status: Status, progress: float, message: str) -> None:
        """It is over, whatever the worker still does."""
        self._over = True
        gc.unfreeze()
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        self.run.status = status
        self._state.seconds_left = None
        self._state.progress = progress
        self._state.say(message)
        self._ended(self)
