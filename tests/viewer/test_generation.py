"""Generation in the window: streaming, following, cancelling, errors, export."""

import shutil
import time

import numpy as np
import pytest

from napari_gem3d.errors import InputError
from napari_gem3d.io import read_label_map, read_volume
from napari_gem3d.viewer.layers import volume_of
from napari_gem3d.viewer.panel import GemPanel
from napari_gem3d.viewer.session import Session


def names(panel) -> list[str]:
    return [layer.name for layer in panel.workbench.viewer.layers]


def synthetic(panel):
    return panel.workbench.state.run.layer


@pytest.fixture
def ready(panel, open_scan):
    """Two patients open, the first one chosen; returns the panel."""
    open_scan("anna")
    open_scan("bert", shift=300)
    panel.workbench.state.patient = panel.workbench.state.patients[0]
    return panel


def test_slices_stream_into_a_new_layer(ready, engine, qtbot) -> None:
    state = ready.workbench.state
    state.donor_slice = 8
    ready.generate.generate.click()
    assert state.activity == "running"
    assert ready.generate.generate.isEnabled(), "another run can be queued"
    assert ready.generate.cancel.isEnabled()
    engine.permits.release(1)
    qtbot.waitUntil(lambda: ready.workbench.state.run.started)
    layer = synthetic(ready)
    assert names(ready) == ["anna_0000", "Synthetic 1", "anna", "bert_0000", "bert"]  # below the mask
    qtbot.waitUntil(lambda: state.mask.contour == 1)
    assert layer.visible and state.mask.visible
    filled = np.flatnonzero(np.asarray(layer.data).any(axis=(1, 2)))
    np.testing.assert_array_equal(filled, [8, 9, 10, 11])
    # the view walks through the new slices
    qtbot.waitUntil(lambda: ready.workbench.planes.slice_of(state.patient.image) == 11)
    qtbot.waitUntil(lambda: state.progress == pytest.approx(4 / 20))
    assert "left" in ready.generate.progress.text()
    engine.permits.release(4)
    qtbot.waitUntil(lambda: state.activity == "idle")
    assert state.message.startswith("Finished in")
    assert state.progress == 1 and ready.generate.progress.text() == "done"
    np.testing.assert_array_equal(layer.data, np.asarray(state.patient.image.data) + 100)
    assert layer.data.dtype == np.int16
    assert layer.metadata["recipe"]["task"] == "whole"
    assert ready.workbench.planes.slice_of(state.patient.image) == 8
    assert state.patient.image.visible  # hiding the result shows the scan
    # on the grid of the patient's file
    assert volume_of(layer).grid == state.patient.grid


def test_the_request_names_files_and_a_copy_of_the_mask(ready, engine, qtbot) -> None:
    state = ready.workbench.state
    state.seed, state.steps, state.donor_slice = 42, 5, 6
    engine.permits.release(5)
    ready.workbench.generation.generate()
    before = np.array(state.mask.data)
    state.mask.data[:] = 3  # painting on while it generates
    qtbot.waitUntil(lambda: state.activity == "idle")
    (request,) = engine.requests
    np.testing.assert_array_equal(request.mask, before)
    assert request.body.name == "anna_0000.nii.gz"
    assert request.informed.name == "bert_0000.nii.gz"
    assert (request.informed_slice, request.steps, request.seed, request.model) == (6, 5, 42, "brain-flair")


def test_a_random_seed_is_drawn_and_shown(ready, engine, qtbot) -> None:
    state = ready.workbench.state
    ready.generate.settings.random.setChecked(True)
    assert not ready.generate.settings.seed.isEnabled()
    engine.permits.release(10)
    seeds = []
    for _ in range(2):
        ready.workbench.generation.generate()
        qtbot.waitUntil(lambda: state.activity == "idle")
        seeds.append(engine.requests[-1].seed)
        assert ready.generate.settings.seed.value() == seeds[-1]
    assert seeds[0] != seeds[1]
    assert [name for name in names(ready) if "Synthetic" in name] == ["Synthetic 1", "Synthetic 2"]


