"""Cards: show, compare, again, export, delete, copy the command; and the mark on the canvases."""

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

from napari_gem3d.io import read_volume
from napari_gem3d.viewer.layers import volume_of


def overlay(model):
    return model.canvas.overlays["gem3d_synthetic"]


def test_cards_show_what_was_generated(generated, panel, qtbot):
    shelf = panel.generate.runs
    assert not shelf.scroll.isVisibleTo(panel)
    first, second = generated(), generated()
    assert list(shelf.cards) == [first, second]
    card = shelf.cards[second]
    assert "Synthetic 2" in card.title.text() and "whole volume" in card.title.text()
    assert "mask of anna_0000, slice 8 of bert_0000" in card.about.text() and "seed 1 · 7 steps" in card.about.text()
    picture = card.picture.pixmap().toImage()
    shown = {picture.pixelColor(x, y).value() for x in range(picture.width()) for y in range(picture.height())}
    assert len(shown) > 5
    # newest on top
    assert shelf.scroll.widget().layout().indexOf(card) == 0
    for widget in (card.show_button, card.compare, card.again, card.export):
        assert widget.isEnabled() and widget.toolTip()


def test_the_thumbnail_is_as_radiologists_look(generated, panel):
    """The bright voxel of `make_scan` lies in the right, front quarter: on the screen left and up."""
    run = generated()
    layer = run.layer
    layer.contrast_limits = (0, 1200)
    run.patient.mask.data[:] = 0
    run.patient.mask.data[13, 33, 27] = 3
    thumbnail = panel.workbench.results.thumbnail(run)
    assert thumbnail.shape == layer.data.shape[1:]
    row, column = np.unravel_index(thumbnail.argmax(), thumbnail.shape)
    assert (row, column) == (48 - 1 - 33, 40 - 1 - 27)
    assert row < 24 and column < 20


def test_show_puts_one_result_in_the_place_of_the_others(generated, panel):
    first, second = generated(), generated()
    state = panel.workbench.state
    state.patient = state.patients[1]
    panel.generate.runs.cards[first].show_button.click()
    assert state.patient is first.patient
    assert first.layer.visible and not second.layer.visible
    layers = panel.workbench.viewer.layers
    assert layers.index(first.layer) > layers.index(first.patient.image)
    assert panel.workbench.results.state.shown is first


def test_the_mark_is_there_while_a_result_can_be_seen(generated, panel):
    planes, mark = panel.workbench.planes, panel.workbench.results.mark
    assert not mark.visible
    run = generated()
    assert mark.visible and overlay(planes.viewer).text == "SYNTHETIC"
    run.layer.visible = False
    assert not mark.visible
    planes.open_panes()
    run.layer.visible = True
    assert len(planes.models) == 3
    assert all(overlay(model).visible for model in planes.models)
    run.layer.opacity = 0
    assert not any(overlay(model).visible for model in planes.models)
    run.layer.opacity = 0.5
    panel.workbench.viewer.layers.remove(run.layer)
    assert not mark.visible


def test_again_takes_seed_and_settings_and_the_new_mask(generated, panel, engine, qtbot):
    run = generated()
    state = panel.workbench.state
    run.recipe.informed_slice, run.recipe.steps = 8, 7
    state.seed, state.steps, state.donor_slice, state.random_seed = 99, 3, 2, True
    state.patient.mask.data[2, 2, 2] = 3
    engine.permits.release(5)
    panel.generate.runs.cards[run].again.click()
    qtbot.waitUntil(lambda: len(state.runs) == 2 and state.activity == "idle")
    first, second = engine.requests
    assert (second.seed, second.steps, second.informed_slice) == (first.seed, first.steps, first.informed_slice)
    assert second.mask[2, 2, 2] == 3 and first.mask[2, 2, 2] != 3


def test_again_says_when_the_scans_are_closed(generated, panel):
    run = generated()
    run.recipe.informed_slice, run.recipe.steps = 8, 7
    panel.workbench.viewer.layers.remove(run.donor.image)
    assert panel.workbench.results.again(run) is None
    assert panel.workbench.state.failed and "open it again" in panel.workbench.state.message


def test_delete_and_bring_back(generated, panel):
    first, second = generated(), generated()
    shelf, state, layers = panel.generate.runs, panel.workbench.state, panel.workbench.viewer.layers
    shelf.cards[first].delete.trigger()
    assert state.runs == (second,) and first.layer not in layers and list(shelf.cards) == [second]
    assert shelf.undelete.isVisibleTo(panel) and "Synthetic 1 was deleted" in shelf.deleted.text()
    shelf.undelete.click()
    assert state.runs == (second, first) and first.layer in layers and first.layer.visible
    assert not shelf.undelete.isVisibleTo(panel)
    layers.remove(second.layer)  # in napari's own list
    assert state.runs == (first,) and panel.workbench.results.state.deleted is second


