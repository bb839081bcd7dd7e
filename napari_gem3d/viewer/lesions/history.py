"""Undo and redo of strokes and tools, a brush that stays inside the body, and the volumes that come of it."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_gem3d.viewer.body.controller import Bodies
from napari_gem3d.viewer.layers import origin_of
from napari_gem3d.viewer.lesions.state import LesionState
from napari_gem3d.viewer.lesions.subject import body_on, label_volumes, shown_grid, was_body
from napari_gem3d.viewer.planes.pane import unwrapped
from napari_gem3d.viewer.signals import Connections
from napari_gem3d.viewer.state import PanelState
from napari_gem3d.viewer.worker import Worker

Indices = tuple[NDArray[np.intp], ...]


class History:
    """Watches the mask that is worked on.

    napari's own history of the layer holds everything in its order: a tool is one entry like a stroke is, and ⌘Z or
    Ctrl+Z takes back the last of them, whatever it was.

    Parameters
    ----------
    panel
        Has the mask, and the table.
    state
        Has the preview and the kind of brush; the volumes are kept there.
    worker
        Counts voxels.
    bodies
        Knows where the brush may paint.

    Attributes
    ----------
    changed
        Emitted when there is something else to undo or redo.
    edited
        Emitted after every stroke, tool, undo and redo.
    """

    changed = Signal()
    edited = Signal()

    def __init__(self, panel: PanelState, state: LesionState, worker: Worker, bodies: Bodies) -> None:
        self._panel, self._state, self._worker, self._known = panel, state, worker, bodies
        self._mask: Labels | None = None
        self._connections = Connections()
        self._writing = False
        self._seen: tuple[int, ...] = ()
        self._volumes: dict[int, float] = {}
        self._inside: NDArray[np.bool_] | None = None
        self._bodies = 0
        panel.events.mask.connect(self._watch)
        panel.events.table.connect(self._count)
        state.events.brush_in_3d.connect(self._set_brush)
        bodies.changed.connect(self._find_body)
        self._watch(panel.mask)

    def close(self) -> None:
        """Let go of the mask."""
        self.changed.disconnect()  # the widgets may be gone by now
        self._watch(None)

    @property
    def can_undo(self) -> bool:
        """Whether a stroke or a tool can be taken back."""
        return self._mask is not None and bool(unwrapped(self._mask)._undo_history)

    @property
    def can_redo(self) -> bool:
        """Whether what was taken back can be done again."""
        return self._mask is not None and bool(unwrapped(self._mask)._redo_history)

    def undo(self) -> None:
        """Take back the last stroke or tool."""
        if self._mask is not None:
            self._mask.undo()
            self._on_data()

    def redo(self) -> None:
        """Do again what was taken back."""
        if self._mask is not None:
            self._mask.redo()
            self._on_data()

    def write(self, mask: Labels, indices: Indices, values: NDArray[Any]) -> None:
        """Change voxels of a mask, as one undo step."""
        self._writing = True
        try:
            mask.data_setitem(indices, values)
        finally:
            self._writing = False
        mask.refresh()
        self._on_data()

    def strokes(self, mask: Labels) -> tuple[int, ...]:
        """Something that is different after every stroke, tool, undo and redo."""
        # napari announces strokes, but not undo; its history is the one place that knows all.
        layer = unwrapped(mask)
        done, undone = layer._undo_history, layer._redo_history
        return len(done), len(undone), id(done[-1]) if done else 0, id(layer.data)

    def _watch(self, mask: Labels | None) -> None:
        self._connections.close()
        self._mask = mask
        self._inside, self._volumes = None, {}
        if mask is not None:
            self._connections.add(self._on_paint, mask.events.paint)
            self._connections.add(self._on_data, mask.events.set_data)
            self._seen = self.strokes(mask)
            self._find_body()
            self._set_brush()
        self._count()

    def _set_brush(self) -> None:
        if self._mask is not None:
            self._mask.n_edit_dimensions = 3 if self._state.brush_in_3d else 2

    def _on_data(self, event: Any = None) -> None:
        """The slider has moved, or something has changed; napari announces both in one way."""
        if self._mask is None or self._writing:
            return
        strokes = self.strokes(self._mask)
        if strokes != self._seen:
            self._seen = strokes
            self._count()
            self.edited.emit()

    def _count(self) -> None:
        """Count the voxels of every label, in the thread: a large map takes long."""
        mask, table = self._mask, self._panel.table
        self.changed.emit()
        if mask is None or table is None:
            self._volumes = {}
            self.show()
            return
        voxels, grid = np.asarray(mask.data), shown_grid(mask)

        def counted(volumes: dict[int, float]) -> None:
            if mask == self._mask:
                self._volumes = volumes
                self.show()

        self._worker.submit(lambda: label_volumes(voxels, grid, table), counted)

    def show(self) -> None:
        """Put the volumes into the state: as they are, and as the preview would make them."""
        preview, table = self._state.preview, self._panel.table
        if table is None:
            return
        order = [label.value for label in (*table.lesions, *table.tissues)]
        if preview is not None:
            before, after = preview.before, preview.after
        else:
            before = after = self._volumes
        values = [v for v in order if before.get(v) or after.get(v)]
        self._state.volumes = tuple((v, before.get(v, 0.0), after.get(v, 0.0)) for v in values)

    def _find_body(self, event: Any = None) -> None:
        """Where the brush may paint: inside of what is labelled, or of the scan's foreground."""
        mask, patient = self._mask, self._panel.patient
        if mask is None or patient is None:
            return
        self._bodies += 1
        number = self._bodies
        origin = origin_of(mask)
        labelled = origin is not None and origin.body is not None
        known = None if labelled else self._known.of(patient)

        def found(inside: NDArray[np.bool_] | None) -> None:
            if number == self._bodies:
                self._inside = inside

        self._worker.submit(lambda: was_body(mask) if labelled else body_on(mask, patient, known), found)

    def _on_paint(self, event: Any) -> None:
        """Keep a stroke inside of the body, and tell of it."""
        mask = self._mask
        if mask is None or self._writing:
            return
        self._writing = True  # what follows is announced once, at its end
        try:
            settled = self._correct(mask, event.value)
        finally:
            self._writing = False
        if not settled:
            # A script's stroke, unlike one by mouse, is announced before it is painted.
            QTimer.singleShot(0, partial(self._correct, mask, event.value))
        self._on_data()

    def _correct(self, mask: Labels, stroke: list[Any]) -> bool:
        """Take back what was painted outside of the body, and give the body back where it was erased.

        False if the stroke has not been painted yet.
        """
        layer, origin = unwrapped(mask), origin_of(mask)
        if self._inside is None or self._inside.shape != layer.data.shape:
            return True
        at, before, after = _touched(stroke, layer.data.shape)
        places = np.unravel_index(at, layer.data.shape)
        if (layer.data[places] != after).any():
            return False
        body_value = origin.body_value if origin is not None and origin.body is not None else 0
        inside = self._inside.ravel()[at]
        right = np.where((before == 0) & ~inside, 0, after)
        right = np.where((after == 0) & inside & (body_value > 0), body_value, right).astype(layer.data.dtype)
        wrong = right != after
        if wrong.any():
            places = tuple(axis[wrong] for axis in places)
            # Part of the same entry of napari's history: one undo takes back stroke and correction.
            stroke.append((places, layer.data[places], right[wrong]))
            layer.data[places] = right[wrong]
            layer.refresh()
        if at.size and not (right != before).any():
            self._panel.say(
                "Nothing was painted: the brush stays inside the body, which comes from the scan or the mask."
            )
        return True


