"""Step 1: which patients are open, which one is worked on, and what is known of its scan and body."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QCheckBox, QFileDialog, QListWidget, QMenu, QWidget
from superqt.utils import signals_blocked

from napari_gem3d.numbering import ABOUT, MODEL
from napari_gem3d.viewer.adoption import ORIENTATIONS, Adoption
from napari_gem3d.viewer.body.controller import Bodies
from napari_gem3d.viewer.browsing import Patients
from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.fitting import Fitting
from napari_gem3d.viewer.numbering import Numbering
from napari_gem3d.viewer.patients import Patient
from napari_gem3d.viewer.samples import SAMPLES
from napari_gem3d.viewer.widgets import Choice, Three, button, column, holder, line, position, row, say, step

_FILTER = "Medical images (*.nii *.nii.gz *.nrrd *.nhdr *.dcm);;All files (*)"
_WARNING = "color: #ffb74d;"
_AXES = ("z", "y", "x")
_DIRECTIONS = {"S": "up", "I": "down", "A": "front", "P": "back", "R": "right", "L": "left"}


class PatientsStep(QWidget):
    """List of patients, what is known of the chosen one, its body, and ways to open more."""

    def __init__(
        self,
        context: Context,
        patients: Patients,
        adoption: Adoption,
        fitting: Fitting,
        numbering: Numbering,
        bodies: Bodies,
    ) -> None:
        super().__init__()
        self._state, self._patients, self._fitting, self._bodies = context.state, patients, fitting, bodies
        self.list = QListWidget()
        self.list.setToolTip("Open scans; the chosen one is shown and gets the mask")
        self.list.setFixedHeight(62)
        self.about = line("Axes and voxel size of the file, how it was reordered for display, and what it shows")
        self.head = line("Heads are recognised by their volume and by the dark layer under the skin", _WARNING)
        self.misfit = line("Label maps on another grid than the scan are not paired with it", _WARNING)
        tooltip = "Bring the label map to the scan's grid by its position in the patient, as a new layer"
        self.resample = button("Resample it", tooltip, self._resample)
        self.ask = AskRow(adoption)
        self.numbers = NumberRow(numbering)
        self.body = BodyRow(context, bodies)
        tooltip = "Open scans and label maps: NIfTI, NRRD, or one file of a DICOM series"
        self.open = button("Open…", tooltip, self._open_files)
        self.open_dicom = button("DICOM folder…", "Open the folder of a DICOM series", self._open_folder)
        self.sample = button("Sample", "Open a sample patient; no real patient's data")
        menu = QMenu(self.sample)
        for key, title in SAMPLES.items():
            menu.addAction(title, lambda key=key: patients.open_sample(key))
        self.sample.setMenu(menu)
        lines = (self.list, self.about, self.head, self.ask, self.misfit, self.resample, self.numbers, self.body)
        step(1, "Patients", self, *lines, row(self.open, self.open_dicom, self.sample))
        self.list.currentRowChanged.connect(self._choose)
        events = context.state.events
        for event in (events.patients, events.patient, events.table, bodies.changed, bodies.state.events.obstacle):
            event.connect(self._show)
        fitting.changed.connect(self._show_misfit)
        self._show()
        self._show_misfit()

    def _show(self) -> None:
        state = self._state
        with signals_blocked(self.list):
            self.list.clear()
            self.list.addItems([patient.name for patient in state.patients])
            self.list.setCurrentRow(position(state.patient, state.patients))
        nothing = "No scan is open. Drop files on the window, or:"
        self.about.setText(nothing if state.patient is None else self._describe(state.patient))
        say(self.head, self._head(state.patient))

    def _describe(self, patient: Patient) -> str:
        head = self._bodies.head(patient)
        what = {"ct": "CT", "brain": "skull-stripped"}.get(head.kind, "") if head is not None else ""
        return f"{patient.describe()}; {what}" if what else patient.describe()

    def _head(self, patient: Patient | None) -> str:
        """A head with its skull is a problem for models of brains alone."""
        head, table = self._bodies.head(patient) if patient is not None else None, self._state.table
        brains = table is None or (table.body is not None and "brain" in table.body.name.lower())
        if head is None or head.kind != "head" or not brains:
            return ""
        problem = "The model draws brains: the whole head would be taken for brain."
        return f"A head, {head.describe()}. {problem} {self._bodies.state.obstacle}".strip()

    def _show_misfit(self) -> None:
        misfits = self._fitting.misfits
        self.resample.setVisible(bool(misfits) and misfits[-1].overlaps)
        say(self.misfit, misfits[-1].describe() if misfits else "")

    def _resample(self) -> None:
        if self._fitting.misfits:
            self._fitting.resample(self._fitting.misfits[-1])

    def _choose(self, index: int) -> None:
        if 0 <= index < len(self._state.patients):
            self._state.patient = self._state.patients[index]

    def _open_files(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Open scans and label maps", "", _FILTER)
        self._patients.open_files(Path(name) for name in names)

    def _open_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Open the folder of a DICOM series")
        if name:
            self._patients.open_files([Path(name)])


class AskRow(QWidget):
    """What a layer of others does not say, asked once: size of its voxels, and the directions of its axes."""

    def __init__(self, adoption: Adoption) -> None:
        super().__init__()
        self._state = state = adoption.state
        self.question = line("Layers of pixels are no patients before this is known", _WARNING)
        tooltip = "Size of a voxel in mm along the layer's axes"
        self.spacing = Three(state, "spacing", "Voxel (mm)", 0.001, 1000, 0.1, tooltip, decimals=3, axes=_AXES)
        self.orientation = Choice(state, "orientation", {}, "Where the layer's axes increase to, the first one first")
        self.orientation.offer([("", "unknown"), *((code, _directions(code)) for code in ORIENTATIONS)])
        self.use = button("Use", "Keep this with the layer, and work on it", adoption.answer)
        self.leave = button(
            "Leave", "It is no scan, or its directions are not known: do not ask again", adoption.dismiss
        )
        column(self, self.question, self.spacing, row(self.orientation, self.use, self.leave))
        for event in (state.events.question, state.events.spacing_asked):
            event.connect(self._show)
        self._show()

    def _show(self) -> None:
        self.setVisible(bool(self._state.question))
        self.question.setText(self._state.question)
        self.spacing.setVisible(self._state.spacing_asked)


class NumberRow(QWidget):
    """How a label map is numbered, asked where neither its names nor its numbers tell for certain."""

    def __init__(self, numbering: Numbering) -> None:
        super().__init__()
        self._state = state = numbering.state
        self.question = line("Nothing is generated from a map before this is known", _WARNING)
        self.choice = Choice(state, "choice", {}, "Whose numbers these are")
        self.choice.offer([*((name, f"{name}: {about}") for name, about in ABOUT.items()), (MODEL, "the model's own")])
        self.use = button("Use", "Bring the map's values to the model's", numbering.answer)
        column(self, self.question, row(self.choice, self.use))
        state.events.question.connect(self._show)
        self._show()

    def _show(self) -> None:
        self.setVisible(bool(self._state.question))
        self.question.setText(self._state.question)


def _directions(code: str) -> str:
    return f"{code}: {', '.join(_DIRECTIONS[letter] for letter in code)}"


class BodyRow(QWidget):
    """The patient's body: outline, correction by brush, brain extraction; a second line while it is corrected."""

    def __init__(self, context: Context, bodies: Bodies) -> None:
        super().__init__()
        self._panel, self._body = context.state, bodies
        self.outline = QCheckBox("Body outline")
        self.outline.setToolTip("Draw the outline of the body, which the model fills: the mask's, else the scan's own")
        self.outline.toggled.connect(lambda on: setattr(bodies.state, "shown", on))
        tooltip = "Change the body with the brush (undo: Ctrl+Z). Whole volumes use it; an edit keeps the scan's own."
        self.correct = button("Correct…", tooltip)
        self.correct.setCheckable(True)
        self.correct.toggled.connect(self._correct)
        self.extract = button("Extract brain…", "", self._extract)
        self.add = button("Add", "Add to the body with the brush, a ball in 3D", bodies.brush)
        tooltip = "Take away from the body with the brush, a ball in 3D"
        self.erase = button("Take away", tooltip, lambda: bodies.brush(erase=True))
        self.reset = button("Reset", "Bring back the body that was found", bodies.reset)
        self.tools = holder(self.add, self.erase, self.reset)
        column(self, row(self.outline, self.correct, self.extract), self.tools)
        own = bodies.state.events
        for event in (own.shown, own.correcting, own.extracting, own.obstacle):
            event.connect(self._show)
        for event in (context.state.events.patient, bodies.changed):
            event.connect(self._show)
        self._show()

    def _show(self) -> None:
        state, patient = self._body.state, self._panel.patient
        known = patient is not None and self._body.of(patient) is not None
        for box, on in ((self.outline, state.shown), (self.correct, state.correcting)):
            with signals_blocked(box):
                box.setChecked(on)
            box.setEnabled(known)
        self.correct.setText("Done" if state.correcting else "Correct…")
        self.tools.setVisible(state.correcting)
        head = self._body.head(patient) if patient is not None else None
        self.extract.setVisible(state.extracting or (head is not None and head.kind == "head"))
        self.extract.setText("Cancel" if state.extracting else "Extract brain…")
        self.extract.setEnabled(state.extracting or not state.obstacle)
        self.extract.setToolTip(
            state.obstacle
            or "Find the brain with HD-BET on this computer, a minute or more; scan and mask of the brain become "
            "layers beside the original, which stays as it is. Nothing is downloaded."
        )

    def _correct(self, on: bool) -> None:
        self._body.correct(on)
        self._show()

    def _extract(self) -> None:
        if self._body.state.extracting:
            self._body.extraction.cancel()
        else:
            self._body.extraction.start()
