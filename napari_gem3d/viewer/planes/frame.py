"""What part of the world a view shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Layer

from napari_gem3d.viewer.planes.state import Point


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
        self._events = (model.canvas.events.size, model.dims.events.order)
        for event in self._events:
            event.connect(self._on_change)

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
        for event in self._events:
            event.disconnect(self._on_change)

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
