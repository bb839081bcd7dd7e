"""Number boxes and choices that show a field of an evented model and set it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QLabel, QPushButton, QWidget

from napari_gem3d.viewer.steps.parts import choices, fill

AXES = ("R", "A", "S")


def number(low: float, high: float, step: float, tooltip: str, suffix: str = "", decimals: int = 1) -> QDoubleSpinBox:
    """A number box that tells of a number when it is complete, not at every key."""
    box = QDoubleSpinBox()
    box.setRange(low, high)
    box.setSingleStep(step)
    box.setDecimals(decimals)
    box.setSuffix(suffix)
    box.setKeyboardTracking(False)
    box.setToolTip(tooltip)
    box.setMinimumWidth(62)
    return box


class One(QWidget):
    """One number of a model.

    Parameters
    ----------
    model, name
        The model and its field.
    title
        Words before the box.
    low, high, step, tooltip, suffix
        Of the box.
    """

    def __init__(
        self, model: Any, name: str, title: str, low: float, high: float, step: float, tooltip: str, suffix: str = ""
    ) -> None:
        super().__init__()
        self._model, self._name = model, name
        self.box = number(low, high, step, tooltip, suffix)
        _in_a_row(self, QLabel(title), self.box)
        self.box.valueChanged.connect(lambda value: setattr(model, name, value))
        getattr(model.events, name).connect(self._show)
        model.events.tool.connect(self._show)
        self._show()

    def _show(self) -> None:
        blocker = QSignalBlocker(self.box)
        self.box.setValue(getattr(self._model, self._name))
        blocker.unblock()


class Three(QWidget):
    """Three numbers of a model, along R, A and S.

    Parameters
    ----------
    linkable
        Whether a button makes them equal; they are to begin with.
    """

    def __init__(
        self,
        model: Any,
        name: str,
        title: str,
        low: float,
        high: float,
        step: float,
        tooltip: str,
        *,
        decimals: int = 1,
        linkable: bool = False,
    ) -> None:
        super().__init__()
        self._model, self._name = model, name
        self.boxes = [number(low, high, step, f"{tooltip}: {axis}", decimals=decimals) for axis in AXES]
        for box, axis in zip(self.boxes, AXES, strict=True):
            box.setPrefix(f"{axis} ")
        label = QLabel(title)
        label.setMinimumWidth(64)
        label.setToolTip(tooltip)
        self.link: QPushButton | None = None
        widgets: list[QWidget] = [label, *self.boxes]
        if linkable:
            self.link = QPushButton("=")
            self.link.setFixedWidth(24)
            self.link.setCheckable(True)
            self.link.setChecked(True)
            self.link.setToolTip("All three alike")
            widgets.append(self.link)
        _in_a_row(self, *widgets)
        for k, box in enumerate(self.boxes):
            box.valueChanged.connect(lambda value, k=k: self._set(k, value))
        getattr(model.events, name).connect(self._show)
        model.events.tool.connect(self._show)
        self._show()

    def _set(self, k: int, value: float) -> None:
        values = list(getattr(self._model, self._name))
        if self.link is not None and self.link.isChecked():
            values = [value] * 3
        values[k] = value
        setattr(self._model, self._name, tuple(values))

    def _show(self) -> None:
        values = getattr(self._model, self._name)
        if self.link is not None and len(set(values)) > 1:
            self.link.setChecked(False)
        for box, value in zip(self.boxes, values, strict=True):
            blocker = QSignalBlocker(box)
            box.setValue(value)
            blocker.unblock()


class Choice(QWidget):
    """One of several values of a model's field.

    Parameters
    ----------
    options
        Value and words of each.
    """

    def __init__(self, model: Any, name: str, title: str, options: Sequence[tuple[Any, str]], tooltip: str) -> None:
        super().__init__()
        self._model, self._name = model, name
        self._options = tuple(options)
        self.box = choices(tooltip)
        _in_a_row(self, *([QLabel(title)] if title else []), self.box)
        self.box.activated.connect(lambda index: setattr(model, name, self._options[index][0]))
        getattr(model.events, name).connect(self.show_options)
        model.events.tool.connect(self.show_options)
        self.show_options()

    def offer(self, options: Sequence[tuple[Any, str]]) -> None:
        """Offer other values."""
        self._options = tuple(options)
        self.show_options()

    def show_options(self) -> None:
        """Show the values and the chosen one."""
        now = getattr(self._model, self._name)
        chosen = next((i for i, (value, _) in enumerate(self._options) if value == now), -1)
        fill(self.box, [words for _, words in self._options], chosen)


def _in_a_row(parent: QWidget, *widgets: QWidget) -> None:
    layout = QHBoxLayout(parent)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(4)
    for widget in widgets:
        layout.addWidget(widget)
    for k, widget in enumerate(widgets):
        if not isinstance(widget, (QLabel, QPushButton)):
            layout.setStretch(k, 1)
