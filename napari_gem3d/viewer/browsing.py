"""Opening scans, and the patient that is worked on: found among the layers, shown, the others hidden."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from napari.layers import Layer
from napari.types import LayerDataTuple
from psygnal import Signal

from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.patients import Patient, find_patients
from napari_gem3d.viewer.reader import read_layers
from napari_gem3d.viewer.samples import SAMPLES, sample_layers
from napari_gem3d.viewer.signals import Connections


class Patients:
    """Keeps `state.patients` and `state.patient`, and the masks of that patient, in step with the layers.

    Attributes
    ----------
    settled
        Emitted when the state has followed a change of the layers.
    lesion_opened
        Emitted with the axial slice of its lesion when a mask of the patient was opened.
    """

    settled = Signal()
    lesion_opened = Signal(int)

    def __init__(self, context: Context) -> None:
        self._context, self._viewer, self._state = context, context.viewer, context.state
        self._connections = Connections()
        layers = self._viewer.layers.events
        self._connections.add(self.find, layers.inserted, layers.removed, layers.renamed)
        self._connections.add(self._on_patient, self._state.events.patient)

    def close(self) -> None:
        """Let go of the viewer."""
        self._connections.close()

    def open_files(self, paths: Iterable[Path]) -> None:
        """Read scans and label maps in the background and show them."""
        names = [str(path) for path in paths]
        if names:
            self._open(partial(read_layers, names), f"Reading {Path(names[0]).name} …")

    def open_sample(self, name: str) -> None:
        """Show a sample patient, by its key in `SAMPLES`."""
        self._open(partial(sample_layers, name), f"Opening {SAMPLES[name]} …")

    def _open(self, read: Callable[[], list[LayerDataTuple]], message: str) -> None:
        self._state.say(message)
        self._context.files.submit(read, self._show_read, self._state.say_error)

    def _show_read(self, tuples: list[LayerDataTuple]) -> None:
        self._state.say("")
        self.show(tuples)

    def show(self, tuples: Iterable[LayerDataTuple]) -> None:
        """Add layers to the viewer; the first scan among them becomes the patient that is worked on."""
        added = [self._viewer.add_layer(Layer.create(*layer_tuple)) for layer_tuple in tuples]
        first = next((patient for patient in self._state.patients if patient.image in added), None)
        if first is not None:
            self._state.patient = first

    def find(self, event: Any = None) -> None:
        """Find the patients among the layers again, after one was opened, removed or renamed."""
        state, before = self._state, self._state.patients
        patients = tuple(find_patients(self._viewer.layers, before))
        inserted = getattr(event, "value", None) if getattr(event, "type", "") == "inserted" else None
        if patients == before:
            state.events.patients.emit(patients)  # names and masks may have changed all the same
        state.patients = patients
        new = [patient for patient in patients if patient not in before]
        if new:
            state.patient = new[0]
        elif state.patient not in patients:
            state.patient = patients[-1] if patients else None
        self._take_masks(state.patient)
        self.settled.emit()
        patient = state.patient
        if patient is not None and inserted is not None and state.mask == inserted:
            lesion = patient.lesion_slice()
            if lesion is not None:
                self._context.planes.look_at(patient.middle())
                self.lesion_opened.emit(lesion)

    def _on_patient(self, patient: Patient | None) -> None:
        self._take_masks(patient)
        self.settled.emit()
        if patient is None:
            return
        for other in self._state.patients:
            for layer in (other.image, *other.masks):
                layer.visible = other is patient and (layer is other.image or layer == other.mask)
        for run in self._state.runs:
            if run.layer is not None:
                run.layer.visible = run.patient is patient
        self._viewer.layers.selection.active = patient.mask if patient.mask is not None else patient.image
        self._context.planes.frame(patient.image, oriented=patient.oriented)
        self._context.planes.look_at(patient.middle())

    def _take_masks(self, patient: Patient | None) -> None:
        self._state.masks = tuple(patient.masks) if patient is not None else ()
        self._state.mask = patient.mask if patient is not None else None
