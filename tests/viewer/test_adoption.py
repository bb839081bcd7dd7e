"""Image layers made by hand as patients: their scale, translation, affine and units, and what has to be asked."""

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image

from napari_gem3d.grid import Grid
from napari_gem3d.io import read_volume
from napari_gem3d.viewer.adoption import ORIENTATIONS, _volume, ras_affine, unusable, world_mm
from napari_gem3d.viewer.layers import origin_of, volume_of


def blob() -> np.ndarray:
    """(10, 24, 30), bright at one voxel."""
    z, y, x = np.mgrid[:10, :24, :30]
    voxels = np.where(((z - 5) / 4) ** 2 + ((y - 12) / 9) ** 2 + ((x - 15) / 12) ** 2 < 1, 300 + 5 * x, 0)
    voxels[7, 15, 20] = 900
    return voxels.astype(np.float32)


def layer(**options) -> Image:
    return Image(blob(), **options)


@pytest.mark.parametrize(
    ("options", "spacing"),
    [
        ({"scale": (3, 1, 2), "units": "mm"}, (3, 1, 2)),
        ({"scale": (3000, 1000, 2000), "units": "um"}, (3, 1, 2)),
        ({"scale": (3, 1, 2), "units": ("mm", "mm", "cm")}, (3, 1, 20)),
        ({"scale": (3, 1, 2)}, (3, 1, 2)),  # a scale without units is taken for mm
        ({"units": "mm"}, (1, 1, 1)),
        ({"affine": np.diag([3.0, -1.0, 2.0, 1.0])}, (3, 1, 2)),
        ({}, None),
        ({"translate": (5, 5, 5)}, None),
        ({"metadata": {"gem3d_spacing_mm": (4.0, 0.5, 0.5)}}, (4, 0.5, 0.5)),
    ],
)
def test_size_of_a_voxel(options, spacing) -> None:
    matrix = world_mm(layer(**options))
    if spacing is None:
        assert matrix is None
    else:
        np.testing.assert_allclose(np.linalg.norm(matrix[:3, :3], axis=0), spacing)


def test_the_place_is_where_napari_shows_it() -> None:
    angle = np.deg2rad(20)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn, (100, 200, 300)
    turned = layer(scale=(3, 1, 2), translate=(7, 8, 9), affine=affine, units="um")
    matrix = world_mm(turned)
    np.testing.assert_allclose(matrix @ (7, 15, 20, 1), [*np.array(turned.data_to_world((7, 15, 20))) / 1000, 1])
    # z, y and x of the world increase to S, A and R
    grid = Grid((10, 24, 30), ras_affine(matrix, "SAR"))
    np.testing.assert_allclose(grid.index_to_world([[7, 15, 20]])[0], (matrix @ (7, 15, 20, 1))[2::-1])


def test_orientations_are_those_of_the_axes() -> None:
    assert len(set(ORIENTATIONS)) == 48
    world = np.diag([3.0, 1.0, 2.0, 1.0])
    for code in ORIENTATIONS:
        grid = Grid((10, 24, 30), ras_affine(world, code))
        assert grid.orientation == code[::-1], code  # grids name their axes x, y, z
        assert sorted(grid.spacing) == [1, 2, 3]


def test_what_cannot_be_a_patient_says_why() -> None:
    assert "2 axes" in unusable(Image(np.zeros((8, 9))))
    assert "4 axes" in unusable(Image(np.zeros((2, 3, 8, 9))))
    assert "colours" in unusable(Image(np.zeros((8, 9, 10, 3), np.uint8), rgb=True))
    assert unusable(layer()) == ""


def test_voxels_are_read_whole_and_made_finite() -> None:
    voxels = blob()
    lazy, note = _volume(da.from_array(voxels, chunks=5), False, np.eye(4), "x")
    np.testing.assert_array_equal(lazy.voxels, voxels)
    assert note == "" and isinstance(lazy.voxels, np.ndarray)
    finest, _ = _volume([voxels, voxels[::2, ::2, ::2]], True, np.eye(4), "x")
    assert finest.shape == voxels.shape
    voxels[0, 0, :3] = np.nan, np.inf, -np.inf
    made, note = _volume(voxels, False, np.eye(4), "x")
    assert (made.voxels[0, 0, :3] == 0).all() and note.startswith("3 voxels of x are not finite")
    with pytest.raises(Exception, match="no finite voxel"):
        _volume(np.full((3, 3, 3), np.nan), False, np.eye(4), "x")


