"""The window behind "?": the table of shortcuts, and the report for a bug."""

from __future__ import annotations

from html import escape

from qtpy.compat import isalive
from qtpy.QtGui import QFontDatabase, QGuiApplication
from qtpy.QtWidgets import QDialog, QPlainTextEdit, QTabWidget, QTextBrowser, QVBoxLayout, QWidget

from napari_gem3d.viewer.help.shortcuts import HELP, Targets, bind, table
from napari_gem3d.viewer.widgets import WindowButton, button
from napari_gem3d.viewer.worker import Worker

_WAIT = "Looking at this computer …"


class HelpWindow(QDialog):
    """Two pages; stays open beside the panel.

    Parameters
    ----------
    files
        Looks at the computer.
    parent
        The window it stays above.
    """

    def __init__(self, files: Worker, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._files = files
        self._asked = False
        self.setWindowTitle("GEM-3D help")
        self.setModal(False)
        self.resize(620, 560)
        self.keys = QTextBrowser()
        self.keys.setHtml(as_html(table()))
        self.keys.setToolTip("Keys work anywhere in the window; napari's own are set in its Preferences")
        self.report = QPlainTextEdit(_WAIT)
        self.report.setReadOnly(True)
        self.report.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.report.setToolTip("What napari-gem3d doctor prints: versions, devices, models; nothing about patients")
        self.copy = button("Copy", "Copy the report, to paste it into a bug report", self._copy)
        self.copy.setEnabled(False)
        page = QWidget()
        inside = QVBoxLayout(page)
        inside.addWidget(self.report)
        inside.addWidget(self.copy)
        self.tabs = QTabWidget()
        self.tabs.addTab(self.keys, "Keys and mouse")
        self.tabs.addTab(page, "This computer")
        self.tabs.setTabToolTip(0, "What keys and mouse do")
        self.tabs.setTabToolTip(1, "Versions, devices and models, for a bug report")
        layout = QVBoxLayout(self)
        layout.addWidget(self.tabs)
        self.tabs.currentChanged.connect(self._ask)

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.report.toPlainText())

    def _ask(self, page: int) -> None:
        """Look at the computer when the page is first seen: it loads every model."""
        if page == 0 or self._asked:
            return
        self._asked = True

        def work() -> str:
            from napari_gem3d.doctor import report

            return report()

        self._files.submit(work, self._show, self._fail)

    def _show(self, text: str) -> None:
        if isalive(self.report):
            self.report.setPlainText(text)
            self.copy.setEnabled(True)

    def _fail(self, error: BaseException) -> None:
        self._asked = False
        self._show(f"The report could not be made ({type(error).__name__}: {error}); see the log.")


def as_html(groups: list[tuple[str, list[tuple[str, str]]]]) -> str:
    """The table of shortcuts, for a text widget."""
    parts = []
    for title, lines in groups:
        cells = "".join(
            f"<tr><td><b>{escape(keys)}</b>&nbsp;&nbsp;</td><td>{escape(what)}</td></tr>" for keys, what in lines
        )
        parts.append(f"<h3>{escape(title)}</h3><table cellpadding='3'>{cells}</table>")
    return "".join(parts)


class HelpButton(WindowButton):
    """The "?" of the panel, and its key: opens the help, and makes the shortcuts work in the window it stands in."""

    def __init__(self, targets: Targets) -> None:
        tooltip = f"Keys and mouse, and a report on this computer ({HELP})"
        super().__init__("?", tooltip, lambda parent: HelpWindow(targets.context.files, parent))
        self.targets = targets
        self.shortcuts = bind(targets, self, self.open)
