"""The lesion tools: a row of buttons, the numbers of the one in hand, and what it would do to the volumes."""

from __future__ import annotations

from qtpy.QtWidgets import QGridLayout, QPushButton, QWidget

from napari_gem3d.viewer.lesions.controller import Lesions
from napari_gem3d.viewer.state import PanelState
from napari_gem3d.viewer.steps.lesion_forms import (
    FillForm,
    Form,
    GrowForm,
    MoveForm,
    PlaceForm,
    RandomForm,
    RemoveForm,
    TransplantForm,
)
from napari_gem3d.viewer.widgets import bind, button, column, line, row, say

# Tool, word, its form, what it does.
_TOOLS: tuple[tuple[str, str, type[Form], str], ...] = (
    ("place", "Place", PlaceForm, "Add a sphere or ellipsoid with shells at the crosshair (Alt+N)"),
    ("move", "Move", MoveForm, "Move, rotate and scale a lesion, by handles in any plane or by numbers (Alt+M)"),
    ("grow", "Grow", GrowForm, "Move a lesion's surface outwards or inwards by mm"),
    ("fill", "Fill", FillForm, "Interpolate between painted slices"),
    ("transplant", "Transplant", TransplantForm, "Add the lesion of another open patient at the crosshair"),
    ("random", "Random", RandomForm, "A random variant of the mask, as the paper's augmentation draws them"),
    ("remove", "Remove", RemoveForm, "Give a lesion's voxels back to the body"),
)
_COLUMNS = 4


class LesionTools(QWidget):
    """Shows and sets the lesion tools."""

    def __init__(self, lesions: Lesions, panel: PanelState) -> None:
        super().__init__()
        self._lesions, self._panel = lesions, panel
        self.buttons: dict[str, QPushButton] = {}
        self.forms: dict[str, Form] = {}
        grid = QGridLayout()
        grid.setSpacing(4)
        layout = column(self, grid, spacing=5)
        for i, (tool, word, form, tooltip) in enumerate(_TOOLS):
            tool_button = self.buttons[tool] = _toggle(word, tooltip)
            tool_button.clicked.connect(lambda on, tool=tool: lesions.open(tool if on else ""))
            grid.addWidget(tool_button, i // _COLUMNS, i % _COLUMNS)
            self.forms[tool] = form(lesions, panel)
            layout.addWidget(self.forms[tool])
        self.note = line("What there is to say about the preview")
        self.apply = button("Apply", "Write the preview into the mask, as one undo step (Alt+Return)", lesions.apply)
        self.dismiss = button("Cancel", "Leave the mask as it is (Alt+Backspace)", lesions.cancel)
        self.volumes = line("Volume of every label, and what the tool would make of it")
        layout.addWidget(self.note)
        layout.addLayout(row(self.apply, self.dismiss))
        layout.addWidget(self.volumes)
        events = lesions.state.events
        for event in (events.tool, events.preview, events.busy, events.note, panel.events.patient, panel.events.mask):
            event.connect(self._show)
        events.volumes.connect(self._show_volumes)
        self._show()
        self._show_volumes()

    def _show(self) -> None:
        state, panel = self._lesions.state, self._panel
        for tool, tool_button in self.buttons.items():
            tool_button.setChecked(tool == state.tool)
            needs_mask = tool not in ("place", "transplant")
            tool_button.setEnabled(panel.patient is not None and (panel.mask is not None or not needs_mask))
            self.forms[tool].setVisible(tool == state.tool)
        for widget in (self.apply, self.dismiss):
            widget.setVisible(bool(state.tool))
        self.apply.setEnabled(state.busy or state.preview is not None)
        say(self.note, state.note if state.tool else "")

    def _show_volumes(self) -> None:
        names = {label.value: (label.name, label.colour) for label in self._panel.table or ()}
        rows = []
        for value, before, after in self._lesions.state.volumes:
            name, colour = names.get(value, (f"label {value}", "#ffffff"))
            change = f"{before:.1f} → <b>{after:.1f} ml</b>" if abs(after - before) > 0.005 else f"{before:.1f} ml"
            rows.append(f'<tr><td><span style="color:{colour}">■</span> {name}&nbsp;&nbsp;</td><td>{change}</td></tr>')
        say(self.volumes, f"<table>{''.join(rows)}</table>" if rows else "")


class UndoRow(QWidget):
    """Undo and redo of strokes and tools, and whether the brush is a ball."""

    def __init__(self, lesions: Lesions) -> None:
        super().__init__()
        self._history = lesions.history
        tooltip = "Take back the last stroke or tool (Alt+Z; Ctrl+Z with the mask's layer selected)"
        self.undo = button("Undo", tooltip, self._history.undo)
        self.redo = button("Redo", "Do it again (Alt+Shift+Z)", self._history.redo)
        tooltip = "Paint a ball through slices; off: a disc in this slice, to fill between them later"
        self.ball = bind(_toggle("3D brush", tooltip), lesions.state, "brush_in_3d")
        column(self, row(self.ball, self.undo, self.redo))
        self._history.changed.connect(self._show)
        self._show()

    def _show(self) -> None:
        self.undo.setEnabled(self._history.can_undo)
        self.redo.setEnabled(self._history.can_redo)


def _toggle(text: str, tooltip: str) -> QPushButton:
    toggle = button(text, tooltip)
    toggle.setCheckable(True)
    toggle.setMinimumWidth(40)
    return toggle