def test_a_layer_with_units_becomes_a_patient_and_can_be_generated_from(panel, engine, qtbot) -> None:
    viewer, state = panel.workbench.viewer, panel.workbench.state
    voxels = blob()
    image = viewer.add_image(voxels, name="mine", scale=(3000, -1000, 2000), translate=(0, 5000, 0), units="um")
    bright = np.array(image.data_to_world((7, 15, 20))) / 1000
    qtbot.waitUntil(lambda: state.patient is not None, timeout=20_000)
    assert state.patient.image == image and len(viewer.layers) == 1
    assert [f"{unit:~}" for unit in image.units] == ["mm"] * 3 and tuple(image.scale) == (3, 1, 2)
    (place,) = np.argwhere(np.asarray(image.data) == 900)
    np.testing.assert_allclose(image.data_to_world(place), bright, atol=1e-4)
    assert voxels[7, 15, 20] == 900  # the user's own array is as it was
    np.testing.assert_array_equal(volume_of(image).voxels, read_volume(origin_of(image).path).voxels)
    # which way it lies is not known: no letters until that is said, once
    letters, ask = panel.workbench.planes.letters, panel.patients.ask
    assert letters.letters == {} and "unknown direction" in panel.patients.about.text()
    assert not ask.isHidden() and ask.spacing.isHidden()
    ask.orientation.activated.emit(2)  # SPL
    ask.use.click()
    qtbot.waitUntil(lambda: letters.letters != {}, timeout=20_000)
    assert ask.isHidden() and image.metadata["gem3d_orientation"] == "SPL"
    (turned,) = np.argwhere(np.asarray(image.data) == 900)
    assert turned.tolist() == [place[0], 23 - place[1], 29 - place[2]]
    panel.workbench.masks.new()
    engine.permits.release(5)
    run = panel.workbench.generation.generate()
    qtbot.waitUntil(lambda: run.finished, timeout=20_000)
    assert engine.requests[0].body == origin_of(image).path


def test_a_layer_of_pixels_is_asked_about_and_a_multiscale_one_is_copied(panel, qtbot) -> None:
    viewer, state, ask = panel.workbench.viewer, panel.workbench.state, panel.patients.ask
    voxels = blob()
    pyramid = viewer.add_image([voxels, voxels[:, ::2, ::2]], name="pyramid", multiscale=True)
    assert state.patient is None and not ask.isHidden() and not ask.spacing.isHidden()
    viewer.add_image(voxels, name="preview")
    assert ask.question.text().startswith("preview does not say how large")
    ask.leave.click()
    assert ask.question.text().startswith("pyramid does not say how large") and state.patient is None
    for box, mm in zip(ask.spacing.boxes, (4, 0.5, 0.6), strict=True):
        box.setValue(mm)
    ask.orientation.activated.emit(1)  # SAR
    ask.use.click()
    qtbot.waitUntil(lambda: state.patient is not None, timeout=20_000)
    assert ask.isHidden() and not pyramid.visible and pyramid.multiscale
    image = state.patient.image
    np.testing.assert_array_equal(image.data, voxels)
    assert tuple(image.scale) == (4, 0.5, pytest.approx(0.6))
    assert panel.workbench.planes.letters.letters["top"] == "A"
    viewer.add_image(np.zeros((20, 30)), name="picture")
    assert "2 axes" in state.message
    viewer.add_image(np.zeros((10, 24, 30, 3), np.uint8), name="colours", rgb=True)
    assert "colours" in state.message and len(state.patients) == 1
    voxels[0, 0, 0] = np.nan
    lazy = viewer.add_image(da.from_array(voxels, chunks=8), name="lazy", scale=(4, 1, 1))
    qtbot.waitUntil(lambda: len(state.patients) == 2, timeout=20_000)
    assert state.patient.image == lazy and isinstance(lazy.data, np.ndarray) and np.isfinite(lazy.data).all()
    assert "1 voxels of lazy are not finite" in state.message