def test_cancel_keeps_what_is_finished(ready, engine, qtbot) -> None:
    state = ready.workbench.state
    state.donor_slice = 8
    engine.permits.release(2)
    ready.workbench.generation.generate()
    qtbot.waitUntil(lambda: ready.workbench.state.run.started and np.asarray(synthetic(ready).data)[15].any())
    begun = time.perf_counter()
    ready.generate.cancel.click()
    assert state.activity == "cancelling"
    qtbot.waitUntil(lambda: state.activity == "idle")
    assert time.perf_counter() - begun < 1
    assert synthetic(ready).name == "Synthetic 1 (partial)"
    filled = np.flatnonzero(np.asarray(synthetic(ready).data).any(axis=(1, 2)))
    np.testing.assert_array_equal(filled, range(8, 16))
    assert "finished slices are kept" in state.message and not state.failed
    # and the next run starts afresh
    engine.permits.release(5)
    ready.workbench.generation.generate()
    qtbot.waitUntil(lambda: state.activity == "idle")
    assert synthetic(ready).name == "Synthetic 2"


def test_cancel_before_the_first_slice_leaves_nothing(ready, qtbot) -> None:
    ready.workbench.generation.generate()
    qtbot.waitUntil(lambda: synthetic(ready) is not None)
    ready.workbench.generation.cancel()
    qtbot.waitUntil(lambda: ready.workbench.state.activity == "idle")
    assert not any("Synthetic" in name for name in names(ready))
    assert "before the first slice" in ready.workbench.state.message


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (InputError("The scan does not fit; choose another."), "The scan does not fit; choose another."),
        (RuntimeError("boom"), "RuntimeError: boom"),
    ],
)
def test_errors_are_said_on_the_panels_line(ready, engine, qtbot, problem: Exception, said: str) -> None:
    engine.problem = problem
    ready.workbench.generation.generate()
    state = ready.workbench.state
    qtbot.waitUntil(lambda: state.activity == "idle")
    assert state.failed and said in state.message
    assert ("see the log" in state.message) is not isinstance(problem, InputError)
    assert ready.generate.message.text() == state.message
    assert ready.generate.generate.isEnabled()


def test_what_was_unexpected_is_in_the_log(ready, engine, qtbot, home) -> None:
    engine.problem = RuntimeError("the details of this")
    ready.workbench.generation.generate()
    qtbot.waitUntil(lambda: ready.workbench.state.activity == "idle")
    log = home / "napari-gem3d" / "viewer.log"
    assert str(log) in ready.generate.message.toolTip()
    text = log.read_text(encoding="utf-8")
    assert "the details of this" in text and "Traceback" in text


def test_the_result_of_a_run_that_cannot_be_shown_is_an_error_too(ready, engine, qtbot, monkeypatch) -> None:
    engine.permits.release(5)
    monkeypatch.setattr("napari_gem3d.viewer.running.resample", lambda *args, **kwargs: 1 / 0)
    ready.workbench.generation.generate()
    state = ready.workbench.state
    qtbot.waitUntil(lambda: state.activity == "idle")
    assert state.failed and "ZeroDivisionError" in state.message


def test_removing_the_layer_during_a_run_does_no_harm(ready, engine, qtbot) -> None:
    state = ready.workbench.state
    engine.permits.release(2)
    ready.workbench.generation.generate()
    qtbot.waitUntil(lambda: ready.workbench.state.run.started)
    ready.workbench.viewer.layers.remove(synthetic(ready))
    engine.permits.release(3)
    qtbot.waitUntil(lambda: state.activity == "idle")
    assert not state.failed


def test_working_on_another_patient_meanwhile_does_not_show_the_result_there(ready, engine, qtbot) -> None:
    state = ready.workbench.state
    ready.workbench.generation.generate()
    engine.permits.release(1)
    qtbot.waitUntil(lambda: ready.workbench.state.run.started)
    state.patient = state.patients[1]
    assert not synthetic(ready).visible
    engine.permits.release(4)
    qtbot.waitUntil(lambda: state.activity == "idle")
    assert not synthetic(ready).visible and not state.patients[0].image.visible
    state.patient = state.patients[0]
    assert synthetic(ready).visible


