"""Step 3: the informed slice, which sets contrast and appearance of what is generated."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget
from superqt import QLabeledSlider

from napari_gem3d.viewer.patients import Patient
from napari_gem3d.viewer.steps.parts import choices, fill, line, position, step
from napari_gem3d.viewer.workbench import Workbench

_PICTURE = 140


class InformedStep(QWidget):
    """A patient, one of its axial slices, and the picture of that slice."""

    def __init__(self, workbench: Workbench) -> None:
        super().__init__()
        self._workbench = workbench
        self.donors = choices("The patient whose slice informs the generation")
        self.slice = QLabeledSlider(Qt.Orientation.Horizontal)
        self.slice.setToolTip("Axial slice, counted from inferior")
        self.match = QPushButton("Match the view")
        self.match.setToolTip("Take the slice at the same height as the one on the screen")
        self.about = line()
        self.picture = QLabel()
        self.picture.setFixedSize(_PICTURE, _PICTURE)
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.picture.setStyleSheet("background: black;")
        self.picture.setToolTip("The informed slice, patient's right on the left, anterior up")

        frame, inside = step(3, "Informed slice")
        right = QVBoxLayout()
        right.addWidget(self.donors)
        right.addWidget(self.slice)
        right.addWidget(self.match)
        right.addWidget(self.about)
        right.addStretch()
        beside = QHBoxLayout()
        beside.addWidget(self.picture)
        beside.addLayout(right)
        inside.addLayout(beside)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(frame)

        self.donors.currentIndexChanged.connect(self._choose)
        self.slice.valueChanged.connect(self._slide)
        self.match.clicked.connect(workbench.match_donor)
        events = workbench.state.events
        for event in (events.patients, events.patient, events.donor):
            event.connect(self._show)
        events.donor_slice.connect(self._show_slice)
        self._show()

    def _show(self) -> None:
        state = self._workbench.state
        names = [f"{p.name} (its own slice)" if p is state.patient else p.name for p in state.patients]
        fill(self.donors, names, position(state.donor, state.patients))
        self._show_slice()

    def _show_slice(self) -> None:
        state = self._workbench.state
        donor = state.donor
        for widget in (self.slice, self.match):
            widget.setEnabled(donor is not None)
        if donor is None:
            self.picture.clear()
            self.about.setText("")
            return
        blocker = QSignalBlocker(self.slice)
        self.slice.setRange(0, donor.num_slices - 1)
        self.slice.setValue(state.donor_slice)
        blocker.unblock()
        share = state.donor_slice / max(1, donor.num_slices - 1)
        self.about.setText(f"{share:.0%} of the way up")
        self.picture.setPixmap(_pixmap(axial_picture(donor, state.donor_slice), donor))

    def _choose(self, index: int) -> None:
        patients = self._workbench.state.patients
        if 0 <= index < len(patients):
            self._workbench.choose_donor(patients[index])

    def _slide(self, value: int) -> None:
        self._workbench.state.donor_slice = value


def axial_picture(patient: Patient, index: int) -> np.ndarray:
    """An axial slice as people expect it: (rows, columns) uint8, anterior up, the patient's right on the left."""
    low, high = patient.image.contrast_limits
    axial = np.asarray(patient.image.data[index], dtype=np.float32)[::-1, ::-1]
    grey: np.ndarray = (np.clip((axial - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return grey


def _pixmap(picture: np.ndarray, patient: Patient) -> QPixmap:
    grey = np.ascontiguousarray(picture)
    rows, columns = grey.shape
    image = QImage(grey.data, columns, rows, columns, QImage.Format.Format_Grayscale8).copy()
    _, row_mm, column_mm = (float(v) for v in patient.image.scale)
    factor = _PICTURE / max(rows * row_mm, columns * column_mm)
    return QPixmap.fromImage(image).scaled(
        max(1, round(columns * column_mm * factor)),
        max(1, round(rows * row_mm * factor)),
        Qt.AspectRatioMode.IgnoreAspectRatio,
        Qt.TransformationMode.SmoothTransformation,
    )
