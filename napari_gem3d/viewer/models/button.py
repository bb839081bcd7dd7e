"""The button beside the choice of model that opens the model manager."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtWidgets import QPushButton

from napari_gem3d.viewer.models.window import ModelWindow

if TYPE_CHECKING:
    from napari_gem3d.viewer.workbench import Workbench


class ModelsButton(QPushButton):
    """Opens the model manager.

    Parameters
    ----------
    workbench
        Whose models are managed.
    """

    def __init__(self, workbench: Workbench) -> None:
        super().__init__()
        self._workbench = workbench
        self.window_: ModelWindow | None = None
        self.setText("…")
        self.setFixedWidth(26)
        self.setToolTip("Models: their cards, and how to add one")
        self.clicked.connect(self.open)

    def open(self) -> None:
        """Show the model manager, or bring it to the front."""
        if self.window_ is None or not isalive(self.window_):
            self.window_ = ModelWindow(self._workbench, self)
        else:
            self._workbench.models.look()
        self.window_.show()
        self.window_.raise_()
