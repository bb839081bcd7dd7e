"""Runs at work: the order in which slices come, cancel and continue, the queue, layers and windows that go away."""

import time

import numpy as np
import pytest
from qtpy.QtCore import QRectF

from napari_gem3d.grid import Grid
from napari_gem3d.viewer.curve import SliceChange
from napari_gem3d.viewer.run import Run
from napari_gem3d.viewer.steps.curve import polylines
from napari_gem3d.volume import Volume


@pytest.fixture
def ready(panel, open_scan):
    """Two patients open, the first one chosen; the informed slice is the eighth."""
    open_scan("anna")
    open_scan("bert", shift=300)
    state = panel.workbench.state
    state.patient = state.patients[0]
    state.donor_slice = 8
    return panel


def until(qtbot, condition) -> None:
    qtbot.waitUntil(condition, timeout=15_000)


def idle(panel) -> bool:
    return panel.workbench.state.activity == "idle"


def cancelled_midway(panel, engine, qtbot) -> Run:
    """A run that was cancelled after two chunks."""
    engine.permits.release(2)
    run = panel.workbench.generation.generate()
    until(qtbot, lambda: run.layer is not None and np.asarray(run.layer.data)[15].any())
    panel.workbench.generation.cancel()
    until(qtbot, lambda: idle(panel))
    return run


def test_slices_are_shown_in_the_order_in_which_they_come(ready, engine, qtbot) -> None:
    workbench, patient, seen = ready.workbench, ready.workbench.state.patient, []
    workbench.viewer.dims.events.point.connect(lambda: seen.append(workbench.planes.slice_of(patient.image)))
    workbench.generation.generate()
    for last in (11, 15, 17, 2):  # the slices with body go from 2 to 17
        engine.permits.release(1)
        until(qtbot, lambda last=last: workbench.planes.slice_of(patient.image) == last)
    walked = list(dict.fromkeys(i for i in seen if i != 8))
    assert walked == [9, 10, 11, 12, 13, 14, 15, 16, 17, 3, 2], "up from the informed slice, then down"
    engine.permits.release(1)
    until(qtbot, lambda: idle(ready))
    assert workbench.planes.slice_of(patient.image) == 8


def test_continue_gives_what_an_uninterrupted_run_gives(ready, engine, qtbot) -> None:
    workbench, state = ready.workbench, ready.workbench.state
    run = cancelled_midway(ready, engine, qtbot)
    assert run.status == "partial" and run.can_continue and not run.finished
    assert ready.generate.resume.isVisibleTo(ready) and not ready.generate.cancel.isVisibleTo(ready)
    layer, seconds = run.layer, run.seconds
    ready.generate.resume.click()
    until(qtbot, lambda: "Continuing" in state.message)
    assert run.status == "running" and layer.name == "Synthetic 1"
    assert np.asarray(layer.data)[8:16].any(axis=(1, 2)).all(), "what was there is shown at once"
    engine.permits.release(3)
    until(qtbot, lambda: idle(ready))
    assert run.finished and run.layer is layer and run.seconds > seconds and run.job is None
    assert state.runs == (run,) and len(engine.requests) == 1, "nothing was opened anew"
    np.testing.assert_array_equal(layer.data, np.asarray(state.patient.image.data) + 100)
    workbench.generation.resume(run)
    assert state.failed and "cannot be continued" in state.message


def test_a_cancel_answers_at_once_while_files_are_read(ready, engine, qtbot, monkeypatch) -> None:
    opened, read = [], engine.open

    def slow(request):
        time.sleep(0.5)
        opened.append(request)
        return read(request)

    monkeypatch.setattr(engine, "open", slow)
    ready.workbench.generation.generate()
    qtbot.wait(50)
    ready.workbench.generation.cancel()
    assert idle(ready) and ready.workbench.state.runs == () and not opened
    engine.permits.release(5)
    run = ready.workbench.generation.generate()
    until(qtbot, lambda: run.finished)
    assert [layer.name for layer in ready.workbench.viewer.layers if "Synthetic" in layer.name] == ["Synthetic 2"]


def test_two_runs_queue(ready, engine, qtbot) -> None:
    workbench, state = ready.workbench, ready.workbench.state
    first, second, third = (workbench.generation.generate() for _ in range(3))
    until(qtbot, lambda: first.layer is not None)
    assert [run.status for run in state.runs] == ["running", "waiting", "waiting"]
    assert "2 waiting" in ready.generate.progress.text()
    state.seed = 77  # what is chosen now does not change what was requested
    state.runs = (first, second)  # as its card's Delete does
    engine.permits.release(5)
    until(qtbot, lambda: first.finished and second.layer is not None)
    assert second.status == "running" and state.activity == "running"
    engine.permits.release(5)
    until(qtbot, lambda: idle(ready))
    assert second.finished and third.layer is None and third.status == "waiting"
    assert [request.seed for request in engine.requests] == [1, 1]


