"""Outlines and handles as they are drawn, without a window."""

from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel
from vispy.scene import Node

from napari_gem3d.grid import Grid
from napari_gem3d.labels import Label, LabelTable
from napari_gem3d.masks.patch import Patch
from napari_gem3d.viewer.lesions.marks import Marks, outline_in_plane


def lesion() -> Patch:
    """Two labels in a row of three voxels of 4 × 2 × 1 mm."""
    affine = np.diag([1.0, 2.0, 4.0, 1.0])
    affine[:3, 3] = (10, 20, 30)
    voxels = np.zeros((8, 8, 8), np.uint8)
    voxels[3, 2, 4:6], voxels[3, 2, 6] = 1, 3
    return Patch.of(voxels, Grid((8, 8, 8), affine))


def test_an_outline_runs_along_the_edges_of_voxels() -> None:
    segments, values = outline_in_plane(lesion(), 0, 42.5)
    lengths = np.linalg.norm(segments[:, 1] - segments[:, 0], axis=1)
    np.testing.assert_allclose(segments[..., 0], 42.5)
    # around 3 × 1 voxels, and one edge between the labels
    assert len(segments) == 9 and lengths.sum() == pytest.approx(2 * 3 * 1 + 2 * 2 + 2)
    assert sorted(set(values.tolist())) == [1, 3]
    np.testing.assert_allclose(segments.reshape(-1, 3).min(axis=0)[1:], (23, 13.5))
    np.testing.assert_allclose(segments.reshape(-1, 3).max(axis=0)[1:], (25, 16.5))
    for axis, place, edges in ((1, 24.0, 9), (2, 14.0, 4), (2, 16.0, 4)):
        assert len(outline_in_plane(lesion(), axis, place)[0]) == edges
    for axis, place in ((0, 46.5), (0, 0.0), (2, 18.0)):
        assert len(outline_in_plane(lesion(), axis, place)[0]) == 0


def test_every_plane_draws_its_own_part() -> None:
    corners = np.array([[42, 23, 13.5], [42, 23, 16.5], [42, 25, 16.5], [42, 25, 13.5]])
    handles = SimpleNamespace(
        marks=[],
        focus=(42.0, 24.0, 14.0),
        table=LabelTable((Label(1, "edema", "#ff0000"), Label(3, "rim", "#0000ff"))),
        outlined=lesion,
        corners=lambda axis: corners if axis == 0 else None,
        knob=lambda axis: np.array([42.0, 27, 19]),
    )
    model = ViewerModel()
    model.add_image(np.zeros((8, 8, 8)))
    marks = Marks(SimpleNamespace(view=SimpleNamespace(scene=Node())), model, handles)
    assert handles.marks == [marks]
    assert marks.outline.visible and marks.box.visible and marks.markers.visible
    drawn = marks.outline.pos
    assert drawn.shape == (18, 2)
    np.testing.assert_allclose(drawn.min(axis=0), (13.5, 23))  # horizontal first
    assert {tuple(colour) for colour in marks.outline.color} == {(1, 0, 0, 1), (0, 0, 1, 1)}
    model.dims.order = (2, 0, 1)  # sagittal: no handles there, four edges
    assert marks.outline.pos.shape == (8, 2) and not marks.box.visible
    model.dims.ndisplay = 3
    assert not marks.outline.visible and not marks.shadow.visible and not marks.markers.visible
    model.dims.ndisplay = 2
    handles.outlined = lambda: None
    marks.show()
    assert not marks.outline.visible
    marks.close()
    assert handles.marks == [] and marks.box.parent is None
