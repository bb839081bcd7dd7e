"""A layer's copy in another plane: the same voxels, the same looks, whichever of the two is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from napari.layers import Image, Labels, Layer, Points, Shapes

from napari_gem3d.viewer.signals import Connections

# Attributes that have an event of the same name. A hidden layer has no tool in napari, so `visible` comes first.
_EVERY = ("visible", "opacity", "blending", "scale", "translate", "rotate", "shear", "affine", "mode", "editable")
_IMAGE = ("contrast_limits", "gamma", "colormap", "interpolation2d")
_LABELS = (
    "colormap",
    "contour",
    "brush_size",
    "contiguous",
    "n_edit_dimensions",
    "preserve_labels",
    "selected_label",
    "show_selected_label",
)


def unwrapped(layer: Any) -> Layer:
    """The layer behind the proxy that napari gives to plugins."""
    return getattr(layer, "__wrapped__", layer)


def is_mirrored(layer: Any) -> bool:
    """Whether a layer can be cut along all three planes."""
    return bool(layer.ndim == 3)


class Twin:
    """Keeps a layer and its copy alike.

    The voxels are one array, so what is painted in one is in the other and only has to be drawn again; the history of
    a Labels layer is one as well, so that a stroke can be undone in any plane.

    Parameters
    ----------
    original
        The layer in the main viewer.
    changed
        Called with the layer whose voxels or look another one has changed, and which therefore has to be refreshed.

    Attributes
    ----------
    layer
        The copy.
    """

    def __init__(self, original: Layer, changed: Callable[[Layer], None]) -> None:
        self.original = original
        self.layer = Layer.create(*original.as_layer_data_tuple())
        self._changed = changed
        self._busy = False
        self._connections = Connections()
        self._share_history()
        # Data before what describes it; scale and shape of another array may not fit.
        for name in ("data", *_shared(original)):
            self._connections.add(partial(self._copy, name, original, self.layer), getattr(original.events, name))
            self._connections.add(partial(self._copy, name, self.layer, original), getattr(self.layer.events, name))
        self._connections.add(self._rename, original.events.name)
        for here, there in ((original, self.layer), (self.layer, original)):
            told = [name for name in ("set_data", "labels_update") if hasattr(here.events, name)]
            self._connections.add(partial(self._tell, there), *(getattr(here.events, name) for name in told))
        if isinstance(original, Labels):
            self._connections.add(self._on_paint, self.layer.events.paint)

    def close(self) -> None:
        """Let go of the original."""
        self._connections.close()

    def _copy(self, name: str, source: Layer, target: Layer, event: Any = None) -> None:
        """Carry one attribute over. Setting it makes the other layer tell the same, which must not come back."""
        if self._busy:
            return
        self._busy = True
        try:
            if name == "data" and target.data is source.data:
                self._changed(target)
            else:
                setattr(target, name, getattr(source, name))
            if name == "visible" and target.visible and target.mode != source.mode:
                target.mode = source.mode
        finally:
            self._busy = False
        if name == "data":
            self._share_history()

    def _tell(self, other: Layer, event: Any = None) -> None:
        if other.visible:
            self._changed(other)

    def _rename(self, event: Any = None) -> None:
        self.layer.name = self.original.name

    def _on_paint(self, event: Any) -> None:
        """Whoever watches the original's strokes sees those of this plane too."""
        self.original.events.paint(value=event.value)

    def _share_history(self) -> None:
        # napari has no public way to this; new voxels start a new history, which is shared again then.
        if isinstance(self.original, Labels):
            for name in ("_undo_history", "_redo_history"):
                setattr(self.layer, name, getattr(self.original, name))


def _shared(layer: Layer) -> Iterable[str]:
    names = list(_EVERY)
    if isinstance(layer, Image):
        names += _IMAGE
    elif isinstance(layer, Labels):
        names += _LABELS
    elif not isinstance(layer, (Points, Shapes)):
        names.remove("mode")
    return [name for name in names if hasattr(layer.events, name)]
