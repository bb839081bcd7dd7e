"""The window of the model manager: models on the left, what the chosen one is on the right."""

from __future__ import annotations

from pathlib import Path

from qtpy.compat import isalive
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QComboBox, QDialog, QFileDialog, QLineEdit, QListWidget, QTextBrowser, QWidget
from superqt.utils import signals_blocked

from napari_gem3d.bundle.places import models_folder
from napari_gem3d.viewer.models.manager import Models
from napari_gem3d.viewer.widgets import button, column, line, row

_LABELS = {"Brain tumours (FLAIR)": "brain", "Abdomen (CT)": "abdomen"}


class ModelWindow(QDialog):
    """Shows the library of models; stays open beside the panel.

    Parameters
    ----------
    models
        What it shows and changes.
    parent
        The window it stays above.
    """

    def __init__(self, models: Models, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._models = models
        state = models.state
        self.setWindowTitle("GEM-3D models")
        self.setModal(False)
        self.resize(760, 520)
        self.list = QListWidget()
        self.list.setToolTip("Models that came with the package, and those that you have added")
        self.facts = line("What the model's own files say")
        self.card = QTextBrowser()
        self.card.setOpenExternalLinks(True)
        self.card.setToolTip("The model card: what it was trained on, what it is good for, how it was measured")
        self.use = button("Use", "Generate with this model from now on", lambda: models.use(state.chosen))
        tooltip = "Use it now and whenever the panel is opened; the Preferences have it"
        self.begin = button("Begin with it", tooltip, lambda: models.begin_with(state.chosen))
        self.name = QLineEdit()
        self.name.setPlaceholderText("name (optional)")
        self.name.setToolTip("What a model that you add is to be called; by default what its files say")
        tooltip = f"Copy a bundle, a folder with a model.json, into {models_folder()}"
        self.add = button("Add a folder…", tooltip, self._add_folder)
        tooltip = "Convert published GEM-3D checkpoints (slice, volume, position: any) and add them"
        self.convert = button("Add checkpoints…", tooltip, self._add_checkpoints)
        self.labels = QComboBox()
        self.labels.addItems(list(_LABELS))
        self.labels.setToolTip("What the published checkpoints know: nothing in their files tells")
        self.message = line("What became of the last model that was added")
        left, right = QWidget(), QWidget()
        column(left, self.list, self.name, self.add, self.labels, self.convert)
        column(right, self.facts, self.card, row(self.use, self.begin))
        columns = row(left, right)
        columns.setStretch(0, 2)
        columns.setStretch(1, 5)
        column(self, columns, self.message).setContentsMargins(11, 11, 11, 11)
        self.list.currentTextChanged.connect(lambda name: setattr(state, "chosen", name))
        state.events.connect(self._show)
        self._show()

    def _show(self) -> None:
        if not isalive(self.list):
            return  # the window is closed, the workbench is not yet
        state, info = self._models.state, self._models.shown
        names = [model.name for model in state.models]
        with signals_blocked(self.list):
            self.list.clear()
            self.list.addItems(names)
            self.list.setCurrentRow(names.index(state.chosen) if state.chosen in names else -1)
        self.facts.setText("\n".join(info.describe()) if info is not None else "")
        self.card.setMarkdown((info.card or "*It has no card.*") if info is not None else "")
        for widget in (self.use, self.begin):
            widget.setEnabled(info is not None and info.plan is not None)
        for widget in (self.add, self.convert):
            widget.setEnabled(not state.busy)
        self.message.setText(state.message)
        self.message.setStyleSheet("color: #ff8a80;" if state.failed else "")

    def _add_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "A model: the folder that holds its model.json")
        if folder:
            self._models.add(Path(folder), self.name.text().strip())

    def _add_checkpoints(self) -> None:
        title = "Published checkpoints: slice, volume, position, any of them"
        names, _ = QFileDialog.getOpenFileNames(self, title, "", "Checkpoints (*.ckpt *.pt *.pth);;All files (*)")
        if names:
            labels = _LABELS[self.labels.currentText()]
            self._models.add_published([Path(name) for name in names], self.name.text().strip(), labels=labels)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 (Qt's name)
        """Find the models again: others may have been added meanwhile."""
        super().showEvent(event)
        self._models.look()
