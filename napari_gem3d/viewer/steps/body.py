"""The patient's body in step 1: outline, correction by brush, brain extraction."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QCheckBox, QPushButton, QVBoxLayout, QWidget

from napari_gem3d.viewer.steps.parts import row
from napari_gem3d.viewer.workbench import Workbench


class BodyRow(QWidget):
    """One line of buttons, and a second one while the body is corrected."""

    def __init__(self, workbench: Workbench) -> None:
        super().__init__()
        self._workbench, self._body = workbench, workbench.body
        self.outline = QCheckBox("Body outline")
        self.outline.setToolTip("Draw the outline of the body, which the model fills: the mask's, else the scan's own")
        self.correct = QPushButton("Correct…")
        self.correct.setCheckable(True)
        self.correct.setToolTip(
            "Change the body with the brush (undo: Ctrl+Z). Whole volumes use it; an edit keeps the scan's own."
        )
        self.extract = QPushButton("Extract brain…")
        self.add, self.erase, self.reset = QPushButton("Add"), QPushButton("Take away"), QPushButton("Reset")
        self.add.setToolTip("Add to the body with the brush, a ball in 3D")
        self.erase.setToolTip("Take away from the body with the brush, a ball in 3D")
        self.reset.setToolTip("Bring back the body that was found")
        self.tools = QWidget()
        self.tools.setLayout(row(self.add, self.erase, self.reset))
        self.tools.layout().setContentsMargins(0, 0, 0, 0)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row(self.outline, self.correct, self.extract))
        layout.addWidget(self.tools)

        state = self._body.state
        self.outline.toggled.connect(lambda on: setattr(state, "shown", on))
        self.correct.toggled.connect(self._correct)
        self.extract.clicked.connect(self._extract)
        self.add.clicked.connect(lambda *_: self._body.brush())
        self.erase.clicked.connect(lambda *_: self._body.brush(erase=True))
        self.reset.clicked.connect(lambda *_: self._body.reset())
        panel = workbench.state.events
        own = state.events
        for event in (panel.patient, self._body.changed, own.shown, own.correcting, own.extracting, own.obstacle):
            event.connect(self._show)
        self._show()

    def _show(self) -> None:
        state, patient = self._body.state, self._workbench.state.patient
        known = patient is not None and self._body.of(patient) is not None
        for box, on in ((self.outline, state.shown), (self.correct, state.correcting)):
            blocker = QSignalBlocker(box)
            box.setChecked(on)
            blocker.unblock()
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
