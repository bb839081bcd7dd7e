"""The core itself behind the panel, with a tiny model: edits, forecasts, continuing, and a window that is closed."""

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from napari_gem3d.io import read_label_map, read_volume, write_volume
from napari_gem3d.viewer.layers import volume_of
from napari_gem3d.viewer.panel import GemPanel
from napari_gem3d.viewer.session import Session


@pytest.fixture
def bench(make_napari_viewer_proxy, tiny_model, tiny_patient, tmp_path, qtbot):
    """A panel whose engine is the core; the tiny patient is open, with the label map that has its body."""
    viewer = make_napari_viewer_proxy()
    panel = GemPanel(viewer, session=Session(tmp_path / "sessions"))
    qtbot.addWidget(panel)
    state = panel.workbench.state
    state.model = str(tiny_model)
    qtbot.waitUntil(lambda: state.table is not None, timeout=30_000)
    viewer.open([str(tiny_patient.scan), str(tiny_patient.labels)], plugin="napari-gem3d", stack=False)
    yield panel.workbench
    panel.workbench.close()


def done(workbench, qtbot) -> None:
    qtbot.waitUntil(lambda: workbench.state.activity == "idle", timeout=60_000)
    assert not workbench.state.failed, workbench.state.message


def test_an_edit_leaves_the_rest_of_the_scan_and_learns_the_speed(bench, tiny_patient, qtbot) -> None:
    choices = bench.state
    choices.mode = "edit"
    qtbot.waitUntil(lambda: choices.estimate is not None, timeout=30_000)
    assert choices.estimate.seconds is None, "nothing is changed yet"
    choices.anatomy = "map"
    bench.state.mask.data_setitem(tuple(np.mgrid[9:12, 14:19, 18:23].reshape(3, -1)), 3)
    qtbot.waitUntil(lambda: choices.estimate.seconds is not None, timeout=30_000)
    before = choices.estimate.measured  # what other tests in this process have measured counts as well
    assert choices.estimate.memory > 0
    run = bench.generation.generate()
    done(bench, qtbot)
    assert run.finished and run.recipe.task == "edit" and run.recipe.edit.own_neighbours
    assert run.recipe.anatomy == "map" and run.recipe.mass_effect_mm == 0
    scan, edited = read_volume(tiny_patient.scan), volume_of(run.layer)
    assert edited.grid.same_as(scan.grid) and edited.voxels.dtype == scan.voxels.dtype
    assert bench.planes.slice_of(run.patient.image) in range(3, 20), (
        "the view goes to what is edited, not to what was there"
    )
    changed = edited.voxels != scan.voxels
    assert changed.any() and not changed[:2].any() and not changed[20:].any()
    saved = read_label_map(run.recipe.edit.edited.path).voxels
    assert (saved == 3).sum() == (read_label_map(tiny_patient.labels).voxels == 3).sum() + 75
    qtbot.waitUntil(lambda: choices.estimate.measured == before + 1, timeout=30_000)


def test_cancelled_and_continued_is_as_never_interrupted(bench, qtbot) -> None:
    whole = bench.generation.generate()
    done(bench, qtbot)
    run = bench.generation.generate()
    qtbot.waitUntil(lambda: run.started, timeout=30_000)
    bench.generation.cancel()
    done(bench, qtbot)
    assert run.status in ("partial", "finished")  # the tiny model may be done before the click
    if run.can_continue:
        bench.generation.resume(run)
        done(bench, qtbot)
    np.testing.assert_array_equal(run.layer.data, whole.layer.data)


def test_labels_the_model_does_not_know_are_told_before(bench, tiny_patient, tmp_path, qtbot) -> None:
    labels = read_label_map(tiny_patient.labels)
    voxels = labels.voxels.copy()
    voxels[10, 17, 20] = 9
    write_volume(labels.with_voxels(voxels), tmp_path / "odd.nii.gz")
    (bench.state.mask,) = bench.viewer.open(str(tmp_path / "odd.nii.gz"), plugin="napari-gem3d")
    choices = bench.state
    qtbot.waitUntil(lambda: choices.estimate is not None and bool(choices.estimate.notices), timeout=30_000)
    (notice,) = choices.estimate.notices
    assert "labels that tiny does not know: 9 (known: 1 edema" in notice


def test_closing_the_window_during_a_run_ends_the_program_in_order(tiny_model, tiny_patient, tmp_path) -> None:
    script = textwrap.dedent(f"""
        import napari, time
        from qtpy.QtCore import QTimer
        from napari_gem3d.viewer.panel import GemPanel

        viewer = napari.Viewer()
        panel = GemPanel(viewer)
        viewer.window.add_dock_widget(panel)
        state = panel.workbench.state
        state.model = {str(tiny_model)!r}
        viewer.open([{str(tiny_patient.scan)!r}, {str(tiny_patient.labels)!r}], plugin="napari-gem3d", stack=False)
        state.steps = 1000

        def watch():
            run = panel.workbench.state.run
            if run is None and state.table is not None:
                state.steps = 1000
                panel.workbench.generation.generate()
                panel.workbench.generation.generate()
            elif run is not None and state.progress > 0.001:
                timer.stop()
                print("closing", state.activity, flush=True)
                viewer.close()

        timer = QTimer()
        timer.timeout.connect(watch)
        timer.start(50)
        napari.run()
        print("ended", flush=True)
    """)
    folders = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"), str(tmp_path))
    environment = {**os.environ, **folders}
    ended = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert "closing running" in ended.stdout and "ended" in ended.stdout, ended.stderr
    assert ended.returncode == 0, signal.Signals(-ended.returncode) if ended.returncode < 0 else ended.stderr
    assert "Traceback" not in ended.stderr
