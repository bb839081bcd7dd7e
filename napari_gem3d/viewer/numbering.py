"""Label maps whose values are not the model's: renumbered by their names, or asked about, never taken as they are."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Labels, Layer

from napari_gem3d.errors import InputError
from napari_gem3d.io import write_volume
from napari_gem3d.labels import LabelMap, LabelTable
from napari_gem3d.numbering import CONVENTIONS, MODEL, find_numbering, renumbered
from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.layers import (
    METADATA,
    NUMBERED,
    apply_table,
    is_tool,
    label_map_of,
    origin_of,
    required_origin,
)
from napari_gem3d.viewer.patients import id_of
from napari_gem3d.viewer.signals import Connections, State
from napari_gem3d.volume import resample


class NumberingState(State):
    """What the panel asks of a label map.

    Attributes
    ----------
    layer
        The map that is asked about, None while nothing is asked.
    question
        Why its values are not known; "" while nothing is asked.
    choice
        The answer so far: a convention, or the model's own numbers.
    """

    layer: Any = None
    question: str = ""
    choice: str = MODEL


class Numbering:
    """Watches for label maps of files, and brings their values to those of the model's table.

    Names in the file decide by themselves; where nothing tells for certain, the panel asks, and until that is answered
    nothing is generated from the map.
    """

    def __init__(self, context: Context) -> None:
        self._context, self._panel = context, context.state
        self.state = NumberingState()
        self._connections = Connections()
        events = context.viewer.layers.events
        self._connections.add(self.look, events.inserted, events.removed)
        self._connections.add(self.look, context.state.events.table)

    def close(self) -> None:
        """Let go of the viewer."""
        self._connections.close()

    def look(self, event: Any = None) -> None:
        """Bring the values of maps that are new to the model's, or ask about them."""
        table, asked = self._panel.table, self.state.layer
        if asked is not None and asked not in self._context.viewer.layers:
            self._ask(None, "")
        if table is None:
            return
        for layer in [layer for layer in self._context.viewer.layers if _is_map(layer)]:
            if layer.metadata.get(NUMBERED) != table:
                self._settle(layer, table, None)

    def answer(self) -> None:
        """Take the values of the map that is asked about as `state` says."""
        layer, table = self.state.layer, self._panel.table
        if layer is not None and table is not None:
            self._settle(layer, table, self.state.choice)

    def _settle(self, layer: Labels, table: LabelTable, choice: str | None) -> None:
        labels, origin, known = label_map_of(layer), required_origin(layer), layer.metadata.get(NUMBERED)
        if known is not None:  # by another model
            labels = replace(labels, table=known)
        elif origin.path is not None and self._context.session.root not in origin.path.parents:
            labels = replace(labels, source=origin.path, meta={"segments": dict(origin.names)})
        else:
            choice = choice or MODEL  # painted, or written by the panel
        try:
            found = find_numbering(labels, table, choice)
        except InputError as error:
            likely = [name for name in CONVENTIONS if f"{name} (" in str(error)]
            if likely and choice is None:
                self.state.choice = likely[0]
                self._ask(layer, str(error).split("; ")[0] + ".")
            else:  # no answer would help; what the model does not know is said where it would be drawn
                self._know(layer, table)
                self._panel.say(str(error))
            return
        if self.state.layer is not None and id_of(self.state.layer) == id_of(layer):
            self._ask(None, "")
        if not found.changes:
            self._know(layer, table)
            return
        self._panel.say(found.note or f"{layer.name} has the model's numbers now.")
        changed, path = renumbered(labels, table, found.values), self._context.session.new_file("labels")
        layer.data = _canonical(changed)
        layer.metadata[METADATA] = replace(origin, names={}, renumbered=True, path=path)
        self._know(layer, table)
        self._context.files.submit(partial(write_volume, changed, path), lambda _: None, self._panel.say_error)

    def _ask(self, layer: Labels | None, question: str) -> None:
        self.state.layer, self.state.question = layer, question

    def _know(self, layer: Labels, table: LabelTable | None) -> None:
        layer.metadata[NUMBERED] = table
        if table is not None:
            apply_table(layer, table)


def _is_map(layer: Layer) -> bool:
    return isinstance(layer, Labels) and origin_of(layer) is not None and not is_tool(layer)


def _canonical(labels: LabelMap) -> Any:
    return np.ascontiguousarray(resample(labels, labels.grid.canonical(), order=0).voxels)
