"""After a crash: what was generated and painted is offered and comes back; after a proper end nothing is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_gem3d.io import read_label_map, read_volume
from napari_gem3d.viewer.layers import label_map_of, volume_of
from napari_gem3d.viewer.panel import GemPanel
from napari_gem3d.viewer.runs.restore import Restore
from napari_gem3d.viewer.session import Journal, Session, lost_session, read_journal


def crash(panel: GemPanel) -> Path:
    """Close the panel, but leave its session as a process does that was killed."""
    folder = panel.workbench.context.session.folder
    panel.workbench.close()
    journal = read_journal(folder)
    assert journal.ended  # as it should be
    text = journal.model_copy(update={"ended": False, "born": 1.0}).model_dump_json()
    (folder / "session.json").write_text(text, encoding="utf-8")
    return folder


def kept(panel: GemPanel) -> Journal | None:
    return read_journal(panel.workbench.context.session.folder)


@pytest.fixture
def another(make_napari_viewer_proxy, engine, tmp_path, qtbot) -> Callable[[], GemPanel]:
    """Open a panel as the next start of napari does."""

    def open_it() -> GemPanel:
        viewer = make_napari_viewer_proxy()
        panel = GemPanel(viewer, engine=engine, session=Session(tmp_path / "sessions"))
        viewer.window.add_dock_widget(panel, name="GEM-3D panel")
        qtbot.waitUntil(lambda: panel.workbench.state.table is not None)
        return panel

    return open_it


def test_results_and_painted_masks_come_back(generated, panel, another, qtbot):
    assert not panel.restore.isVisibleTo(panel)
    run = generated()
    qtbot.waitUntil(lambda: kept(panel) is not None and len(kept(panel).runs) == 1)
    assert not any(mask.changed for mask in kept(panel).masks)  # opened, not painted
    mask = panel.workbench.state.mask
    mask.data_setitem((np.array([9]), np.array([24]), np.array([22])), 3)  # inside the body
    mask.events.paint(value=[])
    panel.workbench.autosave.write_masks()
    qtbot.waitUntil(lambda: any(mask.changed for mask in kept(panel).masks))
    painted, voxels, grid = np.array(mask.data), volume_of(run.layer).voxels, volume_of(run.layer).grid
    folder = crash(panel)

    second = another()
    assert second.restore.isVisibleTo(second)
    assert "left 1 result and 1 painted mask" in second.restore.offer.text()
    second.restore.restore.click()
    state = second.workbench.state
    qtbot.waitUntil(lambda: state.message.startswith("The last session is open again"))
    assert not state.failed and not second.restore.isVisibleTo(second)
    assert [patient.name for patient in state.patients] == ["anna_0000", "bert_0000"]
    (again,) = state.runs
    assert (again.name, again.mode, again.status, again.seconds) == (run.name, "volume", "finished", run.seconds)
    assert again.patient is state.patients[0] and again.donor is state.patients[1]
    np.testing.assert_array_equal(volume_of(again.layer).voxels, voxels)
    assert volume_of(again.layer).grid == grid and second.workbench.results.mark.visible
    np.testing.assert_array_equal(state.patients[0].mask.data, painted)
    assert again in second.generate.runs.cards
    # the session goes on where it was: the next crash takes nothing either, a proper end leaves nothing to offer
    assert second.workbench.context.session.folder == folder
    qtbot.waitUntil(lambda: kept(second).born > 1 and len(kept(second).runs) == 1)
    second.workbench.close()
    assert lost_session(folder.parent) is None and (folder / "run-001.nii.gz").is_file()


def test_what_is_missing_is_said_and_what_is_discarded_is_gone(generated, panel, engine, tmp_path, qtbot):
    generated()
    qtbot.waitUntil(lambda: kept(panel) is not None and len(kept(panel).runs) == 1)
    folder = panel.workbench.context.session.folder
    journal = kept(panel)
    lost = folder.parent / "2026-01-01-101500-1"
    panel.workbench.context.session.leave()
    folder.rename(lost)
    gone = journal.model_copy(update={"born": 1.0, "patients": (tmp_path / "moved.nii.gz",)})
    (lost / "session.json").write_text(gone.model_dump_json(), encoding="utf-8")
    bench = panel.workbench
    needs = (bench.context, bench.autosave, bench.patients.show, bench.results.show)
    restore, state = Restore(*needs), bench.state
    assert restore.state.offer == "The session of 2026-01-01, 10:15, did not end well; it left 1 result."
    restore.restore()
    qtbot.waitUntil(lambda: state.message.startswith("The last session is open again"))
    # the result lay in the folder that was moved
    assert state.failed and "These could not be opened: moved.nii.gz, Synthetic 1." in state.message

    other = folder.parent / "2026-01-02-101500-1"
    other.mkdir()
    (other / "session.json").write_text(gone.model_dump_json(), encoding="utf-8")
    restore = Restore(*needs)
    restore.discard()
    assert restore.state.offer == ""
    qtbot.waitUntil(lambda: not other.exists())


def test_a_folder_that_cannot_be_written_stops_nothing(generated, panel, qtbot, monkeypatch):
    def full_disk(volume, recipe, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(panel.workbench.context.engine, "save", full_disk)
    run = generated()
    qtbot.waitUntil(lambda: "cannot be kept for the case of a crash" in panel.workbench.state.message)
    assert run.finished and run.layer.visible


def test_the_core_itself(make_napari_viewer_proxy, tiny_model, tiny_patient, tmp_path, qtbot):
    """With a tiny model: kept, exported as NIfTI and DICOM, opened again, and made again by the copied command."""
    import shlex

    from qtpy.QtWidgets import QApplication

    from napari_gem3d.cli.main import main
    from napari_gem3d.sampling.recipe import read_recipe

    viewer = make_napari_viewer_proxy()
    panel = GemPanel(viewer, session=Session(tmp_path / "sessions"))
    workbench, state = panel.workbench, panel.workbench.state
    qtbot.addWidget(panel)
    state.model = str(tiny_model)
    qtbot.waitUntil(lambda: state.table is not None, timeout=30_000)
    viewer.open([str(tiny_patient.scan), str(tiny_patient.lesions)], plugin="napari-gem3d", stack=False)
    run = workbench.generation.generate()
    qtbot.waitUntil(lambda: run.status == "finished", timeout=60_000)
    made = volume_of(run.layer)
    qtbot.waitUntil(lambda: kept(panel) is not None and len(kept(panel).runs) == 1)
    saved = kept(panel).runs[0].file
    np.testing.assert_array_equal(read_volume(saved).voxels, made.voxels)
    assert read_recipe(saved.with_name(saved.name.replace(".nii.gz", ".json"))) == run.recipe

    out = tmp_path / "out"
    workbench.results.export(run, out / "a.nii.gz")
    qtbot.waitUntil(lambda: "Exported a.nii.gz (with a_labels.nii.gz, a.json)" in state.message)
    labels = label_map_of(state.mask, state.table).voxels
    np.testing.assert_array_equal(read_label_map(out / "a_labels.nii.gz").voxels, labels)
    before = tiny_patient.scan.read_bytes()
    workbench.results.export(run, tiny_patient.scan)
    qtbot.waitUntil(lambda: state.failed)
    assert "is one of the inputs" in state.message and tiny_patient.scan.read_bytes() == before
    workbench.results.export(run, out / "series")
    qtbot.waitUntil(lambda: "Exported series" in state.message)
    np.testing.assert_array_equal(read_volume(out / "series").voxels, made.voxels)

    workbench.results.copy_command(run)
    qtbot.waitUntil(lambda: "clipboard" in state.message)
    words = shlex.split(QApplication.clipboard().text())
    words[words.index("--out") + 1] = str(out / "b.nii.gz")
    assert main(words[1:]) == 0
    np.testing.assert_array_equal(read_volume(out / "b.nii.gz").voxels, made.voxels)

    for layer in viewer.layers:  # the tests' own scan is marked as well: this package wrote it
        layer.visible = False
    assert not workbench.results.mark.visible
    for exported in ("a.nii.gz", "series"):  # whoever opens it sees what it is
        viewer.open(str(out / exported), plugin="napari-gem3d")
        assert workbench.results.mark.visible
        viewer.layers.remove(viewer.layers[-1])
    workbench.close()
