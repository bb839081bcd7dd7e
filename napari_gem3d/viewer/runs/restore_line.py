"""The line that offers the session which a crash has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtWidgets import QFrame, QHBoxLayout, QPushButton, QVBoxLayout

from napari_gem3d.viewer.steps.parts import line

if TYPE_CHECKING:
    from napari_gem3d.viewer.workbench import Workbench


class RestoreLine(QFrame):
    """Belongs at the top of the panel; hidden unless there is something to restore.

    Parameters
    ----------
    workbench
        Whose last session is offered.
    """

    def __init__(self, workbench: Workbench) -> None:
        super().__init__()
        self._restore = workbench.restore
        self.setObjectName("gem3d_restore")
        self.setStyleSheet("#gem3d_restore { border: 1px solid #ffb74d; border-radius: 4px; }")
        days = workbench.preferences.session_days
        kept = f"Sessions are kept in {workbench.session.root} for {days} days (see Preferences)"
        self.offer = line(kept)
        self.restore = QPushButton("Restore")
        self.restore.setToolTip("Open its scans, masks and results again, and go on")
        self.discard = QPushButton("Discard")
        self.discard.setToolTip("Delete what it kept: results and masks that were not exported are lost")
        buttons = QHBoxLayout()
        buttons.addWidget(self.restore)
        buttons.addWidget(self.discard)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 6, 8, 6)
        layout.addWidget(self.offer)
        layout.addLayout(buttons)
        self.restore.clicked.connect(self._restore.restore)
        self.discard.clicked.connect(self._restore.discard)
        self._restore.state.events.journal.connect(self._show)
        self._show()

    def _show(self) -> None:
        if not isalive(self.discard):
            return  # the panel is closed, its workbench is not yet
        self.offer.setText(self._restore.state.offer)
        self.setVisible(bool(self._restore.state.offer))
