"""Step 2: the mask that the synthetic scan will follow."""

from __future__ import annotations

from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QGridLayout, QPushButton, QVBoxLayout, QWidget

from napari_gem3d.labels import Label
from napari_gem3d.viewer.layers import origin_of
from napari_gem3d.viewer.steps.lesion_tools import LesionTools, UndoRow
from napari_gem3d.viewer.steps.parts import choices, fill, line, position, row, step
from napari_gem3d.viewer.workbench import Workbench


class MaskStep(QWidget):
    """The patient's label maps, a brush for each label of the model, and the lesion tools."""

    def __init__(self, workbench: Workbench) -> None:
        super().__init__()
        self._workbench = workbench
        self.masks = choices("The label map that the synthetic scan will follow")
        self.new = QPushButton("New")
        self.new.setToolTip("Add an empty mask for this patient")
        self.brushes: dict[int, QPushButton] = {}
        self._grid = QGridLayout()
        self._grid.setSpacing(6)
        self.body = line("The model draws only inside this region")
        self.anatomy = QPushButton()

        frame, inside = step(2, "Mask")
        inside.addLayout(row(self.masks, self.new))
        self.history = UndoRow(workbench.lesions)
        self.tools = LesionTools(workbench.lesions)
        inside.addLayout(self._grid)
        inside.addWidget(self.history)
        inside.addWidget(self.tools)
        inside.addLayout(row(self.body, self.anatomy))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(frame)

        self.masks.currentIndexChanged.connect(self._choose)
        self.new.clicked.connect(workbench.new_mask)
        self.anatomy.clicked.connect(workbench.body.anatomy.show)
        events = workbench.state.events
        for event in (events.patients, events.masks, events.mask, events.patient):
            event.connect(self._show)
        for event in (events.table, events.model, workbench.body.state.events.finding):
            event.connect(self._show_anatomy)
        events.table.connect(self._make_brushes)
        events.label.connect(self._show_brush)
        self._make_brushes()
        self._show()

    def _make_brushes(self) -> None:
        for button in self.brushes.values():
            self._grid.removeWidget(button)
            button.deleteLater()
        self.brushes = {}
        table = self._workbench.state.table
        paintable = [label for label in table if label.meaning != "body"] if table is not None else []
        paintable.sort(key=lambda label: label.meaning == "tissue")
        for label in paintable:
            self.brushes[label.value] = self._brush(label)
        if paintable:
            erase = QPushButton("Erase")
            erase.setToolTip("Erase labels with the brush, in 3D; the body comes back where they were")
            self.brushes[0] = erase
        for i, (value, button) in enumerate(self.brushes.items()):
            button.setCheckable(True)
            button.clicked.connect(lambda checked, value=value: self._toggle(value, checked))
            self._grid.addWidget(button, i // 2, i % 2)
        self._show()

    def _brush(self, label: Label) -> QPushButton:
        swatch = QPixmap(12, 12)
        swatch.fill(QColor(label.colour))
        button = QPushButton(QIcon(swatch), label.name)
        button.setToolTip(f"Paint {label.name} (label {label.value}) with napari's brush; [ and ] change its size")
        return button

    def _toggle(self, value: int, checked: bool) -> None:
        if checked:
            self._workbench.paint(value)
        else:
            self._workbench.stop_painting()

    def _show_brush(self) -> None:
        for value, button in self.brushes.items():
            button.setChecked(value == self._workbench.state.label)

    def _show(self) -> None:
        state = self._workbench.state
        fill(self.masks, [mask.name for mask in state.masks], position(state.mask, state.masks))
        self.new.setEnabled(state.patient is not None)
        for button in self.brushes.values():
            button.setEnabled(state.patient is not None)
        self.body.setText(self._body_text())
        self._show_anatomy()
        self._show_brush()

    def _show_anatomy(self) -> None:
        anatomy, finding = self._workbench.body.anatomy, self._workbench.body.state.finding
        self.anatomy.setText("Finding …" if finding else "Show anatomy")
        known = self._workbench.state.patient is not None and self._workbench.state.table is not None
        self.anatomy.setEnabled(known and not finding and not anatomy.obstacle)
        self.anatomy.setToolTip(
            anatomy.obstacle
            or "Write the ventricles, sulci and other tissue that the scan shows into the mask, where it says body, to "
            "see and paint them; one undo step"
        )

    def _body_text(self) -> str:
        state = self._workbench.state
        body = state.table.body.name if state.table is not None and state.table.body is not None else "body"
        if state.patient is None:
            return ""
        origin = origin_of(state.mask) if state.mask is not None else None
        if origin is not None and origin.body_value:
            return f"The {body} comes from label {origin.body_value} of this mask."
        return f"The {body} comes from this patient's own scan: its foreground."

    def _choose(self, index: int) -> None:
        masks = self._workbench.state.masks
        if 0 <= index < len(masks):
            self._workbench.state.mask = masks[index]
