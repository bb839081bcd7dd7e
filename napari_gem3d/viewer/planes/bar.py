"""The slim bar on top of the panel: planes, 3D, crosshair, window and level."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QPushButton, QWidget

from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.planes.column import Column, main_canvas
from napari_gem3d.viewer.planes.intensity import preset_hint, preset_limits, preset_names
from napari_gem3d.viewer.planes.orientation import PLANES
from napari_gem3d.viewer.signals import Connections
from napari_gem3d.viewer.widgets import bind, button, choices, fill, row

_PADDING = 18


class ViewBar(QWidget):
    """Shows and sets how scans are looked at. The planes come into the window when the bar is first seen."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._planes = context.planes
        self.column: Column | None = None
        state = self._planes.state
        self.three = bind(
            _toggle("3 planes", "Axial, coronal and sagittal planes, or the main canvas alone"),
            state,
            "layout",
            lambda layout: layout == "three",
            lambda on: "three" if on else "one",
        )
        self.plane = choices("The plane on the main canvas; the others are beside it")
        tooltip = "Scan and lesions in 3D, beside the main canvas; drag to turn"
        self.rendering = bind(_toggle("3D", tooltip), state, "rendering")
        tooltip = "Show the crosshair. Click in a plane (or Shift + drag) to move it"
        self.crosshair = bind(_toggle("+", tooltip), state, "crosshair")
        tooltip = "Drag for window and level: to the right wider, upwards brighter. Ctrl + drag does it at any time"
        self.dragging = bind(_toggle("W/L", tooltip), state, "dragging")
        self.presets = choices("Window and level of the scan on the screen")
        self.presets.setMinimumContentsLength(8)
        self.plane.setMinimumContentsLength(6)
        toggles = (self.three, self.plane, self.rendering, self.crosshair, self.dragging)
        layout = row(*toggles, self.presets, spacing=4)
        layout.setContentsMargins(4, 2, 4, 0)
        self.setLayout(layout)
        self.plane.activated.connect(self._planes.show_plane)
        self.presets.activated.connect(self._apply)
        self._planes.intensity.changed.connect(self._show)
        self._planes.closing.connect(self._let_go)
        viewer = context.viewer
        self._connections = Connections()
        self._connections.add(
            self._show,
            viewer.dims.events.order,
            viewer.layers.selection.events.active,
            viewer.layers.events.inserted,
            context.state.events.patient,
        )
        self._show()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 (Qt's name)
        """Only a panel that is docked and seen has a canvas to put planes beside."""
        super().showEvent(event)
        canvas = main_canvas(self) if self.column is None else None
        if canvas is not None:
            self.column = Column(self._planes, canvas)

    def _let_go(self) -> None:
        self._connections.close()
        if self.column is not None:
            self.column.close()
            self.column = None

    def _show(self, event: Any = None) -> None:
        """The plane on the main canvas, and the preset that is on, or window and level in numbers."""
        fill(self.plane, PLANES, self._planes.axis)
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
    toggle = button(text, tooltip)
    toggle.setFixedWidth(toggle.fontMetrics().horizontalAdvance(text) + _PADDING)
    toggle.setCheckable(True)
    return toggle
