"""Mouse gestures on a plane that no tool of napari's gets in the way of, and that get in the way of none."""

from __future__ import annotations

from typing import Any

from napari.layers import Points, Shapes
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QMouseEvent

from napari_gem3d.viewer.planes.controller import Planes

# A click is a press and a release with less than this many pixels between them.
_CLICK = 4


class PlaneMouse(QObject):
    """Shift + drag moves the crosshair, Ctrl + drag sets window and level, whatever tool is in hand.

    While nothing is painted a plain click moves the crosshair too, and in the mode `state.dragging` a plain drag sets
    window and level. These drags are taken from the canvas before napari sees them: nobody paints by mistake.

    Parameters
    ----------
    canvas, model
        The `canvas` of napari's `QtViewer`, and the viewer model on it.
    planes
        Whose crosshair and intensities are changed.
    """

    def __init__(self, canvas: Any, model: Any, planes: Planes) -> None:
        super().__init__()
        self._canvas, self._model, self._planes = canvas, model, planes
        self._drag = ""
        self._pressed: tuple[float, float] | None = None
        canvas.native.installEventFilter(self)

    def close(self) -> None:
        """Leave the mouse to napari."""
        self._canvas.native.removeEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Take what is ours, and leave the rest to napari."""
        kind = event.type()
        if kind in (QEvent.Type.MouseButtonPress, QEvent.Type.MouseButtonDblClick):
            return self._press(event)
        if kind == QEvent.Type.MouseMove:
            return self._move(event)
        if kind == QEvent.Type.MouseButtonRelease:
            return self._release(event)
        return False

    def _press(self, event: QMouseEvent) -> bool:
        if event.button() != Qt.MouseButton.LeftButton or self._model.dims.ndisplay != 2:
            return False
        self._pressed = _position(event)
        self._drag = self._gesture(event.modifiers())
        if self._drag == "crosshair":
            self._look(event)
        elif self._drag == "window":
            self._planes.intensity.begin()
        return bool(self._drag)

    def _move(self, event: QMouseEvent) -> bool:
        if not self._drag or self._pressed is None:
            return False
        if self._drag == "crosshair":
            self._look(event)
        else:
            x, y = _position(event)
            self._planes.intensity.drag(x - self._pressed[0], self._pressed[1] - y)
        return True

    def _release(self, event: QMouseEvent) -> bool:
        pressed, drag = self._pressed, self._drag
        self._pressed, self._drag = None, ""
        if drag or pressed is None or event.button() != Qt.MouseButton.LeftButton:
            return bool(drag)
        way = max(abs(a - b) for a, b in zip(_position(event), pressed, strict=True))
        if way < _CLICK and self._idle() and event.modifiers() == Qt.KeyboardModifier.NoModifier:
            self._look(event)
        return False

    def _gesture(self, modifiers: Qt.KeyboardModifier) -> str:
        if modifiers == Qt.KeyboardModifier.NoModifier:
            return "window" if self._planes.state.dragging and self._idle() else ""
        if not self._idle() and self._layer_wants_modifiers():
            return ""
        if modifiers == Qt.KeyboardModifier.ShiftModifier:
            return "crosshair"
        return "window" if modifiers == Qt.KeyboardModifier.ControlModifier else ""

    def _idle(self) -> bool:
        active = self._model.layers.selection.active
        return active is None or str(active.mode) == "pan_zoom"

    def _layer_wants_modifiers(self) -> bool:
        """Points and shapes are selected with Shift and Ctrl; so are corners of a layer that is transformed."""
        active = self._model.layers.selection.active
        return isinstance(active, (Points, Shapes)) or str(active.mode) == "transform"

    def _look(self, event: QMouseEvent) -> None:
        point = self._world(_position(event))
        if point is not None:
            self._planes.look_at(point)

    def _world(self, position: tuple[float, float]) -> list[float] | None:
        """The point of the plane under a pixel, in world mm (z, y, x)."""
        dims = self._model.dims
        first = dims.ndim - 3
        if first < 0 or min(dims.displayed) < first:
            return None
        point = list(self._planes.focus)
        horizontal, vertical = self._canvas.view.scene.transform.imap(position)[:2]
        point[dims.displayed[0] - first], point[dims.displayed[1] - first] = float(vertical), float(horizontal)
        return point


def _position(event: QMouseEvent) -> tuple[float, float]:
    place = event.position()
    return place.x(), place.y()
