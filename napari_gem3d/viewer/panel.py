"""The panel: four steps from top to bottom, docked in napari."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QToolButton, QVBoxLayout, QWidget

from napari_gem3d.viewer.browsing import Patients
from napari_gem3d.viewer.core import Engine
from napari_gem3d.viewer.help.shortcuts import Targets
from napari_gem3d.viewer.help.window import HelpButton
from napari_gem3d.viewer.planes.bar import ViewBar
from napari_gem3d.viewer.preferences import Preferences
from napari_gem3d.viewer.runs.restore import RestoreLine
from napari_gem3d.viewer.samples import SAMPLES
from napari_gem3d.viewer.session import Session, start_log
from napari_gem3d.viewer.state import PanelState
from napari_gem3d.viewer.steps.generate import GenerateStep
from napari_gem3d.viewer.steps.informed import InformedStep
from napari_gem3d.viewer.steps.mask import MaskStep
from napari_gem3d.viewer.steps.patients import PatientsStep
from napari_gem3d.viewer.widgets import button, column, line, row, while_alive
from napari_gem3d.viewer.workbench import Workbench

if TYPE_CHECKING:
    import napari


class GemPanel(QWidget):
    """The plugin's dock widget.

    Parameters
    ----------
    napari_viewer
        The viewer, given by napari.
    engine, session
        For tests: what generates, and where masks are kept.

    Attributes
    ----------
    workbench
        Everything the panel can do; its `state` drives the widgets.
    """

    def __init__(
        self, napari_viewer: napari.viewer.Viewer, *, engine: Engine | None = None, session: Session | None = None
    ) -> None:
        super().__init__()
        log = start_log()
        parts = self.workbench = Workbench(napari_viewer, engine=engine, session=session)
        context = parts.context
        kept = f"in {context.session.root} for {parts.preferences.session_days} days (see Preferences)"
        self.restore = RestoreLine(parts.restore, f"Sessions are kept {kept}")
        self.view_bar = ViewBar(context)
        targets = Targets(context, parts.masks, parts.lesions, parts.generation, parts.results.comparison)
        self.help = HelpButton(targets)
        self.view_bar.layout().addWidget(self.help)
        self.hint = HintLine(context.state, parts.patients, parts.preferences)
        self.patients = PatientsStep(
            context, parts.patients, parts.adoption, parts.fitting, parts.numbering, parts.body
        )
        self.mask = MaskStep(context, parts.masks, parts.lesions, parts.body, parts.anatomy)
        self.informed = InformedStep(context, parts.informed)
        self.generate = GenerateStep(context, parts.generation, parts.results, parts.models, log)
        inside = QWidget()
        widgets = (self.restore, self.hint, self.patients, self.mask, self.informed, self.generate)
        steps = column(inside, *widgets, spacing=8)
        steps.setContentsMargins(4, 4, 4, 4)
        steps.addStretch()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.view_bar)
        layout.addWidget(_VerticalScroll(inside))
        # The widget may be gone when this is called, the workbench is not.
        self.destroyed.connect(self.workbench.close)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 (Qt's name)
        """A panel that was closed is taken out of its dock by napari; a new one is made when it is opened again."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.deleteLater()


class HintLine(QFrame):
    """How to begin, for people who see the panel for the first time: until a scan is open or it is dismissed."""

    def __init__(self, state: PanelState, patients: Patients, preferences: Preferences) -> None:
        super().__init__()
        self._state, self._preferences, self._dismissed = state, preferences, False
        self.setObjectName("gem3d_hint")
        self.setStyleSheet("#gem3d_hint { border: 1px solid #4fc3f7; border-radius: 4px; }")
        self.text = line("The steps below are used in any order; ? has the keys")
        self.text.setText("Open a scan, drop one on the window, or try a sample patient.")
        tooltip = "Open a sample patient with a mask, ready to generate; no real patient's data"
        self.sample = button("Sample patient", tooltip, lambda: patients.open_sample(next(iter(SAMPLES))))
        self.dismiss = QToolButton()
        self.dismiss.setText("×")
        self.dismiss.setToolTip("Do not show this again (the Preferences bring it back)")
        self.dismiss.clicked.connect(self._dismiss)
        layout = row(self.text, self.sample, self.dismiss)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.setStretchFactor(self.text, 1)
        self.setLayout(layout)
        state.events.patients.connect(self._show)
        preferences.changed.connect(self._on_preference)
        self._show()

    def _dismiss(self) -> None:
        self._dismissed = True
        self._preferences.hint = False
        self._show()

    def _on_preference(self, key: str) -> None:
        if key == "panel.hint":
            self._dismissed = False
            self._show()

    @while_alive
    def _show(self, event: Any = None) -> None:
        self.setVisible(self._preferences.hint and not self._dismissed and not self._state.patients)


class _VerticalScroll(QScrollArea):
    """Scrolls up and down only, and is never narrower than what it shows (whose fonts and labels may change)."""

    def __init__(self, inside: QWidget) -> None:
        super().__init__()
        self.setWidget(inside)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        inside.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Follow the content's own minimum width."""
        if event.type() in (QEvent.Type.LayoutRequest, QEvent.Type.Show):
            bar = self.verticalScrollBar().sizeHint().width()
            self.setMinimumWidth(self.widget().minimumSizeHint().width() + bar)
        return super().eventFilter(watched, event)
