"""Step 2: the mask that the synthetic scan will follow."""

from __future__ import annotations

from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QGridLayout, QPushButton, QWidget

from napari_gem3d.labels import Label
from napari_gem3d.viewer.body.anatomy import ScanAnatomy
from napari_gem3d.viewer.body.controller import Bodies
from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.layers import origin_of
from napari_gem3d.viewer.lesions.controller import Lesions
from napari_gem3d.viewer.masks import Masks
from napari_gem3d.viewer.steps.lesion_tools import LesionTools, UndoRow
from napari_gem3d.viewer.widgets import button, choices, fill, line, position, row, step


class MaskStep(QWidget):
    """The patient's label maps, a brush for each label of the model, and the lesion tools."""

    def __init__(
        self, context: Context, masks: Masks, lesions: Lesions, bodies: Bodies, scan_anatomy: ScanAnatomy
    ) -> None:
        super().__init__()
        self._state, self._masks, self._finding = context.state, masks, bodies.state
        self.masks = choices("The label map that the synthetic scan will follow")
        self.new = button("New", "Add an empty mask for this patient", masks.new)
        self.brushes: dict[int, QPushButton] = {}
        self._grid = QGridLayout()
        self._grid.setSpacing(6)
        self.body = line("The model draws only inside this region")
        self.anatomy = button("", "", scan_anatomy.show)
        self.history = UndoRow(lesions)
        self.tools = LesionTools(lesions, context.state)
        below = (self._grid, self.history, self.tools, row(self.body, self.anatomy))
        step(2, "Mask", self, row(self.masks, self.new), *below)
        self.masks.currentIndexChanged.connect(self._choose)
        events = context.state.events
        for event in (events.patients, events.masks, events.mask, events.patient):
            event.connect(self._show)
        for event in (events.table, events.model, bodies.state.events.finding):
            event.connect(self._show_anatomy)
        events.table.connect(self._make_brushes)
        events.label.connect(self._show_brush)
        self._make_brushes()

    def _make_brushes(self) -> None:
        for brush in self.brushes.values():
            self._grid.removeWidget(brush)
            brush.deleteLater()
        paintable = [label for label in self._state.table or () if label.meaning != "body"]
        paintable.sort(key=lambda label: label.meaning == "tissue")
        self.brushes = {label.value: _brush(label) for label in paintable}
        if paintable:
            tooltip = "Erase labels with the brush, in 3D; the body comes back where they were"
            self.brushes[0] = button("Erase", tooltip)
        for i, (value, brush) in enumerate(self.brushes.items()):
            brush.setCheckable(True)
            brush.clicked.connect(lambda checked, value=value: self._toggle(value, checked))
            self._grid.addWidget(brush, i // 2, i % 2)
        self._show()

    def _toggle(self, value: int, checked: bool) -> None:
        if checked:
            self._masks.paint(value)
        else:
            self._masks.stop_painting()

    def _show_brush(self) -> None:
        for value, brush in self.brushes.items():
            brush.setChecked(value == self._state.label)

    def _show(self) -> None:
        state = self._state
        fill(self.masks, [mask.name for mask in state.masks], position(state.mask, state.masks))
        for widget in (self.new, *self.brushes.values()):
            widget.setEnabled(state.patient is not None)
        self.body.setText(self._body_text())
        self._show_anatomy()
        self._show_brush()

    def _show_anatomy(self) -> None:
        state, finding = self._state, self._finding.finding
        self.anatomy.setText("Finding …" if finding else "Show anatomy")
        known = state.patient is not None and state.table is not None
        self.anatomy.setEnabled(known and not finding and not state.no_anatomy)
        self.anatomy.setToolTip(
            state.no_anatomy
            or "Write the ventricles, sulci and other tissue that the scan shows into the mask, where it says body, to "
            "see and paint them; one undo step"
        )

    def _body_text(self) -> str:
        state = self._state
        body = state.table.body.name if state.table is not None and state.table.body is not None else "body"
        if state.patient is None:
            return ""
        origin = origin_of(state.mask) if state.mask is not None else None
        if origin is not None and origin.body_value:
            return f"The {body} comes from label {origin.body_value} of this mask."
        return f"The {body} comes from this patient's own scan: its foreground."

    def _choose(self, index: int) -> None:
        if 0 <= index < len(self._state.masks):
            self._state.mask = self._state.masks[index]


def _brush(label: Label) -> QPushButton:
    swatch = QPixmap(12, 12)
    swatch.fill(QColor(label.colour))
    brush = button(label.name, f"Paint {label.name} (label {label.value}) with napari's brush; [ and ] change its size")
    brush.setIcon(QIcon(swatch))
    return brush
