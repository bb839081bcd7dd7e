"""The informed slice: from a scan, one's own, or drawn; thumbnails, marks and keys."""

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from napari_gem3d.viewer.informed.thumbnails import grey, intensity_range, make_thumbnails


@pytest.fixture
def two(panel, open_scan):
    """Anna, and Bert who is worked on; Anna informs."""
    open_scan("anna")
    open_scan("bert", shift=300)
    return panel


def test_the_strip_shows_the_donor_and_chooses_a_slice(two, qtbot) -> None:
    panel, strip = two, two.informed.strip
    state, informed = panel.workbench.state, panel.workbench.informed
    assert state.donor.name == "anna_0000"
    qtbot.waitUntil(lambda: informed.thumbnails.of(state.donor) is not None)
    assert strip.total == 20
    strip.resize(400, strip.height())
    qtbot.mouseClick(strip, Qt.MouseButton.LeftButton, pos=QPoint(round(strip.place_of(6)), 20))
    assert state.donor_slice == 6
    assert panel.informed.slice.value() == 6
    for key, expected in (
        (Qt.Key.Key_Right, 7),
        (Qt.Key.Key_PageUp, 17),
        (Qt.Key.Key_End, 19),
        (Qt.Key.Key_Right, 19),
        (Qt.Key.Key_Home, 0),
        (Qt.Key.Key_Left, 0),
    ):
        qtbot.keyClick(strip, key)
        assert state.donor_slice == expected
    panel.workbench.planes.show_slice(state.patient.image, 12)
    assert strip.matching == 12
    qtbot.keyClick(strip, Qt.Key.Key_M)
    assert state.donor_slice == 12
    assert "60%" not in panel.informed.about.text() and "63%" in panel.informed.about.text()


def test_thumbnails_are_made_once_and_forgotten_with_the_scan(two, qtbot) -> None:
    workbench = two.workbench
    cache, anna = workbench.informed.thumbnails, workbench.state.patients[0]
    qtbot.waitUntil(lambda: cache.of(anna) is not None)
    first = cache.of(anna)
    two.patients.list.setCurrentRow(0)
    two.patients.list.setCurrentRow(1)
    assert cache.of(anna) is first
    workbench.viewer.layers.remove("anna_0000")
    assert len(cache._made) == 1


def test_one_s_own_slice_goes_with_the_patient_another_s_stays(two) -> None:
    workbench, state = two.workbench, two.workbench.state
    two.informed.donors.setCurrentIndex(1)
    assert workbench.informed.state.source == "own"
    assert state.donor is state.patient
    two.patients.list.setCurrentRow(0)
    assert state.donor is state.patient and state.donor.name == "anna_0000"
    two.informed.donors.setCurrentIndex(1)
    assert workbench.informed.state.source == "scan"
    two.patients.list.setCurrentRow(1)
    assert state.donor.name == "bert_0000"


def test_the_target_stands_beside_the_informed_slice(two) -> None:
    informed = two.workbench.informed
    two.workbench.state.donor_slice = 5
    assert informed.stands_for == 5
    assert "informed" in two.informed.about.text() and "target" in two.informed.about_target.text()
    assert "…" in two.informed.about_target.text()
    assert not two.informed.target.pixmap().isNull()


def test_a_model_that_cannot_draw_says_why(two) -> None:
    box = two.informed.donors
    item = box.model().item(box.count() - 1)
    assert not item.isEnabled() and "no position U-Net" in item.toolTip()
    two.workbench.informed.choose_generated()
    assert two.workbench.state.failed and "no position U-Net" in two.workbench.state.message
    assert two.workbench.informed.state.source == "scan"


def test_a_drawn_slice_is_shown_and_requested(panel, engine, open_scan, qtbot) -> None:
    engine.draws = True
    workbench, informed = panel.workbench, panel.workbench.informed
    workbench.state.model = "one that draws"
    qtbot.waitUntil(lambda: not informed.state.obstacle)
    open_scan("anna", with_body=True)
    panel.informed.donors.setCurrentIndex(1)
    assert informed.state.source == "generated" and informed.state.drawing
    panel.informed.seed.setValue(5)
    panel.informed.position.setValue(30)
    qtbot.waitUntil(lambda: informed.state.drawn is not None)
    assert len(engine.drawn) == 1  # the settings on the way were not drawn
    request = engine.drawn[0]
    assert (request.informed, request.position, request.informed_seed) == (None, 0.3, 5)
    assert informed.state.drawn.voxels.max() == 600
    assert not panel.informed.picture.pixmap().isNull() and "30%" in panel.informed.about.text()
    assert informed.stands_for == 6
    workbench.planes.show_slice(workbench.state.patient.image, 19)
    panel.informed.match.click()
    assert informed.state.position == 1 and informed.state.drawn is None
    qtbot.waitUntil(lambda: informed.state.drawn is not None)
    workbench.generation.generate()
    qtbot.waitUntil(lambda: len(engine.requests) == 1)
    assert (engine.requests[0].informed, engine.requests[0].informed_seed) == (None, 5)
    panel.informed.donors.setCurrentIndex(0)
    assert informed.state.source == "own" and informed.state.drawn is None
    engine.permits.release(20)
    qtbot.waitUntil(lambda: workbench.state.activity == "idle")


