"""A result as a card: what it looks like, what it was made with, and what can be done with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QFileDialog, QFrame, QHBoxLayout, QLabel, QMenu, QToolButton, QVBoxLayout

from napari_gem3d.viewer.run import Run
from napari_gem3d.viewer.runs.results import file_name
from napari_gem3d.viewer.steps.parts import line

if TYPE_CHECKING:
    from napari_gem3d.viewer.workbench import Workbench

_SIZE = 56
# napari draws small buttons as bare text, and those that are checked no differently.
BUTTON = (
    "QToolButton { background: rgba(128, 128, 128, 70); border: none; border-radius: 3px; padding: 2px 6px; }"
    "QToolButton:hover { background: rgba(128, 128, 128, 120); }"
    "QToolButton:disabled { background: rgba(128, 128, 128, 25); color: rgba(128, 128, 128, 140); }"
    "QToolButton:checked { background: #4a62c8; color: white; }"
    "QToolButton::menu-indicator { image: none; }"
)
_MODES = {"volume": "whole volume", "edit": "edit of the scan"}
# The scan, by default, is not worth a word.
_ANATOMY = {"map": " · anatomy of the map", "none": " · no anatomy"}
_STATUS = {
    "waiting": "waits",
    "running": "is generated …",
    "cancelling": "is being cancelled …",
    "partial": "partial",
    "failed": "failed",
}


class RunCard(QFrame):
    """One run.

    Parameters
    ----------
    workbench
        Whose results are acted on.
    run
        What is shown.
    """

    def __init__(self, workbench: Workbench, run: Run) -> None:
        super().__init__()
        self._workbench, self.run = workbench, run
        self._drawn: object = None
        self.setObjectName("gem3d_card")
        self.picture = QLabel()
        self.picture.setFixedSize(_SIZE, _SIZE)
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.picture.setStyleSheet("background: black;")
        self.picture.setToolTip("The axial slice through the lesion")
        self.title = line()
        self.about = line()
        self.show_button = _button("Show", "Show this result on its patient, in the place of the others")
        self.compare = _button("Compare", "Against the scan or another result: flicker, side by side, …")
        self.again = _button("Again", "Generate with the same seed and settings, from the mask as it is now")
        self.resume = _button("Continue", "Go on where it was cancelled")
        self.export = _button(
            "Export…", "Write NIfTI on the patient's grid, with the label map and the recipe beside it"
        )
        self.menu = QMenu(self)
        self.menu.setToolTipsVisible(True)
        self.dicom = self.menu.addAction("Export as DICOM…")
        self.dicom.setToolTip("A series with new UIDs, marked as synthetic, without anybody's name")
        self.command = self.menu.addAction("Copy command")
        self.command.setToolTip("The command line that generates this result again, into the clipboard")
        self.menu.addSeparator()
        self.delete = self.menu.addAction("Delete")
        self.delete.setToolTip("Take this result away; the last one deleted can be brought back")
        self.more = _button("⋯", "DICOM, command line, delete")
        self.more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.more.setMenu(self.menu)
        self._lay_out()
        self._connect()
        self.refresh()

    def _lay_out(self) -> None:
        words = QVBoxLayout()
        words.setSpacing(1)
        words.addWidget(self.title)
        words.addWidget(self.about)
        words.addStretch()
        top = QHBoxLayout()
        top.setSpacing(6)
        top.addWidget(self.picture, 0, Qt.AlignmentFlag.AlignTop)
        top.addLayout(words, 1)
        buttons = QHBoxLayout()
        buttons.setSpacing(3)
        for button in (self.show_button, self.compare, self.resume, self.again, self.export, self.more):
            buttons.addWidget(button)
        buttons.addStretch()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(5, 5, 5, 4)
        layout.setSpacing(3)
        layout.addLayout(top)
        layout.addLayout(buttons)

    def _connect(self) -> None:
        results, run = self._workbench.results, self.run
        self.show_button.clicked.connect(lambda: results.show(run))
        self.compare.clicked.connect(lambda: results.comparison.start(run))
        self.again.clicked.connect(lambda: results.again(run))
        self.resume.clicked.connect(lambda: self._workbench.resume(run))
        self.export.clicked.connect(self._export)
        self.dicom.triggered.connect(self._export_dicom)
        self.command.triggered.connect(lambda: results.copy_command(run))
        self.delete.triggered.connect(lambda: results.delete(run))

    def refresh(self) -> None:
        """Show what has become of the run."""
        if not isalive(self.delete):
            return  # the panel is closed, its workbench is not yet
        run, results = self.run, self._workbench.results
        done = run.status in ("finished", "partial")
        status = "" if run.finished else f" · {_STATUS.get(run.status, run.status)}"
        self.title.setText(f"<b>{run.name}</b> · {_MODES[run.mode]}{status}")
        self.about.setText(describe(run))
        for widget in (self.show_button, self.compare, self.export):
            widget.setEnabled(done)
        for action in (self.dicom, self.command):
            action.setEnabled(done)
        self.again.setVisible(not run.can_continue)
        self.again.setEnabled(done)
        self.resume.setVisible(run.can_continue)
        compared = results.comparison.state.run is run
        shown = compared or (results.comparison.state.run is None and results.state.shown is run)
        colour = "#4fc3f7" if shown else "rgba(128, 128, 128, 90)"
        self.setStyleSheet(f"#gem3d_card {{ border: 1px solid {colour}; border-radius: 4px; }}")
        self._draw(done)

    def _draw(self, done: bool) -> None:
        state = (self.run.status, self.run.seconds)
        if self._drawn == state:
            return
        self._drawn = state
        thumbnail = self._workbench.results.thumbnail(self.run) if done else None
        if thumbnail is None:
            self.picture.clear()
        else:
            self.picture.setPixmap(_pixmap(thumbnail))

    def _export(self) -> None:
        suggestion = f"{file_name(self.run)}.nii.gz"
        name, _ = QFileDialog.getSaveFileName(self, "Export the synthetic scan", suggestion, "NIfTI (*.nii.gz *.nii)")
        if name:
            path = name if name.lower().endswith((".nii", ".nii.gz")) else f"{name}.nii.gz"
            self._workbench.export(self.run, Path(path))

    def _export_dicom(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "A new folder for the DICOM series", f"{file_name(self.run)}-dicom")
        if name:
            self._workbench.export(self.run, Path(name))


def describe(run: Run) -> str:
    """What a run was made with: mask, informed slice, seed, steps, time."""
    if run.mode == "edit":
        slice_ = "its own slices"
    elif run.donor is None:
        slice_ = "drawn slice"
    else:
        index = run.order.informed_slice if run.order is not None else getattr(run.recipe, "informed_slice", "")
        slice_ = f"slice {index} of {run.donor.name}"
    seed = run.order.seed if run.order is not None else getattr(run.recipe, "seed", "")
    steps = run.order.steps if run.order is not None else getattr(run.recipe, "steps", "")
    time = f" · {run.seconds:.0f} s" if run.seconds else ""
    made = run.order if run.order is not None else run.recipe
    anatomy = _ANATOMY.get(getattr(made, "anatomy", "scan"), "")
    pushed = getattr(made, "mass_effect_mm", 0.0)
    effect = f" · mass effect {pushed:g} mm" if pushed else ""
    return f"mask of {run.patient.name}, {slice_}<br>seed {seed} · {steps} steps{anatomy}{effect}{time}"


def _button(text: str, tooltip: str) -> QToolButton:
    button = QToolButton()
    button.setText(text)
    button.setToolTip(tooltip)
    button.setStyleSheet(BUTTON)
    return button


def _pixmap(grey: NDArray[np.uint8]) -> QPixmap:
    grey = np.ascontiguousarray(grey)
    height, width = grey.shape
    image = QImage(grey.data, width, height, width, QImage.Format.Format_Grayscale8)
    return QPixmap.fromImage(image).scaled(
        _SIZE, _SIZE, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
    )
