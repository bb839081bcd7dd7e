"""Handles of the tools in every plane: a box to drag, corners that resize, a knob that turns."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from napari_gem3d.grid import FloatArray
from napari_gem3d.labels import LabelTable
from napari_gem3d.masks.patch import Patch
from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.lesions.marks import Marks
from napari_gem3d.viewer.lesions.state import LesionState
from napari_gem3d.viewer.pace import Pace

Kind = Literal["inside", "corner", "knob"]
# How near to a handle a press is one on it, in pixels.
_REACH = 12
# A knob is this share of the box beyond its corner, at least so many mm.
_KNOB, _KNOB_MM = 0.12, 9.0
_TURNS = ("move", "transplant")
_TOOLS = ("place", "move", "transplant")
_FACTORS = (0.25, 4.0)
_DIAMETERS = (2.0, 400.0)


@dataclass
class Drag:
    """A handle that is being dragged.

    Attributes
    ----------
    kind, axis
        Which handle, in the plane across this axis (0 axial, 1 coronal, 2 sagittal).
    start
        Where the drag began, (z, y, x) in world mm.
    centre
        Of the lesion then, what turns and scales about.
    numbers
        The tool's numbers then.
    """

    kind: Kind
    axis: int
    start: FloatArray
    centre: FloatArray
    numbers: dict[str, tuple[float, float, float]] = field(default_factory=dict)


class Handles:
    """Follows the preview with boxes and knobs, and the mouse with the tool's numbers.

    Parameters
    ----------
    state
        The tool and its numbers.
    outlined
        The lesion that is drawn as an outline.
    ask
        Has the preview follow the numbers.

    Attributes
    ----------
    marks
        The handles on every canvas.
    """

    def __init__(
        self, context: Context, state: LesionState, outlined: Callable[[], Patch | None], ask: Callable[[], None]
    ) -> None:
        self._planes, self._panel, self._state = context.planes, context.state, state
        self.outlined, self._ask = outlined, ask
        self._drag: Drag | None = None
        # What the drag has done to the box that was there when it began, until the next preview.
        self._matrix: FloatArray = np.eye(4)
        self._pace = Pace(self._draw, 40)
        # All planes are cut again where the crosshair goes.
        self._look = Pace(self._look_at)
        self._target = self._planes.focus
        self._models: tuple[Any, ...] = ()
        self.marks: list[Marks] = []
        self._planes.decorations.append(lambda canvas, model: Marks(canvas, model, self))
        for event in (state.events.preview, state.events.tool, state.events.diameter):
            event.connect(self._on_preview)
        self._planes.state.events.focus.connect(self._pace.ask)
        self._planes.models_changed.connect(self._on_models)
        self._on_models()

    def close(self) -> None:
        """Leave the mouse to napari."""
        self._pace.stop()
        self._look.stop()
        self._planes.models_changed.disconnect(self._on_models)
        for model in self._models:
            model.mouse_drag_callbacks.remove(self.on_drag)
        self._models = ()

    def _on_models(self, models: Any = None) -> None:
        now = tuple(self._planes.models)
        for model in now:
            if self.on_drag not in model.mouse_drag_callbacks:
                model.mouse_drag_callbacks.append(self.on_drag)
        self._models = now

    @property
    def focus(self) -> tuple[float, float, float]:
        """Where the planes are, (z, y, x) in world mm."""
        return self._planes.focus

    @property
    def table(self) -> LabelTable | None:
        """The labels and their colours."""
        return self._panel.table

    def box(self) -> tuple[FloatArray, FloatArray] | None:
        """Outer edges (z, y, x) in world mm of the lesion that the handles are at; None if they are not shown."""
        tool, result = self._state.tool, self._state.preview
        if tool not in _TOOLS:
            return None
        if tool == "place":
            centre, half = np.array(self._planes.focus), np.array(self._state.diameter[::-1]) / 2
            return centre - half, centre + half
        return None if result is None or result.lesion.empty else _edges(result.lesion)

    def corners(self, axis: int) -> FloatArray | None:
        """The box in the plane across an axis, (4, 3) in turn; None if the plane does not cut it."""
        box = self.box()
        if box is None:
            return None
        focus = self._planes.focus[axis]
        if not box[0][axis] <= focus <= box[1][axis]:
            return None
        v, h = _displayed(axis)
        places = np.full((4, 3), focus, dtype=np.float64)
        for place, (a, b) in zip(places, ((0, 0), (0, 1), (1, 1), (1, 0)), strict=True):
            place[v], place[h] = box[a][v], box[b][h]
        moved: FloatArray = places @ self._matrix[:3, :3].T + self._matrix[:3, 3]
        moved[:, axis] = focus
        return moved

    def knob(self, axis: int) -> FloatArray | None:
        """The handle that turns in the plane across an axis, (3,); None if there is none."""
        corners = self.corners(axis)
        if corners is None or self._state.tool not in _TURNS:
            return None
        middle = corners.mean(axis=0)
        beyond = corners[2] - middle
        length = float(np.linalg.norm(beyond))
        knob: FloatArray = middle + beyond * (1 + max(_KNOB, _KNOB_MM / max(length, 1e-6)))
        return knob

    def _on_preview(self) -> None:
        if self._drag is None:
            self._matrix = np.eye(4)
        self._pace.ask()

    def _draw(self) -> None:
        for marks in self.marks:
            marks.show()

    def on_drag(self, model: Any, event: Any) -> Iterator[None]:
        """Mouse callback of napari: take the drag if it begins at a handle."""
        first = model.dims.ndim - 3
        if event.button != 1 or event.modifiers or model.dims.ndisplay != 2 or first < 0:
            return
        axis = next((a - first for a in model.dims.not_displayed if a >= first), None)
        if axis is None or self._state.tool not in _TOOLS:
            return
        camera = model.scene.camera
        kind = self.hit(axis, _spatial(event), _REACH / camera.zoom)
        if kind is None:
            return
        panned, camera.mouse_pan = camera.mouse_pan, False
        try:
            self.begin(kind, axis, _spatial(event))
            yield
            while event.type == "mouse_move":
                self.drag_to(_spatial(event))
                yield
        finally:
            camera.mouse_pan = panned
            self.end()

    def hit(self, axis: int, point: FloatArray, reach: float) -> Kind | None:
        """The handle under a point (z, y, x) of the plane across an axis, within `reach` mm."""
        corners = self.corners(axis)
        if corners is None:
            return None
        plane = list(_displayed(axis))
        knob = self.knob(axis)
        to_corner = float(np.linalg.norm((corners - point)[:, plane], axis=1).min())
        to_knob = np.inf if knob is None else float(np.linalg.norm((knob - point)[plane]))
        if min(to_corner, to_knob) <= reach:
            return "knob" if to_knob < to_corner else "corner"
        low, high = corners.min(axis=0), corners.max(axis=0)
        return "inside" if (low <= point)[plane].all() and (point <= high)[plane].all() else None

    def begin(self, kind: Kind, axis: int, point: FloatArray) -> None:
        """Take a handle at a point (z, y, x) in world mm."""
        state = self._state
        if state.tool == "place" or state.preview is None:
            centre = np.array(self._planes.focus)
        else:
            centre = state.preview.lesion.centroid()[::-1]
        numbers = {name: getattr(state, name) for name in ("mm", "degrees", "factor", "diameter")}
        self._drag = Drag(kind, axis, np.array(point), centre, {**numbers, "focus": self._planes.focus})
        self._matrix = np.eye(4)

    def drag_to(self, point: FloatArray) -> None:
        """Follow the mouse to a point (z, y, x): the tool's numbers change, and with them the preview."""
        drag = self._drag
        if drag is None:
            return
        by = np.array(point) - drag.start
        by[drag.axis] = 0
        if drag.kind == "inside":
            self._move(drag, by)
        elif drag.kind == "knob":
            self._turn(drag, point)
        else:
            self._resize(drag, point)
        self._pace.ask()

    def end(self) -> None:
        """Let go."""
        self._look.now()
        self._drag = None
        self._ask()

    def _move(self, drag: Drag, by: FloatArray) -> None:
        state = self._state
        if state.tool in ("place", "transplant"):
            z, y, x = np.array(drag.numbers["focus"]) + by
            self._target = (float(z), float(y), float(x))
            self._look.ask()
        else:
            x, y, z = np.array(drag.numbers["mm"]) + by[::-1]
            state.mm = (float(x), float(y), float(z))
        if state.tool != "place":  # whose box is at the crosshair anyway
            self._matrix = np.eye(4)
            self._matrix[:3, 3] = by

    def _look_at(self) -> None:
        self._planes.look_at(self._target)

    def _turn(self, drag: Drag, point: FloatArray) -> None:
        angle = _angle(drag.axis, np.array(point) - drag.centre) - _angle(drag.axis, drag.start - drag.centre)
        turn = Rotation.from_rotvec(angle * np.eye(3)[2 - drag.axis])
        whole = turn * Rotation.from_euler("xyz", drag.numbers["degrees"], degrees=True)
        with warnings.catch_warnings():
            # Where R and S turn about the same axis one of them is 0, which is what is wanted.
            warnings.filterwarnings("ignore", "Gimbal lock")
            r, a, s = (round(float(v), 3) for v in whole.as_euler("xyz", degrees=True))
        self._state.degrees = (r, a, s)
        self._matrix = _about(turn.as_matrix()[::-1, ::-1], drag.centre)

    def _resize(self, drag: Drag, point: FloatArray) -> None:
        state, plane = self._state, list(_displayed(drag.axis))
        if state.tool == "place":
            diameter = list(drag.numbers["diameter"])
            for axis in plane:
                half = abs(float(point[axis]) - drag.centre[axis])
                diameter[2 - axis] = round(float(np.clip(2 * half, *_DIAMETERS)), 1)
            state.diameter = (diameter[0], diameter[1], diameter[2])
            return
        before, now = (float(np.linalg.norm((p - drag.centre)[plane])) for p in (drag.start, np.array(point)))
        old = drag.numbers["factor"]
        times = float(np.clip(now / max(before, 1e-6), _FACTORS[0] / min(old), _FACTORS[1] / max(old)))
        r, a, s = (round(float(np.clip(v * times, *_FACTORS)), 4) for v in old)
        state.factor = (r, a, s)
        self._matrix = _about(np.eye(3) * times, drag.centre)


def _displayed(axis: int) -> tuple[int, int]:
    """The spatial axes (vertical, horizontal) that the plane across an axis shows."""
    first, second = (other for other in range(3) if other != axis)
    return first, second


def _angle(axis: int, arm: FloatArray) -> float:
    """Angle of an arm (z, y, x), right-handed about R, A or S, whichever the plane across `axis` has as its normal."""
    world, k = arm[::-1], 2 - axis
    return float(np.arctan2(world[(k + 2) % 3], world[(k + 1) % 3]))


def _about(linear: NDArray[np.float64], centre: FloatArray) -> FloatArray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = linear, centre - linear @ centre
    return matrix


def _edges(lesion: Patch) -> tuple[FloatArray, FloatArray]:
    low = np.array(lesion.start) - 0.5
    corners = lesion.lattice.index_to_world([low, low + lesion.voxels.shape])[:, ::-1]
    return corners.min(axis=0), corners.max(axis=0)


def _spatial(event: Any) -> FloatArray:
    return np.array(event.position[-3:], dtype=np.float64)
