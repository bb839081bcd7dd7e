"""What the panel can do: the viewer's layers, the state and the core brought together. No widgets here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Labels, Layer
from napari.types import LayerDataTuple

from napari_gem3d.errors import InputError
from napari_gem3d.labels import LabelMap, LabelTable
from napari_gem3d.viewer.body.controller import Bodies
from napari_gem3d.viewer.engine import CoreEngine, Engine, LoadedModel, Mode
from napari_gem3d.viewer.fitting import Fitting
from napari_gem3d.viewer.generation import Generation
from napari_gem3d.viewer.informed.controller import Informed
from napari_gem3d.viewer.layers import apply_table, labels_layer, origin_of
from napari_gem3d.viewer.lesions.controller import Lesions
from napari_gem3d.viewer.models.manager import Models
from napari_gem3d.viewer.patients import Patient, find_patients
from napari_gem3d.viewer.planes.controller import Planes
from napari_gem3d.viewer.planes.middle import middle_of
from napari_gem3d.viewer.preferences import Preferences
from napari_gem3d.viewer.reader import read_layers
from napari_gem3d.viewer.run import Run
from napari_gem3d.viewer.runs.autosave import Autosave
from napari_gem3d.viewer.runs.restore import Restore
from napari_gem3d.viewer.runs.results import Results
from napari_gem3d.viewer.samples import SAMPLES, sample_layers
from napari_gem3d.viewer.session import Session
from napari_gem3d.viewer.state import PanelState
from napari_gem3d.viewer.worker import Worker


class Workbench:
    """The panel without its widgets.

    Parameters
    ----------
    viewer
        napari's viewer, or the proxy plugins get.
    engine
        The core; a small one in tests.
    session
        Where masks are kept.

    Attributes
    ----------
    state
        What is chosen and what is going on; change it to drive the panel.
    body, fitting
        Know every patient's body, and the label maps that fit no scan.
    informed
        Chooses the informed slice, or lets the model draw it.
    generation
        Makes runs of what is chosen, and carries them out in `worker`.
    results
        Shows, compares, exports and deletes what came of them.
    autosave, restore
        Keep results and painted masks in `session`, and offer those of a session that a crash has ended.
    preferences, models
        What the user has set on the Preferences page; which models there are, and how more come in.
    """

    def __init__(self, viewer: Any, *, engine: Engine | None = None, session: Session | None = None) -> None:
        self.viewer = viewer
        self.state = PanelState()
        self.session = session or Session()
        self.engine: Engine = engine if engine is not None else CoreEngine(self.session)
        self.planes = Planes(viewer)
        self.worker = Worker()
        # Opening a scan must not wait until a generation ends.
        self.files = Worker()
        self._watched_mask: Labels | None = None
        self.body = Bodies(self)
        self.fitting = Fitting(self)
        self.informed = Informed(self)
        self.generation = Generation(self)
        self.preferences = Preferences(self)
        self.results = Results(self)
        self.autosave = Autosave(self)
        self.restore = Restore(self)
        self.models = Models(self)
        self.state.events.model.connect(self.load_model)
        self.state.events.patient.connect(self._on_patient)
        self.state.events.mask.connect(self._on_mask)
        layers = viewer.layers.events
        for event in (layers.inserted, layers.removed, layers.renamed):
            event.connect(self._on_layers)
        self.lesions = Lesions(self)
        self.load_model()
        self._on_layers()

    @property
    def run(self) -> Run | None:
        """The latest generation, None before the first."""
        return self.state.runs[-1] if self.state.runs else None

    def close(self) -> None:
        """Cancel what is running, end the threads, let go of the viewer."""
        self.autosave.close()  # first of all: whatever fails while a window is torn down, it was no crash
        self.preferences.close()
        self.models.close()
        self.body.close()
        self.informed.close()
        self.generation.close()
        self.results.close()
        layers = self.viewer.layers.events
        for event in (layers.inserted, layers.removed, layers.renamed):
            event.disconnect(self._on_layers)
        self.lesions.close()
        self.planes.close()
        self.worker.close()
        self.files.close()

    # --- model -------------------------------------------------------------------------------------------------

    def load_model(self) -> None:
        """Load the bundle `state.model` in the background; its label table and default steps become the state's."""
        name = self.state.model
        self.worker.submit(lambda: self.engine.load(name), partial(self._on_model, name), self.state.say_error)

    def _on_model(self, name: str, model: LoadedModel) -> None:
        if name != self.state.model:
            return  # another one was chosen while this was loading
        self.state.say("")
        self.state.table = model.table
        self.informed.on_model(model)
        self.generation.show_model(model)
        self.preferences.on_model()
        self.state.steps = model.steps
        for patient in self.state.patients:
            for mask in patient.masks:
                apply_table(mask, model.table)

    # --- patients ----------------------------------------------------------------------------------------------

    def open_files(self, paths: Iterable[Path]) -> None:
        """Read scans and label maps in the background and show them."""
        names = [str(path) for path in paths]
        if names:
            self._open(partial(read_layers, names), f"Reading {Path(names[0]).name} …")

    def open_sample(self, name: str) -> None:
        """Show a sample patient, by its key in `SAMPLES`."""
        self._open(partial(sample_layers, name), f"Opening {SAMPLES[name]} …")

    def _open(self, read: Callable[[], list[LayerDataTuple]], message: str) -> None:
        self.state.say(message)
        self.files.submit(read, self._show_read, self.state.say_error)

    def _show_read(self, tuples: list[LayerDataTuple]) -> None:
        self.show(tuples)
        self.state.say("")

    def show(self, tuples: Iterable[LayerDataTuple]) -> None:
        """Add layers to the viewer; the first scan among them becomes the patient that is worked on."""
        added = [self.viewer.add_layer(Layer.create(*layer_tuple)) for layer_tuple in tuples]
        first = next((patient for patient in self.state.patients if patient.image in added), None)
        if first is not None:
            self.state.patient = first

    def _on_layers(self, event: Any = None) -> None:
        """Find the patients among the layers again, after one was opened, removed or renamed."""
        state, before = self.state, self.state.patients
        patients = tuple(find_patients(self.viewer.layers, before))
        inserted = getattr(event, "value", None) if getattr(event, "type", "") == "inserted" else None
        if state.table is not None and isinstance(inserted, Labels) and origin_of(inserted) is not None:
            apply_table(inserted, state.table)
        if patients == before:
            state.events.patients.emit(patients)  # names and masks may have changed all the same
        state.patients = patients
        new = [patient for patient in patients if patient not in before]
        if new:
            state.patient = new[0]
        elif state.patient not in patients:
            state.patient = patients[-1] if patients else None
        self._take_masks()
        self.informed.update()
        if inserted is not None and state.mask == inserted:
            self._show_lesion()

    def _show_lesion(self) -> None:
        """Go where the lesion is, once it is known; the default informed slice goes along."""
        patient = self.state.patient
        lesion = patient.lesion_slice() if patient is not None else None
        if patient is None or lesion is None:
            return
        self.planes.look_at(middle_of(patient))
        self.informed.follow(lesion)

    def _on_patient(self, patient: Patient | None) -> None:
        """Show the patient that is worked on and hide the others."""
        self._take_masks()
        self.informed.update()
        if patient is None:
            return
        for other in self.state.patients:
            for layer in (other.image, *other.masks):
                layer.visible = other is patient and (layer is other.image or layer == other.mask)
        for run in self.state.runs:
            if run.layer is not None:
                run.layer.visible = run.patient is patient
        self.viewer.layers.selection.active = patient.mask if patient.mask is not None else patient.image
        self.planes.frame(patient.image)
        self.planes.look_at(middle_of(patient))

    def show_slice(self, patient: Patient, index: int) -> None:
        """Move the crosshair to an axial slice of a patient."""
        image = patient.image
        self.planes.look_at((image.translate[0] + index * image.scale[0], *self.planes.focus[1:]))

    def current_slice(self, patient: Patient) -> int:
        """The axial slice of a patient nearest to the crosshair."""
        image = patient.image
        index = round((self.planes.focus[0] - image.translate[0]) / image.scale[0])
        return int(np.clip(index, 0, patient.num_slices - 1))

    # --- mask --------------------------------------------------------------------------------------------------

    def new_mask(self) -> None:
        """Add an empty mask on the patient's grid."""
        patient = self.state.patient
        if patient is None:
            self.state.say_error(InputError("There is no patient to paint on; open a scan first."))
            return
        grid = patient.grid
        empty = LabelMap(np.zeros(grid.shape, np.uint8), grid.affine, table=self.state.table or LabelTable(()))
        layer = self.viewer.add_layer(Layer.create(*labels_layer(empty, f"{patient.name} mask")))
        patient.mask = layer
        self._take_masks()

    def paint(self, value: int) -> None:
        """Put napari's brush in the user's hand: a ball that paints a label value in 3D, or erases (0)."""
        mask = self.state.mask
        if mask is None:
            self.new_mask()
            mask = self.state.mask
            if mask is None:
                return
        self.viewer.layers.selection.active = mask
        mask.visible = True
        mask.contour = 0
        if value:
            mask.selected_label = value
        mask.mode = "paint" if value else "erase"
        self.state.label = value

    def stop_painting(self) -> None:
        """Put the brush down."""
        if self.state.mask is not None:
            self.state.mask.mode = "pan_zoom"

    def _take_masks(self) -> None:
        patient = self.state.patient
        self.state.masks = tuple(patient.masks) if patient is not None else ()
        self.state.mask = patient.mask if patient is not None else None

    def _on_mask(self, mask: Labels | None) -> None:
        patient = self.state.patient
        if patient is not None and patient.mask != mask:
            patient.mask = mask
        for other in self.state.masks:
            other.visible = other == mask
        if self._watched_mask is not None:
            self._watched_mask.events.mode.disconnect(self._on_brush)
            self._watched_mask.events.selected_label.disconnect(self._on_brush)
        self._watched_mask = mask
        self.state.label = None
        if mask is not None:
            mask.events.mode.connect(self._on_brush)
            mask.events.selected_label.connect(self._on_brush)

    def _on_brush(self, event: Any = None) -> None:
        """Follow napari's own controls: which label is painted now."""
        mask = self.state.mask
        mode = str(mask.mode)
        self.state.label = {"paint": int(mask.selected_label), "erase": 0}.get(mode)

    # --- generate ----------------------------------------------------------------------------------------------

    def generate(self, mode: Mode | None = None) -> Run | None:
        """Start a generation or queue it; see `Generation`, which also cancels and continues."""
        return self.generation.generate(mode)

    def cancel(self) -> None:
        """Stop the run at work; finished slices are kept."""
        self.generation.cancel()

    def resume(self, run: Run) -> None:
        """Go on with a run that was cancelled."""
        self.generation.resume(run)

    def export(self, run: Run | None, path: Path) -> None:
        """Write a result for others, in the background; see `Results`, which also compares and deletes."""
        self.results.export(run, path)
