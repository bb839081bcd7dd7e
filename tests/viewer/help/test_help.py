"""Help: keys that work and get in nobody's way, their table in window and documentation, the report, tooltips."""

from pathlib import Path
from typing import Any

import pytest
from napari._app_model import get_app_model
from napari.settings import get_settings
from qtpy.QtCore import Qt
from qtpy.QtGui import QAction, QGuiApplication, QKeySequence
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QScrollBar,
    QTabBar,
    QTextBrowser,
    QWidget,
)

from napari_gem3d import __version__
from napari_gem3d.viewer.help.shortcuts import GESTURES, HELP, NAPARI, SHORTCUTS, table

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "shortcuts.md"
CONTROLS = (
    *(QAbstractButton, QAbstractSlider, QAbstractSpinBox, QComboBox, QLineEdit, QAbstractItemView),
    *(QPlainTextEdit, QTextBrowser),
)


def test_no_key_of_ours_is_one_of_naparis(panel: Any) -> None:
    ours = [QKeySequence(keys).toString() for keys in (HELP, *(shortcut.keys for shortcut in SHORTCUTS))]
    assert len(set(ours)) == len(ours) and all(ours)
    window = panel.workbench.viewer.window._qt_window
    theirs = {action.shortcut().toString() for action in window.findChildren(QAction)}
    theirs |= {QKeySequence(str(b.keybinding)).toString() for b in get_app_model().keybindings}
    theirs |= {
        QKeySequence(str(key)).toString() for keys in get_settings().shortcuts.shortcuts.values() for key in keys
    }
    assert "Ctrl+O" in theirs and "Ctrl+G" in theirs  # both kinds were found
    assert not theirs & set(ours)
    mnemonics = {f"Alt+{title[title.index('&') + 1].upper()}" for title in _menus(window) if "&" in title}
    assert "Alt+F" in mnemonics
    assert not mnemonics & set(ours)


def _menus(window: Any) -> list[str]:
    return [action.text() for action in window.menuBar().actions()]


def test_naparis_keys_in_the_table_exist() -> None:
    assert {name for name, _ in NAPARI} <= set(get_settings().shortcuts.shortcuts)


def test_keys_act_wherever_the_focus_is(panel: Any, open_scan: Any, engine: Any, qtbot: Any) -> None:
    window, workbench = panel.workbench.viewer.window, panel.workbench
    window._qt_window.show()
    qtbot.waitExposed(window._qt_window)
    open_scan()
    window._qt_window.activateWindow()
    qtbot.waitUntil(window._qt_window.isActiveWindow)
    canvas = window._qt_viewer.canvas.native
    for focus in (canvas, panel.generate.generate):
        focus.setFocus()
        QTest.keyClick(focus, Qt.Key.Key_2, Qt.KeyboardModifier.AltModifier)
        assert workbench.planes.axis == 1
        QTest.keyClick(focus, Qt.Key.Key_1, Qt.KeyboardModifier.AltModifier)
        assert workbench.planes.axis == 0
    QTest.keyClick(canvas, Qt.Key.Key_B, Qt.KeyboardModifier.AltModifier)
    assert workbench.state.label == 1 and str(workbench.state.mask.mode) == "paint"
    QTest.keyClick(canvas, Qt.Key.Key_B, Qt.KeyboardModifier.AltModifier)
    assert workbench.state.label is None
    QTest.keyClick(canvas, Qt.Key.Key_X, Qt.KeyboardModifier.AltModifier)
    assert not workbench.planes.state.crosshair
    QTest.keyClick(canvas, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: len(engine.requests) == 1)
    QTest.keyClick(canvas, Qt.Key.Key_Period, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: workbench.state.activity == "idle")
    assert workbench.state.runs == ()  # no slice had come: there is nothing to keep


def test_keys_without_a_scan_do_no_harm(panel: Any) -> None:
    for shortcut in SHORTCUTS:
        shortcut.act(panel.help.targets)
    assert panel.workbench.state.runs == ()


def test_the_page_of_shortcuts_is_the_table_of_the_code() -> None:
    rows = [line.split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    written = {(keys.strip("| "), what.strip(" |")) for keys, what in rows}
    assert {(f"`{shortcut.keys}`", shortcut.what) for shortcut in SHORTCUTS} | set(GESTURES) <= written
    for _, what in NAPARI:
        assert what in {text for _, text in written}
    assert len(written) == len(SHORTCUTS) + len(GESTURES) + len(NAPARI) + 1 + 2  # F1, and headings of two kinds


def test_the_help_shows_keys_and_copies_the_report(panel: Any, qtbot: Any) -> None:
    panel.help.click()
    window = panel.help.window_
    shown = window.keys.toPlainText()
    assert all(keys in shown and what in shown for _, lines in table() for keys, what in lines)
    window.tabs.setCurrentIndex(1)
    qtbot.waitUntil(window.copy.isEnabled, timeout=60_000)
    window.copy.click()
    assert f"napari-gem3d {__version__}" in QGuiApplication.clipboard().text()
    window.close()


def _unexplained(root: QWidget) -> list[str]:
    """Controls without a tooltip, by the way to them."""
    return [
        f"{type(widget.parent()).__name__} > {type(widget).__name__} {getattr(widget, 'text', str)()!r}"
        for widget in root.findChildren(QWidget)
        if not _inner(widget)
        and isinstance(widget, CONTROLS)
        and not widget.toolTip()
        and not widget.parent().toolTip()  # Qt shows that one
    ]


def _inner(widget: QWidget) -> bool:
    """Whether Qt made it as a part of another control."""
    parent = widget.parent()
    while parent is not None:
        if isinstance(
            parent, (QAbstractSpinBox, QComboBox, QAbstractItemView, QScrollBar, QTabBar, QTextBrowser, QPlainTextEdit)
        ):
            return True
        parent = parent.parent()
    return isinstance(widget, QScrollBar) or widget.objectName().startswith("qt_")


def test_every_control_has_a_tooltip(panel: Any, open_scan: Any, engine: Any, qtbot: Any) -> None:
    assert _unexplained(panel) == []
    open_scan()
    engine.permits.release(100)
    panel.workbench.generation.generate()
    qtbot.waitUntil(lambda: bool(panel.workbench.state.runs) and panel.workbench.state.runs[-1].finished)
    qtbot.waitUntil(lambda: bool(panel.generate.runs.cards))
    panel.generate.settings.models.click()
    panel.help.click()
    for widget in (panel, panel.generate.settings.models.window_, panel.help.window_):
        assert _unexplained(widget) == []


def test_a_control_without_a_tooltip_is_found(qtbot: Any) -> None:
    from qtpy.QtWidgets import QPushButton, QSpinBox, QVBoxLayout

    widget = QWidget()
    qtbot.addWidget(widget)
    layout = QVBoxLayout(widget)
    layout.addWidget(QPushButton("mute"))
    layout.addWidget(QSpinBox())
    assert len(_unexplained(widget)) == 2


@pytest.mark.parametrize("group", ["GEM-3D panel", "Mouse and strip", "napari"])
def test_every_group_of_the_table_has_keys(group: str) -> None:
    lines = dict(table())[group]
    assert lines and all(keys and what for keys, what in lines)
