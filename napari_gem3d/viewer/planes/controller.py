"""The planes and their crosshair: one point in world mm that every view is cut at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from napari.layers import Layer
from psygnal import Signal

from napari_gem3d.viewer.pace import Pace
from napari_gem3d.viewer.planes.orientation import OrientationLetters, plane_order
from napari_gem3d.viewer.planes.pane import Pane, is_mirrored, unwrapped
from napari_gem3d.viewer.planes.window_level import WindowLevel
from napari_gem3d.viewer.signals import Connections, State

Layout = Literal["one", "three"]
Point = tuple[float, float, float]


class PlanesState(State):
    """Where the crosshair is and how the planes are arranged.

    Attributes
    ----------
    focus
        The crosshair in world mm, (z, y, x). Set it by `Planes.look_at`, which keeps it inside of what is open.
    layout
        Whether two more planes stand beside the main canvas.
    rendering
        Whether a 3D rendering of scan and lesions stands there as well.
    crosshair
        Whether the crosshair is drawn.
    dragging
        Whether a plain drag sets window and level, as in 3D Slicer's mode of that name.
    """

    focus: Point = (0.0, 0.0, 0.0)
    layout: Layout = "three"
    rendering: bool = False
    crosshair: bool = True
    dragging: bool = False


class Frame:
    """Keeps a view filled by one scan until the user zooms or pans.

    napari itself fits all layers, also those of other patients, which may lie elsewhere in the world.

    Parameters
    ----------
    model
        The view: napari's viewer or a model of one.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._layer: Layer | None = None
        self._camera: tuple[Any, ...] = ()
        self._connections = Connections()
        self._connections.add(self._on_change, model.canvas.events.size, model.dims.events.order)

    def keep(self, layer: Layer | None) -> None:
        """Fill the view with a layer, now and when its size or its plane changes."""
        self._layer = layer
        self._fill()

    def reveal(self, point: Point) -> None:
        """Move the view if the crosshair is outside of it."""
        dims, camera = self._model.dims, self._model.scene.camera
        first = dims.ndim - 3
        if dims.ndisplay != 2 or first < 0 or min(dims.displayed) < first or self._layer is None:
            return
        target = np.array([point[axis - first] for axis in dims.displayed])
        reach = np.array(self._model.canvas.size) / (2 * camera.zoom)
        if (np.abs(target - np.array(camera.center[-2:])) > reach).any():
            camera.center = tuple(float(v) for v in target)

    def close(self) -> None:
        """Let go of the view."""
        self._connections.close()

    def _fill(self) -> None:
        if self._layer is not None and self._layer in self._model.layers:
            self._model.reset_view(layers=[self._layer])
            self._camera = self._now()

    def _now(self) -> tuple[Any, ...]:
        camera = self._model.scene.camera
        return (*camera.center, camera.zoom)

    def _on_change(self, event: Any = None) -> None:
        turned = getattr(event, "type", "") == "order"  # napari has just fitted everything
        if turned or self._now() == self._camera:
            self._fill()


