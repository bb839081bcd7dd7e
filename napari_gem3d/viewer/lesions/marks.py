"""The handles as drawn on a canvas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from vispy.scene.visuals import Line, Markers

if TYPE_CHECKING:
    from napari_gem3d.viewer.lesions.handles import Handles

_COLOUR = "#ffd24a"
_EDGE = "#000000"
# Pixels on the screen.
_SQUARE, _DISC = 10, 13
_ABOVE_LAYERS = 10**6


class Marks:
    """A box with squares at its corners and a disc that turns, in the scene of a flat napari view.

    They are no layers, as the crosshair is none, and have the same size at every zoom.

    Parameters
    ----------
    canvas
        napari's canvas: the `canvas` of a `QtViewer`.
    model
        The viewer model on that canvas.
    handles
        Where they are.
    """

    def __init__(self, canvas: Any, model: Any, handles: Handles) -> None:
        self.model, self._handles = model, handles
        scene = canvas.view.scene
        self.line = Line(parent=scene, color=_COLOUR, width=1, connect="segments")
        self.markers = Markers(parent=scene, scaling="fixed")
        for order, visual in enumerate((self.line, self.markers)):
            visual.order = _ABOVE_LAYERS + 1 + order
            visual.set_gl_state("translucent", depth_test=False)
            visual.visible = False
        self._events = (model.dims.events.order, model.dims.events.ndisplay)
        for event in self._events:
            event.connect(self.show)
        handles.marks.append(self)
        self.show()

    def show(self, event: Any = None) -> None:
        """Draw the handles where they are now."""
        dims = self.model.dims
        first = dims.ndim - 3
        flat = dims.ndisplay == 2 and first >= 0 and min(dims.displayed) >= first
        axis = next((a - first for a in dims.not_displayed if a >= first), None) if flat else None
        corners = None if axis is None else self._handles.corners(axis)
        self.line.visible = self.markers.visible = corners is not None
        if axis is None or corners is None:
            return
        plane = [a - first for a in reversed(dims.displayed)]
        knob = self._handles.knob(axis)
        points = corners[:, plane]
        edges = np.stack([points, np.roll(points, -1, axis=0)], axis=1).reshape(-1, 2)
        sizes = [_SQUARE] * 4
        symbols = ["square"] * 4
        if knob is not None:
            edges = np.concatenate([edges, [points[2], knob[plane]]])
            points = np.concatenate([points, [knob[plane]]])
            sizes, symbols = [*sizes, _DISC], [*symbols, "disc"]
        self.line.set_data(pos=edges)
        self.markers.set_data(
            pos=points, size=np.array(sizes), symbol=symbols, face_color=_COLOUR, edge_color=_EDGE, edge_width=1
        )

    def close(self) -> None:
        """Take them away."""
        for event in self._events:
            event.disconnect(self.show)
        self._handles.marks.remove(self)
        for visual in (self.line, self.markers):
            visual.parent = None
