"""Slices that appear in a layer while they are generated, at a pace the window can follow."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray
from qtpy.compat import isalive
from qtpy.QtCore import QTimer

from napari_gem3d.viewer.core import Slices
from napari_gem3d.viewer.pace import rest_after
from napari_gem3d.viewer.state import PanelState

# Arrived slices that the view still has to walk through; it skips the oldest rather than lag behind.
_LONGEST_TOUR = 40


class SliceStream:
    """Writes finished slices into a layer's voxels and shows them.

    Parameters
    ----------
    viewer, state
        Those of the workbench.
    layer
        The result's image layer.
    voxels
        (Z, Y, X), the layer's data, written in place.
    refreshed
        Called with every refresh.

    Attributes
    ----------
    start
        The first slice that arrived, None before.
    """

    def __init__(
        self,
        viewer: Any,
        state: PanelState,
        layer: Image,
        voxels: NDArray[np.float32],
        refreshed: Callable[[], None] = lambda: None,
    ) -> None:
        self._viewer, self._state, self._layer, self._voxels = viewer, state, layer, voxels
        self._refreshed = refreshed
        self.start: int | None = None
        self._begun = time.monotonic()
        self._progress = 0.0
        self._changed = self._stopped = False
        self._tour: deque[int] = deque(maxlen=_LONGEST_TOUR)
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._refresh)
        self._timer.start(rest_after(0))

    @property
    def seconds(self) -> float:
        """Time since the beginning."""
        return time.monotonic() - self._begun

    def write(self, part: Slices, *, new: bool = True) -> None:
        """Take slices in, to be shown at the next refresh; the view walks through those that are `new`."""
        self._progress = part.progress
        indices = list(part.indices)
        if not indices:
            return
        self._voxels[indices] = part.voxels
        self._changed = True
        # Slices beyond the body are plain background: not worth looking at.
        shown = [i for i, axial in zip(indices, part.voxels, strict=True) if np.ptp(axial) > 0] if new else []
        if shown and self.start is None:
            self.start = min(shown)
        # As they were generated: upwards from the first window, downwards below it.
        self._tour.extend(i for i in shown if i >= (self.start or 0))
        self._tour.extend(i for i in reversed(shown) if i < (self.start or 0))

    def stop(self) -> None:
        """No more slices will come."""
        self._stopped = True
        if isalive(self._timer):  # the application may have ended
            self._timer.stop()
        self._tour.clear()

    def look_at(self, index: int) -> None:
        """Move the viewer to an axial slice of the layer."""
        position = float(self._layer.translate[0] + index * self._layer.scale[0])
        self._viewer.dims.set_point(self._axial_axis, position)

    @property
    def _axial_axis(self) -> int:
        return int(self._viewer.dims.ndim) - 3

    def _refresh(self) -> None:
        begun = time.perf_counter()
        if self._layer in self._viewer.layers:
            self._show()
        self._tell_progress()
        self._refreshed()
        # A timer of zero comes after the repaint that the refresh has asked for.
        QTimer.singleShot(0, lambda: self._rest(begun))

    def _rest(self, begun: float) -> None:
        if not self._stopped:
            self._timer.start(rest_after(time.perf_counter() - begun))

    def _show(self) -> None:
        """Show what arrived since the last time; following, walk through the new slices one at a time."""
        axial_view = self._axial_axis not in self._viewer.dims.displayed
        if self._state.follow and self._tour and axial_view:
            self._changed = False
            self.look_at(self._tour.popleft())  # draws from the new voxels by itself
        elif self._changed:
            self._changed = False
            self._layer.refresh(extent=False, thumbnail=False)

    def _tell_progress(self) -> None:
        if self._progress > 0.02:
            self._state.seconds_left = self.seconds * (1 - self._progress) / self._progress
        self._state.progress = self._progress