def test_after_a_cancel_or_an_error_the_next_in_line_begins(ready, engine, qtbot) -> None:
    workbench = ready.workbench
    first, second, third = (workbench.generation.generate() for _ in range(3))
    until(qtbot, lambda: first.layer is not None)
    engine.problem = RuntimeError("boom")
    workbench.generation.cancel()
    until(qtbot, lambda: second.status == "failed")
    until(qtbot, lambda: idle(ready))
    assert third.status == "failed" and workbench.state.runs == () and workbench.state.failed


def test_deleting_the_run_at_work_stops_it(ready, engine, qtbot) -> None:
    state = ready.workbench.state
    run = ready.workbench.generation.generate()
    engine.permits.release(1)
    until(qtbot, lambda: run.started)
    state.runs = ()
    until(qtbot, lambda: idle(ready))
    assert state.runs == () and not run.finished


def test_removing_its_layer_stops_a_run_and_continue_brings_it_back(ready, engine, qtbot) -> None:
    workbench, state = ready.workbench, ready.workbench.state
    run = workbench.generation.generate()
    engine.permits.release(2)
    until(qtbot, lambda: run.started)
    workbench.viewer.layers.remove(run.layer)
    assert state.activity == "cancelling"
    until(qtbot, lambda: idle(ready))
    assert run.status == "partial" and run.layer is None and state.runs == (run,) and not state.failed
    workbench.generation.resume(run)
    engine.permits.release(5)
    until(qtbot, lambda: idle(ready))
    assert run.finished and run.layer in workbench.viewer.layers
    np.testing.assert_array_equal(run.layer.data, np.asarray(state.patient.image.data) + 100)


def test_removing_the_scan_and_the_mask_does_a_run_no_harm(ready, engine, qtbot) -> None:
    workbench, state = ready.workbench, ready.workbench.state
    patient, expected = state.patient, np.asarray(state.patient.image.data) + 100
    run = workbench.generation.generate()
    engine.permits.release(1)
    until(qtbot, lambda: run.started)
    for layer in (patient.mask, patient.image):
        workbench.viewer.layers.remove(layer)
    engine.permits.release(4)
    until(qtbot, lambda: idle(ready))
    assert run.finished and not state.failed
    np.testing.assert_array_equal(run.layer.data, expected)


def test_the_curves_follow_what_arrives(ready, engine, qtbot) -> None:
    choices = ready.workbench.state
    run = cancelled_midway(ready, engine, qtbot)
    curves = choices.curves
    assert curves is run.curves and ready.generate.curve.isVisibleTo(ready)
    assert np.flatnonzero(np.isfinite(curves.synthetic)).tolist() == list(range(8, 15))
    assert np.isfinite(curves.scan).sum() > 10


def test_curves_are_the_mean_change_inside_the_body() -> None:
    grid = Grid((5, 30, 30), np.eye(4))
    voxels = np.zeros(grid.shape, np.float32)
    voxels[1:, 3:27, 3:27] = np.array([10, 20, 50, 100], np.float32)[:, None, None]
    change = SliceChange(Volume(voxels, grid.affine), grid)
    np.testing.assert_allclose(change.curves().scan, [np.nan, 0.1, 0.3, 0.5], rtol=1e-6)
    assert np.isnan(change.curves().synthetic).all()
    change.take([0, 1, 3], voxels * 2)
    assert np.isnan(change.curves().synthetic).all(), "no two neighbours that show body"
    change.take([4], voxels * 2)
    np.testing.assert_allclose(change.curves().synthetic, [np.nan, np.nan, np.nan, 0.5], rtol=1e-6)
    change.take([2], voxels * 2)
    np.testing.assert_allclose(change.curves().synthetic, change.curves().scan, rtol=1e-6)


def test_lines_are_broken_where_there_is_no_value() -> None:
    lines = polylines(np.array([np.nan, 1, 2, np.nan, 4]), QRectF(0, 0, 50, 10), 2.0)
    assert [[(p.x(), p.y()) for p in line] for line in lines] == [[(15, 5), (25, 0)], [(45, 0)]]
