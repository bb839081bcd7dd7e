"""The line that says what is compared with what, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from qtpy.compat import isalive
from qtpy.QtWidgets import QButtonGroup, QHBoxLayout, QLabel, QPushButton, QToolButton, QVBoxLayout, QWidget

from napari_gem3d.viewer.runs.card import BUTTON
from napari_gem3d.viewer.runs.comparison import How
from napari_gem3d.viewer.steps.parts import choices, fill, line, position

if TYPE_CHECKING:
    from napari_gem3d.viewer.workbench import Workbench

_TIPS = {
    "flicker": "Change from the one to the other and back",
    "side by side": "Both next to each other, moving together",
    "checkerboard": "Cubes of 20 mm of the one and the other in turn",
    "difference": "What the result has more (warm colours) or less (blue) than the other, on a scale that is symmetric",
}


class CompareBar(QWidget):
    """Shown while two images are compared.

    Parameters
    ----------
    workbench
        Whose comparison it drives.
    """

    def __init__(self, workbench: Workbench) -> None:
        super().__init__()
        self._workbench = workbench
        self._comparison = workbench.results.comparison
        self.what = QLabel()
        self.other = choices("What to compare it with: the patient's scan, or another result")
        self.stop = QPushButton("Stop")
        self.stop.setToolTip("End the comparison; what was visible before is shown again")
        self.hows: dict[How, QToolButton] = {}
        self._group = QButtonGroup(self)
        self.note = line("How much differs, in intensities of the result")
        self._lay_out()
        self.other.activated.connect(self._choose)
        self.stop.clicked.connect(self._comparison.stop)
        events = self._comparison.state.events
        for event in (events.run, events.other, events.how, events.note, workbench.state.events.runs):
            event.connect(self._show)
        self._show()

    def _lay_out(self) -> None:
        top, ways = QHBoxLayout(), QHBoxLayout()
        for widget in (self.what, self.other, self.stop):
            top.addWidget(widget, 1 if widget is self.other else 0)
        ways.setSpacing(3)
        for how in get_args(How):
            button = self.hows[how] = QToolButton()
            button.setText(how.capitalize())
            button.setToolTip(_TIPS[how])
            button.setCheckable(True)
            button.setStyleSheet(BUTTON)
            button.clicked.connect(lambda _=False, how=how: setattr(self._comparison.state, "how", how))
            self._group.addButton(button)
            ways.addWidget(button)
        ways.addStretch()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addLayout(top)
        layout.addLayout(ways)
        layout.addWidget(self.note)

    def _others(self) -> list[object]:
        """None for the scan, and the other results that can be seen."""
        run = self._comparison.state.run
        runs = self._workbench.state.runs
        return [None, *(other for other in runs if other is not run and other.status in ("finished", "partial"))]

    def _choose(self, index: int) -> None:
        self._comparison.state.other = self._others()[index]

    def _show(self) -> None:
        if not isalive(self.stop):
            return  # the panel is closed, its workbench is not yet
        state = self._comparison.state
        self.setVisible(state.run is not None)
        if state.run is None:
            return
        self.what.setText(f"{state.run.name} with")
        others = self._others()
        names = [other.name if other is not None else f"scan {state.run.patient.name}" for other in others]  # type: ignore[attr-defined]
        fill(self.other, names, position(state.other, others))
        self.hows[state.how].setChecked(True)
        self.note.setText(state.note)
        self.note.setVisible(bool(state.note))
