"""Patients, mask and informed slice, driven through the state."""

import numpy as np
import pytest

from napari_gem3d.viewer.informed.thumbnails import axial_picture


def test_an_empty_panel_says_what_to_do(panel) -> None:
    state = panel.workbench.state
    assert state.patients == () and state.patient is None
    assert "No scan is open" in panel.patients.about.text()
    assert not panel.mask.new.isEnabled()
    panel.workbench.generation.generate()
    assert state.failed and "open a scan" in state.message
    assert panel.generate.message.text() == state.message
    assert state.activity == "idle"


def test_the_model_gives_labels_and_steps(panel) -> None:
    assert panel.workbench.state.steps == 7
    assert panel.generate.settings.steps.value() == 7
    assert [button.text() for button in panel.mask.brushes.values()] == ["edema", "enhancing", "Erase"]


def test_a_missing_model_is_said_and_another_can_be_chosen(panel, qtbot) -> None:
    state = panel.workbench.state
    state.model = "missing"
    qtbot.waitUntil(lambda: state.failed)
    assert "missing" in panel.generate.message.text()
    state.model = "other"
    qtbot.waitUntil(lambda: not state.failed)


def test_opening_a_scan_makes_it_the_patient(panel, open_scan) -> None:
    open_scan("anna")
    state = panel.workbench.state
    assert state.patient.name == "anna_0000"
    assert state.mask.name == "anna"
    assert list(state.mask.features["name"]) == ["background", "edema", "enhancing", "brain"]
    assert panel.patients.list.currentItem().text() == "anna_0000"
    assert panel.patients.about.text().startswith("LPS axes, 1.2 × 1 × 4 mm, 40 × 48 × 20 voxels; shown flipped")
    assert panel.workbench.planes.letters.letters == {"top": "A", "bottom": "P", "left": "R", "right": "L"}
    # the view is at the lesion's middle
    assert panel.workbench.planes.slice_of(state.patient.image) == 8


def test_the_chosen_patient_is_the_visible_one(panel, open_scan) -> None:
    open_scan("anna")
    open_scan("bert", shift=300)
    state, layers = panel.workbench.state, panel.workbench.viewer.layers
    assert state.patient.name == "bert_0000"
    assert [layer.name for layer in layers if layer.visible] == ["bert_0000", "bert"]
    panel.patients.list.setCurrentRow(0)
    assert state.patient.name == "anna_0000"
    assert [layer.name for layer in layers if layer.visible] == ["anna_0000", "anna"]


def test_files_open_in_the_background(panel, make_scan, qtbot) -> None:
    scan = make_scan()
    panel.workbench.patients.open_files([scan.image, scan.labels])
    assert panel.workbench.state.message.startswith("Reading anna_0000")
    qtbot.waitUntil(lambda: panel.workbench.state.mask is not None)
    assert panel.workbench.state.message == ""
    panel.workbench.patients.open_files([scan.image.with_name("nothing.nii.gz")])
    qtbot.waitUntil(lambda: panel.workbench.state.failed)
    assert "nothing.nii.gz" in panel.workbench.state.message


def test_removing_layers_removes_patients(panel, open_scan) -> None:
    open_scan("anna")
    open_scan("bert", shift=300)
    state, layers = panel.workbench.state, panel.workbench.viewer.layers
    assert state.donor.name == "anna_0000"
    layers.remove("anna_0000")
    assert [patient.name for patient in state.patients] == ["bert_0000"]
    assert state.donor is state.patient
    layers.clear()
    assert state.patient is None and state.mask is None and state.donor is None
    assert panel.patients.list.count() == 0
    assert panel.informed.picture.pixmap().isNull()


def test_renaming_a_layer_renames_the_patient(panel, open_scan) -> None:
    open_scan("anna")
    panel.workbench.viewer.layers["anna_0000"].name = "anna before"
    assert panel.patients.list.item(0).text() == "anna before"


# --- mask ----------------------------------------------------------------------------------------------------------


