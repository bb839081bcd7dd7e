"""A strip of small slices from the lowest to the highest, to choose one of."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_gem3d.viewer.informed.thumbnails import Thumbnails, as_image, grey

_HEIGHT = 48
_CHOSEN, _MATCHING = QColor("#ffb000"), QColor("#4fc3f7")
_STEPS = {
    Qt.Key.Key_Left: -1,
    Qt.Key.Key_Down: -1,
    Qt.Key.Key_Right: 1,
    Qt.Key.Key_Up: 1,
    Qt.Key.Key_PageDown: -10,
    Qt.Key.Key_PageUp: 10,
}


class SliceStrip(QWidget):
    """Thumbnails along the axis; the chosen slice and the one at the crosshair's height are marked.

    Attributes
    ----------
    chosen
        Emitted with the slice that was clicked or reached by keys.
    match_asked
        Emitted when M is pressed: the slice at the crosshair's height is wanted.
    """

    chosen = Signal(int)
    match_asked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(_HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip(
            "Slices from the lowest to the highest: click one, or ← → (1), page keys (10), home, end.\n"
            "Orange: the informed slice. Blue: the height of the crosshair; M takes it."
        )
        self._thumbnails: Thumbnails | None = None
        self._limits = (0.0, 1.0)
        self.total, self.index, self.matching = 0, 0, 0

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """As wide as the panel."""
        return QSize(300, _HEIGHT)

    def show_slices(self, thumbnails: Thumbnails | None, limits: tuple[float, float], total: int) -> None:
        """Show another scan's slices, or that they are being made (None)."""
        self._thumbnails, self._limits, self.total = thumbnails, limits, total
        self.update()

    def mark(self, index: int, matching: int) -> None:
        """Mark the chosen slice and the one at the crosshair's height."""
        if (index, matching) != (self.index, self.matching):
            self.index, self.matching = index, matching
            self.update()

    def slice_at(self, x: float) -> int:
        """The slice at a place across the strip, in pixels."""
        return int(np.clip(x / max(1, self.width()) * self.total, 0, max(0, self.total - 1)))

    def place_of(self, index: int) -> float:
        """The middle of a slice across the strip, in pixels."""
        return (index + 0.5) / max(1, self.total) * self.width()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Choose the slice under the mouse."""
        self._point(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Go on choosing while a button is held."""
        self._point(event)

    def _point(self, event: QMouseEvent) -> None:
        if self.total:
            self.chosen.emit(self.slice_at(event.position().x()))

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Step with the arrow and page keys; home and end; M for the crosshair's height."""
        key = event.key()
        if key == Qt.Key.Key_M:
            self.match_asked.emit()
        elif key in (Qt.Key.Key_Home, Qt.Key.Key_End):
            self.chosen.emit(0 if key == Qt.Key.Key_Home else max(0, self.total - 1))
        elif key in _STEPS and self.total:
            self.chosen.emit(int(np.clip(self.index + _STEPS[key], 0, self.total - 1)))
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the slices that fit side by side, and the marks over them."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor("black"))
        if self._thumbnails is None:
            if self.total:
                painter.setPen(QColor("#aaaaaa"))
                painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, "making thumbnails …")
            return
        self._paint_slices(painter, self._thumbnails)
        for index, colour, width in ((self.matching, _MATCHING, 2), (self.index, _CHOSEN, 3)):
            painter.setPen(QPen(colour, width))
            x = round(self.place_of(index))
            painter.drawLine(x, 0, x, self.height())
        if self.hasFocus():
            painter.setPen(QPen(_CHOSEN, 1, Qt.PenStyle.DotLine))
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))

    def _paint_slices(self, painter: QPainter, thumbnails: Thumbnails) -> None:
        _, rows, columns = thumbnails.planes.shape
        wide = self.height() * columns / rows
        cells = max(1, round(self.width() / wide))
        for cell in range(cells):
            middle = (cell + 0.5) / cells
            nearest = int(np.argmin(np.abs(thumbnails.indices - middle * (self.total - 1))))
            image = as_image(grey(thumbnails.planes[nearest], self._limits))
            painter.drawImage(QRectF(cell * self.width() / cells, 0, self.width() / cells, self.height()), image)
