"""What the command opens."""

from pathlib import Path

import pytest
from napari.settings import get_settings

from napari_gem3d.errors import InputError
from napari_gem3d.viewer import app
from napari_gem3d.viewer.reader import prefer_reader


@pytest.fixture
def window(make_napari_viewer, monkeypatch):
    """Make the app's viewer one that the tests clean up."""
    monkeypatch.setattr(app.napari, "Viewer", lambda title: make_napari_viewer(title=title))
    monkeypatch.setattr("napari_gem3d.viewer.models.manager.Models.load", lambda self: None)


def test_files_are_opened_and_the_first_scan_is_chosen(window, make_scan) -> None:
    anna, bert = make_scan("anna"), make_scan("bert", shift=300)
    viewer, panel = app.open_window([anna.image, anna.labels, bert.image, bert.labels])
    assert [layer.name for layer in viewer.layers] == ["anna_0000", "anna", "bert_0000", "bert"]
    assert panel.workbench.state.patient.name == "anna_0000"
    assert panel.workbench.state.donor.name == "bert_0000"
    panel.workbench.close()


def test_a_drop_opens_without_asking(window, make_scan) -> None:
    viewer, panel = app.open_window()
    scan = make_scan()
    # What napari does with a drop, before it would ask for a reader.
    viewer._open_or_raise_error([str(scan.image)])
    assert panel.workbench.state.patient.name == "anna_0000"
    panel.workbench.close()


def test_another_readers_preference_is_kept(monkeypatch) -> None:
    plugins = get_settings().plugins
    monkeypatch.setattr(plugins, "extension2reader", {"*.nii": "other", "*.tif": "other"})
    prefer_reader()
    assert plugins.extension2reader["*.nii"] == "other"
    assert plugins.extension2reader["*.nii.gz"] == "napari-gem3d"
    assert plugins.extension2reader["*.tif"] == "other"


def test_the_demo_is_ready_to_generate(window) -> None:
    _, panel = app.open_window(demo=True)
    state = panel.workbench.state
    assert state.patient.name == "Synthetic patient A"
    assert state.donor.name == "Synthetic patient B"
    assert state.mask is not None and state.patient.masks == [state.mask]
    assert 40 < state.donor_slice < 120
    panel.workbench.close()


def test_a_wrong_file_opens_no_window(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(app.napari, "Viewer", lambda title: pytest.fail("a window was opened"))
    with pytest.raises(InputError, match="does not exist"):
        app.open_window([tmp_path / "nothing.nii.gz"])


def test_launch_runs_until_the_window_is_closed(window, monkeypatch, make_scan) -> None:
    ran = []
    opened = []
    original = app.open_window

    def open_window(files, demo):
        opened.append(original(files, demo))
        return opened[0]

    monkeypatch.setattr(app, "open_window", open_window)
    monkeypatch.setattr(app.napari, "run", lambda: ran.append(True))
    app.launch([make_scan().image])
    assert ran == [True]
    opened[0][1].workbench.close()
