"""Step 4: generate, watch, cancel, export."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QCheckBox, QFileDialog, QLabel, QProgressBar, QPushButton, QSpinBox, QVBoxLayout, QWidget

from napari_gem3d.viewer.runs.shelf import RunsShelf
from napari_gem3d.viewer.steps.parts import line, row, step
from napari_gem3d.viewer.workbench import Workbench


class GenerateStep(QWidget):
    """Settings of a generation, its buttons, its progress, and the panel's line."""

    def __init__(self, workbench: Workbench, log: Path) -> None:
        super().__init__()
        self._workbench = workbench
        state = workbench.state
        self.steps = QSpinBox()
        self.steps.setRange(1, 1000)
        self.steps.setToolTip("Denoising steps of each window of slices: more is slower and finer")
        self.seed = QSpinBox()
        self.seed.setRange(0, 2**31 - 1)
        self.seed.setToolTip("The same seed and inputs give the same voxels again")
        self.random = QCheckBox("random")
        self.random.setToolTip("Draw a new seed for every run; it is shown here and kept with the result")
        self.follow = QCheckBox("follow new slices")
        self.follow.setToolTip("Move the view to the slices as they arrive")
        self.generate = QPushButton("Generate")
        self.generate.setToolTip("Generate a whole synthetic scan from the mask and the informed slice")
        self.generate.setStyleSheet("QPushButton { font-weight: bold; }")
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip("Stop; finished slices are kept")
        self.export = QPushButton("Export…")
        self.export.setToolTip("Write the result as NIfTI on the patient's grid, and its recipe beside it")
        self.progress = QProgressBar()
        self.progress.setRange(0, 1000)
        self.message = line(f"The log is {log}")

        frame, inside = step(4, "Generate")
        inside.addLayout(row(QLabel("Steps"), self.steps, QLabel("Seed"), self.seed, self.random))
        inside.addLayout(row(self.generate, self.cancel, self.export))
        inside.addWidget(self.progress)
        inside.addWidget(self.follow)
        inside.addWidget(self.message)
        self.runs = RunsShelf(workbench)
        inside.addWidget(self.runs)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(frame)

        self.steps.valueChanged.connect(lambda value: setattr(state, "steps", value))
        self.seed.valueChanged.connect(lambda value: setattr(state, "seed", value))
        self.random.toggled.connect(lambda on: setattr(state, "random_seed", on))
        self.follow.toggled.connect(lambda on: setattr(state, "follow", on))
        self.generate.clicked.connect(lambda: workbench.generate())
        self.cancel.clicked.connect(workbench.cancel)
        self.export.clicked.connect(self._export)
        for event in (state.events.steps, state.events.seed, state.events.random_seed, state.events.follow):
            event.connect(self._show_settings)
        for event in (state.events.activity, state.events.progress):
            event.connect(self._show_progress)
        state.events.message.connect(self._show_message)
        self._show_settings()
        self._show_progress()
        self._show_message()

    def _show_settings(self) -> None:
        state = self._workbench.state
        for widget, value in ((self.steps, state.steps), (self.seed, state.seed)):
            blocker = QSignalBlocker(widget)
            widget.setValue(value)
            blocker.unblock()
        for box, on in ((self.random, state.random_seed), (self.follow, state.follow)):
            blocker = QSignalBlocker(box)
            box.setChecked(on)
            blocker.unblock()
        self.seed.setEnabled(not state.random_seed)

    def _show_progress(self) -> None:
        state = self._workbench.state
        idle = state.activity == "idle"
        run = self._workbench.run
        self.cancel.setEnabled(state.activity == "running")
        self.export.setEnabled(run is not None and run.status in ("finished", "partial"))
        left = f", {time_left(state.seconds_left)} left" if state.seconds_left is not None else ""
        waiting = {"idle": "", "running": f"%p %{left}", "cancelling": "cancelling …"}
        # A progress bar repaints itself, and the canvas behind it, at once; let it wait for the next repaint.
        self.progress.setUpdatesEnabled(False)
        self.progress.setValue(round(state.progress * 1000))
        self.progress.setFormat(waiting[state.activity] if not idle or state.progress < 1 else "done")
        self.progress.setUpdatesEnabled(True)

    def _show_message(self) -> None:
        state = self._workbench.state
        self.message.setText(state.message)
        self.message.setStyleSheet("color: #ff8a80;" if state.failed else "")

    def _export(self) -> None:
        run = self._workbench.run
        suggestion = f"{run.layer.name}.nii.gz".replace(" ", "-").lower() if run and run.layer else "synthetic.nii.gz"
        name, _ = QFileDialog.getSaveFileName(self, "Export the synthetic scan", suggestion, "NIfTI (*.nii.gz *.nii)")
        if name:
            self._workbench.export(run, Path(name))


def time_left(seconds: float) -> str:
    """Seconds in words: "35 s", "2 min 05 s"."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"
