"""The lesion tools: a row of buttons, the numbers of the one in hand, and what it would do to the volumes."""

from __future__ import annotations

from qtpy.QtWidgets import QGridLayout, QPushButton, QVBoxLayout, QWidget

from napari_gem3d.viewer.lesions.controller import Lesions
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
from napari_gem3d.viewer.steps.parts import line, row

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
    """Shows and sets the lesion tools of a workbench."""

    def __init__(self, lesions: Lesions) -> None:
        super().__init__()
        self._lesions = lesions
        self.buttons: dict[str, QPushButton] = {}
        self.forms: dict[str, Form] = {}
        grid = QGridLayout()
        grid.setSpacing(4)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(5)
        layout.addLayout(grid)
        for i, (tool, word, form, tooltip) in enumerate(_TOOLS):
            button = _button(word, tooltip)
            button.setCheckable(True)
            button.clicked.connect(lambda on, tool=tool: lesions.open(tool if on else ""))
            grid.addWidget(button, i // _COLUMNS, i % _COLUMNS)
            self.buttons[tool] = button
            self.forms[tool] = form(lesions)
            layout.addWidget(self.forms[tool])
        self.note = line("What there is to say about the preview")
        self.apply = QPushButton("Apply")
        self.apply.setToolTip("Write the preview into the mask, as one undo step (Alt+Return)")
        self.dismiss = QPushButton("Cancel")
        self.dismiss.setToolTip("Leave the mask as it is (Alt+Backspace)")
        self.volumes = line("Volume of every label, and what the tool would make of it")
        layout.addWidget(self.note)
        layout.addLayout(row(self.apply, self.dismiss))
        layout.addWidget(self.volumes)

        self.apply.clicked.connect(lesions.bake)
        self.dismiss.clicked.connect(lesions.cancel)
        events = lesions.state.events
        for event in (events.tool, events.preview, events.busy, events.note):
            event.connect(self._show)
        events.volumes.connect(self._show_volumes)
        for event in (lesions.workbench.state.events.patient, lesions.workbench.state.events.mask):
            event.connect(self._show)
        self._show()
        self._show_volumes()

    def _show(self) -> None:
        state, workbench = self._lesions.state, self._lesions.workbench.state
        for tool, button in self.buttons.items():
            button.setChecked(tool == state.tool)
            needs_mask = tool not in ("place", "transplant")
            button.setEnabled(workbench.patient is not None and (workbench.mask is not None or not needs_mask))
            self.forms[tool].setVisible(tool == state.tool)
        for widget in (self.apply, self.dismiss):
            widget.setVisible(bool(state.tool))
        self.apply.setEnabled(state.busy or state.preview is not None)
        self.note.setText(state.note)
        self.note.setVisible(bool(state.tool and state.note))

    def _show_volumes(self) -> None:
        table = self._lesions.workbench.state.table
        names = {label.value: (label.name, label.colour) for label in table} if table is not None else {}
        rows = []
        for value, before, after in self._lesions.state.volumes:
            name, colour = names.get(value, (f"label {value}", "#ffffff"))
            change = f"{before:.1f} → <b>{after:.1f} ml</b>" if abs(after - before) > 0.005 else f"{before:.1f} ml"
            rows.append(f'<tr><td><span style="color:{colour}">■</span> {name}&nbsp;&nbsp;</td><td>{change}</td></tr>')
        self.volumes.setText(f"<table>{''.join(rows)}</table>" if rows else "")
        self.volumes.setVisible(bool(rows))


class UndoRow(QWidget):
    """Undo and redo of strokes and tools, and whether the brush is a ball."""

    def __init__(self, lesions: Lesions) -> None:
        super().__init__()
        self._history = lesions.history
        self.undo = _button("Undo", "Take back the last stroke or tool (Alt+Z; Ctrl+Z with the mask's layer selected)")
        self.redo = _button("Redo", "Do it again (Alt+Shift+Z)")
        self.ball = _button(
            "3D brush", "Paint a ball through slices; off: a disc in this slice, to fill between them later"
        )
        self.ball.setCheckable(True)
        layout = row(self.ball, self.undo, self.redo)
        layout.setContentsMargins(0, 0, 0, 0)
        self.setLayout(layout)
        self.undo.clicked.connect(self._history.undo)
        self.redo.clicked.connect(self._history.redo)
        self.ball.toggled.connect(lambda on: setattr(lesions.state, "brush_in_3d", on))
        lesions.state.events.brush_in_3d.connect(lambda on: self.ball.setChecked(on))
        self.ball.setChecked(lesions.state.brush_in_3d)
        self._history.changed.connect(self._show)
        self._show()

    def _show(self) -> None:
        self.undo.setEnabled(self._history.can_undo)
        self.redo.setEnabled(self._history.can_redo)


def _button(text: str, tooltip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tooltip)
    button.setMinimumWidth(40)
    return button
