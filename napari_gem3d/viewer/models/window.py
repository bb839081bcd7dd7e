"""The window of the model manager: models on the left, what the chosen one is on the right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QFileDialog,
    QLineEdit,
    QListWidget,
    QPushButton,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from napari_gem3d.bundle.places import models_folder
from napari_gem3d.viewer.steps.parts import line, row

if TYPE_CHECKING:
    from napari_gem3d.viewer.workbench import Workbench

_LABELS = {"Brain tumours (FLAIR)": "brain", "Abdomen (CT)": "abdomen"}


class ModelWindow(QDialog):
    """Shows the library of models; stays open beside the panel.

    Parameters
    ----------
    workbench
        Whose `models` it shows and changes.
    parent
        The window it stays above.
    """

    def __init__(self, workbench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._models = workbench.models
        self.setWindowTitle("GEM-3D models")
        self.setModal(False)
        self.resize(760, 520)
        self._make()
        self._lay_out()
        self._connect()
        self._show()
        self._models.look()

    def _make(self) -> None:
        self.list = QListWidget()
        self.list.setToolTip("Models that came with the package, and those that you have added")
        self.facts = line("What the model's own files say")
        self.card = QTextBrowser()
        self.card.setOpenExternalLinks(True)
        self.card.setToolTip("The model card: what it was trained on, what it is good for, how it was measured")
        self.use = QPushButton("Use")
        self.use.setToolTip("Generate with this model from now on")
        self.begin = QPushButton("Begin with it")
        self.begin.setToolTip("Use it now and whenever the panel is opened; the Preferences have it")
        self.name = QLineEdit()
        self.name.setPlaceholderText("name (optional)")
        self.name.setToolTip("What a model that you add is to be called; by default what its files say")
        self.add = QPushButton("Add a folder…")
        self.add.setToolTip(f"Copy a bundle, a folder with a model.json, into {models_folder()}")
        self.convert = QPushButton("Add checkpoints…")
        self.convert.setToolTip("Convert published GEM-3D checkpoints (slice, volume, position: any) and add them")
        self.labels = QComboBox()
        self.labels.addItems(list(_LABELS))
        self.labels.setToolTip("What the published checkpoints know: nothing in their files tells")
        self.message = line("What became of the last model that was added")

    def _lay_out(self) -> None:
        left, right = QVBoxLayout(), QVBoxLayout()
        left.addWidget(self.list)
        left.addWidget(self.name)
        left.addWidget(self.add)
        left.addWidget(self.labels)
        left.addWidget(self.convert)
        right.addWidget(self.facts)
        right.addWidget(self.card)
        right.addLayout(row(self.use, self.begin))
        columns = row()
        columns.addLayout(left, 2)
        columns.addLayout(right, 5)
        layout = QVBoxLayout(self)
        layout.addLayout(columns)
        layout.addWidget(self.message)

    def _connect(self) -> None:
        state = self._models.state
        self.list.currentTextChanged.connect(lambda name: setattr(state, "chosen", name))
        self.use.clicked.connect(lambda: self._models.use(state.chosen))
        self.begin.clicked.connect(lambda: self._models.begin_with(state.chosen))
        self.add.clicked.connect(self._add_folder)
        self.convert.clicked.connect(self._add_checkpoints)
        state.events.connect(self._show)

    def _show(self) -> None:
        if not isalive(self.list):
            return  # the window is closed, the workbench is not yet
        state, info = self._models.state, self._models.shown
        names = [model.name for model in state.models]
        blocker = QSignalBlocker(self.list)
        self.list.clear()
        self.list.addItems(names)
        self.list.setCurrentRow(names.index(state.chosen) if state.chosen in names else -1)
        blocker.unblock()
        self.facts.setText("\n".join(info.describe()) if info is not None else "")
        self.card.setMarkdown((info.card or "*It has no card.*") if info is not None else "")
        for button in (self.use, self.begin):
            button.setEnabled(info is not None and info.plan is not None)
        for button in (self.add, self.convert):
            button.setEnabled(not state.busy)
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
