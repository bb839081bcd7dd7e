"""The cards of all runs, newest first, and the lines above them."""

from __future__ import annotations

from typing import Any, get_args

from qtpy.QtCore import Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QButtonGroup, QFrame, QLabel, QScrollArea, QToolButton, QWidget

from napari_gem3d.viewer.context import Context
from napari_gem3d.viewer.generation import Generation
from napari_gem3d.viewer.run import Run
from napari_gem3d.viewer.runs.card import BUTTON, RunCard
from napari_gem3d.viewer.runs.comparison import Comparison, How
from napari_gem3d.viewer.runs.results import Results
from napari_gem3d.viewer.widgets import button, choices, column, fill, holder, line, position, row, say, while_alive

_TIPS = {
    "flicker": "Change from the one to the other and back",
    "side by side": "Both next to each other, moving together",
    "checkerboard": "Cubes of 20 mm of the one and the other in turn",
    "difference": "What the result has more (warm colours) or less (blue) than the other, on a scale that is symmetric",
}


class CompareBar(QWidget):
    """Shown while two images are compared."""

    def __init__(self, context: Context, comparison: Comparison) -> None:
        super().__init__()
        self._panel, self._comparison = context.state, comparison
        self.what = QLabel()
        self.other = choices("What to compare it with: the patient's scan, or another result")
        self.stop = button("Stop", "End the comparison; what was visible before is shown again", comparison.stop)
        self.hows: dict[How, QToolButton] = {}
        self._group = QButtonGroup(self)
        self.note = line("How much differs, in intensities of the result")
        top, ways = row(self.what, self.other, self.stop), row(spacing=3)
        top.setStretchFactor(self.other, 1)
        for how in get_args(How):
            way = self.hows[how] = QToolButton()
            way.setText(how.capitalize())
            way.setToolTip(_TIPS[how])
            way.setCheckable(True)
            way.setStyleSheet(BUTTON)
            way.clicked.connect(lambda _=False, how=how: setattr(comparison.state, "how", how))
            self._group.addButton(way)
            ways.addWidget(way)
        ways.addStretch()
        column(self, top, ways, self.note, spacing=3)
        self.other.activated.connect(self._choose)
        events = comparison.state.events
        for event in (events.run, events.other, events.how, events.note, context.state.events.runs):
            event.connect(self._show)
        self._show()

    def _others(self) -> list[Any]:
        """None for the scan, and the other results that can be seen."""
        run = self._comparison.state.run
        runs = self._panel.runs
        return [None, *(other for other in runs if other is not run and other.status in ("finished", "partial"))]

    def _choose(self, index: int) -> None:
        self._comparison.state.other = self._others()[index]

    @while_alive
    def _show(self) -> None:
        state = self._comparison.state
        self.setVisible(state.run is not None)
        if state.run is None:
            return
        self.what.setText(f"{state.run.name} with")
        others = self._others()
        names = [other.name if other is not None else f"scan {state.run.patient.name}" for other in others]
        fill(self.other, names, position(state.other, others))
        self.hows[state.how].setChecked(True)
        say(self.note, state.note)


# Two cards and a half: that there are more of them can be seen.
_TALLEST = 270


class RunsShelf(QWidget):
    """Everything the panel shows of results; belongs below the controls that generate them.

    Attributes
    ----------
    cards
        One for each run, by run.
    compare
        The line of the comparison.
    """

    def __init__(self, context: Context, generation: Generation, results: Results) -> None:
        super().__init__()
        self._panel, self._generation, self._results = context.state, generation, results
        self.cards: dict[Run, RunCard] = {}
        self.compare = CompareBar(context, results.comparison)
        self.deleted = line()
        self.undelete = button("Bring back", "Show the result again that was deleted last", results.undelete)
        self._deleted_row = holder(self.deleted, self.undelete)
        inside = QWidget()
        self._list = column(inside, spacing=4)
        self._list.addStretch()
        self.scroll = QScrollArea()
        self.scroll.setWidget(inside)
        self.scroll.setWidgetResizable(True)
        self.scroll.setFrameShape(QFrame.Shape.NoFrame)
        self.scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        column(self, self.compare, self.scroll, self._deleted_row, spacing=4)
        context.state.events.runs.connect(self._show)
        results.state.events.deleted.connect(self._show_deleted)
        for event in (results.state.events.shown, results.comparison.state.events.run):
            event.connect(self._refresh)
        self._show()
        self._show_deleted()

    @while_alive
    def _show(self) -> None:
        """Have a card for each run."""
        runs = self._panel.runs
        for run in [run for run in self.cards if run not in runs]:
            card = self.cards.pop(run)
            self._list.removeWidget(card)
            card.deleteLater()
        for run in runs:
            if run not in self.cards:
                self.cards[run] = RunCard(run, self._generation.resume, self._results)
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

    @while_alive
    def _fit(self) -> None:
        cards = self.cards.values()
        # As if the bar were always there: it must not come and go with the height that depends on it.
        width = self.width() - self.scroll.verticalScrollBar().sizeHint().width()
        height = sum(max(card.heightForWidth(width), card.sizeHint().height()) for card in cards)
        self.scroll.setFixedHeight(min(height + self._list.spacing() * len(cards), _TALLEST))

    @while_alive
    def _refresh(self) -> None:
        for card in self.cards.values():
            card.refresh()

    @while_alive
    def _show_deleted(self) -> None:
        run = self._results.state.deleted
        self._deleted_row.setVisible(run is not None)
        self.deleted.setText("" if run is None else f"{run.name} was deleted.")