def test_deleting_a_waiting_run_takes_it_from_the_queue(generated, panel, engine, qtbot):
    generated()
    workbench, state = panel.workbench, panel.workbench.state
    running, waiting = workbench.generation.generate(), workbench.generation.generate()
    workbench.results.delete(waiting)
    assert workbench.results.state.deleted is None
    engine.permits.release(5)
    qtbot.waitUntil(lambda: running.status == "finished")
    assert state.activity == "idle" and len(engine.requests) == 2


def test_any_result_can_be_exported(generated, panel, tmp_path, qtbot):
    first, _ = generated(), generated()
    panel.workbench.results.export(first, tmp_path / "first.nii.gz")
    qtbot.waitUntil(lambda: "Exported first.nii.gz" in panel.workbench.state.message)
    np.testing.assert_array_equal(read_volume(tmp_path / "first.nii.gz").voxels, volume_of(first.layer).voxels)


def test_the_command_goes_to_the_clipboard(generated, panel, qtbot):
    run = generated()
    panel.generate.runs.cards[run].command.trigger()
    qtbot.waitUntil(lambda: "clipboard" in panel.workbench.state.message)
    assert QApplication.clipboard().text().startswith("napari-gem3d generate --seed 1 --out ")


@pytest.mark.parametrize("how", ["flicker", "side by side", "checkerboard", "difference"])
def test_a_comparison_puts_everything_back(generated, panel, how, qtbot):
    run = generated()
    workbench, shelf = panel.workbench, panel.generate.runs
    comparison, planes = workbench.results.comparison, workbench.planes
    planes.open_panes()
    before = [(layer.name, layer.visible) for layer in workbench.viewer.layers]
    shelf.cards[run].compare.click()
    shelf.compare.hows[how].click()
    assert comparison.state.how == how and shelf.compare.isVisibleTo(panel)
    qtbot.waitUntil(lambda: how in ("flicker", "side by side") or comparison.mix is not None)
    run_seen, scan_seen = run.layer.visible, run.patient.image.visible
    if how == "flicker":
        assert run_seen != scan_seen
        qtbot.waitUntil(lambda: run.layer.visible != run_seen, timeout=3000)  # by itself
        assert run.patient.image.visible == run_seen
    elif how == "side by side":
        assert run_seen and scan_seen
        for model in planes.models:
            assert model.canvas.grid.enabled
            assert [layer.visible for layer in model.layers].count(True) == 2
            assert model.canvas.grid.actual_shape(model.layers) == (1, 2)
    elif how == "difference":
        # `FakeJob` gives the scan, 100 brighter
        assert (np.asarray(comparison.mix.data) == 100).all()
        low, high = comparison.mix.contrast_limits
        assert low == -high == -100 and comparison.mix.colorbar.visible
        assert "100.0% of voxels differ, by 100 on average" in shelf.compare.note.text()
        assert workbench.results.mark.visible  # what is shown is not a scan
    else:
        mixed = np.asarray(comparison.mix.data)
        scan = np.asarray(run.patient.image.data)
        assert {0, 100} == set(np.unique(mixed - scan).tolist())
    shelf.compare.stop.click()
    assert [(layer.name, layer.visible) for layer in workbench.viewer.layers] == before
    assert comparison.mix is None and not any(model.canvas.grid.enabled for model in planes.models)
    assert not shelf.compare.isVisibleTo(panel)


def test_two_results_against_each_other_and_what_ends_it(generated, panel, qtbot):
    first, second = generated(), generated()
    workbench, shelf = panel.workbench, panel.generate.runs
    comparison = workbench.results.comparison
    comparison.start(second, how="difference")
    qtbot.waitUntil(lambda: comparison.mix is not None)
    shelf.compare.other.setCurrentIndex(1)
    shelf.compare.other.activated.emit(1)
    assert comparison.state.other is first
    qtbot.waitUntil(lambda: shelf.compare.note.text().startswith("No voxel differs"))
    workbench.results.delete(first)
    assert comparison.state.run is None and comparison.mix is None
    comparison.start(second, how="flicker")
    workbench.state.patient = workbench.state.patients[1]
    assert comparison.state.run is None
    comparison.start(second, how="flicker")
    workbench.viewer.layers.remove(second.layer)
    assert comparison.state.run is None