def test_the_view_stays_if_it_is_not_to_follow(ready, engine, qtbot) -> None:
    ready.generate.settings.follow.setChecked(False)
    state = ready.workbench.state
    ready.workbench.planes.show_slice(state.patient.image, 2)
    engine.permits.release(5)
    ready.workbench.generation.generate()
    qtbot.waitUntil(lambda: state.activity == "idle")
    assert ready.workbench.planes.slice_of(state.patient.image) == 2


def test_one_thread_does_everything(ready, engine, qtbot) -> None:
    engine.permits.release(10)
    for _ in range(2):
        ready.workbench.generation.generate()
        qtbot.waitUntil(lambda: ready.workbench.state.activity == "idle")
    assert len(engine.threads) == 1  # the model was loaded there, too


def test_the_window_stays_alive_while_slices_stream(ready, engine, qtbot, gaps) -> None:
    with gaps(ready.workbench.viewer) as watched:
        engine.permits.release(5)
        ready.workbench.generation.generate()
        qtbot.waitUntil(lambda: ready.workbench.state.activity == "idle")
    assert watched.longest < 3 * watched.layer  # the figure in a window is measured by docs/tour.py


def test_export_writes_the_result(ready, engine, qtbot, tmp_path) -> None:
    state = ready.workbench.state
    ready.workbench.results.export(ready.workbench.state.run, tmp_path / "early.nii.gz")
    assert state.failed and "generate one first" in state.message
    engine.permits.release(5)
    ready.workbench.generation.generate()
    qtbot.waitUntil(lambda: state.activity == "idle")
    ready.workbench.results.export(ready.workbench.state.run, tmp_path / "out.nii.gz")
    qtbot.waitUntil(lambda: "Exported out.nii.gz" in state.message)
    written = read_volume(tmp_path / "out.nii.gz")
    assert written.grid.same_as(state.patient.grid)
    np.testing.assert_array_equal(written.voxels, volume_of(synthetic(ready)).voxels)


def test_closing_the_panel_during_a_run_ends_it(ready, engine, qtbot) -> None:
    engine.permits.release(1)
    ready.workbench.generation.generate()
    qtbot.waitUntil(lambda: ready.workbench.state.run.started)
    begun = time.perf_counter()
    ready.workbench.close()
    assert time.perf_counter() - begun < 1.5
    ready.workbench.viewer.layers.clear()  # nobody listens any more
    assert len(ready.workbench.state.patients) == 2


def test_the_core_itself_with_a_tiny_model(make_napari_viewer_proxy, tiny_model, tiny_patient, tmp_path, qtbot) -> None:
    viewer = make_napari_viewer_proxy()
    panel = GemPanel(viewer, session=Session(tmp_path))
    workbench, state = panel.workbench, panel.workbench.state
    qtbot.addWidget(panel)
    state.model = str(tiny_model)
    qtbot.waitUntil(lambda: state.table is not None, timeout=30_000)
    assert state.steps == 3
    viewer.open([str(tiny_patient.scan), str(tiny_patient.lesions)], plugin="napari-gem3d", stack=False)
    workbench.generation.generate()
    qtbot.waitUntil(lambda: state.activity == "idle", timeout=60_000)
    assert not state.failed, state.message
    layer = workbench.state.run.layer
    scan = read_volume(tiny_patient.scan)
    result = volume_of(layer)
    assert result.grid.same_as(scan.grid) and result.voxels.dtype == scan.voxels.dtype
    assert np.ptp(result.voxels) > 0
    # the recipe names real files: it can be carried out again
    recipe = layer.metadata["recipe"]
    np.testing.assert_array_equal(
        read_label_map(recipe["mask"]["path"]).voxels, read_label_map(tiny_patient.lesions).voxels
    )
    out = tmp_path / "out.nii.gz"
    workbench.results.export(workbench.state.run, out)
    qtbot.waitUntil(out.with_name("out.json").exists)
    from napari_gem3d import replay

    # What is exported names no folders; who has scan and model beside it can carry it out again.
    shutil.copy(tiny_patient.scan, tmp_path)
    shutil.copytree(tiny_model, tmp_path / tiny_model.name)

    first = out.read_bytes()
    assert replay(out.with_name("out.json"), tmp_path / "again.nii.gz").read_bytes() == first
    workbench.close()
