"""Small things that several steps are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QComboBox, QFrame, QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget


def step(number: int, title: str) -> tuple[QFrame, QVBoxLayout]:
    """A framed step with its number and title; returns the frame and the layout for its content."""
    frame = QFrame()
    frame.setObjectName("gem3d_step")
    frame.setStyleSheet("#gem3d_step { border: 1px solid rgba(128, 128, 128, 90); border-radius: 4px; }")
    layout = QVBoxLayout(frame)
    layout.setContentsMargins(8, 6, 8, 8)
    layout.setSpacing(6)
    layout.addWidget(QLabel(f"<b>{number} · {title}</b>"))
    return frame, layout


def row(*widgets: QWidget) -> QHBoxLayout:
    """Widgets side by side."""
    layout = QHBoxLayout()
    layout.setSpacing(6)
    for widget in widgets:
        layout.addWidget(widget)
    return layout


def line(tooltip: str = "") -> QLabel:
    """A line of text that wraps and can be copied."""
    label = QLabel()
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    label.setToolTip(tooltip)
    return label


def choices(tooltip: str) -> QComboBox:
    """A box to choose from, which long names do not widen."""
    box = QComboBox()
    box.setToolTip(tooltip)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(10)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return box


def fill(box: QComboBox, names: Sequence[str], current: int) -> None:
    """Show `names` with `current` chosen (-1 for none), without announcing a choice."""
    blocker = QSignalBlocker(box)
    box.clear()
    box.addItems(list(names))
    box.setCurrentIndex(current)
    box.setEnabled(bool(names))
    blocker.unblock()


def position(item: Any, among: Sequence[Any]) -> int:
    """Index of `item`, -1 if it is not there; proxies of one layer count as the same."""
    return next((i for i, other in enumerate(among) if other == item), -1)
