"""The planes in napari's window: a column beside the main canvas, with borders that can be moved."""

from __future__ import annotations

from typing import Any

from napari.qt import QtViewer
from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QSplitter, QWidget
from vispy.color import Color
from vispy.scene.visuals import InfiniteLine

from napari_gem3d.viewer.planes.controller import Planes
from napari_gem3d.viewer.planes.mouse import PlaneMouse
from napari_gem3d.viewer.planes.orientation import PLANE_COLOURS
from napari_gem3d.viewer.planes.rendering import Rendering
from napari_gem3d.viewer.signals import Connections

_OPACITY = 0.75
_ABOVE_LAYERS = 10**6


class Crosshair:
    """Two lines where the other two planes cut this one, in those planes' colours.

    The scene of a flat napari view has world coordinates, so the lines are where the point is whatever the layers'
    scale and translation, and they turn with the camera. They are no layer: nothing is added to the layer list.

    Parameters
    ----------
    canvas, model
        The `canvas` of napari's `QtViewer`, and the viewer model on it.
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
        self._connections = Connections()
        self._connections.add(self._update, state.focus, state.crosshair, dims.order, dims.ndisplay, dims.ndim)
        self._update()

    @property
    def _lines(self) -> tuple[InfiniteLine, InfiniteLine]:
        return self.vertical, self.horizontal

    def close(self) -> None:
        """Take the lines away."""
        self._connections.close()
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


# Share of the main canvas, in percent.
_MAIN = 62


class Canvas:
    """A canvas of ours or napari's, with crosshair and gestures.

    Parameters
    ----------
    widget
        napari's view of the model.
    planes
        Whose crosshair it shows.
    """

    def __init__(self, widget: QtViewer, planes: Planes) -> None:
        self.widget = widget
        self.crosshair = Crosshair(widget.canvas, widget.viewer, planes)
        self._mouse = PlaneMouse(widget.canvas, widget.viewer, planes)
        self._decorations = [decorate(widget.canvas, widget.viewer) for decorate in planes.decorations]

    def close(self) -> None:
        """Leave the canvas as it was."""
        self.crosshair.close()
        self._mouse.close()
        for decoration in self._decorations:
            decoration.close()


class Column:
    """Arranges the planes as `planes.state` says, once a scan is open.

    Parameters
    ----------
    planes
        What there is to show.
    main
        napari's own view, which is in the layout of a parent widget.

    Attributes
    ----------
    main
        The main canvas.
    canvases
        Those of the two planes beside it, while they are there.
    rendering
        What the 3D view shows, while it is there.
    """

    def __init__(self, planes: Planes, main: QtViewer) -> None:
        self._planes = planes
        self.main = Canvas(main, planes)
        self.canvases: tuple[Canvas, ...] = ()
        self.rendering: Rendering | None = None
        self._rendering_widget: QtViewer | None = None
        self._splitter: QSplitter | None = None
        self._column: QSplitter | None = None
        events, layers = planes.state.events, planes.viewer.layers.events
        self._connections = Connections()
        self._connections.add(self.arrange, events.layout, events.rendering, layers.inserted, layers.removed)
        self.arrange()

    def arrange(self, event: Any = None) -> None:
        """Bring up and take away what the state says."""
        planes = self._planes.state.layout == "three" and self._planes.occupied
        rendering = self._planes.state.rendering and self._planes.occupied
        if planes or rendering:
            self._open_column()
        if planes and not self.canvases:
            self._open_planes()
        elif not planes and self.canvases:
            self._close_planes()
        if rendering and self.rendering is None:
            self._open_rendering()
        elif not rendering and self.rendering is not None:
            self._close_rendering()
        if not planes and not rendering:
            self._close_column()

    def close(self) -> None:
        """Give the window back as it was."""
        self._connections.close()
        alive = isalive(self.main.widget)  # the window may be going too
        if alive:
            self.main.close()
        self._close_planes()
        self._close_rendering()
        if alive:
            self._close_column()
        del self.main  # the window must be able to go

    def _open_column(self) -> None:
        if self._splitter is not None:
            return
        main = self.main.widget
        layout = main.parentWidget().layout()
        self._splitter, self._column = QSplitter(Qt.Orientation.Horizontal), QSplitter(Qt.Orientation.Vertical)
        self._splitter.setChildrenCollapsible(False)
        layout.replaceWidget(main, self._splitter)
        self._splitter.addWidget(main)
        self._splitter.addWidget(self._column)
        self._splitter.setSizes([_MAIN * 10, (100 - _MAIN) * 10])
        main.show()

    def _close_column(self) -> None:
        splitter, self._splitter, self._column = self._splitter, None, None
        if splitter is None:
            return
        main = self.main.widget
        splitter.parentWidget().layout().replaceWidget(splitter, main)
        main.show()
        splitter.setParent(None)
        splitter.deleteLater()

    def _open_planes(self) -> None:
        assert self._column is not None, "planes come into the column"
        self._planes.open_panes()
        self.canvases = tuple(Canvas(_view(pane.model), self._planes) for pane in self._planes.panes)
        for position, canvas in enumerate(self.canvases):
            self._column.insertWidget(position, canvas.widget)
        self._share()

    def _close_planes(self) -> None:
        canvases, self.canvases = self.canvases, ()
        for canvas in canvases:
            if isalive(canvas.widget):
                canvas.close()
        self._planes.close_panes()
        for canvas in canvases:
            _end(canvas.widget)

    def _open_rendering(self) -> None:
        assert self._column is not None, "the rendering comes into the column"
        self.rendering = Rendering(self._planes.viewer)
        self._rendering_widget = _view(self.rendering.model)
        self._rendering_widget.dims.hide()
        self._column.addWidget(self._rendering_widget)
        self._share()

    def _close_rendering(self) -> None:
        rendering, self.rendering = self.rendering, None
        widget, self._rendering_widget = self._rendering_widget, None
        if rendering is not None:
            rendering.close()
        if widget is not None:
            _end(widget)

    def _share(self) -> None:
        assert self._column is not None, "there is something to share"
        self._column.setSizes([1000] * self._column.count())


def _view(model: Any) -> QtViewer:
    view = QtViewer(model)
    view.setAcceptDrops(False)  # files are dropped on the main canvas
    view.setMinimumSize(80, 80)
    return view


def _end(view: QtViewer) -> None:
    if isalive(view):
        view.setParent(None)
        view.close()


def main_canvas(widget: QWidget) -> QtViewer | None:
    """The view of napari itself, in the window that a docked widget is in; None outside of such a window."""
    window = widget.window()
    centre = window.centralWidget() if hasattr(window, "centralWidget") else None
    return centre.findChild(QtViewer) if centre is not None else None
