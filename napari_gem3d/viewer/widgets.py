"""What the panel's widgets are made of: frames, rows, buttons, and boxes that show a field of an evented model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import signals_blocked

AXES = ("R", "A", "S")


def while_alive(method: Callable[..., None]) -> Callable[..., None]:
    """A method that does nothing once its widget is deleted: what it listens to may outlive the panel."""

    @wraps(method)
    def guarded(self: QWidget, *args: Any) -> None:
        if isalive(self):
            method(self, *args)

    return guarded


def row(*items: QWidget, spacing: int = 6) -> QHBoxLayout:
    """Widgets side by side."""
    return _filled(QHBoxLayout(), items, spacing)


def column(parent: QWidget, *items: QWidget | QLayout, spacing: int = 6) -> QVBoxLayout:
    """The layout of a widget without margins: widgets and rows below each other."""
    layout = _filled(QVBoxLayout(parent), items, spacing)
    layout.setContentsMargins(0, 0, 0, 0)
    return layout


def holder(*items: QWidget, spacing: int = 6) -> QWidget:
    """A widget that holds others side by side, without margins, to be shown and hidden with them."""
    widget = QWidget()
    widget.setLayout(row(*items, spacing=spacing))
    widget.layout().setContentsMargins(0, 0, 0, 0)
    return widget


def _filled(layout: Any, items: Sequence[QWidget | QLayout], spacing: int) -> Any:
    layout.setSpacing(spacing)
    for item in items:
        add = layout.addLayout if isinstance(item, QLayout) else layout.addWidget
        add(item)
    return layout


def step(number: int, title: str, parent: QWidget, *items: QWidget | QLayout) -> None:
    """Fill a widget with a framed step of the panel: its number and title, and its content."""
    frame = QFrame()
    frame.setObjectName("gem3d_step")
    frame.setStyleSheet("#gem3d_step { border: 1px solid rgba(128, 128, 128, 90); border-radius: 4px; }")
    column(frame, QLabel(f"<b>{number} · {title}</b>"), *items).setContentsMargins(8, 6, 8, 8)
    column(parent, frame)


def line(tooltip: str = "", style: str = "") -> QLabel:
    """A line of text that wraps and can be copied."""
    label = QLabel()
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    label.setToolTip(tooltip)
    label.setStyleSheet(style)
    return label


def say(label: QLabel, text: str) -> None:
    """Show a text; hide the label while there is none."""
    label.setText(text)
    label.setVisible(bool(text))


def button(text: str, tooltip: str, act: Callable[[], object] | None = None, *, width: int = 0) -> QPushButton:
    """A button, and what a click does."""
    widget = QPushButton(text)
    widget.setToolTip(tooltip)
    if width:
        widget.setFixedWidth(width)
    if act is not None:
        widget.clicked.connect(lambda *_: act())
    return widget


class WindowButton(QPushButton):
    """Opens a window that stays above the panel, or brings it to the front.

    Parameters
    ----------
    make
        Makes the window, with this button as its parent.
    """

    def __init__(self, text: str, tooltip: str, make: Callable[[QWidget], QWidget]) -> None:
        super().__init__(text)
        self._make = make
        self.window_: Any = None
        self.setFixedWidth(26)
        self.setToolTip(tooltip)
        self.clicked.connect(self.open)

    def open(self) -> None:
        """Show the window."""
        if self.window_ is None or not isalive(self.window_):
            self.window_ = self._make(self)
        self.window_.show()
        self.window_.raise_()


def choices(tooltip: str) -> QComboBox:
    """A box to choose from, which long names do not widen."""
    return _narrow(QComboBox(), tooltip)


def _narrow(box: Any, tooltip: str) -> Any:
    box.setToolTip(tooltip)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(10)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return box


def fill(box: QComboBox, names: Sequence[str], current: int) -> None:
    """Show `names` with `current` chosen (-1 for none), without announcing a choice."""
    with signals_blocked(box):
        box.clear()
        box.addItems(list(names))
        box.setCurrentIndex(current)
        box.setEnabled(bool(names))


def position(item: Any, among: Sequence[Any]) -> int:
    """Index of `item`, -1 if it is not there; proxies of one layer count as the same."""
    return next((i for i, other in enumerate(among) if other == item), -1)


def bind(
    widget: Any,
    model: Any,
    name: str,
    shown: Callable[[Any], Any] = lambda value: value,
    read: Callable[[Any], Any] = lambda value: value,
) -> Any:
    """Have a check box, checkable button, number box or slider show a field of an evented model and set it.

    Parameters
    ----------
    widget
        Returned as well.
    model, name
        The model and its field.
    shown, read
        From the field's value to the widget's, and back.
    """
    checks = hasattr(widget, "setChecked")
    changed, show = (widget.toggled, widget.setChecked) if checks else (widget.valueChanged, widget.setValue)
    changed.connect(lambda value: setattr(model, name, read(value)))

    def follow() -> None:
        if isalive(widget):
            with signals_blocked(widget):
                show(shown(getattr(model, name)))

    getattr(model.events, name).connect(follow)
    follow()
    return widget


def check(text: str, tooltip: str, model: Any, name: str, *, inverted: bool = False) -> QCheckBox:
    """A check box that shows a field of a model."""
    box = QCheckBox(text)
    box.setToolTip(tooltip)
    return bind(box, model, name, *((lambda on: not on,) * 2 if inverted else ()))


def whole(model: Any, name: str, low: int, high: int, tooltip: str) -> QSpinBox:
    """A box for a whole number of a model."""
    box = QSpinBox()
    box.setRange(low, high)
    box.setToolTip(tooltip)
    return bind(box, model, name)


def number(low: float, high: float, step: float, tooltip: str, suffix: str = "", decimals: int = 1) -> QDoubleSpinBox:
    """A number box that announces a number when it is complete, not at every key."""
    box = QDoubleSpinBox()
    box.setRange(low, high)
    box.setSingleStep(step)
    box.setDecimals(decimals)
    box.setSuffix(suffix)
    box.setKeyboardTracking(False)
    box.setToolTip(tooltip)
    box.setMinimumWidth(62)
    return box


class Three(QWidget):
    """Three numbers of a model, along R, A and S or other axes.

    Parameters
    ----------
    model, name
        The model and its field.
    title
        Words before the boxes.
    low, high, step, tooltip, decimals
        Of the boxes.
    linkable
        Whether a button makes them equal; they are to begin with.
    axes
        What stands before each number.
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
        axes: Sequence[str] = AXES,
    ) -> None:
        super().__init__()
        self._model, self._name = model, name
        self.boxes = [number(low, high, step, f"{tooltip}: {axis}", decimals=decimals) for axis in axes]
        label = QLabel(title)
        label.setMinimumWidth(64)
        label.setToolTip(tooltip)
        self.link = button("=", "All three alike", width=24)
        self.link.setCheckable(True)
        self.link.setChecked(linkable)
        layout = row(label, *self.boxes, *([self.link] if linkable else []), spacing=4)
        layout.setContentsMargins(0, 0, 0, 0)
        self.setLayout(layout)
        for k, (box, axis) in enumerate(zip(self.boxes, axes, strict=True)):
            box.setPrefix(f"{axis} ")
            layout.setStretchFactor(box, 1)
            box.valueChanged.connect(lambda value, k=k: self._set(k, value))
        getattr(model.events, name).connect(self._show)
        self._show()

    def _set(self, k: int, value: float) -> None:
        values = [value] * 3 if self.link.isChecked() else list(getattr(self._model, self._name))
        values[k] = value
        setattr(self._model, self._name, tuple(values))

    def _show(self) -> None:
        values = getattr(self._model, self._name)
        if len(set(values)) > 1:
            self.link.setChecked(False)
        for box, value in zip(self.boxes, values, strict=True):
            with signals_blocked(box):
                box.setValue(value)


class Choice(QComboBox):
    """One of several values of a model's field.

    Parameters
    ----------
    model, name
        The model and its field.
    options
        Words by value.
    """

    def __init__(self, model: Any, name: str, options: Mapping[Any, str], tooltip: str) -> None:
        super().__init__()
        _narrow(self, tooltip)
        self._model, self._name, self._options = model, name, list(options.items())
        self.activated.connect(lambda index: setattr(model, name, self._options[index][0]))
        getattr(model.events, name).connect(self._show)
        self._show()

    def offer(self, options: Sequence[tuple[Any, str]]) -> None:
        """Offer other values, each with its words."""
        self._options = list(options)
        self._show()

    def _show(self) -> None:
        now = getattr(self._model, self._name)
        chosen = next((i for i, (value, _) in enumerate(self._options) if value == now), -1)
        fill(self, [words for _, words in self._options], chosen)
