"""The patient's body: recognised, shown, corrected, ordered; a brain extracted beside the original."""

import sys
from pathlib import Path

import numpy as np
import pytest

from napari_gem3d.brain import Extraction
from napari_gem3d.errors import InputError
from napari_gem3d.io import read_volume, write_volume

sys.path.insert(0, str(Path(__file__).parents[2] / "brain"))
from heads import brain_of, head


@pytest.fixture
def anna(panel, open_scan, qtbot):
    """A patient whose body is known."""
    open_scan("anna")
    workbench = panel.workbench
    qtbot.waitUntil(lambda: workbench.body.of(workbench.state.patient) is not None, timeout=20000)
    return workbench.state.patient


def test_the_outline_is_shown_for_the_patient_that_is_worked_on(panel, anna, open_scan) -> None:
    workbench = panel.workbench
    body = workbench.body.of(anna)
    np.testing.assert_array_equal(body, np.asarray(anna.image.data) > 0)
    panel.patients.body.outline.click()
    layer = workbench.viewer.layers["anna_0000 body"]
    assert layer.visible and layer.contour == 1
    np.testing.assert_array_equal(layer.data, body)
    assert workbench.state.masks == tuple(anna.masks)  # it is no mask
    open_scan("bert", shift=300)
    assert not layer.visible
    panel.patients.list.setCurrentRow(0)
    assert layer.visible
    panel.patients.body.outline.click()
    assert not layer.visible
    workbench.viewer.layers.remove("anna_0000")
    assert "anna_0000 body" not in workbench.viewer.layers


def test_a_corrected_body_is_requested_undone_and_reset(panel, anna, engine, qtbot) -> None:
    workbench, row = panel.workbench, panel.patients.body
    before = workbench.body.of(anna).copy()
    request = workbench.generation.request("volume")
    assert request.mask is np.asarray(anna.mask.data) or np.shares_memory(request.mask, np.asarray(anna.mask.data))
    row.correct.click()
    layer = workbench.viewer.layers.selection.active
    assert (layer.name, str(layer.mode), layer.contour) == ("anna_0000 body", "paint", 0)
    layer.brush_size = 8
    layer.paint((2, 4, 4), 1)
    row.erase.click()
    assert str(layer.mode) == "erase"
    layer.paint((10, 24, 30), 0)
    assert workbench.body.is_corrected(anna)
    after = workbench.body.of(anna)
    assert after[2, 4, 4] and not after[10, 24, 30] and before[10, 24, 30]
    row.correct.click()
    assert str(layer.mode) == "pan_zoom" and not layer.visible
    request = workbench.generation.request("volume")
    lesion = np.asarray(anna.mask.data)
    np.testing.assert_array_equal(request.mask, np.where(lesion > 0, lesion, 4 * after))
    assert request.mask_origin.body is None and request.mask_origin.body_value == 4
    assert not (np.asarray(anna.mask.data) == 4).any()  # the mask itself is as it was
    edit = workbench.generation.request("edit")
    assert not (edit.mask == 4).any()
    layer.undo()
    layer.undo()
    np.testing.assert_array_equal(workbench.body.of(anna), before)
    assert not workbench.body.is_corrected(anna)
    row.correct.click()
    layer.paint((2, 4, 4), 1)
    row.reset.click()
    assert not workbench.body.is_corrected(anna)
    layer.undo()
    assert workbench.body.is_corrected(anna)


def test_what_was_erased_from_a_mask_s_own_body_stays_erased(panel, open_scan, qtbot) -> None:
    from napari_gem3d.viewer.layers import restored_labels

    open_scan("anna", with_body=True)
    workbench = panel.workbench
    patient = workbench.state.patient
    qtbot.waitUntil(lambda: workbench.body.of(patient) is not None, timeout=20000)
    workbench.body.correct()
    layer = workbench.viewer.layers["anna_0000 body"]
    np.testing.assert_array_equal(layer.data, np.asarray(patient.mask.data) > 0)
    layer.brush_size = 8
    layer.paint((10, 24, 30), 0)
    request = workbench.generation.request("volume")
    labels = restored_labels(request.mask.copy(), request.mask_origin, workbench.state.table)
    assert (labels.voxels == 4).sum() == (request.mask == 4).sum() < (np.asarray(patient.mask.data) == 4).sum()


@pytest.fixture
def opened_head(panel, tmp_path, qtbot):
    write_volume(head("T1"), tmp_path / "head.nii.gz")
    panel.workbench.viewer.open(str(tmp_path / "head.nii.gz"), plugin="napari-gem3d")
    patient = panel.workbench.state.patient
    qtbot.waitUntil(lambda: panel.workbench.body.head(patient) is not None, timeout=30000)
    return patient


def test_a_head_is_said_and_its_brain_extracted_beside_it(panel, opened_head, qtbot, monkeypatch) -> None:
    workbench, row = panel.workbench, panel.patients.body
    assert "not skull-stripped" in panel.patients.head.text() and not panel.patients.head.isHidden()
    assert not row.extract.isHidden()

    def found(scan, **options):
        assert not options.get("download")
        return Extraction(brain_of(scan), "hd-bet", 1.0)

    monkeypatch.setattr("napari_gem3d.viewer.body.extraction.extract_brain", found)
    workbench.body.state.obstacle = ""
    voxels = np.array(opened_head.image.data)
    row.extract.click()
    assert row.extract.text() == "Cancel"
    qtbot.waitUntil(lambda: not workbench.body.state.extracting, timeout=20000)
    brain = workbench.state.patient
    assert brain.name == "head brain" and [mask.name for mask in brain.masks] == ["head brain mask"]
    assert len(workbench.state.patients) == 2
    np.testing.assert_array_equal(opened_head.image.data, voxels)
    path = brain.image.metadata["gem3d"].path
    assert path.is_file() and str(path) in workbench.state.message
    np.testing.assert_array_equal(read_volume(path).voxels > 0, (read_volume(path).voxels > 0) & brain_of(head("T1")))
    qtbot.waitUntil(lambda: workbench.body.head(brain) is not None, timeout=30000)
    assert panel.patients.about.text().endswith("skull-stripped")
    assert panel.patients.head.isHidden() and row.extract.isHidden()


def test_without_a_library_the_button_says_how_to_get_one(panel, opened_head, qtbot, monkeypatch) -> None:
    row = panel.patients.body
    panel.workbench.body.state.obstacle = "No brain extraction can be used: pip install napari-gem3d[brain]."
    assert not row.extract.isEnabled()
    assert "pip install" in row.extract.toolTip()

    def fails(scan, **options):
        raise InputError("hd-bet failed (no memory); run it by hand to see why.")

    monkeypatch.setattr("napari_gem3d.viewer.body.extraction.extract_brain", fails)
    panel.workbench.body.extraction.start()
    qtbot.waitUntil(lambda: panel.workbench.state.failed, timeout=20000)
    assert "no memory" in panel.workbench.state.message
    assert not panel.workbench.body.state.extracting
    assert len(panel.workbench.state.patients) == 1


def test_models_of_other_bodies_do_not_mind_skulls(panel, opened_head) -> None:
    from napari_gem3d.labels import Label, LabelTable

    panel.workbench.state.table = LabelTable((Label(1, "tumour"), Label(2, "head", meaning="body")))
    assert panel.patients.head.isHidden()