def test_a_failure_to_draw_is_said(panel, engine, open_scan, qtbot, monkeypatch) -> None:
    from napari_gem3d.errors import InputError

    def refuse(request):
        raise InputError("The mask has no body.")

    engine.draws = True
    monkeypatch.setattr(engine, "draw", refuse)
    panel.workbench.state.model = "one that draws"
    informed = panel.workbench.informed
    qtbot.waitUntil(lambda: not informed.state.obstacle)
    open_scan("anna")
    informed.choose_generated(0.2, 3)
    qtbot.waitUntil(lambda: panel.workbench.state.failed)
    assert "no body" in panel.workbench.state.message
    assert not informed.state.drawing


def test_thumbnails_are_square_millimetres() -> None:
    voxels = np.zeros((90, 30, 60), np.int16)
    voxels[:, 5:25, 20:40] = 50
    voxels[:, 5:25, 30:40] = 100
    made = make_thumbnails(voxels, (3.0, 2.0, 1.0))
    assert made.indices[0] == 0 and made.indices[-1] == 89 and len(made.indices) == 40
    assert made.planes.shape == (40, 48, 24)  # 40 mm × 20 mm without the background
    assert made.planes[:, :, :11].max() < 51 and made.planes[:, :, 13:].min() > 99


def test_grey_is_radiological_and_ranges_leave_the_background_out() -> None:
    plane = np.zeros((4, 5))
    plane[3, 4] = 10  # anterior, right
    assert grey(plane, (0, 10))[0, 0] == 255
    assert intensity_range(plane) == (10, 10)
    assert intensity_range(np.zeros((3, 3))) is None


def test_the_core_draws_what_the_command_line_would(tiny_patient, tiny_model, tmp_path) -> None:
    """The same recipe, and the picture of that recipe's job."""
    from napari_gem3d.bundle import load_bundle, save_bundle
    from napari_gem3d.io import read_label_map
    from napari_gem3d.networks import PositionUNet
    from napari_gem3d.sampling.generation import open_job
    from napari_gem3d.sampling.recipe import make_recipe
    from napari_gem3d.viewer.core import Request
    from napari_gem3d.viewer.engine import CoreEngine
    from napari_gem3d.viewer.layers import labels_layer
    from napari_gem3d.viewer.session import Session

    bundle = load_bundle(tiny_model)
    bundle.position_unet = PositionUNet.build(4, (8, 16), (True, True), head_channels=8, norm_groups=8)
    model = str(save_bundle(bundle, tmp_path / "drawing"))
    engine = CoreEngine(Session(tmp_path / "sessions"))
    assert engine.load(model).draws and not engine.load(str(tiny_model)).draws
    voxels, attributes, _ = labels_layer(read_label_map(tiny_patient.labels), "mask")
    request = Request(
        mask=voxels,
        mask_origin=attributes["metadata"]["gem3d"],
        mask_name="mask",
        body=tiny_patient.scan,
        informed=None,
        informed_slice=0,
        steps=3,
        seed=1,
        model=model,
        device="cpu",
        position=0.4,
        informed_seed=9,
    )
    drawn = engine.draw(request)
    assert not list((tmp_path / "sessions").rglob("mask*"))  # a look leaves nothing behind
    job = engine.open(request)
    same = make_recipe(
        tiny_patient.labels,
        "generated",
        body=tiny_patient.scan,
        position=0.4,
        informed_seed=9,
        model=model,
        steps=3,
        seed=1,
        device="cpu",
    )
    kept = {"mask": True, "versions": True}
    assert job.recipe.model_dump(exclude=kept) == same.model_dump(exclude=kept)
    np.testing.assert_array_equal(drawn.voxels, open_job(same).informed_picture)
    assert drawn.spacing == (1.0, 1.0)