class Planes:
    """Keeps the views cut at one point, the crosshair, and showing the same layers.

    A view's slider is linked along the axes it does not display. Along those it does display nothing has to be cut,
    so its own point there means nothing: read `focus`.

    Attributes
    ----------
    state
        Where the crosshair is and how the planes are arranged.
    letters
        R/L, A/P, S/I of the main canvas.
    intensity
        Window and level of the scan on the screen.
    panes
        The planes beside the main canvas, none until `open_panes`.
    decorations
        Called with the canvas of every view and its model: draw more on it, and return something to `close`.
    """

    models_changed = Signal(tuple)
    closing = Signal()

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self.state = PlanesState()
        self.letters = OrientationLetters(viewer)
        self.intensity = WindowLevel(viewer)
        self._frames = {id(viewer): Frame(viewer)}
        self._framed: Layer | None = None
        self._oriented = True
        self.panes: tuple[Pane, ...] = ()
        self._links: dict[int, Connections] = {}
        self._connections = Connections()
        self.decorations: list[Callable[[Any, Any], Any]] = []
        self._dirty: dict[int, Layer] = {}
        self._refreshing = False
        self._following = False
        self._pace = Pace(self._refresh)
        self._link(viewer)
        layers = viewer.layers.events
        active = viewer.layers.selection.events.active
        self._connections.add(self._on_layers, layers.inserted, layers.removed, layers.reordered, active)
        self._connections.add(self._on_focus, self.state.events.focus)
        self._on_dims(viewer)

    @property
    def focus(self) -> Point:
        """The crosshair in world mm, (z, y, x); ``state.events.focus`` announces its changes."""
        return self.state.focus

    @property
    def models(self) -> tuple[Any, ...]:
        """The viewer models of all canvases, the main one first; `models_changed` tells when one comes or goes."""
        return (self.viewer, *(pane.model for pane in self.panes))

    @property
    def occupied(self) -> bool:
        """Whether anything is open that can be cut along three axes."""
        return any(is_mirrored(layer) for layer in self.viewer.layers)

    @property
    def axis(self) -> int:
        """What the main canvas is cut along: 0 axial, 1 coronal, 2 sagittal."""
        dims = self.viewer.dims
        return int(dims.order[-3]) - (dims.ndim - 3) if dims.ndim >= 3 else 0

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

    def slice_of(self, layer: Layer) -> int:
        """The axial slice of a layer nearest to the crosshair."""
        index = round((self.focus[0] - layer.translate[-3]) / layer.scale[-3])
        return int(np.clip(index, 0, layer.data.shape[-3] - 1))

    def show_slice(self, layer: Layer, index: int) -> None:
        """Move the crosshair to an axial slice of a layer."""
        self.look_at((layer.translate[-3] + index * layer.scale[-3], *self.focus[1:]))

    def show_plane(self, axis: int) -> None:
        """Put a plane (0 axial, 1 coronal, 2 sagittal) on the main canvas; the others take the remaining ones."""
        dims = self.viewer.dims
        first = dims.ndim - 3
        if first >= 0:
            dims.ndisplay = 2
            dims.order = (*range(first), *(first + other for other in plane_order(axis)))

    def frame(self, image: Layer, *, oriented: bool = True) -> None:
        """Turn all planes radiological, zoom them to a scan, and keep them so until the user zooms or pans.

        Letters and names of the planes are shown only where it is known how the scan is oriented.
        """
        self._framed, self._oriented = unwrapped(image), oriented
        for letters in (self.letters, *(pane.letters for pane in self.panes)):
            letters.show(oriented=oriented)
        for model in self.models:
            self._frame(model)

    def open_panes(self) -> None:
        """Have the two planes that the main canvas does not show; nothing happens if they are there."""
        if self.panes:
            return
        axes = [axis for axis in range(3) if axis != self.axis]
        self.panes = tuple(Pane(axis, self.mark) for axis in axes)
        for pane in self.panes:
            self._link(pane.model)
            self._frames[id(pane.model)] = Frame(pane.model)
        self._on_layers()
        for pane in self.panes:
            pane.letters.show(oriented=self._oriented)
            self._frame(pane.model)
        self.models_changed.emit(self.models)

    def close_panes(self) -> None:
        """Leave the main canvas alone."""
        panes, self.panes = self.panes, ()
        for pane in panes:
            self._links.pop(id(pane.model)).close()
            self._frames.pop(id(pane.model)).close()
            pane.close()
        if panes:
            self._dirty.clear()
            self.models_changed.emit(self.models)

    def mark(self, layer: Layer) -> None:
        """Have a layer of any plane drawn again soon: its voxels changed in place."""
        if not self._refreshing:
            self._dirty[id(layer)] = layer
            self._pace.ask()

    def refresh_now(self) -> None:
        """Draw at once what waits for it."""
        self._pace.now()

    def close(self) -> None:
        """Let go of the viewer, once those who show the planes have done so."""
        self.closing.emit()
        self.close_panes()
        self._pace.stop()
        self._links.pop(id(self.viewer)).close()
        for frame in self._frames.values():
            frame.close()
        self._connections.close()
        self.letters.close()

    def _on_layers(self, event: Any = None) -> None:
        """Follow the main viewer's list: what is in it, in which order, and which layer is active."""
        if not self.panes:
            return
        layers = [unwrapped(layer) for layer in self.viewer.layers if is_mirrored(layer)]
        active = unwrapped(self.viewer.layers.selection.active)
        self._refreshing = self._following = True  # new copies are drawn by being new
        try:
            for pane in self.panes:
                pane.follow(layers, active)
        finally:
            self._refreshing = self._following = False
        self._on_focus()

    def _frame(self, model: Any) -> None:
        shown = [pane.copy_of(self._framed) for pane in self.panes if pane.model is model and self._framed is not None]
        self._frames[id(model)].keep(shown[0] if shown else self._framed)

    def _refresh(self) -> None:
        dirty, self._dirty = self._dirty, {}
        self._refreshing = True
        try:
            for layer in dirty.values():
                layer.refresh(extent=False, thumbnail=False, highlight=False)
        finally:
            self._refreshing = False

    def _link(self, model: Any) -> None:
        events, link = model.dims.events, self._links.setdefault(id(model), Connections())
        changes = (events.point, events.current_step, events.order, events.ndisplay, events.range)
        link.add(partial(self._on_dims, model), *changes)

    def _on_dims(self, model: Any, event: Any = None) -> None:
        """Follow a view's own sliders; an axis that has just been hidden is cut at the crosshair."""
        if self._following and model is not self.viewer:
            return  # its layers are arriving: napari puts it at their middle, but nobody has moved the crosshair
        dims = model.dims
        if getattr(event, "type", "") in ("order", "ndisplay"):
            if model is self.viewer:
                self._give_out_planes()
            self._on_focus()
            return
        focus = list(self.focus)
        for spatial, axis in _hidden(dims):
            focus[spatial] = float(dims.point[axis])
        if model is self.viewer and len(dims.range) >= 3:
            self.look_at(focus)  # what is open may have become less
        else:
            self.state.focus = (focus[0], focus[1], focus[2])

    def _give_out_planes(self) -> None:
        """The planes beside the main canvas are those that it does not show."""
        if self.viewer.dims.ndisplay == 2:
            for pane, axis in zip(self.panes, (axis for axis in range(3) if axis != self.axis), strict=False):
                pane.axis = axis

    def _on_focus(self) -> None:
        for model in self.models:
            hidden = _hidden(model.dims)
            if hidden:
                model.dims.set_point([axis for _, axis in hidden], [self.focus[spatial] for spatial, _ in hidden])
            self._frames[id(model)].reveal(self.focus)


def _hidden(dims: Any) -> list[tuple[int, int]]:
    """Spatial axes that a view is cut along, as (index among z, y, x; index among the view's axes)."""
    first = dims.ndim - 3
    return [(axis - first, axis) for axis in dims.not_displayed if axis >= first >= 0]
