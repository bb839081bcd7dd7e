"""Step 1: which patients are open, which one is worked on, and what is known of its scan and body."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QFileDialog, QListWidget, QMenu, QPushButton, QVBoxLayout, QWidget

from napari_gem3d.viewer.patients import Patient
from napari_gem3d.viewer.samples import SAMPLES
from napari_gem3d.viewer.steps.body import BodyRow
from napari_gem3d.viewer.steps.parts import line, position, row, step
from napari_gem3d.viewer.workbench import Workbench

_FILTER = "Medical images (*.nii *.nii.gz *.nrrd *.nhdr *.dcm);;All files (*)"
_WARNING = "color: #ffb74d;"


class PatientsStep(QWidget):
    """List of patients, what is known of the chosen one, its body, and ways to open more."""

    def __init__(self, workbench: Workbench) -> None:
        super().__init__()
        self._workbench = workbench
        self.list = QListWidget()
        self.list.setToolTip("Open scans; the chosen one is shown and gets the mask")
        self.list.setFixedHeight(62)
        self.about = line("Axes and voxel size of the file, how it was reordered for display, and what it shows")
        self.head = line("Heads are recognised by their volume and by the dark layer under the skin")
        self.head.setStyleSheet(_WARNING)
        self.misfit = line("Label maps on another grid than the scan are not paired with it")
        self.misfit.setStyleSheet(_WARNING)
        self.resample = QPushButton("Resample it")
        self.resample.setToolTip(
            "Bring the label map to the scan's grid by its position in the patient, as a new layer"
        )
        self.body = BodyRow(workbench)
        self.open = QPushButton("Open…")
        self.open.setToolTip("Open scans and label maps: NIfTI, NRRD, or one file of a DICOM series")
        self.open_dicom = QPushButton("DICOM folder…")
        self.open_dicom.setToolTip("Open the folder of a DICOM series")
        self.sample = QPushButton("Sample")
        self.sample.setToolTip("Open a sample patient; no real patient's data")
        menu = QMenu(self.sample)
        for key, title in SAMPLES.items():
            menu.addAction(title, lambda key=key: workbench.open_sample(key))
        self.sample.setMenu(menu)

        frame, inside = step(1, "Patients")
        inside.addWidget(self.list)
        inside.addWidget(self.about)
        inside.addWidget(self.head)
        inside.addWidget(self.misfit)
        inside.addWidget(self.resample)
        inside.addWidget(self.body)
        inside.addLayout(row(self.open, self.open_dicom, self.sample))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(frame)

        self.open.clicked.connect(self._open_files)
        self.open_dicom.clicked.connect(self._open_folder)
        self.list.currentRowChanged.connect(self._choose)
        self.resample.clicked.connect(self._resample)
        events = workbench.state.events
        for event in (
            events.patients,
            events.patient,
            events.table,
            workbench.body.changed,
            workbench.body.state.events.obstacle,
        ):
            event.connect(self._show)
        workbench.fitting.changed.connect(self._show_misfit)
        self._show()
        self._show_misfit()

    def _show(self) -> None:
        state = self._workbench.state
        blocker = QSignalBlocker(self.list)
        self.list.clear()
        self.list.addItems([patient.name for patient in state.patients])
        self.list.setCurrentRow(position(state.patient, state.patients))
        blocker.unblock()
        if state.patient is None:
            self.about.setText("No scan is open. Drop files on the window, or:")
        else:
            self.about.setText(self._describe(state.patient))
        self._show_head(state.patient)

    def _describe(self, patient: Patient) -> str:
        head = self._workbench.body.head(patient)
        what = {"ct": "CT", "brain": "skull-stripped"}.get(head.kind, "") if head is not None else ""
        return f"{patient.describe()}; {what}" if what else patient.describe()

    def _show_head(self, patient: Patient | None) -> None:
        """A head with its skull is a problem for models of brains alone."""
        head = self._workbench.body.head(patient) if patient is not None else None
        table = self._workbench.state.table
        brains = table is None or (table.body is not None and "brain" in table.body.name.lower())
        wrong = head is not None and head.kind == "head" and brains
        self.head.setVisible(wrong)
        if wrong and head is not None:
            obstacle = self._workbench.body.state.obstacle
            problem = "The model draws brains: the whole head would be taken for brain."
            self.head.setText(f"A head, {head.describe()}. {problem} {obstacle}".strip())

    def _show_misfit(self) -> None:
        misfits = self._workbench.fitting.misfits
        self.misfit.setVisible(bool(misfits))
        self.resample.setVisible(bool(misfits) and misfits[-1].overlaps)
        if misfits:
            self.misfit.setText(misfits[-1].describe())

    def _resample(self) -> None:
        misfits = self._workbench.fitting.misfits
        if misfits:
            self._workbench.fitting.resample(misfits[-1])

    def _choose(self, index: int) -> None:
        patients = self._workbench.state.patients
        if 0 <= index < len(patients):
            self._workbench.state.patient = patients[index]

    def _open_files(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Open scans and label maps", "", _FILTER)
        self._workbench.open_files(Path(name) for name in names)

    def _open_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Open the folder of a DICOM series")
        if name:
            self._workbench.open_files([Path(name)])
