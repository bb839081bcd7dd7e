"""The anatomy that a scan shows in its mask: written as one undo step, painted, covered by lesions, kept, ordered."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from napari_gem3d.bundle import ModelBundle, Plan
from napari_gem3d.io import read_label_map, read_volume, write_volume
from napari_gem3d.labels import Label, LabelMap, LabelTable
from napari_gem3d.sampling.inputs import read_edit_inputs
from napari_gem3d.sampling.prepare_edit import prepare_edit
from napari_gem3d.sampling.settings import Settings
from napari_gem3d.viewer.engine import CoreEngine
from napari_gem3d.viewer.layers import label_map_of, origin_of, restored_labels
from napari_gem3d.viewer.session import Session, read_journal
from napari_gem3d.volume import resample

sys.path.insert(0, str(Path(__file__).parents[2] / "anatomy"))
import phantom

TABLE = LabelTable(
    (
        Label(1, "edema"),
        Label(3, "enhancing"),
        Label(4, "brain", meaning="body"),
        Label(5, "ventricles", meaning="tissue"),
        Label(6, "csf", meaning="tissue"),
        Label(8, "lesion"),
    )
)
VENTRICLES = (slice(8, 13), slice(20, 28), slice(16, 26))
CSF = (slice(4, 7), slice(10, 38), slice(12, 30))


@pytest.fixture
def engine(engine):
    """The small core with a model that knows tissue, of scans that show some."""
    engine.table, engine.tissue = TABLE, {5: VENTRICLES, 6: CSF}
    return engine


@pytest.fixture
def show(panel, qtbot):
    """Clicks Show anatomy and waits until it is there."""

    def click() -> None:
        panel.mask.anatomy.click()
        assert panel.workbench.body.state.finding and not panel.mask.anatomy.isEnabled()
        qtbot.waitUntil(lambda: not panel.workbench.body.state.finding, timeout=20_000)

    return click


def data(panel) -> np.ndarray:
    return np.array(panel.workbench.state.mask.data)


def shown(before: np.ndarray, body: np.ndarray) -> np.ndarray:
    """A mask with the tissue of the small core, where it has no lesion."""
    after, free = before.copy(), body & ((before == 0) | (before == 4))
    for value, box in ((5, VENTRICLES), (6, CSF)):
        after[box][free[box]] = value
    return after


@pytest.mark.parametrize("with_body", [True, False])
def test_it_is_written_where_the_mask_says_body_and_undone_in_one_step(panel, open_scan, show, qtbot, with_body):
    open_scan("anna", with_body=with_body)
    workbench = panel.workbench
    patient, before = workbench.state.patient, data(panel)
    show()
    after = data(panel)
    np.testing.assert_array_equal(after, shown(before, np.asarray(patient.image.data) > 0))
    assert {5, 6} < set(np.unique(after)) and ((before == 1) == (after == 1)).all()
    millilitres = np.prod(workbench.state.mask.scale) / 1000
    assert f"csf {(after == 6).sum() * millilitres:.0f} ml" in workbench.state.message
    qtbot.waitUntil(lambda: "ventricles" in panel.mask.tools.volumes.text())
    panel.mask.history.undo.click()
    np.testing.assert_array_equal(data(panel), before)
    assert not workbench.lesions.history.can_undo


def test_an_edit_compares_with_the_map_as_it_was_with_its_anatomy(panel, open_scan, show):
    scan = open_scan("anna", with_body=True)
    workbench = panel.workbench
    assert workbench.generation.request("edit").before == scan.labels
    show()
    workbench.state.mask.data[5, 24, 14] = 3  # on csf
    request = workbench.generation.request("edit")
    assert request.before != scan.labels and workbench.context.session.root in request.before.parents
    before = read_label_map(request.before, TABLE)
    after = restored_labels(request.mask.copy(), request.mask_origin, TABLE)
    differs = (
        resample(after, after.grid.canonical(), order=0).voxels
        != resample(before, after.grid.canonical(), order=0).voxels
    )
    assert np.argwhere(differs).tolist() == [[5, 24, 14]]
    # A model without tissue is not told of it.
    workbench.state.table = LabelTable(TABLE.labels[:3])
    assert workbench.generation.request("edit").before == scan.labels


def test_a_lesion_painted_here_is_not_in_the_map_as_it_was(panel, open_scan, show):
    open_scan("anna", labels=False)
    workbench = panel.workbench
    workbench.masks.new()
    workbench.state.mask.data[10, 20:30, 16:24] = 3
    show()
    before = read_label_map(workbench.generation.request("edit").before, TABLE)
    assert set(before.values()) == {5, 6} and set(np.unique(data(panel))) == {0, 3, 5, 6}


def test_what_the_mask_holds_of_a_tissue_is_its_own(panel, open_scan, show):
    open_scan("anna", with_body=True)
    workbench = panel.workbench
    workbench.state.mask.data[10, 34, 20] = 5
    show()
    after = data(panel)
    assert np.argwhere(after == 5).tolist() == [[10, 34, 20]] and (after == 6).any()
    before = read_label_map(workbench.generation.request("edit").before, TABLE)
    assert 5 not in before.values() and 6 in before.values()
    show()
    np.testing.assert_array_equal(data(panel), after)
    assert workbench.state.failed and "every label of anatomy already" in workbench.state.message


def test_lesion_tools_lie_on_tissue_and_leave_body(panel, open_scan, show, qtbot):
    open_scan("anna", with_body=True)
    workbench, lesions = panel.workbench, panel.workbench.lesions
    lesions.remove()
    qtbot.waitUntil(lambda: lesions.state.tool == "", timeout=20_000)
    show()
    before = data(panel)
    workbench.planes.look_at(np.array((10, 24, 20)) * lesions.mask.scale + lesions.mask.translate)
    lesions.place(diameter=(12.0, 12.0, 24.0), shells=((1, 0.0), (3, 0.0)), core=3)
    qtbot.waitUntil(lambda: lesions.state.tool == "", timeout=20_000)
    placed = data(panel)
    assert ((placed == 3) & (before == 5)).any() and ((placed == 3) & (before == 4)).any()
    assert ((placed == before) | (placed == 3)).all() and workbench.state.message == ""
    lesions.remove()
    qtbot.waitUntil(lambda: lesions.state.tool == "", timeout=20_000)
    np.testing.assert_array_equal(data(panel), np.where(placed == 3, 4, before))


def test_a_lesion_without_parts_has_no_shells(panel, open_scan, qtbot):
    open_scan("anna", with_body=True)
    lesions, form = panel.workbench.lesions, panel.mask.tools.forms["place"]
    assert lesions.state.shells == ((1, 6.0),) and lesions.state.core == 3
    panel.mask.tools.buttons["place"].click()
    assert form.shells[1].isVisibleTo(form)
    form.core.activated.emit(2)  # lesion
    assert not form.shells[1].isVisibleTo(form)
    panel.workbench.planes.look_at(np.array((13, 26, 24)) * lesions.mask.scale + lesions.mask.translate)
    lesions.state.diameter = (16.0, 16.0, 16.0)
    panel.mask.tools.apply.click()
    qtbot.waitUntil(lambda: lesions.state.tool == "", timeout=20_000)
    assert (data(panel) == 8).any() and not (data(panel) == 3).any()


def test_every_label_but_the_body_is_painted_erased_and_exported(panel, open_scan, show, qtbot):
    open_scan("anna", with_body=True)
    brushes, mask = panel.mask.brushes, panel.workbench.state.mask
    shown = [brush.text() for brush in brushes.values()]
    assert shown == ["edema", "enhancing", "lesion", "ventricles", "csf", "Erase"]
    show()
    qtbot.waitUntil(lambda: panel.workbench.lesions.history._inside is not None)
    for value, place in ((8, (13, 26, 24)), (5, (9, 33, 20))):
        brushes[value].click()
        mask.brush_size = 3
        with mask.block_history():
            mask.paint(place, value)
        assert data(panel)[place] == value
    with mask.block_history():
        mask.paint((9, 33, 20), 0)
    assert data(panel)[9, 33, 20] == 4
    assert label_map_of(mask, TABLE).values() == (1, 4, 5, 6, 8)


def test_tissue_is_no_lesion_to_go_to(panel, open_scan, show):
    open_scan("anna", with_body=True)
    patient = panel.workbench.state.patient
    before = patient.lesion_slice(), patient.middle()
    show()
    assert (patient.lesion_slice(), patient.middle()) == before
    patient.mask.data[data(panel) == 1] = 4
    assert patient.lesion_slice() is None


def test_tissue_ends_where_the_corrected_body_ends(panel, open_scan, show, qtbot):
    open_scan("anna", with_body=True)
    workbench = panel.workbench
    patient = workbench.state.patient
    qtbot.waitUntil(lambda: workbench.body.of(patient) is not None, timeout=20_000)
    show()
    tissue = np.isin(data(panel), (5, 6))
    workbench.body.correct()
    layer = workbench.viewer.layers["anna_0000 body"]
    layer.brush_size = 6
    layer.paint((10, 24, 24), 0)
    workbench.body.correct(False)
    body = workbench.body.of(patient)
    ordered = workbench.generation.request("volume").mask
    assert (tissue & ~body).any() and not ordered[~body].any()
    np.testing.assert_array_equal(np.isin(ordered, (5, 6)), tissue & body)


def test_what_the_scan_does_not_tell_is_said(panel, open_scan, engine, show, qtbot):
    engine.untold = ("csf: slices of 4 mm are too thick.",)
    open_scan("anna")
    show()
    assert "does not show all of the anatomy (csf: slices of 4 mm are too thick);" in panel.workbench.state.message
    panel.generate.generate.click()
    state, run = panel.workbench.state, panel.workbench.state.run
    qtbot.waitUntil(lambda: run.layer is not None)
    assert state.message.startswith("Generating with seed 1 … The scan does not show all")
    engine.permits.release(5)
    qtbot.waitUntil(lambda: run.finished, timeout=15_000)
    assert state.message.startswith("Finished in") and "slices of 4 mm are too thick" in state.message


def test_a_restored_session_still_knows_what_the_map_was(panel, open_scan, show, qtbot):
    open_scan("anna", with_body=True)
    workbench = panel.workbench
    show()
    workbench.autosave.write_masks()
    qtbot.waitUntil(lambda: read_journal(workbench.context.session.folder) is not None, timeout=20_000)
    (saved,) = read_journal(workbench.context.session.folder).masks
    assert saved.before == origin_of(workbench.state.mask).before is not None
    workbench.viewer.layers.clear()
    workbench.restore.state.folder = workbench.context.session.folder
    workbench.restore.state.journal = read_journal(workbench.context.session.folder)
    workbench.restore.restore()
    qtbot.waitUntil(lambda: workbench.state.mask is not None, timeout=20_000)
    assert workbench.generation.request("edit").before == saved.before


def test_the_choice_is_requested_and_taken_again(panel, open_scan, engine, qtbot):
    open_scan("anna")
    box, choices = panel.generate.settings.anatomy, panel.workbench.state
    assert [box.itemText(i) for i in range(box.count())] == ["from the scan", "from the label map", "none"]
    assert box.isEnabled() and box.currentText() == "from the scan" and not box.isVisibleTo(panel)
    panel.generate.settings.more.click()
    assert box.isVisibleTo(panel)
    box.activated.emit(2)
    engine.permits.release(10)
    run = panel.workbench.generation.generate()
    qtbot.waitUntil(lambda: run.finished, timeout=15_000)
    assert engine.requests[-1].anatomy == "none" and "no anatomy" in panel.generate.runs.cards[run].about.text()
    run.recipe.informed_slice, run.recipe.steps, run.recipe.anatomy = 8, 7, "none"
    choices.anatomy = "map"
    assert box.currentText() == "from the label map"
    again = panel.workbench.results.again(run)
    qtbot.waitUntil(lambda: again.finished, timeout=15_000)
    assert engine.requests[-1].anatomy == "none" and box.currentText() == "none"


def test_models_without_tissue_offer_none(panel, open_scan):
    open_scan("anna")
    settings, state = panel.generate.settings, panel.workbench.state
    state.table = LabelTable(TABLE.labels[:3])
    for widget in (settings.anatomy, panel.mask.anatomy):
        assert not widget.isEnabled() and widget.toolTip() == "The model brain-flair knows no labels of anatomy."
    panel.workbench.anatomy.show()
    assert state.failed and "choose one that does" in state.message
    state.table = TABLE
    for widget in (settings.anatomy, panel.mask.anatomy):
        assert widget.isEnabled() and "knows no" not in widget.toolTip()


def test_the_core_finds_in_the_panel_what_an_edit_finds(tmp_path):
    """Else an edit would draw every voxel in which the two differ."""
    plan = Plan(name="tissue", channel="FLAIR", size=(128, 128), labels=TABLE, conditioning="fine+slice+offset")
    core = CoreEngine(Session(tmp_path / "sessions"))
    core._bundles["tissue"] = ModelBundle(plan)
    image = phantom.scan(lesion=700.0)
    write_volume(image, tmp_path / "scan.nii.gz", description="")
    raw = LabelMap(np.where(phantom.LESION, 1, 0).astype(np.uint8), image.affine, table=TABLE)
    write_volume(raw, tmp_path / "raw.nii.gz")
    found = core.find_anatomy("tissue", read_volume(tmp_path / "scan.nii.gz"), raw)
    assert set(found.labels.values()) == {1, 4, 5, 6} and found.notes == ()
    assert phantom.dice(found.labels.voxels == 5, phantom.VENTRICLES) > 0.9
    write_volume(found.labels, tmp_path / "before.nii.gz")
    new = phantom.ellipsoid((48, 30, 50), (6, 6, 6))
    edited = found.labels.with_voxels(np.where(new, 3, found.labels.voxels).astype(np.uint8))
    write_volume(edited, tmp_path / "edited.nii.gz")
    for before in ("before", "raw"):
        files = [tmp_path / f"{name}.nii.gz" for name in ("scan", before, "edited")]
        inputs = prepare_edit(plan, read_edit_inputs(*files), Settings(margin_mm=5.0))
        np.testing.assert_array_equal(inputs.weight == 1, new)


def test_mass_effect_is_requested_where_something_can_be_pushed(panel, open_scan, engine, qtbot):
    open_scan("anna")
    settings, workbench = panel.generate.settings, panel.workbench
    settings.mass_effect.setValue(6)
    engine.permits.release(5)
    run = workbench.generation.generate("edit")
    qtbot.waitUntil(lambda: run.finished, timeout=15_000)
    assert engine.requests[-1].mass_effect_mm == 6 and "mass effect 6 mm" in panel.generate.runs.cards[run].about.text()
    assert settings.mass_effect.isEnabled() and workbench.generation.request("volume").mass_effect_mm == 6
    workbench.state.table = LabelTable(TABLE.labels[:3])
    assert not settings.mass_effect.isEnabled() and "push nothing" in settings.mass_effect.toolTip()
    assert workbench.generation.request("volume").mass_effect_mm == 0
    assert workbench.generation.request("edit").mass_effect_mm == 6
    settings.mode.activated.emit(1)
    assert settings.mass_effect.isEnabled() and settings.mass_effect.value() == 6
