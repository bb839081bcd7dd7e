"""Radiological display and the letters R/L, A/P, S/I at the edges of the canvas, true however the axes are rolled."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from napari.components.overlays import TextOverlay
from psygnal import EmitLoopError

from napari_gem3d.viewer.signals import Connections

# World axes (z, y, x) of canonical layers: letter at the low end, letter at the high end.
_ENDS = (("I", "S"), ("P", "A"), ("L", "R"))
_POSITIONS = {"top": "top_center", "bottom": "bottom_center", "left": "middle_left", "right": "middle_right"}
_COLOUR = "#ffd24a"

# Vertical and horizontal direction in which world axes increase on the screen. With RAS world axes this shows
# anterior and superior up, the patient's right on the left of the screen, and anterior on the left in sagittal planes.
RADIOLOGICAL = ("up", "left")
# In 3D the third axis has to increase away from the eye with these two, or patients would be their mirror images.
RADIOLOGICAL_3D = ("away", *RADIOLOGICAL)

# Planes by the axis (of z, y, x) that they are cut along, with the colours that 3D Slicer has made usual.
PLANES = ("Axial", "Coronal", "Sagittal")
PLANE_COLOURS = ("#f5614c", "#7fc65c", "#edd54c")


def plane_order(axis: int) -> tuple[int, int, int]:
    """Order of the axes (z, y, x) for a plane cut along one of them, as napari's `dims.order` wants it."""
    vertical, horizontal = (other for other in range(3) if other != axis)
    return axis, vertical, horizontal


def edge_letters(displayed: Sequence[int], ndim: int, orientation2d: Sequence[Any]) -> dict[str, str]:
    """Letters for the edges of a 2D view.

    Parameters
    ----------
    displayed
        The two displayed world axes: vertical, then horizontal.
    ndim
        Number of world axes; the last three are (z, y, x) of canonical layers.
    orientation2d
        Direction on the screen ("up"/"down", "left"/"right") in which the two axes increase.

    Returns
    -------
    dict
        "top", "bottom", "left", "right" to one of R, L, A, P, S, I, or to "" where there is no anatomical axis.
    """
    vertical, horizontal = (_ends(axis, ndim) for axis in displayed)
    if str(orientation2d[0]) == "up":
        vertical = vertical[::-1]
    if str(orientation2d[1]) == "left":
        horizontal = horizontal[::-1]
    return {"top": vertical[0], "bottom": vertical[1], "left": horizontal[0], "right": horizontal[1]}


def _ends(axis: int, ndim: int) -> tuple[str, str]:
    spatial = axis - (ndim - 3)
    if not 0 <= spatial < 3:
        return "", ""
    return _ENDS[spatial]


class OrientationLetters:
    """Keeps the four letters of a viewer's canvas true, and the name of the plane.

    Parameters
    ----------
    viewer
        napari's viewer or the proxy plugins get.
    small
        For a small canvas: smaller letters, and no scale bar that would lie over them.
    """

    def __init__(self, viewer: Any, *, small: bool = False) -> None:
        self._viewer, self._small = viewer, small
        size = 11 if small else 15
        self._overlays: dict[str, TextOverlay] = {}
        for edge, position in _POSITIONS.items():
            overlay = TextOverlay(position=position, font_size=size, color=_COLOUR, box=False, visible=False)
            viewer.canvas.overlays[f"gem3d_{edge}"] = overlay
            self._overlays[edge] = overlay
        self._name = TextOverlay(position="top_left", font_size=10, box=False, visible=False)
        viewer.canvas.overlays["gem3d_plane"] = self._name
        self._shown, self._oriented = False, True
        self._connections = Connections()
        dims = viewer.dims.events
        self._connections.add(
            self._update, dims.order, dims.ndisplay, dims.ndim, viewer.scene.camera.events.orientation
        )

    @property
    def letters(self) -> dict[str, str]:
        """The letters on the canvas now, by edge; empty in 3D or while no scan is open."""
        return {edge: overlay.text for edge, overlay in self._overlays.items() if overlay.visible}

    @property
    def name(self) -> str:
        """Name of the plane on the canvas now, "" in 3D or while no scan is open."""
        return self._name.text if self._name.visible else ""

    def show(self, *, oriented: bool = True) -> None:
        """Turn the view radiological and show the scale bar in mm, and the letters where the orientation is known."""
        self._oriented = oriented
        if not self._shown:
            self._shown = True
            self._viewer.scene.camera.orientation = RADIOLOGICAL_3D
            self._viewer.canvas.overlays.scale_bar.visible = not self._small
        self._update()

    def close(self) -> None:
        """Disconnect from the viewer and take the letters away."""
        self._connections.close()
        # The window, and the canvas in it, may have been deleted already.
        with contextlib.suppress(EmitLoopError):
            for overlay in (*self._overlays.values(), self._name):
                overlay.visible = False

    def _update(self, event: Any = None) -> None:
        dims = self._viewer.dims
        flat = self._shown and self._oriented and dims.ndisplay == 2
        letters = dict.fromkeys(_POSITIONS, "")
        if flat:
            letters = edge_letters(dims.displayed, dims.ndim, self._viewer.scene.camera.orientation2d)
        for edge, overlay in self._overlays.items():
            overlay.text = letters[edge]
            overlay.visible = flat and bool(letters[edge])
        axis = dims.order[-3] - (dims.ndim - 3) if dims.ndim >= 3 else -1
        if flat and axis >= 0:
            self._name.text, self._name.color = PLANES[axis], PLANE_COLOURS[axis]
        self._name.visible = flat and axis >= 0
