"""The curve of step 4: how much each slice differs from the next, in the result and in the patient's scan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QWidget

from napari_gem3d.viewer.curve import Curves

_HEIGHT = 64
_SCAN, _SYNTHETIC = QColor("#9a9a9a"), QColor("#4fc3f7")


class CurvePlot(QWidget):
    """Draws two curves over the axial slices, the lowest to the left; nothing to be seen while there are none."""

    def __init__(self) -> None:
        super().__init__()
        self.curves: Curves | None = None
        self.setFixedHeight(_HEIGHT)
        self.setToolTip(
            "Mean change from each axial slice to the next inside the body, in % of the range of intensities; the\n"
            "lowest slice is on the left. Grey: the patient's scan. Blue: the result as it arrives. A blue peak is a\n"
            "jump between slices; blue far below grey is smoother than a real scan."
        )
        self.hide()

    def show_curves(self, curves: Curves | None) -> None:
        """Draw other curves at the next repaint."""
        self.curves = curves
        self.setVisible(curves is not None)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Draw both curves on a common scale."""
        if self.curves is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        top = self.fontMetrics().height() + 2
        frame = QRectF(0.5, top, self.width() - 1, self.height() - top - 1)
        painter.setPen(QPen(QColor(128, 128, 128, 90)))
        painter.drawRect(frame)
        highest = _highest(self.curves)
        for values, colour in ((self.curves.scan, _SCAN), (self.curves.synthetic, _SYNTHETIC)):
            painter.setPen(QPen(colour, 1.4))
            for line in polylines(values, frame, highest):
                painter.drawPolyline(line)
        self._legend(painter, highest)
        painter.end()

    def _legend(self, painter: QPainter, highest: float) -> None:
        row = QRectF(0, 0, self.width(), self.fontMetrics().height() + 2)
        text = self.palette().color(self.foregroundRole())
        painter.setPen(text)
        painter.drawText(row, Qt.AlignmentFlag.AlignLeft, f"Change between slices, up to {100 * highest:.0f} %")
        right = row
        for name, colour in (("result", _SYNTHETIC), ("scan ", _SCAN)):
            painter.setPen(colour)
            painter.drawText(right, Qt.AlignmentFlag.AlignRight, name)
            right = right.adjusted(0, 0, -self.fontMetrics().horizontalAdvance(name + " "), 0)


def _highest(curves: Curves) -> float:
    """Top of the scale: a little above what is drawn, but for the few ends of the body where slices change wholly."""
    drawn = np.concatenate([values[np.isfinite(values)] for values in (curves.scan, curves.synthetic)])
    return float(np.percentile(drawn, 98)) * 1.15 if drawn.size and drawn.max() > 0 else 1.0


def polylines(values: NDArray[np.float64], frame: QRectF, highest: float) -> list[QPolygonF]:
    """Values over a frame, as lines that are broken where there is no value."""
    there = np.isfinite(values)
    x = frame.left() + frame.width() * (np.arange(len(values)) + 0.5) / max(len(values), 1)
    y = frame.bottom() - frame.height() * np.minimum(np.where(there, values, 0) / highest, 1)
    starts = np.flatnonzero(there & ~np.r_[False, there[:-1]])
    ends = np.flatnonzero(there & ~np.r_[there[1:], False])
    return [
        QPolygonF([QPointF(float(x[i]), float(y[i])) for i in range(start, end + 1)])
        for start, end in zip(starts, ends, strict=True)
    ]
