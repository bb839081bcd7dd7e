"""The page of Preferences: what is changed there acts, and is there again the next time."""

import time
from pathlib import Path
from typing import Any

import pytest
from napari.settings import get_plugin_settings

from napari_gem3d.viewer.pace import rest_after
from napari_gem3d.viewer.panel import GemPanel
from napari_gem3d.viewer.session import Session


@pytest.fixture
def open_panel(make_napari_viewer_proxy: Any, engine: Any, tmp_path: Path, qtbot: Any) -> Any:
    def open_it() -> GemPanel:
        widget = GemPanel(viewer, engine=engine, session=Session(tmp_path / "sessions"))
        qtbot.addWidget(widget)
        qtbot.waitUntil(lambda: widget.workbench.state.table is not None)
        panels.append(widget)
        return widget

    viewer, panels = make_napari_viewer_proxy(), []
    yield open_it
    for widget in panels:
        widget.workbench.close()


def test_a_panel_opens_as_the_preferences_say(open_panel, preferences):
    page = get_plugin_settings("napari-gem3d")
    page.generating.update({"follow": False, "precision": "bfloat16", "device": "cpu", "model": "other"})
    page.panel.three_planes = False
    page.save()
    assert preferences.is_file()
    panel = open_panel()
    state, choices = panel.workbench.state, panel.workbench.state
    assert (state.follow, choices.precision, choices.device, state.model) == (False, "bfloat16", "cpu", "other")
    assert panel.workbench.planes.state.layout == "one"
    assert not panel.generate.settings.follow.isChecked() and not panel.view_bar.three.isChecked()


def test_a_change_on_the_page_acts_at_once_and_leaves_the_rest_alone(open_panel):
    panel, page = open_panel(), get_plugin_settings("napari-gem3d")
    state, choices = panel.workbench.state, panel.workbench.state
    choices.precision = "float16"  # chosen in the panel
    page.generating.follow = False
    assert not state.follow and choices.precision == "float16"
    page.generating.device = "cpu"
    assert choices.device == "cpu" and panel.generate.settings.device.currentText() == "cpu"
    page.generating.refreshes = 2
    assert rest_after(0) == 500
    page.panel.three_planes = False
    assert panel.workbench.planes.state.layout == "one"
    panel.workbench.close()
    page.generating.follow = True
    assert not state.follow  # a panel that is closed follows no more


def test_a_device_that_is_not_there_is_said_and_not_taken(open_panel):
    get_plugin_settings("napari-gem3d").generating.device = "mps"
    panel = open_panel()
    assert panel.workbench.state.device == "auto"
    assert "no device mps" in panel.workbench.state.message


def test_sessions_go_after_the_days_that_were_set(open_panel, tmp_path, qtbot):
    import os

    old = tmp_path / "sessions" / "2026-01-01-120000-99999"
    old.mkdir(parents=True)
    (old / "mask-001-a.nii.gz").write_bytes(b"x")
    three_days_ago = time.time() - 3 * 86400
    for path in (*old.iterdir(), old):
        os.utime(path, (three_days_ago, three_days_ago))
    open_panel()
    time.sleep(0.3)
    assert old.exists()  # within the fourteen days of the default
    get_plugin_settings("napari-gem3d").panel.session_days = 2
    panel = open_panel()
    qtbot.waitUntil(lambda: not old.exists())
    assert "for 2 days" in panel.restore.offer.toolTip()


def test_the_hint_goes_with_the_first_scan_and_is_remembered_as_dismissed(open_panel, preferences, make_scan, qtbot):
    panel = open_panel()
    assert not panel.hint.isHidden()
    panel.hint.dismiss.click()
    assert panel.hint.isHidden() and "hint: false" in preferences.read_text()
    assert open_panel().hint.isHidden()
    get_plugin_settings("napari-gem3d").panel.hint = True
    assert not panel.hint.isHidden()
    panel.workbench.patients.open_files([make_scan().image])
    qtbot.waitUntil(lambda: bool(panel.workbench.state.patients))
    assert panel.hint.isHidden()
