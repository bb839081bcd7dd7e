"""Step 4: generate, watch, cancel, export."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QProgressBar, QWidget

from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.generation import Generation
from napari_gem3d.viewer.models.manager import Models
from napari_gem3d.viewer.runs.results import Results
from napari_gem3d.viewer.runs.shelf import RunsShelf
from napari_gem3d.viewer.steps.curve import CurvePlot
from napari_gem3d.viewer.steps.settings import GenerateSettings, time_left
from napari_gem3d.viewer.widgets import button, line, row, step, while_alive


class GenerateStep(QWidget):
    """Settings of a generation, its buttons, its progress and curve, the panel's line, and the runs."""

    def __init__(self, context: Context, generation: Generation, results: Results, models: Models, log: Path) -> None:
        super().__init__()
        state = self._state = context.state
        self._generation = generation
        self.settings = GenerateSettings(context, models)
        tooltip = "Begin, or wait in line while another generation runs"
        self.generate = button("Generate", tooltip, generation.generate)
        self.generate.setStyleSheet("QPushButton { font-weight: bold; }")
        self.cancel = button("Cancel", "Stop; finished slices are kept", generation.cancel)
        tooltip = "Go on where the latest run was cancelled: the result is as if it never had been"
        self.resume = button("Continue", tooltip, self._resume)
        self.progress = QProgressBar()
        self.progress.setRange(0, 1000)
        self.curve = CurvePlot()
        self.message = line(f"The log is {log}")
        self.runs = RunsShelf(context, generation, results)
        buttons = row(self.generate, self.cancel, self.resume)
        step(4, "Generate", self, self.settings, buttons, self.progress, self.curve, self.message, self.runs)
        for event in (state.events.activity, state.events.progress, state.events.runs):
            event.connect(self._show_progress)
        state.events.mode.connect(self._show_mode)
        state.events.curves.connect(self.curve.show_curves)
        state.events.message.connect(self._show_message)
        self._show_mode()
        self._show_progress()
        self._show_message()

    def _resume(self) -> None:
        if self._state.run is not None:
            self._generation.resume(self._state.run)

    @while_alive
    def _show_mode(self) -> None:
        self.generate.setText("Edit" if self._state.mode == "edit" else "Generate")

    @while_alive
    def _show_progress(self) -> None:
        state, run = self._state, self._state.run
        idle = state.activity == "idle"
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

    @while_alive
    def _show_message(self) -> None:
        self.message.setText(self._state.message)
        self.message.setStyleSheet("color: #ff8a80;" if self._state.failed else "")
