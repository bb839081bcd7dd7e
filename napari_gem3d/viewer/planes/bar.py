"""The slim bar on top of the panel: planes, 3D, crosshair, window and level."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget

from napari_gem3d.viewer.planes.column import Column, main_canvas
from napari_gem3d.viewer.planes.intensity import preset_hint, preset_limits, preset_names
from napari_gem3d.viewer.planes.orientation import PLANES
from napari_gem3d.viewer.steps.parts import choices, fill
from napari_gem3d.viewer.workbench import Workbench

_PADDING = 18


class ViewBar(QWidget):
    """Shows and sets how scans are looked at. The planes come into the window when the bar is first seen."""

    def __init__(self, workbench: Workbench) -> None:
        super().__init__()
        self._planes = workbench.planes
        self.column: Column | None = None
        self.three = _toggle("3 planes", "Axial, coronal and sagittal planes, or the main canvas alone")
        self.plane = choices("The plane on the main canvas; the others are beside it")
        self.rendering = _toggle("3D", "Scan and lesions in 3D, beside the main canvas; drag to turn")
        self.crosshair = _toggle("+", "Show the crosshair. Click in a plane (or Shift + drag) to move it")
        self.dragging = _toggle(
            "W/L", "Drag for window and level: to the right wider, upwards brighter. Ctrl + drag does it at any time"
        )
        self.presets = choices("Window and level of the scan on the screen")
        self.presets.setMinimumContentsLength(8)
        self.plane.setMinimumContentsLength(6)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(4, 2, 4, 0)
        layout.setSpacing(4)
        for widget in (self.three, self.plane, self.rendering, self.crosshair, self.dragging, self.presets):
            layout.addWidget(widget)

        state = self._planes.state
        for button, name in (
            (self.rendering, "rendering"),
            (self.crosshair, "crosshair"),
            (self.dragging, "dragging"),
        ):
            button.toggled.connect(lambda on, name=name: setattr(state, name, on))
        self.three.toggled.connect(lambda on: setattr(state, "layout", "three" if on else "one"))
        self.plane.activated.connect(self._planes.show_plane)
        self.presets.activated.connect(self._apply)
        state.events.connect(self._show)
        self._planes.intensity.changed.connect(self._show_intensity)
        self._planes.closing.connect(self._let_go)
        viewer = workbench.viewer
        self._events = (viewer.dims.events.order, viewer.layers.selection.events.active, viewer.layers.events.inserted)
        for event in self._events:
            event.connect(self._show)
        workbench.state.events.patient.connect(self._show)
        self._show()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 (Qt's name)
        """Only a panel that is docked and seen has a canvas to put planes beside."""
        super().showEvent(event)
        canvas = main_canvas(self) if self.column is None else None
        if canvas is not None:
            self.column = Column(self._planes, canvas)

    def _let_go(self) -> None:
        for event in self._events:
            event.disconnect(self._show)
        if self.column is not None:
            self.column.close()
            self.column = None

    def _show(self, event: Any = None) -> None:
        state = self._planes.state
        for button, on in (
            (self.three, state.layout == "three"),
            (self.rendering, state.rendering),
            (self.crosshair, state.crosshair),
            (self.dragging, state.dragging),
        ):
            blocker = QSignalBlocker(button)
            button.setChecked(on)
            blocker.unblock()
        fill(self.plane, PLANES, self._planes.axis)
        self._show_intensity()

    def _show_intensity(self) -> None:
        """The preset that is on, or window and level in numbers."""
        intensity = self._planes.intensity
        layer, names = intensity.layer, preset_names(intensity.modality)
        if layer is None:
            fill(self.presets, [], -1)
            return
        low, high = (float(v) for v in layer.contrast_limits)
        now = next((i for i, name in enumerate(names) if preset_limits(name, layer.data) == (low, high)), -1)
        fill(self.presets, names, now)
        for i, name in enumerate(names):
            self.presets.setItemData(i, preset_hint(name), Qt.ItemDataRole.ToolTipRole)
        self.presets.setPlaceholderText(f"W {high - low:.4g} · L {(low + high) / 2:.4g}")

    def _apply(self, index: int) -> None:
        self._planes.intensity.apply(preset_names(self._planes.intensity.modality)[index])


def _toggle(text: str, tooltip: str) -> QPushButton:
    button = QPushButton(text)
    button.setFixedWidth(button.fontMetrics().horizontalAdvance(text) + _PADDING)
    button.setToolTip(tooltip)
    button.setCheckable(True)
    return button
