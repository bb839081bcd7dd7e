"""What a tool would make of the lesion, as outlines in a layer that is not the user's."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Labels, Layer

from napari_gem3d.masks.patch import Patch, Slices

# Layers with this in their metadata are nobody's scan or mask, and are not exported.
TOOL_METADATA = "napari-gem3d-tool"
_CONTOUR = 2


class Outline:
    """A labels layer over a mask, on its grid; hidden while there is nothing to show.

    It is kept from tool to tool: a new layer takes napari half a second.

    Parameters
    ----------
    viewer
        napari's viewer, or the proxy plugins get.
    mask
        Whose lesion is worked on; it stays the active layer.

    Attributes
    ----------
    layer
        Its voxels are the lesion as it would be, 0 elsewhere.
    """

    def __init__(self, viewer: Any, mask: Labels) -> None:
        self._viewer, self.mask = viewer, mask
        self._box: Slices | None = None
        self.layer = Labels(
            np.zeros(mask.data.shape, mask.data.dtype),
            name="Lesion preview",
            colormap=mask.colormap,
            opacity=1,
            scale=mask.scale,
            translate=mask.translate,
            units=mask.units,
            axis_labels=mask.axis_labels,
            metadata={TOOL_METADATA: True},
        )
        self.layer.contour = _CONTOUR
        active = viewer.layers.selection.active
        viewer.add_layer(self.layer)
        viewer.layers.selection.active = active  # napari makes every new layer the active one

    @property
    def is_there(self) -> bool:
        """Whether the user has not removed it."""
        return self.layer in self._viewer.layers

    def fits(self, mask: Labels) -> bool:
        """Whether it can be used for this mask."""
        return self.is_there and mask == self.mask and mask.data.shape == self.layer.data.shape

    def show(self, lesion: Patch | None) -> None:
        """Draw a lesion; None for none."""
        voxels = np.asarray(self.layer.data)
        if self._box is not None:
            voxels[self._box] = 0
        self._box = None
        if lesion is not None and not lesion.empty:
            self._box = lesion.overlap()[0]
            lesion.put(voxels)
            self.layer.visible = True
        self.layer.refresh()

    def hide(self) -> None:
        """Show nothing, until a lesion is shown again."""
        self.show(None)
        self.layer.visible = False

    def remove(self) -> None:
        """Take the layer out of the viewer."""
        if self.is_there:
            self._viewer.layers.remove(self.layer)


def is_tool(layer: Layer) -> bool:
    """Whether a layer belongs to a tool."""
    return bool(layer.metadata.get(TOOL_METADATA))
