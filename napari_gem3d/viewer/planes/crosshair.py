"""The crosshair as lines on a canvas."""

from __future__ import annotations

from typing import Any

from vispy.color import Color
from vispy.scene.visuals import InfiniteLine

from napari_gem3d.viewer.planes.controller import Planes
from napari_gem3d.viewer.planes.orientation import PLANE_COLOURS

_OPACITY = 0.75
_ABOVE_LAYERS = 10**6


class Crosshair:
    """Two lines where the other two planes cut this one, in those planes' colours.

    The scene of a flat napari view has world coordinates, so the lines are where the point is whatever the layers'
    scale and translation, and they turn with the camera. They are no layer: nothing is added to the layer list.

    Parameters
    ----------
    canvas
        napari's canvas: the `canvas` of a `QtViewer`.
    model
        The viewer model on that canvas.
    planes
        Whose point is shown.
    """

    def __init__(self, canvas: Any, model: Any, planes: Planes) -> None:
        self._model, self._planes = model, planes
        self.vertical = InfiniteLine(vertical=True, line_width=1, parent=canvas.view.scene)
        self.horizontal = InfiniteLine(vertical=False, line_width=1, parent=canvas.view.scene)
        for line in self._lines:
            line.order = _ABOVE_LAYERS
            line.set_gl_state("translucent", depth_test=False)
        state, dims = planes.state.events, model.dims.events
        self._signals = (state.focus, state.crosshair)
        self._events = (dims.order, dims.ndisplay, dims.ndim)
        for signal in (*self._signals, *self._events):
            signal.connect(self._update)
        self._update()

    @property
    def _lines(self) -> tuple[InfiniteLine, InfiniteLine]:
        return self.vertical, self.horizontal

    def close(self) -> None:
        """Take the lines away."""
        for signal in (*self._signals, *self._events):
            signal.disconnect(self._update)
        for line in self._lines:
            line.parent = None

    def _update(self, event: Any = None) -> None:
        dims = self._model.dims
        first = dims.ndim - 3
        shown = self._planes.state.crosshair and dims.ndisplay == 2 and first >= 0
        axes = [axis - first for axis in dims.displayed] if shown else []
        shown = shown and min(axes) >= 0
        for line, axis in zip((self.horizontal, self.vertical), axes if shown else (0, 0), strict=True):
            line.visible = shown
            if shown:
                colour = Color(PLANE_COLOURS[axis], alpha=_OPACITY).rgba
                line.set_data(pos=self._planes.focus[axis], color=colour)
