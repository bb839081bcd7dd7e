"""Step 4: generate, watch, cancel, export."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_gem3d.viewer.runs.shelf import RunsShelf
from napari_gem3d.viewer.steps.curve import CurvePlot
from napari_gem3d.viewer.steps.parts import line, row, step
from napari_gem3d.viewer.steps.settings import GenerateSettings, time_left
from napari_gem3d.viewer.workbench import Workbench


class GenerateStep(QWidget):
    """Settings of a generation, its buttons, its progress and curve, the panel's line, and the runs."""

    def __init__(self, workbench: Workbench, log: Path) -> None:
        super().__init__()
        self._workbench = workbench
        state = workbench.state
        self.settings = GenerateSettings(workbench)
        self.generate = QPushButton("Generate")
        self.generate.setToolTip("Begin, or wait in line while another generation runs")
        self.generate.setStyleSheet("QPushButton { font-weight: bold; }")
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip("Stop; finished slices are kept")
        self.resume = QPushButton("Continue")
        self.resume.setToolTip("Go on where the latest run was cancelled: the result is as if it never had been")
        self.progress = QProgressBar()
        self.progress.setRange(0, 1000)
        self.curve = CurvePlot()
        self.message = line(f"The log is {log}")

        frame, inside = step(4, "Generate")
        inside.addWidget(self.settings)
        inside.addLayout(row(self.generate, self.cancel, self.resume))
        inside.addWidget(self.progress)
        inside.addWidget(self.curve)
        inside.addWidget(self.message)
        self.runs = RunsShelf(workbench)
        inside.addWidget(self.runs)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(frame)

        self.generate.clicked.connect(lambda: workbench.generate())
        self.cancel.clicked.connect(workbench.cancel)
        self.resume.clicked.connect(self._resume)
        for event in (state.events.activity, state.events.progress, state.events.runs):
            event.connect(self._show_progress)
        choices = workbench.generation.choices
        choices.events.mode.connect(self._show_mode)
        choices.events.curves.connect(self.curve.show_curves)
        state.events.message.connect(self._show_message)
        self._show_mode()
        self._show_progress()
        self._show_message()

    def _resume(self) -> None:
        if self._workbench.run is not None:
            self._workbench.resume(self._workbench.run)

    def _show_mode(self) -> None:
        edit = self._workbench.generation.choices.mode == "edit"
        self.generate.setText("Edit" if edit else "Generate")

    def _show_progress(self) -> None:
        state = self._workbench.state
        idle = state.activity == "idle"
        run = self._workbench.run
        self.cancel.setEnabled(state.activity == "running")
        can_continue = idle and run is not None and run.can_continue
        self.resume.setVisible(can_continue)
        self.cancel.setVisible(not can_continue)
        left = f", {time_left(state.seconds_left)} left" if state.seconds_left is not None else ""
        waiting = sum(run.status == "waiting" for run in state.runs)
        left += f", {waiting} waiting" if waiting else ""
        formats = {"idle": "", "running": f"%p %{left}", "cancelling": "cancelling …"}
        # A progress bar repaints itself, and the canvas behind it, at once; let it wait for the next repaint.
        self.progress.setUpdatesEnabled(False)
        self.progress.setValue(round(state.progress * 1000))
        self.progress.setFormat(formats[state.activity] if not idle or state.progress < 1 else "done")
        self.progress.setUpdatesEnabled(True)

    def _show_message(self) -> None:
        state = self._workbench.state
        self.message.setText(state.message)
        self.message.setStyleSheet("color: #ff8a80;" if state.failed else "")
