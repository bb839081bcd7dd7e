"""What is chosen and known before a generation: mode, model, device, the estimate, what to mind."""

import numpy as np

from napari_gem3d.viewer.core import Estimate
from napari_gem3d.viewer.steps.settings import describe, time_left


def test_what_is_chosen_is_requested(panel, open_scan, engine, qtbot) -> None:
    scan = open_scan("anna")
    settings, workbench = panel.generate.settings, panel.workbench
    settings.mode.setCurrentIndex(1)
    settings.mode.activated.emit(1)
    assert workbench.state.mode == "edit" and panel.generate.generate.text() == "Edit"
    settings.precision.activated.emit(1)
    settings.informed.setChecked(True)
    workbench.state.mask.data[7, 22, 12] = 3
    engine.permits.release(5)
    panel.generate.generate.click()
    run = workbench.state.run
    qtbot.waitUntil(lambda: run.finished, timeout=15_000)
    (request,) = engine.requests
    assert (request.mode, request.precision, request.device, request.own_neighbours) == (
        "edit",
        "float32",
        "auto",
        False,
    )
    assert request.before == scan.labels and request.mask[7, 22, 12] == 3 and request.body == scan.image
    assert run.mode == "edit" and run.name == "Edited 1"


def test_a_mask_that_was_painted_here_was_nothing_before(panel, open_scan) -> None:
    open_scan("anna", labels=False)
    panel.workbench.masks.new()
    assert panel.workbench.generation.request("edit").before is None


def test_more_is_hidden_at_first(panel) -> None:
    settings = panel.generate.settings
    assert not settings.device.isVisibleTo(panel)
    settings.more.click()
    assert settings.device.isVisibleTo(panel) and settings.follow.isVisibleTo(panel)


def test_the_estimate_is_asked_for_when_something_changes(panel, open_scan, engine, qtbot) -> None:
    engine.known = Estimate(90.0, 3, 2**31, 2**33, ("The mask has labels that tiny does not know: 9.",))
    open_scan("anna")
    settings = panel.generate.settings
    qtbot.waitUntil(lambda: "1 min 30 s" in settings.estimate.text(), timeout=15_000)
    assert "does not know: 9" in settings.notices.text() and settings.notices.isVisibleTo(panel)
    request, rows = engine.estimated[-1]
    image = np.asarray(panel.workbench.state.patient.image.data)
    shown = np.flatnonzero(image.any(axis=(1, 2)))
    assert abs(rows.start - shown[0]) <= 1 and abs(rows.stop - shown[-1] - 1) <= 1 and request.steps == 7
    asked = len(engine.estimated)
    panel.workbench.state.mask.paint((7, 24, 12), 3)
    qtbot.waitUntil(lambda: len(engine.estimated) > asked, timeout=15_000)


def test_wording_of_the_estimate() -> None:
    assert describe(None) == describe(Estimate()) == ""
    assert "a guess from one step" in describe(Estimate(10.0))
    plenty = describe(Estimate(10.0, 2, 2**30, 2**32))
    assert plenty == "Takes about 10 s (as the last ones did here), 1.0 GB of memory of 4.0 GB free."
    assert "Memory may run out" in describe(Estimate(10.0, 2, 2**33, 2**32))
    assert (time_left(34.6), time_left(125)) == ("35 s", "2 min 05 s")


def test_models_found_can_be_chosen(panel, engine, qtbot) -> None:
    panel.workbench.state.models = ("one", "two")
    box = panel.generate.settings.model
    assert [box.itemText(i) for i in range(box.count())] == ["one", "two", "brain-flair", "Other folder…"]
    box.activated.emit(1)
    assert panel.workbench.state.model == "two"
