"""Step 1: which patients are open, and which one is worked on."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QFileDialog, QListWidget, QMenu, QPushButton, QVBoxLayout, QWidget

from napari_gem3d.viewer.samples import SAMPLES
from napari_gem3d.viewer.steps.parts import line, position, row, step
from napari_gem3d.viewer.workbench import Workbench

_FILTER = "Medical images (*.nii *.nii.gz *.nrrd *.nhdr *.dcm);;All files (*)"


class PatientsStep(QWidget):
    """List of patients, what is known of the chosen one, and ways to open more."""

    def __init__(self, workbench: Workbench) -> None:
        super().__init__()
        self._workbench = workbench
        self.list = QListWidget()
        self.list.setToolTip("Open scans; the chosen one is shown and gets the mask")
        self.list.setFixedHeight(62)
        self.about = line("Axes and voxel size of the file, and how it was reordered for display")
        self.open = QPushButton("Open…")
        self.open.setToolTip("Open scans and label maps: NIfTI, NRRD, or one file of a DICOM series")
        self.open_dicom = QPushButton("DICOM folder…")
        self.open_dicom.setToolTip("Open the folder of a DICOM series")
        self.sample = QPushButton("Sample")
        self.sample.setToolTip("Open a procedural phantom; no patient's data")
        menu = QMenu(self.sample)
        for key, title in SAMPLES.items():
            menu.addAction(title, lambda key=key: workbench.open_sample(key))
        self.sample.setMenu(menu)

        frame, inside = step(1, "Patients")
        inside.addWidget(self.list)
        inside.addWidget(self.about)
        inside.addLayout(row(self.open, self.open_dicom, self.sample))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(frame)

        self.open.clicked.connect(self._open_files)
        self.open_dicom.clicked.connect(self._open_folder)
        self.list.currentRowChanged.connect(self._choose)
        workbench.state.events.patients.connect(self._show)
        workbench.state.events.patient.connect(self._show)
        self._show()

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
            self.about.setText(state.patient.describe())

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
