"""The word SYNTHETIC on every canvas that shows something generated."""

from __future__ import annotations

from typing import Any

from napari.components.overlays import TextOverlay
from napari.layers import Layer

from napari_gem3d.viewer.layers import SYNTHETIC, origin_of
from napari_gem3d.viewer.planes.controller import Planes
from napari_gem3d.viewer.signals import Connections

_KEY = "gem3d_synthetic"
_COLOUR = "#ff6e40"


def is_synthetic(layer: Layer) -> bool:
    """Whether a layer shows voxels that were generated."""
    origin = origin_of(layer)
    return bool(layer.metadata.get(SYNTHETIC)) or (origin is not None and origin.synthetic)


class SyntheticMark:
    """Says SYNTHETIC on all canvases while a layer with generated voxels is visible.

    Parameters
    ----------
    planes
        Whose canvases: the main viewer's, and those of the planes beside it.
    """

    def __init__(self, planes: Planes) -> None:
        self._planes = planes
        self._overlays: list[TextOverlay] = []
        self._watched: list[Layer] = []
        self._layers, self._seen = Connections(), Connections()
        layers = planes.viewer.layers.events
        self._layers.add(self._on_layers, layers.inserted, layers.removed)
        planes.models_changed.connect(self._on_models)
        self._on_models()
        self._on_layers()

    @property
    def visible(self) -> bool:
        """Whether the word is on the canvases now."""
        return any(overlay.visible for overlay in self._overlays)

    def close(self) -> None:
        """Let go of the viewer; what is shown stays marked."""
        self._layers.close()
        self._seen.close()
        self._planes.models_changed.disconnect(self._on_models)

    def _on_models(self) -> None:
        """Canvases come and go with the planes that are opened."""
        self._overlays = []
        for model in self._planes.models:
            if _KEY not in model.canvas.overlays:
                size = 14 if model is self._planes.viewer else 9
                model.canvas.overlays[_KEY] = TextOverlay(
                    position="top_left", font_size=size, color=_COLOUR, text="SYNTHETIC", visible=False
                )
            self._overlays.append(model.canvas.overlays[_KEY])
        self._update()

    def _on_layers(self, event: Any = None) -> None:
        self._watched = [layer for layer in self._planes.viewer.layers if is_synthetic(layer)]
        self._seen.close()
        for layer in self._watched:
            self._seen.add(self._update, layer.events.visible, layer.events.opacity)
        self._update()

    def _update(self, event: Any = None) -> None:
        visible = any(layer.visible and layer.opacity > 0 for layer in self._watched)
        for overlay in self._overlays:
            overlay.visible = visible
