"""The "?" of the panel, and its key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtWidgets import QPushButton

from napari_gem3d.viewer.help.shortcuts import HELP, bind
from napari_gem3d.viewer.help.window import HelpWindow

if TYPE_CHECKING:
    from napari_gem3d.viewer.workbench import Workbench


class HelpButton(QPushButton):
    """Opens the help, and makes the panel's shortcuts work in the window it stands in.

    Parameters
    ----------
    workbench
        What the shortcuts act on.
    """

    def __init__(self, workbench: Workbench) -> None:
        super().__init__()
        self._workbench = workbench
        self.window_: HelpWindow | None = None
        self.setText("?")
        self.setFixedWidth(26)
        self.setToolTip(f"Keys and mouse, and a report on this computer ({HELP})")
        self.clicked.connect(self.open)
        self.shortcuts = bind(workbench, self, self.open)

    def open(self) -> None:
        """Show the help window, or bring it to the front."""
        if self.window_ is None or not isalive(self.window_):
            self.window_ = HelpWindow(self._workbench, self)
        self.window_.show()
        self.window_.raise_()
