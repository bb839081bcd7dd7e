"""One more plane: a viewer model of its own that shows the main viewer's layers, cut along another axis."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from napari.components import ViewerModel
from napari.layers import Layer

from napari_gem3d.viewer.planes.orientation import OrientationLetters, plane_order
from napari_gem3d.viewer.planes.twins import Twin


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
