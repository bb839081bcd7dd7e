"""Label tables and label maps."""

import numpy as np
import pytest

from napari_gem3d.errors import InputError
from napari_gem3d.grid import Grid
from napari_gem3d.labels import BODY_COLOUR, PALETTE, Label, LabelMap, LabelTable
from napari_gem3d.volume import Volume

TABLE = LabelTable((Label(1, "edema"), Label(3, "enhancing", "#F0E442"), Label(4, "brain", meaning="body")))


def label_map(**values: int) -> LabelMap:
    voxels = np.zeros((6, 6, 6), np.uint8)
    for index, value in enumerate(values.values()):
        voxels[index] = value
    return LabelMap(voxels, np.diag([2.0, 2, 5, 1]), table=TABLE)


def test_default_colours():
    assert Label(1, "a").colour == PALETTE[0]
    assert Label(8, "a").colour == PALETTE[0]
    assert Label(2, "a").colour == PALETTE[1]
    assert Label(9, "b", meaning="body").colour == BODY_COLOUR


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"value": 0, "name": "a"}, "1 or more"),
        ({"value": 1.5, "name": "a"}, "whole number"),
        ({"value": True, "name": "a"}, "whole number"),
        ({"value": 1, "name": ""}, "no name"),
        ({"value": 1, "name": "a", "colour": "red"}, "#rrggbb"),
        ({"value": 1, "name": "a", "meaning": "tumour"}, "body, lesion, organ or tissue"),
        ({"value": 1, "name": "a", "color": "#ffffff"}, "give value, name, colour and meaning"),
        ({"name": "a"}, "give value, name, colour and meaning"),
        (7, "give value, name, colour and meaning"),
    ],
)
def test_bad_entries(entry, message):
    with pytest.raises(InputError, match=message):
        LabelTable.from_json([entry])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((Label(1, "a"), Label(1, "b")), "value 1 twice"),
        ((Label(1, "a"), Label(2, "a")), "name a twice"),
        ((Label(1, "a", meaning="body"), Label(2, "b", meaning="body")), "two body labels"),
    ],
)
def test_bad_tables(labels, message):
    with pytest.raises(InputError, match=message):
        LabelTable(labels)


def test_table_goes_through_json():
    entries = TABLE.to_json()
    assert entries[0] == {"value": 1, "name": "edema", "colour": "#56b4e9", "meaning": "lesion"}
    assert LabelTable.from_json(entries) == TABLE


def test_table_lookups():
    assert TABLE.by_value(3).name == "enhancing"
    assert TABLE.by_name("brain").value == 4
    assert TABLE.body == TABLE.by_value(4)
    assert [label.value for label in TABLE.lesions] == [1, 3]
    assert TABLE.values == (1, 3, 4)
    assert [label.value for label in TABLE] == [1, 3, 4]
    assert len(TABLE) == 3
    assert LabelTable.from_values([0, 5, 2, 5]).values == (2, 5)
    assert LabelTable((Label(1, "a"),)).body is None
    with pytest.raises(InputError, match="no value 2"):
        TABLE.by_value(2)
    with pytest.raises(InputError, match="no 'liver'"):
        TABLE.by_name("liver")


def test_volumes_in_ml():
    # one slice of 6 × 6 voxels of 20 mm³ is 0.72 ml
    assert label_map(a=1, b=4, c=4).volumes_ml() == pytest.approx({1: 0.72, 4: 1.44})
    assert label_map().volumes_ml() == {}


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.uint64])
def test_values_of_every_integer_type(dtype):
    voxels = np.zeros((3, 3, 3), dtype)
    voxels[0, 0] = 7
    assert LabelMap(voxels, np.eye(4)).values() == (7,)


def test_huge_values_are_counted():
    voxels = np.zeros((3, 3, 3), np.int32)
    voxels[0] = 2_000_000_000
    assert LabelMap(voxels, np.eye(4)).values() == (2_000_000_000,)


def test_bool_becomes_a_label_and_floats_do_not():
    assert LabelMap(np.ones((2, 2, 2), bool), np.eye(4)).voxels.dtype == np.uint8
    with pytest.raises(InputError, match="whole numbers"):
        LabelMap(np.ones((2, 2, 2), np.float32), np.eye(4))
    with pytest.raises(InputError, match="-1"):
        LabelMap(np.full((2, 2, 2), -1, np.int16), np.eye(4))


def test_unknown_values_are_named():
    maps = label_map(a=1, b=2, c=5)
    with pytest.raises(InputError, match=r"holds the value 2, 5, .*1 edema, 3 enhancing, 4 brain"):
        maps.check_values(TABLE)
    label_map(a=1, b=4).check_values(TABLE)


def test_alignment_is_by_geometry_not_by_index():
    """The same labels stored with flipped and permuted axes land on the same places."""
    rng = np.random.default_rng(0)
    image = Volume(rng.random((7, 8, 9)), np.diag([1.0, 1, 2, 1]))
    labels = (image.voxels > 0.6).astype(np.uint8)
    stored = labels.transpose(2, 0, 1)[::-1, :, ::-1]
    # stored index (z', y', x') = (8 - x, z, 7 - y)
    affine = np.zeros((4, 4))
    affine[1, 0], affine[2, 1], affine[0, 2], affine[3, 3] = -1, 2, -1, 1
    affine[:3, 3] = 8, 7, 0
    aligned = LabelMap(stored, affine, table=TABLE).aligned_to(image.grid)
    np.testing.assert_array_equal(aligned.voxels, labels)
    assert isinstance(aligned, LabelMap)
    assert aligned.table is TABLE
    assert aligned.grid == image.grid


def test_no_overlap_is_an_error():
    far = np.eye(4)
    far[0, 3] = 500
    with pytest.raises(InputError, match="does not overlap"):
        label_map(a=1).aligned_to(Grid((6, 6, 6), far))


def test_labels_outside_the_image_are_an_error_but_an_empty_map_is_not():
    maps = label_map(a=1)  # in the lowest slice only
    above = maps.grid.box((3, 0, 0), (3, 6, 6))
    with pytest.raises(InputError, match="no label inside"):
        maps.aligned_to(above)
    assert not label_map().aligned_to(above).voxels.any()
