"""Planes beside the main canvas: the same layers, however they are changed, and painting in any of them."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Points

from napari_gem3d.viewer.planes.controller import Planes

PLACE = {"scale": (4, 2, 1), "translate": (10, -20, 5)}


@pytest.fixture
def viewer():
    viewer = ViewerModel()
    viewer.add_image(np.arange(10 * 21 * 31, dtype=np.float32).reshape(10, 21, 31), name="scan", **PLACE)
    viewer.add_labels(np.zeros((10, 21, 31), np.uint8), name="mask", **PLACE)
    return viewer


@pytest.fixture
def planes(viewer, qapp):
    planes = Planes(viewer)
    planes.open_panes()
    planes.look_at((30, 6, 11))
    yield planes
    planes.close()


def shown(layer) -> np.ndarray:
    """The slice that a layer shows."""
    return np.asarray(layer._slice.image.raw)


def test_each_plane_is_cut_at_the_crosshair(planes, viewer) -> None:
    scan = viewer.layers["scan"].data
    coronal, sagittal = planes.panes
    np.testing.assert_array_equal(shown(viewer.layers["scan"]), scan[5])
    np.testing.assert_array_equal(shown(coronal.layers[0]), scan[:, 13])
    np.testing.assert_array_equal(shown(sagittal.layers[0]), scan[:, :, 6])
    sagittal.model.dims.set_point(2, 20)
    assert planes.focus == (30, 6, 20)
    np.testing.assert_array_equal(shown(sagittal.layers[0]), scan[:, :, 15])
    assert (coronal.letters.name, sagittal.letters.name) == ("Coronal", "Sagittal")
    assert coronal.letters.letters == {"top": "S", "bottom": "I", "left": "R", "right": "L"}
    assert sagittal.letters.letters == {"top": "S", "bottom": "I", "left": "A", "right": "P"}


def test_the_other_planes_are_those_the_main_canvas_does_not_show(planes, viewer) -> None:
    planes.show_plane(2)
    assert [pane.letters.name for pane in planes.panes] == ["Axial", "Coronal"]
    assert viewer.dims.point[2] == 11
    np.testing.assert_array_equal(shown(planes.panes[0].layers[0]), viewer.layers["scan"].data[5])
    viewer.dims.ndisplay = 3
    assert [pane.letters.name for pane in planes.panes] == ["Axial", "Coronal"]


def test_layers_stay_in_step(planes, viewer) -> None:
    names = [[layer.name for layer in pane.layers] for pane in planes.panes]
    assert names == [["scan", "mask"]] * 2
    scan, mask = viewer.layers
    viewer.add_image(np.ones((10, 21, 31)), name="result", visible=False, **PLACE)
    viewer.add_image(np.ones((5, 5)), name="flat")
    viewer.layers.move(2, 0)
    scan.name = "before"
    pane = planes.panes[1]
    assert [layer.name for layer in pane.layers] == ["result", "before", "mask"]
    scan.visible, scan.contrast_limits, scan.colormap, scan.opacity = False, (5, 9), "magma", 0.3
    mask.contour, mask.selected_label, mask.brush_size = 1, 4, 3
    copy = pane.copy_of(scan)
    assert (copy.visible, copy.contrast_limits, copy.colormap.name, copy.opacity) == (False, [5, 9], "magma", 0.3)
    assert (pane.copy_of(mask).contour, pane.copy_of(mask).selected_label) == (1, 4)
    copy.visible = True  # and the other way
    assert scan.visible and planes.panes[0].copy_of(scan).visible
    viewer.layers.selection.active = mask
    mask.mode = "paint"
    assert pane.model.layers.selection.active is pane.copy_of(mask)
    assert str(pane.copy_of(mask).mode) == "paint"
    pane.copy_of(mask).mode = "erase"
    assert str(mask.mode) == "erase"
    viewer.layers.remove(mask)
    viewer.layers.remove("result")
    assert [layer.name for layer in pane.layers] == ["before"]
    viewer.layers.clear()
    assert pane.layers == []


def test_voxels_changed_in_place_are_drawn_in_every_plane(planes, viewer) -> None:
    scan = viewer.layers["scan"]
    drawn = []
    for pane in planes.panes:
        pane.copy_of(scan).events.set_data.connect(lambda event: drawn.append(event.source))
    scan.data[:] = 7
    for _ in range(5):
        scan.refresh()
    assert drawn == []  # not at once: at most ten times a second
    planes.refresh_now()
    assert drawn == [pane.copy_of(scan) for pane in planes.panes]
    scan.data = np.full((10, 21, 31), 3, np.int16)
    assert all((shown(pane.copy_of(scan)) == 3).all() for pane in planes.panes)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_stroke_in_any_plane_is_in_all_and_can_be_undone_in_any(planes, viewer, dimensions: int) -> None:
    mask = viewer.layers["mask"]
    mask.n_edit_dimensions, mask.brush_size = dimensions, 8
    seen = []
    mask.events.paint.connect(seen.append)
    coronal = planes.panes[0].copy_of(mask)
    coronal.paint((5, 13, 6), 2)
    painted = np.argwhere(mask.data)
    assert len(seen) == 1
    assert set(painted[:, 1]) == ({13} if dimensions == 2 else set(painted[:, 1]))
    assert np.ptp(painted[:, 0]) > 0
    planes.refresh_now()
    assert (shown(mask) == mask.data[5]).all() and shown(mask).any()
    planes.panes[1].copy_of(mask).undo()
    assert not mask.data.any()
    mask.redo()
    assert len(np.argwhere(mask.data)) == len(painted)
    mask.paint((5, 13, 6), 3)
    coronal.undo()
    mask.undo()
    assert not mask.data.any()


def test_new_voxels_begin_a_new_history_in_every_plane(planes, viewer) -> None:
    mask = viewer.layers["mask"]
    mask.paint((5, 13, 6), 2)
    mask.data = np.zeros((10, 21, 31), np.uint8)
    coronal = planes.panes[0].copy_of(mask)
    coronal.undo()
    coronal.paint((5, 13, 6), 1)
    mask.undo()
    assert not mask.data.any()


def test_handles_can_be_moved_in_any_plane(planes, viewer) -> None:
    points = viewer.add_points([[30.0, 6.0, 11.0]], name="handles", metadata={"napari-gem3d-tool": True})
    shapes = viewer.add_shapes(
        [[[5, 2, 2], [5, 2, 8], [5, 8, 8], [5, 8, 2]]], shape_type="rectangle", ndim=3, name="frame", **PLACE
    )
    pane = planes.panes[1]
    points.data = [[34.0, 6.0, 11.0]]
    np.testing.assert_array_equal(pane.copy_of(points).data, [[34, 6, 11]])
    pane.copy_of(points).data = [[34.0, 8.0, 12.0]]
    np.testing.assert_array_equal(points.data, [[34, 8, 12]])
    shapes.data = [shapes.data[0] + 1]
    np.testing.assert_array_equal(pane.copy_of(shapes).data[0], shapes.data[0])
    assert [type(layer) for layer in pane.layers][:3] == [Image, Labels, Points]


def test_closed_panes_leave_no_trace(viewer, qapp) -> None:
    planes = Planes(viewer)
    models = []
    planes.models_changed.connect(models.append)
    before = [len(viewer.layers[0].events.emitters[name].callbacks) for name in viewer.layers[0].events.emitters]
    planes.open_panes()
    assert [len(found) for found in models] == [3]
    planes.close_panes()
    assert planes.models == (viewer,)
    after = [len(viewer.layers[0].events.emitters[name].callbacks) for name in viewer.layers[0].events.emitters]
    assert after == before
    planes.close()


def test_the_crosshair_stays_where_it_is_when_the_planes_open(viewer, qapp) -> None:
    planes = Planes(viewer)
    planes.look_at((18, 6, 11))  # not the middle, where napari puts new views
    planes.open_panes()
    assert planes.focus == (18, 6, 11)
    np.testing.assert_array_equal(shown(viewer.layers["scan"]), viewer.layers["scan"].data[2])
    planes.close()
