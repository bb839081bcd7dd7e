"""Window and level of the scan on the screen."""

from __future__ import annotations

from typing import Any

import numpy as np
from psygnal import Signal

from napari_gem3d.foreground import is_ct
from napari_gem3d.viewer.layers import is_tool, is_volume, origin_of
from napari_gem3d.viewer.planes.intensity import Limits, dragged, preset_limits, preset_names
from napari_gem3d.volume import Modality, Volume


class WindowLevel:
    """Changes the intensities that are shown: of the image that is selected, or of the topmost that is seen."""

    changed = Signal()

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._begun: tuple[Any, Limits] | None = None
        self._known: tuple[int, Modality] = (0, "MR")

    @property
    def layer(self) -> Any:
        """The image whose intensities are changed, None if none is seen."""
        layers = self._viewer.layers
        active = layers.selection.active
        seen = [layer for layer in layers if is_volume(layer) and layer.visible and not is_tool(layer)]
        if not seen:
            return None
        return active if active in seen else seen[-1]

    @property
    def modality(self) -> Modality:
        """Either "CT", if the image has HU, or "MR"."""
        layer = self.layer
        if layer is None:
            return "MR"
        if self._known[0] != id(layer.data):  # looks at every voxel where the file says nothing
            origin = origin_of(layer)
            said = origin.modality if origin is not None else ""
            ct = is_ct(Volume(np.asarray(layer.data), np.eye(4), said))
            self._known = (id(layer.data), "CT" if ct else "MR")
        return self._known[1]

    def apply(self, preset: str) -> None:
        """Show the image as a preset says; nothing happens if no image is seen.

        Raises
        ------
        ValueError
            If there is no such preset.
        """
        if preset not in (*preset_names("CT"), *preset_names("MR")):
            raise ValueError(f"there is no preset {preset!r}")
        layer = self.layer
        if layer is not None:
            layer.contrast_limits = preset_limits(preset, np.asarray(layer.data))
            self.changed.emit()

    def begin(self) -> None:
        """A drag begins."""
        self._begun, layer = None, self.layer
        if layer is not None:
            low, high = layer.contrast_limits
            self._begun = layer, (float(low), float(high))

    def drag(self, right: float, up: float) -> None:
        """The drag is so many pixels from where it began: to the right wider, upwards brighter."""
        if self._begun is not None:
            layer, limits = self._begun
            layer.contrast_limits = dragged(limits, right, up)
            self.changed.emit()
