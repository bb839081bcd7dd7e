"""The panel: four steps from top to bottom, docked in napari."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from napari_gem3d.viewer.engine import Engine
from napari_gem3d.viewer.help.button import HelpButton
from napari_gem3d.viewer.help.hint import HintLine
from napari_gem3d.viewer.planes.bar import ViewBar
from napari_gem3d.viewer.runs.restore_line import RestoreLine
from napari_gem3d.viewer.session import Session, start_log
from napari_gem3d.viewer.steps.generate import GenerateStep
from napari_gem3d.viewer.steps.informed import InformedStep
from napari_gem3d.viewer.steps.mask import MaskStep
from napari_gem3d.viewer.steps.patients import PatientsStep
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
        self,
        napari_viewer: napari.viewer.Viewer,
        *,
        engine: Engine | None = None,
        session: Session | None = None,
    ) -> None:
        super().__init__()
        log = start_log()
        self.workbench = Workbench(napari_viewer, engine=engine, session=session)
        self.restore = RestoreLine(self.workbench)
        self.view_bar = ViewBar(self.workbench)
        self.help = HelpButton(self.workbench)
        self.view_bar.layout().addWidget(self.help)
        self.hint = HintLine(self.workbench)
        self.patients = PatientsStep(self.workbench)
        self.mask = MaskStep(self.workbench)
        self.informed = InformedStep(self.workbench)
        self.generate = GenerateStep(self.workbench, log)

        inside = QWidget()
        steps = QVBoxLayout(inside)
        steps.setContentsMargins(4, 4, 4, 4)
        steps.setSpacing(8)
        for widget in (self.restore, self.hint, self.patients, self.mask, self.informed, self.generate):
            steps.addWidget(widget)
        steps.addStretch()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.view_bar)
        layout.addWidget(_VerticalScroll(inside))
        # The widget may be gone when this is called, the workbench is not.
        self.destroyed.connect(self.workbench.close)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 (Qt's name)
        """A panel that was closed is taken out of its dock by napari, and made anew when it is opened again."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.deleteLater()


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
