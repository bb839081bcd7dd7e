"""Volumes as layers: canonical axes, millimetres, and back without a difference."""

from itertools import permutations, product

import numpy as np
import pytest
from napari.layers import Labels, Layer

from napari_gem3d.grid import Grid
from napari_gem3d.labels import Label, LabelMap, LabelTable
from napari_gem3d.viewer.layers import (
    apply_table,
    image_layer,
    label_map_of,
    labels_layer,
    origin_of,
    volume_of,
)
from napari_gem3d.volume import Volume

TABLE = LabelTable((Label(1, "edema", "#112233"), Label(4, "brain", "#999999", meaning="body")))


def all_orientations() -> list[str]:
    axes = [("R", "L"), ("A", "P"), ("S", "I")]
    return ["".join(letters) for request in permutations(axes) for letters in product(*request)]


def oriented_affine(orientation: str, spacing: tuple[float, float, float]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, 3] = (7, -11, 13)
    for voxel_axis, letter in enumerate(orientation):
        world = "RASLPI".index(letter) % 3
        affine[:3, voxel_axis] = 0
        affine[world, voxel_axis] = spacing[voxel_axis] * (1 if letter in "RAS" else -1)
    return affine


@pytest.mark.parametrize("orientation", all_orientations())
def test_every_orientation_is_shown_where_it_is_in_the_patient(orientation: str) -> None:
    voxels = np.random.default_rng(0).integers(0, 100, (4, 5, 6)).astype(np.int16)
    volume = Volume(voxels, oriented_affine(orientation, (0.7, 1.3, 5.0)), "MR")
    layer = Layer.create(*image_layer(volume, "scan"))
    index = np.array([1, 3, 2])
    right, anterior, superior = volume.grid.index_to_world(index[None])[0]
    shown = np.array(layer.world_to_data((superior, anterior, right)))
    np.testing.assert_allclose(shown, np.rint(shown), atol=1e-6)
    assert layer.data[tuple(np.rint(shown).astype(int))] == voxels[tuple(index)]
    assert (np.array(layer.scale) > 0).all()
    back = volume_of(layer)
    assert back.grid == volume.grid
    np.testing.assert_array_equal(back.voxels, voxels)
    assert back.voxels.dtype == voxels.dtype


def test_units_and_truth_are_kept() -> None:
    affine = oriented_affine("LPS", (0.5, 0.5, 6.5))
    layer = Layer.create(*image_layer(Volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4), affine, "MR"), "scan"))
    assert [f"{unit:~}" for unit in layer.units] == ["mm", "mm", "mm"]
    assert tuple(layer.scale) == pytest.approx((6.5, 0.5, 0.5))
    origin = origin_of(layer)
    assert origin is not None
    assert origin.modality == "MR"
    np.testing.assert_array_equal(origin.grid.affine, affine)


def test_an_oblique_scan_keeps_its_centre() -> None:
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([1.0, 1.0, 3.0])
    affine[:3, 3] = (40, 50, 60)
    volume = Volume(np.random.default_rng(1).random((5, 7, 9)).astype(np.float32), affine)
    layer = Layer.create(*image_layer(volume, "scan"))
    centre = np.array(layer.translate) + np.array(layer.scale) * (np.array(layer.data.shape) - 1) / 2
    np.testing.assert_allclose(centre[::-1], volume.grid.index_to_world([[2, 3, 4]])[0])


def labels_example() -> LabelMap:
    voxels = np.full((4, 5, 6), 4, np.uint8)
    voxels[0] = 0
    voxels[2, 1:3, 1:3] = 1
    return LabelMap(voxels, oriented_affine("LPI", (1, 1, 2)), table=TABLE)


def test_labels_show_names_and_colours() -> None:
    layer = Layer.create(*labels_layer(labels_example(), "labels"))
    assert isinstance(layer, Labels)
    assert list(layer.features["name"]) == ["background", "edema", "brain"]
    np.testing.assert_allclose(layer.get_color(1)[:3], np.array([0x11, 0x22, 0x33]) / 255, atol=1e-3)
    assert layer.get_color(4)[3] < 0.2  # the body must not hide the scan
    assert layer.get_color(1)[3] == 1


def test_labels_come_back_on_their_own_grid() -> None:
    labels = labels_example()
    layer = Layer.create(*labels_layer(labels, "labels"))
    back = label_map_of(layer, TABLE)
    assert back.grid == labels.grid
    np.testing.assert_array_equal(back.voxels, labels.voxels)


def test_an_erased_lesion_is_body_again() -> None:
    labels = labels_example()
    layer = Layer.create(*labels_layer(labels, "labels"))
    before = np.array(layer.data)
    layer.data[(before == 4) & (np.arange(6) == 3)] = 0  # an eraser that took brain too
    layer.data[0] = np.where(before[0] == 0, 1, layer.data[0])  # a lesion painted outside stays
    back = Layer.create(*labels_layer(label_map_of(layer, TABLE), "back"))
    np.testing.assert_array_equal(back.data == 4, (before == 4) & (layer.data != 1))


def test_a_table_is_applied_only_where_it_fits() -> None:
    plain = LabelMap(labels_example().voxels, np.eye(4))
    layer = Layer.create(*labels_layer(plain, "labels"))
    assert list(layer.features["name"]) == ["background", "label 1", "label 4"]
    assert apply_table(layer, TABLE)
    assert list(layer.features["name"]) == ["background", "edema", "brain"]
    origin = origin_of(layer)
    assert origin is not None and origin.body_value == 4
    other = Layer.create(*labels_layer(LabelMap(plain.voxels + np.uint8(20), np.eye(4)), "organs"))
    assert not apply_table(other, TABLE)
    assert "label 24" in list(other.features["name"])


def test_a_layer_of_others_has_no_origin() -> None:
    assert origin_of(Layer.create(np.zeros((3, 3)), {}, "image")) is None
    with pytest.raises(ValueError, match="did not come through"):
        volume_of(Layer.create(np.zeros((3, 3, 3)), {"name": "x"}, "image"))


def test_grids_of_image_and_labels_coincide() -> None:
    grid = Grid((4, 5, 6), oriented_affine("PIR", (1, 2, 3)))
    image = Layer.create(*image_layer(Volume(np.arange(120.0).reshape(4, 5, 6), grid.affine), "a"))
    labels = Layer.create(*labels_layer(LabelMap(np.ones((4, 5, 6), np.uint8), grid.affine), "b"))
    np.testing.assert_array_equal(image.translate, labels.translate)
    np.testing.assert_array_equal(image.scale, labels.scale)
