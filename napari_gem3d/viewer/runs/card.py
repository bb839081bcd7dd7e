"""A result as a card: what it looks like, what it was made with, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QFrame, QLabel, QMenu, QToolButton, QWidget

from napari_gem3d.viewer.informed.thumbnails import as_pixmap
from napari_gem3d.viewer.run import Run
from napari_gem3d.viewer.runs.results import Results, file_name
from napari_gem3d.viewer.widgets import column, line, row, while_alive

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
    run
        What is shown.
    resume
        Goes on with a run that was cancelled.
    results
        Shows, compares, repeats, exports and deletes it.
    """

    def __init__(self, run: Run, resume: Callable[[Run], None], results: Results) -> None:
        super().__init__()
        self.run, self._results = run, results
        self._drawn: object = None
        self.setObjectName("gem3d_card")
        self.picture = QLabel()
        self.picture.setFixedSize(_SIZE, _SIZE)
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.picture.setStyleSheet("background: black;")
        self.picture.setToolTip("The axial slice through the lesion")
        self.title, self.about = line(), line()
        tooltip = "Show this result on its patient, in the place of the others"
        self.show_button = _button("Show", tooltip, lambda: results.show(run))
        tooltip = "Against the scan or another result: flicker, side by side, …"
        self.compare = _button("Compare", tooltip, lambda: results.comparison.start(run))
        tooltip = "Generate with the same seed and settings, from the mask as it is now"
        self.again = _button("Again", tooltip, lambda: results.again(run))
        self.resume = _button("Continue", "Go on where it was cancelled", lambda: resume(run))
        tooltip = "Write NIfTI on the patient's grid, with the label map and the recipe beside it"
        self.export = _button("Export…", tooltip, self._export)
        self.menu = QMenu(self)
        self.menu.setToolTipsVisible(True)
        self.dicom = self.menu.addAction("Export as DICOM…", self._export_dicom)
        self.dicom.setToolTip("A series with new UIDs, marked as synthetic, without anybody's name")
        self.command = self.menu.addAction("Copy command", lambda: results.copy_command(run))
        self.command.setToolTip("The command line that generates this result again, into the clipboard")
        self.menu.addSeparator()
        self.delete = self.menu.addAction("Delete", lambda: results.delete(run))
        self.delete.setToolTip("Take this result away; the last one deleted can be brought back")
        self.more = _button("⋯", "DICOM, command line, delete")
        self.more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.more.setMenu(self.menu)
        words = QWidget()
        column(words, self.title, self.about, spacing=1).addStretch()
        top = row(self.picture, words)
        top.setAlignment(self.picture, Qt.AlignmentFlag.AlignTop)
        top.setStretchFactor(words, 1)
        buttons = row(self.show_button, self.compare, self.resume, self.again, self.export, self.more, spacing=3)
        buttons.addStretch()
        column(self, top, buttons, spacing=3).setContentsMargins(5, 5, 5, 4)
        self.refresh()

    @while_alive
    def refresh(self) -> None:
        """Show what has become of the run."""
        run, results = self.run, self._results
        done = run.status in ("finished", "partial")
        status = "" if run.finished else f" · {_STATUS.get(run.status, run.status)}"
        self.title.setText(f"<b>{run.name}</b> · {_MODES[run.mode]}{status}")
        self.about.setText(describe(run))
        for item in (self.show_button, self.compare, self.export, self.dicom, self.command):
            item.setEnabled(done)
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
        thumbnail = self._results.thumbnail(self.run) if done else None
        if thumbnail is None:
            self.picture.clear()
        else:
            self.picture.setPixmap(as_pixmap(thumbnail, (1.0, 1.0), _SIZE))

    def _export(self) -> None:
        suggestion = f"{file_name(self.run)}.nii.gz"
        name, _ = QFileDialog.getSaveFileName(self, "Export the synthetic scan", suggestion, "NIfTI (*.nii.gz *.nii)")
        if name:
            path = name if name.lower().endswith((".nii", ".nii.gz")) else f"{name}.nii.gz"
            self._results.export(self.run, Path(path))

    def _export_dicom(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "A new folder for the DICOM series", f"{file_name(self.run)}-dicom")
        if name:
            self._results.export(self.run, Path(name))


def describe(run: Run) -> str:
    """What a run was made with: mask, informed slice, seed, steps, time."""
    settings = run.request if run.request is not None else run.recipe
    if run.mode == "edit":
        slice_ = "its own slices"
    elif run.donor is None:
        slice_ = "drawn slice"
    else:
        slice_ = f"slice {getattr(settings, 'informed_slice', '')} of {run.donor.name}"
    time = f" · {run.seconds:.0f} s" if run.seconds else ""
    anatomy = _ANATOMY.get(getattr(settings, "anatomy", "scan"), "")
    pushed = getattr(settings, "mass_effect_mm", 0.0)
    effect = f" · mass effect {pushed:g} mm" if pushed else ""
    seed, steps = (getattr(settings, name, "") for name in ("seed", "steps"))
    return f"mask of {run.patient.name}, {slice_}<br>seed {seed} · {steps} steps{anatomy}{effect}{time}"


def _button(text: str, tooltip: str, act: Callable[[], object] = lambda: None) -> QToolButton:
    button = QToolButton()
    button.setText(text)
    button.setToolTip(tooltip)
    button.setStyleSheet(BUTTON)
    button.clicked.connect(lambda *_: act())
    return button
