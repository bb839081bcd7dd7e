"""The hint on how to begin, for people who see the panel for the first time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtWidgets import QFrame, QHBoxLayout, QPushButton, QToolButton

from napari_gem3d.viewer.samples import SAMPLES
from napari_gem3d.viewer.steps.parts import line

if TYPE_CHECKING:
    from napari_gem3d.viewer.workbench import Workbench


class HintLine(QFrame):
    """Shown while nothing is open, until it is dismissed; the Preferences bring it back.

    Parameters
    ----------
    workbench
        Whose sample patient it offers.
    """

    def __init__(self, workbench: Workbench) -> None:
        super().__init__()
        self._workbench = workbench
        self.setObjectName("gem3d_hint")
        self.setStyleSheet("#gem3d_hint { border: 1px solid #4fc3f7; border-radius: 4px; }")
        self.text = line("The steps below are used in any order; ? has the keys")
        self.text.setText("Open a scan, drop one on the window, or try a sample patient.")
        self.sample = QPushButton("Sample patient")
        self.sample.setToolTip("Open a sample patient with a mask, ready to generate; no real patient's data")
        self.dismiss = QToolButton()
        self.dismiss.setText("×")
        self.dismiss.setToolTip("Do not show this again (the Preferences bring it back)")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(self.text, 1)
        layout.addWidget(self.sample)
        layout.addWidget(self.dismiss)
        self._dismissed = False
        self.sample.clicked.connect(lambda: workbench.open_sample(next(iter(SAMPLES))))
        self.dismiss.clicked.connect(self._dismiss)
        workbench.state.events.patients.connect(self._show)
        workbench.preferences.changed.connect(self._on_preference)
        self._show()

    def _dismiss(self) -> None:
        self._dismissed = True
        self._workbench.preferences.hint = False
        self._show()

    def _on_preference(self, key: str) -> None:
        if key == "panel.hint":
            self._dismissed = False
            self._show()

    def _show(self, event: Any = None) -> None:
        if isalive(self.text):
            wanted = self._workbench.preferences.hint and not self._dismissed
            self.setVisible(wanted and not self._workbench.state.patients)
