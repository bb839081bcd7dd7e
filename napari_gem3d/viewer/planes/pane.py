"""One more plane: a viewer model of its own that shows the main viewer's layers, cut along another axis."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Points, Shapes

from napari_gem3d.viewer.planes.orientation import OrientationLetters, plane_order
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
            shared = [name for name in ("set_data", "labels_update") if hasattr(here.events, name)]
            self._connections.add(partial(self._tell, there), *(getattr(here.events, name) for name in shared))
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


class Pane:
    """A plane beside the main one.

    Parameters
    ----------
    axis
        The axis it is cut along: 0 axial, 1 coronal, 2 sagittal.
    changed
        Called with a layer that has to be refreshed because its like in another plane changed.

    Attributes
    ----------
    model
        What is shown, for a `QtViewer`.
    letters
        R/L, A/P, S/I at its edges.
    """

    def __init__(self, axis: int, changed: Callable[[Layer], None]) -> None:
        self.model = ViewerModel(title="GEM-3D plane")
        self.letters = OrientationLetters(self.model, small=True)
        self._axis = axis
        self._changed = changed
        self._twins: dict[int, Twin] = {}

    @property
    def axis(self) -> int:
        """The axis it is cut along: 0 axial, 1 coronal, 2 sagittal."""
        return self._axis

    @axis.setter
    def axis(self, axis: int) -> None:
        self._axis = axis
        if self.model.dims.ndim == 3:
            self.model.dims.order = plane_order(axis)

    @property
    def layers(self) -> list[Layer]:
        """The copies, in the order of the main viewer."""
        return list(self.model.layers)

    def copy_of(self, original: Layer) -> Layer | None:
        """The copy of a layer of the main viewer, None if it is not shown here."""
        twin = self._twins.get(id(original))
        return twin.layer if twin is not None else None

    def follow(self, originals: Iterable[Layer], active: Layer | None) -> None:
        """Have the same layers in the same order, and the same one active, as the main viewer.

        Parameters
        ----------
        originals
            The main viewer's layers with three dimensions.
        active
            The one that tools and shortcuts act on.
        """
        originals = list(originals)
        layers = self.model.layers
        kept = {id(original) for original in originals}
        for key in [key for key in self._twins if key not in kept]:
            twin = self._twins.pop(key)
            twin.close()
            layers.remove(twin.layer)
        for position, original in enumerate(originals):
            twin_or_none = self._twins.get(id(original))
            if twin_or_none is None:
                twin_or_none = self._twins[id(original)] = Twin(original, self._changed)
                layers.insert(position, twin_or_none.layer)
            elif (now := layers.index(twin_or_none.layer)) != position:
                layers.move(now, position)
        if self.model.dims.ndim == 3 and tuple(self.model.dims.order) != plane_order(self._axis):
            self.model.dims.order = plane_order(self._axis)
        self.model.layers.selection.active = self.copy_of(active) if active is not None else None

    def close(self) -> None:
        """Let go of the main viewer's layers."""
        for twin in self._twins.values():
            twin.close()
        self._twins = {}
        self.letters.close()
        self.model.layers.clear()
