"""Knows every patient's body, shows it, and lets people correct it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.types import LayerDataTuple
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray
from psygnal import Signal

from napari_gem3d.brain import Head, look_at_head
from napari_gem3d.errors import InputError
from napari_gem3d.foreground import foreground
from napari_gem3d.viewer.body.extraction import BodyState, BrainExtraction
from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.layers import TOOL, Origin, origin_of, placement, volume_of
from napari_gem3d.viewer.patients import Patient, id_of
from napari_gem3d.viewer.worker import Worker
from napari_gem3d.volume import resample

_COLOUR = "#4dd0e1"
_FILLED = 0.35


@dataclass(eq=False)
class _Known:
    """What is known of one patient.

    `outline` is the scan's foreground (Z, Y, X) on its canonical grid, None if nothing stands out; `layer` shows the
    body and is made when it is first shown; `start` is what it showed then.
    """

    patient: Patient
    head: Head | None = None
    outline: NDArray[np.bool_] | None = None
    layer: Labels | None = None
    start: NDArray[np.bool_] | None = None


class Bodies:
    """Looks at every scan that is opened, in a thread of its own.

    The body of a generation is that of the mask, if the mask has its label, else the scan's foreground; unless it was
    corrected here. Then the corrected one goes into the label map of the request, for whole volumes; an edit leaves
    the scan's body alone.

    Parameters
    ----------
    show
        Adds layers to the viewer: a brain that was extracted.

    Attributes
    ----------
    state
        What is shown and going on.
    extraction
        Takes brains out of heads.
    changed
        Emitted with a patient of whose head or body something new is known.
    """

    changed = Signal(object)

    def __init__(self, context: Context, show: Callable[[Iterable[LayerDataTuple]], None]) -> None:
        self._viewer, self._panel = context.viewer, context.state
        self.state = BodyState()
        self.worker = Worker()
        self.extraction = BrainExtraction(context, self.state, self.worker, show)
        self._known: dict[int, _Known] = {}
        self._panel.events.patients.connect(self._on_patients)
        self._panel.events.patient.connect(self._on_patient)
        self.state.events.shown.connect(self._show)
        self.state.events.correcting.connect(self._on_correcting)

    def close(self) -> None:
        """Stop what is going on."""
        self.extraction.cancel()
        self.worker.close(timeout=0.5)

    def head(self, patient: Patient) -> Head | None:
        """Whether the scan is a head with its skull; None while that is not known."""
        known = self._of(patient)
        return known.head if known is not None else None

    def of(self, patient: Patient) -> NDArray[np.bool_] | None:
        """The patient's body (Z, Y, X) on the canonical grid of the scan; None while, or if, it is not known."""
        known = self._of(patient)
        if known is None:
            return None
        return self._corrected(known) if known.layer is not None else known.outline

    def is_corrected(self, patient: Patient) -> bool:
        """Whether somebody has changed the body with the brush."""
        known = self._of(patient)
        if known is None or known.layer is None:
            return False
        return known.start is not None and not np.array_equal(self._corrected(known), known.start)

    def applied(self, patient: Patient, voxels: NDArray[Any], origin: Origin) -> tuple[NDArray[Any], Origin]:
        """A label map with the corrected body in it, as it is requested; unchanged if the body was not corrected.

        Parameters
        ----------
        patient
            Whose body it is.
        voxels
            (Z, Y, X), the mask's layer; not changed.
        origin
            What that layer remembers of its volume.
        """
        table = self._panel.table
        if table is None or table.body is None or not self.is_corrected(patient):
            return voxels, origin
        body, value = self.of(patient), table.body.value
        assert body is not None, "it was corrected"
        labelled = (voxels != 0) & (voxels != value)
        # Tissue is part of the body; a lesion beyond it says that the body is there as well.
        labelled &= body | ~np.isin(voxels, [label.value for label in table.tissues])
        dtype = np.promote_types(voxels.dtype, np.min_scalar_type(value))
        merged = np.where(labelled, voxels, body * np.array(value, dtype)).astype(dtype)
        return merged, replace(origin, body=None, body_value=value)

    def _of(self, patient: Patient | None) -> _Known | None:
        return self._known.get(id_of(patient.image)) if patient is not None else None

    def _on_patients(self, patients: tuple[Patient, ...]) -> None:
        there = {id_of(patient.image): patient for patient in patients}
        for key in [key for key in self._known if key not in there]:
            self._remove_layer(self._known.pop(key))
        for key, patient in there.items():
            if key not in self._known:
                self._known[key] = _Known(patient)
                self.worker.submit(partial(_look, patient), partial(self._keep, key), self._panel.say_error)

    def _keep(self, key: int, found: tuple[Head | None, NDArray[np.bool_] | None]) -> None:
        known = self._known.get(key)
        if known is None:
            return
        known.head, known.outline = found
        self.changed.emit(known.patient)
        self._show()

    def _on_patient(self, patient: Patient | None) -> None:
        self.state.correcting = False
        self._show()

    def _show(self) -> None:
        """Show the layer of the patient that is worked on, hide those of others."""
        patient = self._panel.patient
        wanted = self.state.shown or self.state.correcting
        for known in self._known.values():
            mine = patient is not None and known.patient is patient
            if mine and wanted and known.layer is None:
                self._make_layer(known)
            if known.layer is not None:
                known.layer.visible = mine and wanted

    def _make_layer(self, known: _Known) -> None:
        body = self._start(known)
        origin = origin_of(known.patient.image)
        if body is None or origin is None:
            return
        known.start = body
        known.layer = self._viewer.add_layer(
            Labels(
                body.astype(np.uint8),
                name=f"{known.patient.name} body",
                metadata={TOOL: True},
                colormap=DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", 1: _COLOUR}),
                **placement(origin.grid),
            )
        )
        known.layer.contour = 1
        self._viewer.layers.selection.active = known.patient.mask or known.patient.image

    def _start(self, known: _Known) -> NDArray[np.bool_] | None:
        """The body before anything is corrected: of the mask where it has one, else of the scan."""
        mask = known.patient.mask
        origin = origin_of(mask) if mask is not None else None
        if mask is not None and origin is not None and origin.body_value:
            voxels = np.asarray(mask.data)
            if voxels.shape == known.patient.image.data.shape:
                return voxels != 0
        return known.outline

    def _remove_layer(self, known: _Known) -> None:
        layer, known.layer = known.layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def correct(self, on: bool = True) -> None:
        """Put the brush on the body, or down again; says why, where that is not possible."""
        patient, table = self._panel.patient, self._panel.table
        if not on or patient is None:
            self.state.correcting = False
            return
        if table is not None and table.body is None:
            self._panel.say_error(InputError(f"The model {self._panel.model} has no body label, so none is needed."))
        elif (
            self._known[id_of(patient.image)].outline is None and self._start(self._known[id_of(patient.image)]) is None
        ):
            self._panel.say_error(InputError("The body is not known yet, or nothing stands out in this scan."))
        else:
            self.state.correcting = True

    def brush(self, erase: bool = False) -> None:
        """Add to the body with the brush, or take away."""
        layer = self._layer()
        if layer is not None and self.state.correcting:
            layer.mode = "erase" if erase else "paint"

    def reset(self) -> None:
        """Bring the body back that was found; one undo step."""
        patient = self._panel.patient
        known = self._of(patient)
        if known is None or known.layer is None or known.start is None:
            return
        wrong = np.nonzero((np.asarray(known.layer.data) > 0) != known.start)
        if wrong[0].size:
            known.layer.data_setitem(wrong, known.start[wrong].astype(np.uint8))
            known.layer.refresh()
            self.changed.emit(known.patient)

    def _on_correcting(self, on: bool) -> None:
        self._show()
        for known in self._known.values():
            if known.layer is not None and not (on and known.patient is self._panel.patient):
                known.layer.mode = "pan_zoom"
                known.layer.contour, known.layer.opacity = 1, 1.0
        layer = self._layer()
        if on and layer is not None:
            layer.contour, layer.opacity = 0, _FILLED
            layer.n_edit_dimensions, layer.selected_label, layer.brush_size = 3, 1, 10
            self._viewer.layers.selection.active = layer
            layer.mode = "paint"
            self._panel.say("Correct the body with the brush; generations of whole volumes use it.")
        elif self._panel.patient is not None:
            patient = self._panel.patient
            self._viewer.layers.selection.active = patient.mask or patient.image
            self.changed.emit(patient)

    def _layer(self) -> Labels | None:
        patient = self._panel.patient
        known = self._of(patient)
        return known.layer if known is not None else None

    @staticmethod
    def _corrected(known: _Known) -> NDArray[np.bool_]:
        assert known.layer is not None, "the caller looked"
        corrected: NDArray[np.bool_] = np.asarray(known.layer.data) > 0
        return corrected


def _look(patient: Patient) -> tuple[Head | None, NDArray[np.bool_] | None]:
    """In the worker's thread: what kind of scan it is, and its foreground on the canonical grid."""
    scan = volume_of(patient.image)
    canonical = resample(scan, scan.grid.canonical(), order=0)
    try:
        return look_at_head(canonical), foreground(canonical)
    except InputError:
        return None, None
