"""Crosshair and letters against the picture that is really drawn, for all 48 axis orientations of a NIfTI file."""

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Layer

from napari_gem3d.viewer.planes.column import Column
from napari_gem3d.viewer.planes.controller import Planes
from napari_gem3d.viewer.planes.orientation import PLANE_COLOURS
from napari_gem3d.viewer.reader import read_layers

ORIENTATIONS = ["".join(letters) for axes in permutations(("RL", "AP", "SI")) for letters in product(*axes)]
SHAPE = np.array([14, 12, 10])  # x, y, z
SPACING = np.array([1.0, 1.5, 3.0])
CORNER = np.array([-37.0, 21.0, 55.0])
# In the right, anterior, superior octant; no two distances from the middle are equal.
MARK = np.array([10, 10, 7])


def write_file(path, orientation: str) -> None:
    """A grey box with a bright voxel; nibabel turns it, not we."""
    voxels = np.full(SHAPE, 100, np.int16)
    voxels[tuple(MARK)] = 1000
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = CORNER
    image = nib.Nifti1Image(voxels, affine)
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(affine), nib.orientations.axcodes2ornt(orientation)
    )
    turned = image.as_reoriented(turn)
    assert "".join(nib.aff2axcodes(turned.affine)) == orientation
    nib.save(turned, path)


@pytest.fixture
def window(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(700, 500)
    planes = Planes(viewer)
    column = Column(planes, viewer.window._qt_viewer)
    yield viewer, planes, column
    column.close()
    planes.close()


def exposed(canvas) -> bool:
    """Whether a canvas has its place in the window."""
    return canvas.widget.isVisible() and canvas.widget.canvas.native.width() < 400


def drawn(canvas) -> np.ndarray:
    """The canvas as it is on the screen, (rows, columns, 3)."""
    image = canvas.widget.canvas.screenshot()
    image = image.convertToFormat(image.Format.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : image.width() * 3].reshape(image.height(), image.width(), 3).astype(int)


def mark_in(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and half size of the bright voxel, in pixels (row, column); letters are not white."""
    found = np.argwhere(picture.min(axis=-1) > 200)
    return found.mean(axis=0), np.ptp(found, axis=0) / 2


def lines_in(picture: np.ndarray, axes: tuple[int, int]) -> np.ndarray:
    """Row and column of the crosshair, by the colours of the planes that its lines stand for."""
    place = []
    for along, axis in enumerate(axes):
        colour = np.array([int(PLANE_COLOURS[axis][i : i + 2], 16) for i in (1, 3, 5)])
        grey = np.ptp(picture, axis=-1) < 12
        distance = np.abs(picture - (0.75 * colour + 0.25 * 25)).sum(axis=-1) + 1000 * grey
        place.append(np.argmax((distance < 120).sum(axis=1 - along)))
    return np.array(place)


def layer_of(folder, orientation: str):
    """What the reader makes of a file: voxels, attributes, kind."""
    path = folder / f"{orientation}.nii"
    write_file(path, orientation)
    return read_layers([str(path)])[0]


def test_all_48_orientations_of_a_file_are_one_layer(tmp_path) -> None:
    """Voxels, scale and translation are all that a view draws, so what is right for one of them is right for all."""
    assert len(set(ORIENTATIONS)) == 48
    voxels, attributes, _ = layer_of(tmp_path, "RAS")
    assert np.unravel_index(np.argmax(voxels), voxels.shape) == tuple(MARK[::-1])
    for orientation in ORIENTATIONS:
        turned, placed, kind = layer_of(tmp_path, orientation)
        np.testing.assert_array_equal(turned, voxels, err_msg=orientation)
        np.testing.assert_allclose(placed["scale"], attributes["scale"])
        np.testing.assert_allclose(placed["translate"], attributes["translate"])
        assert kind == "image"


def test_crosshair_and_letters_are_right_in_every_plane(window, tmp_path, qtbot) -> None:
    viewer, planes, column = window
    mark_world = (CORNER + SPACING * MARK)[::-1]  # z, y, x
    for main_axis, orientation in enumerate(("RAS", "PIR", "SLA")):
        layer = viewer.add_layer(Layer.create(*layer_of(tmp_path, orientation)))
        del viewer.layers[:-1]
        layer.contrast_limits = (0, 1000)
        planes.frame(layer)
        viewer.canvas.overlays.scale_bar.visible = False  # white, as the mark
        planes.look_at(mark_world)
        planes.show_plane(main_axis)
        qtbot.waitUntil(lambda: len(column.canvases) == 2 and all(exposed(canvas) for canvas in column.canvases))
        letters = [planes.letters.letters, *(pane.letters.letters for pane in planes.panes)]
        for canvas, edges in zip((column.main, *column.canvases), letters, strict=True):
            up, across = canvas.widget.viewer.dims.displayed
            picture = drawn(canvas)
            where, reach = mark_in(picture)
            rows, columns = picture.shape[:2]
            # the edge that the mark is nearer to is the one with the letter of its octant
            assert edges["top" if where[0] < rows / 2 else "bottom"] == "SAR"[up], (orientation, edges)
            assert edges["left" if where[1] < columns / 2 else "right"] == "SAR"[across], (orientation, edges)
            assert edges["left"] == ("A" if across == 1 else "R"), "radiological"
            lines = lines_in(picture, (up, across))
            assert (np.abs(lines - where) <= np.maximum(reach / 2, 1.5)).all(), (orientation, lines, where)
        assert {canvas.widget.viewer.dims.order[0] for canvas in (column.main, *column.canvases)} == {0, 1, 2}
