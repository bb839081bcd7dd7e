"""What a tool draws on a canvas: the outline of the lesion as it would be, and its handles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from napari.utils.colormaps.standardize_color import transform_color
from numpy.typing import NDArray
from vispy.scene.visuals import Line, Markers

from napari_gem3d.grid import FloatArray
from napari_gem3d.labels import LabelTable
from napari_gem3d.masks.patch import Patch
from napari_gem3d.viewer.signals import Connections

_COLOUR = "#ffd24a"
_EDGE = "#000000"
_SHADOW = (0.0, 0.0, 0.0, 0.6)
# Pixels on the screen.
_OUTLINE, _SQUARE, _DISC = 2, 10, 13
_ABOVE_LAYERS = 10**6


class Places(Protocol):
    """Where the marks are, in world mm (z, y, x); all that are drawn are in `marks`."""

    marks: list[Marks]

    @property
    def focus(self) -> tuple[float, float, float]:
        """Where the planes are."""

    @property
    def table(self) -> LabelTable | None:
        """The labels and their colours."""

    @property
    def outlined(self) -> Callable[[], Patch | None]:
        """The lesion that is drawn as an outline."""

    def corners(self, axis: int) -> FloatArray | None:
        """The box in the plane across an axis, (4, 3)."""

    def knob(self, axis: int) -> FloatArray | None:
        """The handle that turns in the plane across an axis, (3,)."""


class Marks:
    """Lines and squares in the scene of a flat napari view.

    They are no layers, as the crosshair is none: a new layer takes napari half a second in every view, and the list of
    layers is the user's. Handles have the same size at every zoom.

    Parameters
    ----------
    canvas, model
        The `canvas` of napari's `QtViewer`, and the viewer model on it.
    handles
        Where they are.
    """

    def __init__(self, canvas: Any, model: Any, handles: Places) -> None:
        self.model, self._handles = model, handles
        scene = canvas.view.scene
        # Under the outline, that it is seen on a lesion of its own colour.
        self.shadow = Line(parent=scene, color=_SHADOW, width=2 * _OUTLINE, connect="segments")
        self.outline = Line(parent=scene, width=_OUTLINE, connect="segments")
        self.box = Line(parent=scene, color=_COLOUR, width=1, connect="segments")
        self.markers = Markers(parent=scene, scaling="fixed")
        for order, visual in enumerate(self._visuals):
            visual.order = _ABOVE_LAYERS + 1 + order
            visual.set_gl_state("translucent", depth_test=False)
            visual.visible = False
        self._connections = Connections()
        self._connections.add(self.show, model.dims.events.order, model.dims.events.ndisplay)
        handles.marks.append(self)
        self.show()

    @property
    def _visuals(self) -> tuple[Any, ...]:
        return self.shadow, self.outline, self.box, self.markers

    def show(self, event: Any = None) -> None:
        """Draw everything as it is now."""
        dims = self.model.dims
        first = dims.ndim - 3
        flat = dims.ndisplay == 2 and first >= 0 and min(dims.displayed) >= first
        axis = next((a - first for a in dims.not_displayed if a >= first), None) if flat else None
        # In the scene the horizontal axis comes first.
        plane = [a - first for a in reversed(dims.displayed)]
        self._show_outline(axis, plane)
        self._show_handles(axis, plane)

    def _show_outline(self, axis: int | None, plane: list[int]) -> None:
        lesion, table = self._handles.outlined(), self._handles.table
        self.outline.visible = self.shadow.visible = False
        if axis is None or lesion is None or table is None:
            return
        segments, values = outline_in_plane(lesion, axis, self._handles.focus[axis])
        if len(segments):
            colours = {label.value: transform_color(label.colour)[0] for label in table}
            drawn = np.array([colours[int(value)] for value in values], np.float32)
            ends = segments[..., plane].reshape(-1, 2)
            self.outline.set_data(pos=ends, color=np.repeat(drawn, 2, axis=0))
            self.shadow.set_data(pos=ends)
            self.outline.visible = self.shadow.visible = True

    def _show_handles(self, axis: int | None, plane: list[int]) -> None:
        corners = None if axis is None else self._handles.corners(axis)
        self.box.visible = self.markers.visible = corners is not None
        if axis is None or corners is None:
            return
        knob = self._handles.knob(axis)
        points = corners[:, plane]
        edges = np.stack([points, np.roll(points, -1, axis=0)], axis=1).reshape(-1, 2)
        sizes = [_SQUARE] * 4
        symbols = ["square"] * 4
        if knob is not None:
            edges = np.concatenate([edges, [points[2], knob[plane]]])
            points = np.concatenate([points, [knob[plane]]])
            sizes, symbols = [*sizes, _DISC], [*symbols, "disc"]
        self.box.set_data(pos=edges)
        self.markers.set_data(
            pos=points, size=np.array(sizes), symbol=symbols, face_color=_COLOUR, edge_color=_EDGE, edge_width=1
        )

    def close(self) -> None:
        """Take everything away."""
        self._connections.close()
        self._handles.marks.remove(self)
        for visual in self._visuals:
            visual.parent = None


def outline_in_plane(lesion: Patch, axis: int, place: float) -> tuple[FloatArray, NDArray[Any]]:
    """Edges of voxels between labels, and between a label and no lesion, in a slice.

    Parameters
    ----------
    lesion
        On a shown grid: its axes are those of the world.
    axis
        0 axial, 1 coronal, 2 sagittal.
    place
        Of the slice, world mm along that axis.

    Returns
    -------
    ndarray, ndarray
        (n, 2, 3) ends of the edges, (z, y, x) in world mm, and (n,) the labels they bound.
    """
    spacing, origin = np.array(lesion.lattice.spacing), lesion.lattice.affine[:3, 3][::-1]
    number = round(float((place - origin[axis]) / spacing[axis])) - lesion.start[axis]
    nothing = np.zeros((0, 2, 3)), np.zeros(0, lesion.voxels.dtype)
    if not 0 <= number < lesion.voxels.shape[axis]:
        return nothing
    labels = np.pad(np.take(lesion.voxels, number, axis=axis), 1)
    plane = [other for other in range(3) if other != axis]
    ends, values = [], []
    for along in range(2):
        first, second = (labels[1:], labels[:-1]) if along == 0 else (labels[:, 1:], labels[:, :-1])
        at = np.argwhere(first != second).astype(np.float64)
        # From the corner of a voxel to the next one; the frame of zeros moves everything by a voxel.
        start = at - (0.5, 1.5) if along == 0 else at - (1.5, 0.5)
        stop = start + ((0, 1) if along == 0 else (1, 0))
        ends.append(np.stack([start, stop], axis=1))
        different = first != second
        values.append(np.where(first > 0, first, second)[different])
    index = np.concatenate(ends) + np.array(lesion.start)[plane]
    points = np.full((len(index), 2, 3), place, dtype=np.float64)
    points[..., plane] = origin[plane] + index * spacing[plane]
    return points, np.concatenate(values)
