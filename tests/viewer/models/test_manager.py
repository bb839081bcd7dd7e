"""The model manager: what it shows is what is there, and what is added can be generated with."""

from pathlib import Path
from typing import Any

import pytest
from napari.settings import get_plugin_settings
from qtpy.QtWidgets import QFileDialog

from napari_gem3d.bundle import bundled_models, load_bundle


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "library"
    for module in ("places", "library"):
        monkeypatch.setattr(f"napari_gem3d.bundle.{module}.models_folder", lambda: folder)
    return folder


@pytest.fixture
def window(panel: Any, library: Path, qtbot: Any) -> Any:
    button = panel.generate.settings.models
    button.click()
    yield button.window_
    button.window_.close()


def test_a_model_is_added_shown_and_used(panel, window, library, tiny_model, monkeypatch, qtbot):
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *args: str(tiny_model))
    window.name.setText("mine")
    window.add.click()
    state = panel.workbench.models.state
    qtbot.waitUntil(lambda: state.chosen == "mine", timeout=20_000)
    assert load_bundle("mine").sha256 == load_bundle(tiny_model).sha256
    assert [window.list.item(i).text() for i in range(window.list.count())] == [*bundled_models(), "mine"]
    assert "added by you" in window.facts.text() and "labels: " in window.facts.text()
    window.use.click()
    assert panel.workbench.state.model == "mine" == panel.generate.settings.model.currentText()
    window.begin.click()
    assert get_plugin_settings("napari-gem3d").generating.model == "mine"


def test_what_cannot_be_added_is_said_in_the_window(panel, window, library, tmp_path, monkeypatch, qtbot):
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *args: str(tmp_path / "empty"))
    window.add.click()
    qtbot.waitUntil(lambda: panel.workbench.models.state.failed)
    assert "the folder that holds its model.json" in window.message.text()
    assert window.add.isEnabled() and not library.exists()
    wrong = tmp_path / "weights.ckpt"
    wrong.write_bytes(b"nothing")
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *args: ([str(wrong)], ""))
    panel.workbench.models.state.say("")
    window.convert.click()
    qtbot.waitUntil(lambda: panel.workbench.models.state.failed, timeout=20_000)
    assert str(wrong) in window.message.text()
    assert not library.exists() or not list(library.iterdir())


def test_the_card_of_the_chosen_model_is_shown(panel, window, qtbot):
    if not bundled_models():
        pytest.skip("no bundled model in this checkout")
    name = next(iter(bundled_models()))
    qtbot.waitUntil(lambda: panel.workbench.models.state.chosen == name)
    card = (bundled_models()[name] / "README.md").read_text(encoding="utf-8")
    headings = [line.strip("# ") for line in card.splitlines() if line.startswith("#")]
    assert headings and all(heading in window.card.toPlainText() for heading in headings)
