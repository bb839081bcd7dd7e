"""The mask that is worked on: chosen, made, painted with napari's own brush."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from napari.layers import Labels, Layer

from napari_gem3d.errors import InputError
from napari_gem3d.labels import LabelMap, LabelTable
from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.layers import labels_layer, origin_of
from napari_gem3d.viewer.patients import Patient
from napari_gem3d.viewer.signals import Connections


class Masks:
    """Shows the chosen mask and hides the patient's others; `state.label` follows its brush."""

    def __init__(self, context: Context) -> None:
        self._context, self._state = context, context.state
        self._brush = Connections()
        self._state.events.mask.connect(self._on_mask)

    def close(self) -> None:
        """Let go of the mask."""
        self._brush.close()

    def new(self) -> None:
        """Add an empty mask on the patient's grid."""
        patient = self._state.patient
        if patient is None:
            self._state.say_error(InputError("There is no patient to paint on; open a scan first."))
            return
        grid = patient.grid
        empty = LabelMap(np.zeros(grid.shape, np.uint8), grid.affine, table=self._state.table or LabelTable(()))
        self._state.mask = self._context.viewer.add_layer(Layer.create(*labels_layer(empty, f"{patient.name} mask")))

    def paint(self, value: int) -> None:
        """Put napari's brush in the user's hand: a ball that paints a label value in 3D, or erases (0)."""
        if self._state.mask is None:
            self.new()
        mask = self._state.mask
        if mask is None:
            return
        self._context.viewer.layers.selection.active = mask
        mask.visible = True
        mask.contour = 0
        if value:
            mask.selected_label = value
        mask.mode = "paint" if value else "erase"
        self._state.label = value

    def stop_painting(self) -> None:
        """Put the brush down."""
        if self._state.mask is not None:
            self._state.mask.mode = "pan_zoom"

    def _on_mask(self, mask: Labels | None) -> None:
        patient = self._state.patient
        if patient is not None and patient.mask != mask:
            patient.mask = mask
        for other in self._state.masks:
            other.visible = other == mask
        self._brush.close()
        self._state.label = None
        if mask is not None:
            self._brush.add(self._on_brush, mask.events.mode, mask.events.selected_label)

    def _on_brush(self) -> None:
        """Follow napari's own controls."""
        mask = self._state.mask
        self._state.label = {"paint": int(mask.selected_label), "erase": 0}.get(str(mask.mode))


def mask_before(patient: Patient, table: LabelTable | None, session: Path) -> Path | None:
    """The file of a patient's mask as it was: the mask's own, or that of another of the patient's label maps.

    Parameters
    ----------
    patient
        Whose mask is edited.
    table
        What the model knows: the map that holds the scan's anatomy is for models with tissue alone.
    session
        The folder of sessions, which hold what was painted, not what the scan shows.
    """
    origin = origin_of(patient.mask) if patient.mask is not None else None
    if origin is not None and origin.before is not None and table is not None and table.tissues:
        return origin.before
    for mask in (patient.mask, *patient.masks):
        origin = origin_of(mask) if mask is not None else None
        if origin is None or origin.path is None:
            continue
        if origin.renumbered or session not in origin.path.parents:
            return origin.path
    return None
