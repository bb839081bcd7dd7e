"""The cards of all runs, newest first, and the lines above them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QFrame, QHBoxLayout, QPushButton, QScrollArea, QVBoxLayout, QWidget

from napari_gem3d.viewer.run import Run
from napari_gem3d.viewer.runs.card import RunCard
from napari_gem3d.viewer.runs.compare_bar import CompareBar
from napari_gem3d.viewer.steps.parts import line

if TYPE_CHECKING:
    from napari_gem3d.viewer.workbench import Workbench

# Two cards and a half: that there are more of them can be seen.
_TALLEST = 270


class RunsShelf(QWidget):
    """Everything the panel shows of results; belongs below the controls that generate them.

    Parameters
    ----------
    workbench
        Whose `state.runs` are shown.

    Attributes
    ----------
    cards
        One for each run, by run.
    compare
        The line of the comparison.
    """

    def __init__(self, workbench: Workbench) -> None:
        super().__init__()
        self._workbench = workbench
        self.cards: dict[Run, RunCard] = {}
        self.compare = CompareBar(workbench)
        self.deleted = line()
        self.undelete = QPushButton("Bring back")
        self.undelete.setToolTip("Show the result again that was deleted last")
        self._deleted_row = QWidget()
        bottom = QHBoxLayout(self._deleted_row)
        bottom.setContentsMargins(0, 0, 0, 0)
        bottom.addWidget(self.deleted, 1)
        bottom.addWidget(self.undelete)
        inside = QWidget()
        self._list = QVBoxLayout(inside)
        self._list.setContentsMargins(0, 0, 0, 0)
        self._list.setSpacing(4)
        self._list.addStretch()
        self.scroll = QScrollArea()
        self.scroll.setWidget(inside)
        self.scroll.setWidgetResizable(True)
        self.scroll.setFrameShape(QFrame.Shape.NoFrame)
        self.scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self.compare, self.scroll, self._deleted_row):
            layout.addWidget(widget)
        self.undelete.clicked.connect(workbench.results.undelete)
        workbench.state.events.runs.connect(self._show)
        workbench.results.state.events.deleted.connect(self._show_deleted)
        for event in (workbench.results.state.events.shown, workbench.results.comparison.state.events.run):
            event.connect(self._refresh)
        self._show()
        self._show_deleted()

    def _show(self) -> None:
        """Have a card for each run."""
        if not isalive(self.undelete):
            return  # the panel is closed, its workbench is not yet
        runs = self._workbench.state.runs
        for run in [run for run in self.cards if run not in runs]:
            card = self.cards.pop(run)
            self._list.removeWidget(card)
            card.deleteLater()
        for run in runs:
            if run not in self.cards:
                self.cards[run] = RunCard(self._workbench, run)
                self._list.insertWidget(0, self.cards[run])
        self._refresh()
        self.scroll.setVisible(bool(self.cards))
        self.scroll.setMinimumWidth(self.scroll.widget().minimumSizeHint().width())
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 (Qt's name)
        """Lines wrap at another width, so that the cards are of another height."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self._fit()

    def _fit(self) -> None:
        if isalive(self.undelete):
            cards = self.cards.values()
            # As if the bar were always there: it must not come and go with the height that depends on it.
            width = self.width() - self.scroll.verticalScrollBar().sizeHint().width()
            height = sum(max(card.heightForWidth(width), card.sizeHint().height()) for card in cards)
            self.scroll.setFixedHeight(min(height + self._list.spacing() * len(cards), _TALLEST))

    def _refresh(self) -> None:
        if not isalive(self.undelete):
            return  # the panel is closed, its workbench is not yet
        for card in self.cards.values():
            card.refresh()

    def _show_deleted(self) -> None:
        if not isalive(self.undelete):
            return  # the panel is closed, its workbench is not yet
        run = self._workbench.results.state.deleted
        self._deleted_row.setVisible(run is not None)
        self.deleted.setText("" if run is None else f"{run.name} was deleted.")
