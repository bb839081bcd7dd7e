"""The planes and their crosshair: one point in world mm that every view is cut at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psygnal import Signal

from napari_gem3d.viewer.planes.orientation import OrientationLetters
from napari_gem3d.viewer.planes.state import PlanesState, Point


class Planes:
    """Keeps the views cut at one point, the crosshair.

    A view's slider is linked along the axes it does not display. Along those it does display nothing has to be cut,
    so its own point there means nothing: read `focus`.

    Parameters
    ----------
    viewer
        napari's viewer or the proxy plugins get.

    Attributes
    ----------
    state
        Where the crosshair is and how the planes are arranged.
    letters
        R/L, A/P, S/I of the main canvas.
    """

    models_changed = Signal(tuple)

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self.state = PlanesState()
        self.letters = OrientationLetters(viewer)
        dims = viewer.dims.events
        self._events = (dims.point, dims.current_step, dims.order, dims.ndisplay, dims.range)
        for event in self._events:
            event.connect(self._on_dims)
        self.state.events.focus.connect(self._on_focus)
        self._on_dims()

    @property
    def focus(self) -> Point:
        """The crosshair in world mm, (z, y, x); ``state.events.focus`` tells of its changes."""
        return self.state.focus

    @property
    def models(self) -> tuple[Any, ...]:
        """The viewer models of all canvases, the main one first; `models_changed` tells when one comes or goes."""
        return (self.viewer,)

    def look_at(self, point: Sequence[float]) -> None:
        """Move the crosshair, and with it all planes, to a point in world mm (z, y, x), or to the nearest one there is.

        Raises
        ------
        ValueError
            If `point` has not three numbers.
        """
        if len(point) != 3:
            raise ValueError(f"the crosshair is at three coordinates (z, y, x) in mm, not at {tuple(point)}")
        ranges = self.viewer.dims.range[-3:]
        if len(ranges) == 3:
            point = [min(max(float(p), float(r.start)), float(r.stop)) for p, r in zip(point, ranges, strict=True)]
        self.state.focus = (float(point[0]), float(point[1]), float(point[2]))

    def close(self) -> None:
        """Let go of the viewer."""
        for event in self._events:
            event.disconnect(self._on_dims)
        self.letters.close()

    def _hidden(self) -> list[tuple[int, int]]:
        """Spatial axes that the main view is cut along, as (index among z, y, x; index among the viewer's axes)."""
        dims = self.viewer.dims
        first = dims.ndim - 3
        return [(axis - first, axis) for axis in dims.not_displayed if axis >= first >= 0]

    def _on_dims(self, event: Any = None) -> None:
        """Follow the viewer's own sliders; an axis that has just been hidden is cut at the crosshair."""
        dims = self.viewer.dims
        if getattr(event, "type", "") in ("order", "ndisplay"):
            self._on_focus()
            return
        focus = list(self.focus)
        for spatial, axis in self._hidden():
            focus[spatial] = float(dims.point[axis])
        if len(dims.range) >= 3 and not self._inside(focus):
            self.look_at(focus)
        else:
            self.state.focus = (focus[0], focus[1], focus[2])

    def _inside(self, point: Sequence[float]) -> bool:
        ranges = self.viewer.dims.range[-3:]
        return all(r.start <= p <= r.stop for p, r in zip(point, ranges, strict=True))

    def _on_focus(self) -> None:
        hidden = self._hidden()
        if hidden:
            self.viewer.dims.set_point([axis for _, axis in hidden], [self.focus[spatial] for spatial, _ in hidden])