def _touched(atoms: list[Any], shape: tuple[int, ...]) -> tuple[NDArray[np.intp], NDArray[Any], NDArray[Any]]:
    """Flat indices of all voxels that a stroke changed, each once, and their values before and after it."""
    places, old, new = [], [], []
    for atom in atoms:
        if not hasattr(atom, "slice_key"):  # of data_setitem; brush, bucket and polygon keep a box
            indices, before, after = atom
        else:
            region = tuple(part.indices(n) for part, n in zip(atom.slice_key, shape, strict=True))
            size = tuple(len(range(*part)) for part in region)
            inner = np.nonzero(np.ones(size, bool) if atom.mask is None else np.reshape(atom.mask, size))
            indices = tuple(k * step + first for k, (first, _, step) in zip(inner, region, strict=True))
            before, after = atom.old_values.ravel(), atom.new_value
        places.append(np.ravel_multi_index(indices, shape))
        old.append(np.broadcast_to(before, places[-1].shape))
        new.append(np.broadcast_to(after, places[-1].shape))
    if not places:
        nothing = np.zeros(0, np.uint8)
        return np.zeros(0, np.intp), nothing, nothing
    flat = np.concatenate(places)
    at, first = np.unique(flat, return_index=True)
    _, last = np.unique(flat[::-1], return_index=True)
    return at, np.concatenate(old)[first], np.concatenate(new)[::-1][last]