def test_painting_starts_a_mask_and_is_a_ball_in_millimetres(panel, open_scan) -> None:
    open_scan("anna", labels=False)
    workbench = panel.workbench
    panel.mask.brushes[3].click()
    mask = workbench.state.mask
    assert mask.name == "anna_0000 mask"
    assert workbench.viewer.layers.selection.active == mask
    assert (str(mask.mode), mask.selected_label, mask.n_edit_dimensions) == ("paint", 3, 3)
    mask.brush_size = 12
    mask.paint((10, 24, 20), 3)
    painted = np.argwhere(np.asarray(mask.data) == 3)
    extent_mm = (np.ptp(painted, axis=0) + 1) * np.array(mask.scale)
    assert (np.ptp(painted, axis=0) > 0).all()
    assert extent_mm.max() / extent_mm.min() < 1.7  # slices are 4 mm thick: a ball in voxels would give 4
    mask.undo()
    assert not np.asarray(mask.data).any()


def test_brush_buttons_follow_naparis_own_controls(panel, open_scan) -> None:
    open_scan("anna")
    workbench, brushes = panel.workbench, panel.mask.brushes
    brushes[1].click()
    assert workbench.state.label == 1
    assert [value for value, button in brushes.items() if button.isChecked()] == [1]
    workbench.state.mask.selected_label = 3
    assert [value for value, button in brushes.items() if button.isChecked()] == [3]
    brushes[0].click()
    assert str(workbench.state.mask.mode) == "erase"
    workbench.state.mask.mode = "pan_zoom"
    assert workbench.state.label is None
    assert not any(button.isChecked() for button in brushes.values())
    brushes[1].click()
    brushes[1].click()
    assert str(workbench.state.mask.mode) == "pan_zoom"


def test_one_of_several_masks_is_chosen(panel, open_scan) -> None:
    open_scan("anna")
    panel.mask.new.click()
    state = panel.workbench.state
    assert [mask.name for mask in state.masks] == ["anna", "anna_0000 mask"]
    assert state.mask.name == "anna_0000 mask"
    panel.mask.masks.setCurrentIndex(0)
    assert state.mask.name == "anna"
    assert [mask.visible for mask in state.masks] == [True, False]


def test_the_panel_says_where_the_body_comes_from(panel, open_scan) -> None:
    open_scan("anna")
    assert "this patient's own scan" in panel.mask.body.text()
    open_scan("bert", shift=300, with_body=True)
    assert panel.mask.body.text() == "The brain comes from label 4 of this mask."


# --- informed slice ------------------------------------------------------------------------------------------------


def test_a_single_patient_informs_itself(panel, open_scan) -> None:
    open_scan("anna")
    state = panel.workbench.state
    assert state.donor is state.patient
    assert state.donor_slice == 8
    assert "its own slice" in panel.informed.donors.currentText()
    assert not panel.informed.picture.pixmap().isNull()


def test_another_patient_is_the_default_donor_until_one_is_chosen(panel, open_scan) -> None:
    open_scan("anna")
    open_scan("bert", shift=300)
    state = panel.workbench.state
    assert state.donor.name == "anna_0000"
    panel.patients.list.setCurrentRow(0)
    assert state.donor.name == "bert_0000"
    panel.informed.donors.setCurrentIndex(0)
    assert state.donor is state.patient
    open_scan("carl", shift=600)
    panel.patients.list.setCurrentRow(0)
    assert state.donor.name == "anna_0000"  # the user's choice stays


def test_the_slice_follows_slider_and_view(panel, open_scan) -> None:
    open_scan("anna")
    open_scan("bert", shift=300)
    workbench, state = panel.workbench, panel.workbench.state
    panel.informed.slice.setValue(3)
    assert state.donor_slice == 3
    workbench.planes.show_slice(state.patient.image, 12)
    panel.informed.match.click()
    assert state.donor_slice == 12
    assert panel.informed.slice.value() == 12


def test_the_picture_is_radiological(panel, open_scan) -> None:
    open_scan("anna", orientation="LPS")
    picture = axial_picture(panel.workbench.state.patient, 13)
    row, column = np.unravel_index(np.argmax(picture), picture.shape)
    assert row < picture.shape[0] / 2  # anterior is up
    assert column < picture.shape[1] / 2  # the patient's right is on the left


@pytest.mark.parametrize("name", ["patients", "mask", "informed", "generate"])
def test_everything_to_press_has_a_tooltip(panel, name: str) -> None:
    from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox, QListWidget

    kinds = (QAbstractButton, QAbstractSpinBox, QComboBox, QListWidget)
    controls = [widget for kind in kinds for widget in getattr(panel, name).findChildren(kind)]
    assert controls
    # the parts of a compound control share its tooltip
    bare = [widget for widget in controls if not widget.toolTip() and not widget.parentWidget().toolTip()]
    assert bare == []
